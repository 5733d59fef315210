"""A run that was stopped is kept in a file, and goes on from there."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elsewhere import __version__
from elsewhere.files import atomic_path
from elsewhere.textures.plan import TexturePlan
from elsewhere.textures.process import TextureState

NAME = "unfinished.npz"


def fingerprint(plan: TexturePlan, count: int, seed: int) -> str:
    """SHA-256 of all that decides what a run draws."""
    digest = hashlib.sha256(repr((__version__, plan.settings, plan.size, plan.repeats, count, seed)).encode())
    for scale in plan.scales:
        for pixels in (scale.machine.store.pixels, scale.held, scale.missing):
            if pixels is not None:
                digest.update(repr(tuple(pixels.shape)).encode())
                digest.update(pixels.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_unfinished(path: Path, state: TextureState, key: str) -> None:
    """Write a state, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    arrays: dict[str, Any] = {f"finished{number}": image.numpy() for number, image in enumerate(state.finished)}
    if state.x is not None:
        arrays["x"] = state.x.numpy()
    with atomic_path(path) as beside:
        np.savez(beside, key=np.array(key), place=np.array([state.scale, state.index]), **arrays)


def load_unfinished(path: Path, plan: TexturePlan, count: int, key: str) -> TextureState | None:
    """The state in a file, or None where there is no file, or one of another run or that is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            scale, index = (int(number) for number in arrays["place"])
            finished = tuple(torch.from_numpy(arrays[f"finished{number}"]) for number in range(scale))
            x = torch.from_numpy(arrays["x"]) if "x" in arrays else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    state = TextureState(scale, index, x, finished)
    return state if _fits(state, plan, count) else None


def _fits(state: TextureState, plan: TexturePlan, count: int) -> bool:
    """Whether a state has the shapes of a plan."""
    known = [*state.finished, *([] if state.x is None else [state.x])]
    if not 0 <= state.scale < len(plan.scales) or not 0 <= state.index < len(plan.settings.times) - 1:
        return False
    if (state.x is None) != (state.index == 0):
        return False
    shapes = [(count, plan.channels, *scale.size) for scale in plan.scales]
    return all(
        tuple(image.shape) == shape and image.dtype == torch.float32 and bool(image.isfinite().all())
        for image, shape in zip(known, shapes, strict=False)
    )
