"""Created or remembered: the training image nearest to each image."""

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
"""An image nearer than this (rms, one grey level of 255) to a training image counts as a copy of it."""

MEMORY = 2**28


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
        indices: which training image, int64 (B,).
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
        """Which images are copies of a training image: nearer than one grey level of 255, rms. Bool (B,)."""
        return self.distances < COPY


@checked
def nearest_training_images(images: Tensor | np.ndarray, data: TrainingImages) -> Nearest:
    """The nearest training image to each image, whatever its class, by the plain Euclidean distance of pixels.

    Args:
        images: (B, C, H, W), about [-1, 1].
        data: the training set, of the same C, H, W.

    Raises:
        TypeError, ValueError: not images, or not of the training images' shape.
    """
    queries = check_images(images, "images").detach().cpu().float()
    if queries.shape[1:] != data.images.shape[1:]:
        raise ValueError(
            f"images are {tuple(queries.shape[1:])}, the training images {data.name} {tuple(data.images.shape[1:])}"
        )
    indices = nearest(queries, data.images.detach().cpu(), 1, memory=MEMORY).indices[:, 0]
    found = _floats(data.images[indices])
    rms = (queries.double() - found.double()).square().mean((1, 2, 3)).sqrt()
    return Nearest(indices, rms, found)


def _floats(images: Tensor) -> Tensor:
    return to_unit(images.cpu()) if images.dtype == torch.uint8 else images.detach().cpu().float()
