"""Pixels as bytes 0..255 and as floats in [-1, 1], and what .npz files say about theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import checked
from elsewhere.files import atomic_path

LAYOUT_KEY, LAYOUT = "layout", "NCHW"
"""What an array of strings called `layout` says in archives that the package writes: which axis holds the colours is
not guessed there, also where images are one or three pixels wide."""
RANGE_KEY = "value_range"
"""The array of an .npz that holds the values of black and white, which bright images alone do not show.
"""


@checked
def to_unit(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 0..255 to floats in [-1, 1]: x / 127.5 - 1.

    Raises:
        TypeError: images that are not uint8, or a dtype that is not floating.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}")
    if not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating one, such as torch.float32, got {dtype}")
    return images.to(dtype) / 127.5 - 1


@checked
def to_uint8(images: Tensor) -> Tensor:
    """Floats in [-1, 1] to uint8 0..255, rounded; values outside are clipped.

    Raises:
        TypeError: images that are not floating point.
        ValueError: NaN.
    """
    if images.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise TypeError(f"images must be floating point, in [-1, 1], got {images.dtype}")
    if bool(images.isnan().any()):
        raise ValueError("images have NaN values: check the step that made them")
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed .npz whose images lie as (N, C, H, W), whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_path(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **{**arrays, LAYOUT_KEY: np.array([LAYOUT])})  # type: ignore[arg-type]
