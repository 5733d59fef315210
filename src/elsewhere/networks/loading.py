"""From a name or a path to a trained network."""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib.resources import as_file, files
from pathlib import Path

import torch

from elsewhere.checks import check_device
from elsewhere.denoiser import Denoiser
from elsewhere.networks.checkpoints import average_of, is_checkpoint
from elsewhere.networks.diffusers_folder import is_diffusers, read_diffusers
from elsewhere.networks.trained import TrainedNetwork, network_of, read_network
from elsewhere.networks.training import CHECKPOINT, NETWORK
from elsewhere.tensor_files import read_tensors

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")


def _shipped() -> tuple[str, ...]:
    folder = files("elsewhere.networks") / "shipped"
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return tuple(sorted(name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors")))


SHIPPED = _shipped()
"""Names of the networks that come with the package; beside each is <name>.md, which says how it was trained."""


def load_network(
    source: str | os.PathLike[str], device: str | torch.device = "cpu", variant: str | None = None
) -> Denoiser:
    """Load a trained network from a name or a path.

    Args:
        source: one of
            a name in `networks.SHIPPED`, such as "fashion-resnet", which come with the package; a folder of that
            name is reached as "./fashion-resnet" or as a Path;
            a file that `elsewhere train` wrote, network.safetensors or checkpoint.safetensors (its averaged weights);
            the folder of a training: its network, or while it still runs its last checkpoint;
            a diffusers folder: a UNet2DModel and its scheduler, see `DiffusersNetwork`.
        device: where to put the weights.
        variant: which weights of a diffusers folder to read, such as "fp16" or "non_ema"; None for those without a
            variant or, where there are none, for the only variant. Weights are computed in float32.

    Returns:
        D(x, sigma, label=None).

    Raises:
        FileNotFoundError: no such name, file or folder, or nothing in the folder.
        TypeError: source is neither a name nor a path, or variant is no name.
        ValueError: a damaged file, a file or pipeline of another kind, an unknown variant, or a pickle:
            those can run code and are never opened.
        ImportError: a UNet without diffusers installed.

    Example:
        >>> net = load_network("fashion-resnet")  # doctest: +SKIP
        >>> x0 = net(torch.randn(1, 1, 28, 28), 1.0, label=3)  # doctest: +SKIP
    """
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source must be a name or a path, got {type(source).__name__}")
    text = os.fspath(source)
    if not text:
        raise ValueError("source must be a name or a path, got an empty string")
    device = check_device("device", device)
    if variant is not None and not isinstance(variant, str):
        raise TypeError(f"variant must be a name such as 'fp16' or None, got {type(variant).__name__}")
    if isinstance(source, str) and text in SHIPPED:
        _no_variant(text, variant)
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
        return _read_folder(path, device, variant)
    _no_variant(text, variant)
    return _read_file(path, device)


def _no_variant(source: str, variant: str | None) -> None:
    if variant is not None:
        raise ValueError(f"variant={variant!r} was given but {source} is no diffusers folder: leave variant out")


def _read_folder(path: Path, device: str | torch.device, variant: str | None) -> Denoiser:
    for name in (NETWORK, CHECKPOINT):
        if (path / name).is_file():
            _no_variant(str(path), variant)
            return _read_file(path / name, device)
    if is_diffusers(path):
        return read_diffusers(path, device, variant)
    pickles = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in PICKLES)
    if pickles:
        raise ValueError(f"{path} holds {pickles[0]}, {_REFUSAL}")
    raise FileNotFoundError(
        f"no network in {path}: expected {NETWORK} or {CHECKPOINT} of a training, or the folders unet and scheduler "
        "of a diffusers pipeline"
    )


def _read_file(path: Path, device: str | torch.device) -> TrainedNetwork:
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
