"""The weights of a model of diffusers: which files they are in, and whether they fit its settings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from elsewhere.files import json_object
from elsewhere.tensor_files import LARGEST, check_finite, one_line

STEM = "diffusion_pytorch_model"
PATTERN = rf"{STEM}(?:(?:\.([\w-]+))?\.safetensors|\.safetensors\.index(?:\.([\w-]+))?\.json)"
LONGEST_INDEX = 2**24
"""Bytes of the list of shards: 16 MiB."""


def read_model(
    model_class: Any, home: Path, config: dict[str, Any], variant: str | None, attempt: Callable[[Any], None]
) -> Any:
    """A model of diffusers in float32 from safetensors files in a folder, single or in shards.

    What the settings ask for is compared with the files before memory is taken for it.

    Args:
        model_class: the class of diffusers that the settings name.
        home: the folder with config.json and the weights.
        config: what config.json says.
        variant: such as "fp16"; see `load_network`.
        attempt: asks a model on the device "meta", which computes shapes and takes no memory: some settings fail only
            when the model is asked.

    Raises:
        FileNotFoundError: no weights.
        ValueError: no such variant, pickles only, weights that are damaged, not finite, or not those of the settings.
    """
    variant = _variant(home, variant)
    name = model_class.__name__
    sizes = [size for file in _files(home, variant) for size in _sizes(file, name)]
    _check_size(model_class, home, config, sizes, attempt)
    try:
        model, report = model_class.from_pretrained(
            home,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
    # A constructor of diffusers fails in any way on values that it does not expect.
    except Exception as error:
        raise ValueError(f"{home} does not hold a readable {name}: {one_line(error)}") from error
    # diffusers fills what is missing with random numbers.
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if report.get(key):
            names = sorted(map(str, report[key]))
            raise ValueError(f"the weights in {home} do not fit config.json: {len(names)} {key}, such as {names[0]}")
    # Parameters of their own: diffusers may leave them mapped to the file, which can change or be cut short.
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
    check_finite(home, model.state_dict())
    return model


def _variant(home: Path, variant: str | None) -> str | None:
    """The variant to read: the one asked for, else none where there are such weights, else the only one."""
    middles = [re.fullmatch(PATTERN, path.name) for path in home.glob(f"{STEM}*") if "-of-" not in path.name]
    found = {match[1] or match[2] for match in middles if match}
    if not found:
        _refuse(home)
    if variant is None and None not in found and len(found) == 1:
        return found.pop()
    if variant in found:
        return variant
    names = ", ".join(sorted(repr(each) for each in found if each is not None))
    if variant is None:
        raise ValueError(f"{home} has no weights without a variant: give load_network variant= one of {names}")
    remedy = f"give one of {names}" if names else "its weights have no variants, leave variant out"
    raise ValueError(f"{home} has no variant {variant!r}: {remedy}")


def _refuse(home: Path) -> None:
    others = sorted(path.name for path in home.glob(f"{STEM}*"))
    if not others:
        raise FileNotFoundError(f"{home / STEM}.safetensors is missing: expected the weights of the model")
    raise ValueError(
        f"{home} has its weights only as {', '.join(others)}, expected {STEM}.safetensors: pickles can run code and "
        "are never read; where you trust them, load them with diffusers and save again with save_pretrained"
    )


def _files(home: Path, variant: str | None) -> list[Path]:
    """The file or the shards with the weights of a variant."""
    middle = "" if variant is None else f".{variant}"
    single, index = home / f"{STEM}{middle}.safetensors", home / f"{STEM}.safetensors.index{middle}.json"
    if not index.is_file():
        if not single.is_file():
            raise FileNotFoundError(
                f"{single} is missing: expected the weights of the model, or {index.name} of shards"
            )
        return [single]
    try:
        if index.stat().st_size > LONGEST_INDEX:
            raise ValueError(f"more than {LONGEST_INDEX:,} bytes")
        shards = json_object(index.read_text(encoding="utf-8")).get("weight_map")
    except ValueError as error:
        raise ValueError(f"{index} is not a readable list of shards: {error}") from error
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"{index} is not a readable list of shards: it has no weight_map")
    names = set(map(str, shards.values()))
    for name in sorted(names):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{index} names {name[:80]!r}: expected a safetensors file in the same folder")
        if not (home / name).is_file():
            raise FileNotFoundError(f"{home / name} is missing: {index.name} names it")
    return [home / name for name in sorted(names)]


def _sizes(file: Path, what: str) -> list[int]:
    """How many values each tensor of a file has, the weights of a `what`; no tensor is read."""
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes: expected at most {LARGEST:,}")
    try:
        with safe_open(file, framework="pt") as tensors:
            return [math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} does not hold a readable {what}: {one_line(error)}") from error


def _check_size(
    model_class: Any, home: Path, config: dict[str, Any], sizes: list[int], attempt: Callable[[Any], None]
) -> None:
    """Make sure that the settings ask for as many weights as the files hold; nothing of their size is allocated."""
    layers = _layers(config)
    if layers is None or layers > len(sizes):
        asked = config.get("layers_per_block", config.get("num_layers"))
        raise ValueError(
            f"{home / 'config.json'} asks for {str(asked)[:20]} layers in each block, more than the {len(sizes)} "
            "tensors of the weights allow"
        )
    if config.get("quantization_config") is not None:
        raise ValueError(f"{home / 'config.json'} has a quantization_config: expected weights that are not quantised")
    try:
        with torch.device("meta"):
            model = model_class.from_config(config).float().eval()
        asked = sum(value.numel() for value in model.state_dict().values())
        with torch.no_grad():
            attempt(model)
    # A constructor of diffusers fails in any way on values that it does not expect.
    except Exception as error:
        raise ValueError(
            f"{home / 'config.json'} does not describe a {model_class.__name__}: {one_line(error)}"
        ) from error
    if asked != sum(sizes):
        raise ValueError(
            f"the weights in {home} do not fit config.json, which asks for {asked:,} numbers: found {sum(sizes):,}"
        )


DEPTHS = ("layers_per_block", "num_layers", "num_encoder_blocks", "num_decoder_blocks", "transformer_layers_per_block")
"""Settings of diffusers' models that say how many layers are made, of the whole or of each level."""


def _layers(config: dict[str, Any]) -> int | None:
    """Layers that the settings ask for at least, in total; None where they are no whole numbers."""
    levels = config.get("block_out_channels", (0,))
    if not isinstance(levels, list | tuple):
        return None
    total = 0
    for name in DEPTHS:
        value = config.get(name) or 0
        each = list(value) if isinstance(value, list | tuple) else [value] * len(levels)
        if any(type(number) is not int for number in each):
            return None
        total = max(total, sum(each) if name != "num_layers" else max(each, default=0))
    return total


def try_unet(unet: Any) -> None:
    """Ask a network on the device "meta", which takes no memory: some settings fail only when asked.

    Raises:
        ValueError: the answer has another size than the image.
        Exception: whatever diffusers and torch raise.
    """
    config = unet.config
    if config.get("class_embed_type") is not None:  # refused by `DiffusersNetwork`, with better words
        return
    side = config.sample_size or 2 ** max(6, len(config.block_out_channels))
    size = (side, side) if isinstance(side, int) else tuple(side)
    time_type = torch.int64 if config.get("time_embedding_type") == "learned" else torch.float32
    x = torch.zeros(1, config.in_channels, *size, dtype=torch.float32, device="meta")
    has_classes = config.get("num_class_embeds") or config.get("num_embeds_ada_norm")
    given = {"class_labels": torch.zeros(1, dtype=torch.int64, device="meta") if has_classes else None}
    width = config.get("cross_attention_dim")
    if type(unet).__name__ == "UNet2DConditionModel":
        if not isinstance(width, int) or config.get("addition_embed_type") is not None:
            return  # as above
        given["encoder_hidden_states"] = torch.zeros(1, 1, width, dtype=torch.float32, device="meta")
    answer = unet(x, timestep=torch.zeros(1, dtype=time_type, device="meta"), **given).sample
    if answer.shape[2:] != x.shape[2:]:
        raise ValueError(f"images of {size} become {tuple(answer.shape[2:])}")
