"""From a name or a path to a trained network."""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, cast, overload

import torch
from torch import nn

from elsewhere.checks import check_device, check_type, check_whole
from elsewhere.denoiser import Denoiser, DenoiserLike
from elsewhere.networks.checkpoints import average_of, is_checkpoint
from elsewhere.networks.diffusers_folder import is_diffusers, network_in_memory, read_diffusers
from elsewhere.networks.published import PUBLISHED, read_published
from elsewhere.networks.trained import network_of, read_network
from elsewhere.networks.training import CHECKPOINT, NETWORK
from elsewhere.tensor_files import read_tensors

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")


def _shipped() -> tuple[str, ...]:
    folder = files("elsewhere.networks") / "shipped"
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return tuple(sorted(name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors")))


SHIPPED = _shipped()
"""Names of the networks that come with the package; beside each is <name>.md, which says how it was trained."""


@overload
def load_network(
    source: str | os.PathLike[str],
    device: str | torch.device | None = None,
    variant: str | None = None,
    null_class: int | None = None,
) -> Denoiser: ...


@overload
def load_network(
    source: Any,
    device: str | torch.device | None = None,
    variant: str | None = None,
    null_class: int | None = None,
) -> DenoiserLike: ...


def load_network(
    source: Any,
    device: str | torch.device | None = None,
    variant: str | None = None,
    null_class: int | None = None,
) -> DenoiserLike:
    """Load a trained network from a name or a path, or read one that is in memory.

    Args:
        source: one of
            a name in `networks.SHIPPED`, such as "fashion-resnet", which come with the package; a folder of that
            name is reached as "./fashion-resnet" or as a Path;
            a file that `elsewhere train` wrote, network.safetensors or checkpoint.safetensors (its averaged weights);
            the folder of a training: its network, or while it still runs its last checkpoint;
            a diffusers folder: a UNet2DModel and its scheduler, see `DiffusersNetwork`;
            a published file of whole networks, .pt of Kamb & Ganguli or .pkl of EDM: see `networks.read_published`;
            a diffusers pipeline, or a pair (unet, scheduler): its UNet is set to evaluation, without gradients;
            a denoiser D(x, sigma, label=None), ours or any function: it is returned as it is.
        device: where to put the weights; None: "cpu" for files; networks in memory stay where they are.
        variant: which weights of a diffusers folder to read, such as "fp16" or "non_ema"; None for those without a
            variant or, where there are none, for the only variant. Weights are computed in float32.
        null_class: of a UNet of diffusers with classes, the number that means "no class"; see `DiffusersNetwork`.

    Returns:
        D(x, sigma, label=None).

    Raises:
        FileNotFoundError: no such name, file or folder, or nothing in the folder.
        TypeError: source is none of these; a plain torch module: it does not say what it predicts, see `els.wrap`.
        ValueError: a damaged file, a file or pipeline of another kind, or an unknown variant; device, variant or
            null_class for a source that has none.
        ImportError: a UNet without diffusers installed.

    Example:
        >>> net = load_network("fashion-resnet")  # doctest: +SKIP
        >>> x0 = net(torch.randn(1, 1, 28, 28), 1.0, label=3)  # doctest: +SKIP
    """
    if device is not None:
        device = check_device("device", device)
    if variant is not None and not isinstance(variant, str):
        raise TypeError(f"variant must be a name such as 'fp16' or None, got {type(variant).__name__}")
    if null_class is not None:
        check_whole("null_class", null_class, 0)
    if not isinstance(source, str | os.PathLike):
        return _in_memory(source, device, variant, null_class)
    text = os.fspath(source)
    if not isinstance(text, str):
        raise TypeError(f"source must be a name or a path of type str, got {type(text).__name__}")
    if not text:
        raise ValueError("source must be a name or a path, got an empty string")
    return _read(source, text, device or torch.device("cpu"), variant, null_class)


def _in_memory(source: Any, device: torch.device | None, variant: str | None, null_class: int | None) -> DenoiserLike:
    if isinstance(source, nn.Module) and not isinstance(source, Denoiser):
        raise TypeError(
            f"source is a {type(source).__name__}, which does not say what it predicts: give the pair (unet, "
            "scheduler) for a UNet of diffusers, or els.wrap(module, prediction=...) for a plain torch module"
        )
    _only_folders(f"the {type(source).__name__}", variant)
    # A pipeline can be called, but draws images: it is no denoiser.
    if callable(source) and not hasattr(source, "components"):
        check_type("source", source, DenoiserLike)
        if device is not None or null_class is not None:
            raise ValueError(
                f"{'device' if device is not None else 'null_class'} was given for a {type(source).__name__}, which is "
                "returned as it is: leave it out"
            )
        return cast(DenoiserLike, source)
    network = network_in_memory(source, null_class)
    if device is not None:
        network.module.to(device)
    return network


def _read(
    source: str | os.PathLike[str], text: str, device: torch.device, variant: str | None, null_class: int | None
) -> Denoiser:
    if isinstance(source, str) and text in SHIPPED:
        _only_folders(text, variant, null_class)
        with as_file(files("elsewhere.networks") / "shipped" / f"{text}.safetensors") as path:
            return read_network(path, device)
    path = Path(text)
    if not _exists(path):
        near = get_close_matches(text, SHIPPED)
        names = f"; those that come with the package: {', '.join(SHIPPED)}" if SHIPPED else ""
        hint = (
            f"did you mean {' or '.join(map(repr, near))}?"
            if near
            else f"give a trained file or folder, or a diffusers folder{names}"
        )
        raise FileNotFoundError(f"no network at {text!r}: {hint}")
    if path.is_dir():
        return _read_folder(path, device, variant, null_class)
    _only_folders(text, variant, null_class)
    return _read_file(path, device)


def _only_folders(source: str, variant: str | None, null_class: int | None = None) -> None:
    """Refuse settings of diffusers folders for another source."""
    for name, value in (("variant", variant), ("null_class", null_class)):
        if value is not None:
            raise ValueError(f"{name}={value!r} was given but {source} is no diffusers folder: leave {name} out")


def _read_folder(path: Path, device: torch.device, variant: str | None, null_class: int | None) -> Denoiser:
    for name in (NETWORK, CHECKPOINT):
        if (path / name).is_file():
            _only_folders(str(path), variant, null_class)
            return _read_file(path / name, device)
    if is_diffusers(path):
        return read_diffusers(path, device, variant, null_class)
    pickles = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in PICKLES)
    if pickles:
        raise ValueError(f"{path} holds {pickles[0]}, {_REFUSAL}")
    raise FileNotFoundError(
        f"no network in {path}: expected {NETWORK} or {CHECKPOINT} of a training, or the folders unet and scheduler "
        "of a diffusers pipeline"
    )


def _read_file(path: Path, device: torch.device) -> Denoiser:
    if path.suffix.lower() in PUBLISHED:
        return read_published(path, device)
    if path.suffix.lower() in PICKLES:
        raise ValueError(f"{path} is {_REFUSAL}")
    if (path.parent / "config.json").is_file():
        raise ValueError(f"{path} is a part of a diffusers folder: give the folder that holds unet and scheduler")
    metadata, tensors = read_tensors(path)
    of = average_of if is_checkpoint(metadata) else network_of
    return of(path, metadata, tensors, device)


_REFUSAL = (
    "a pickle, which can run code when opened, and is refused: expected safetensors (network.safetensors of a "
    "training, or a diffusers folder saved with save_pretrained)"
)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for a file, or with a zero byte
        return False
