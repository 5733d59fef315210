"""The training image nearest to each image, and whether it is copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from elsewhere.analysis.neighbours import LEVEL, nearest
from elsewhere.checks import check_fields, checked
from elsewhere.data.images import to_unit
from elsewhere.denoiser import check_images

COPY = LEVEL
"""An image closer than this (rms, one gray level of 255) to a training image counts as a copy of it."""

MEMORY = 2**28
"""Working memory of the search in bytes."""


@runtime_checkable
class TrainingImages(Protocol):
    """What an ImageSet has: images (N, C, H, W), uint8 or floats in [-1, 1], and a name."""

    @property
    def images(self) -> Tensor: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Nearest:
    """The training image nearest to each of B images.

    Attributes:
        indices: index of the training image, int64 (B,).
        distances: root mean squared difference over pixels and channels, float64 (B,), images in [-1, 1].
        images: those training images as floats in [-1, 1], (B, C, H, W).
    """

    indices: Tensor
    distances: Tensor
    images: Tensor

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def copies(self) -> Tensor:
        """Which images are copies: closer than one gray level of 255 (rms) to a training image, bool (B,)."""
        return self.distances < COPY


@checked
def nearest_training_images(images: Tensor | np.ndarray, data: TrainingImages) -> Nearest:
    """Find the training image nearest to each image by Euclidean distance, among all classes.

    Args:
        images: (B, C, H, W) in about [-1, 1].
        data: the training images, of the same C, H, W.

    Raises:
        TypeError, ValueError: not images, or not of the shape of the training images.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=20)
        >>> nearest_training_images(data.scaled()[3:5], data).indices
        tensor([3, 4])
    """
    queries = check_images(images, "images").detach().cpu().float()
    if queries.shape[1:] != data.images.shape[1:]:
        raise ValueError(
            f"images must have the shape of the training images {data.name}, {tuple(data.images.shape[1:])}, got "
            f"{tuple(queries.shape[1:])}"
        )
    indices = nearest(queries, data.images.detach().cpu(), 1, memory=MEMORY).indices[:, 0]
    found = _floats(data.images[indices])
    rms = (queries.double() - found.double()).square().mean((1, 2, 3)).sqrt()
    return Nearest(indices, rms, found)


def _floats(images: Tensor) -> Tensor:
    return to_unit(images.cpu()) if images.dtype == torch.uint8 else images.detach().cpu().float()
