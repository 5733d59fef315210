"""The image store: uint8 images with optional labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """A set of images of one size, as they came from disk.

    Attributes:
        images: uint8 (N, C, H, W), C = 1 (gray) or 3 (colour).
        labels: int64 (N,), or None when the set has no classes.
        name: what reports call the set.
        classes: names of the classes, indexed by label; empty when unknown.

    Raises:
        TypeError: images are not uint8 or labels are not integers.
        ValueError: wrong number of axes, no images, or labels that do not match the images.
    """

    images: Tensor
    labels: Tensor | None = None
    name: str = "images"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.images, Tensor) or self.images.dtype != torch.uint8:
            seen = getattr(self.images, "dtype", type(self.images).__name__)
            raise TypeError(f"images must be a uint8 tensor, got {seen}: scale to 0..255 and convert")
        if self.images.ndim != 4 or 0 in self.images.shape:
            raise ValueError(f"images must be (N, C, H, W) with no empty axis, got {tuple(self.images.shape)}")
        if self.images.shape[1] not in (1, 3):
            raise ValueError(f"images must have 1 or 3 channels, got {self.images.shape[1]}")
        if self.labels is None:
            return
        if not isinstance(self.labels, Tensor):
            raise TypeError(f"labels must be an integer tensor, got {type(self.labels).__name__}")
        if self.labels.dtype.is_floating_point or self.labels.dtype.is_complex or self.labels.dtype == torch.bool:
            raise TypeError(f"labels must be integers, got {self.labels.dtype}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be ({len(self.images)},), one for each image, got {tuple(self.labels.shape)}"
            )
        if int(self.labels.min()) < 0:
            raise ValueError(f"labels must be 0 or more, got {int(self.labels.min())}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Highest label + 1; 0 when the set has no labels."""
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def scaled(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """All images as floats in [-1, 1], (N, C, H, W)."""
        return to_unit(self.images, dtype)

    def take(self, limit: int | None) -> ImageSet:
        """The first `limit` images (all when None)."""
        if limit is None or limit == len(self):
            return self
        if limit < 1 or limit > len(self):
            raise ValueError(f"limit must be between 1 and {len(self)}, the size of {self.name}, got {limit}")
        labels = None if self.labels is None else self.labels[:limit]
        return ImageSet(self.images[:limit], labels, self.name, self.classes)

    def fingerprint(self) -> str:
        """SHA-256 of pixels, shape and labels: two sets with the same fingerprint train the same network."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.contiguous().cpu().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.to(torch.int64).cpu().numpy().tobytes())
        return digest.hexdigest()


def to_unit(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 0..255 to floats in [-1, 1]: x / 127.5 - 1."""
    return images.to(dtype) / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Floats in [-1, 1] to uint8 0..255, rounded; values outside are clipped."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
