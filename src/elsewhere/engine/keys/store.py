"""Training images as they are stored, and the affine map to the centred floats that the engine computes with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

# Pixels that are counted at a time: torch makes eight bytes of each.
COUNTED = 2**24


@dataclass(frozen=True)
class PixelStore:
    """Images as they are stored, and the affine map to centred floats.

    Distances do not change when a constant is subtracted from keys and queries alike, but the rounding of
    |q|^2 - 2 q k + |k|^2 does: without the mean pixel, the terms that cancel are smaller.

    Attributes:
        pixels: (N, C, H, W), uint8 0..255 or floats in about [-1, 1].
        centre: the constant that is subtracted, in stored units.
        scale: stored units for each unit of the [-1, 1] range.
        spread: root mean square of the centred pixels, in [-1, 1] units.
        padding: pixels by which the images were wrapped on every side; positions of windows do not count them.
    """

    pixels: Tensor
    centre: float
    scale: float
    spread: float
    padding: int = 0

    @classmethod
    def of(cls, pixels: Tensor) -> PixelStore:
        """A store of uint8 0..255 or of floats, centred on its mean pixel."""
        if pixels.dtype == torch.uint8:
            # A whole number, so that padding with it is exact in uint8.
            levels = torch.zeros(256, dtype=torch.float64, device=pixels.device)
            for some in torch.split(pixels.flatten(), COUNTED):
                levels += torch.bincount(some, minlength=256)
            value = torch.arange(256, device=pixels.device)
            centre = round(float((levels * value).sum() / levels.sum()))
            spread = float(((levels * (value - centre) ** 2).sum() / levels.sum()).sqrt()) / 127.5
            return cls(pixels, centre, 127.5, spread)
        mean = float(pixels.double().mean())
        return cls(pixels, mean, 1.0, float((pixels.double() - mean).square().mean().sqrt()))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def channels(self) -> int:
        return self.pixels.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images as they are stored."""
        return self.pixels.shape[2], self.pixels.shape[3]

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return self.pixels.numel() * self.pixels.element_size()

    @property
    def offset(self) -> float:
        """The centre in [-1, 1] units: what is subtracted from queries."""
        return self.centre / 127.5 - 1 if self.pixels.dtype == torch.uint8 else self.centre

    @property
    def is_bytes(self) -> bool:
        """Whether pixels are whole numbers of eight bits, in a processor's memory."""
        return self.pixels.dtype == torch.uint8 and self.pixels.device.type == "cpu"

    def centred(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Stored pixels as floats without the centre, in stored units: whole numbers when stored as uint8."""
        return pixels.to(dtype).sub_(self.centre) if pixels.dtype != dtype else pixels - self.centre

    def floats(self, pixels: Tensor) -> Tensor:
        """Stored pixels as floats in [-1, 1]."""
        dtype = torch.float64 if pixels.dtype == torch.float64 else torch.float32
        return self.centred(pixels, dtype) / self.scale + self.offset

    def take(self, index: Tensor) -> PixelStore:
        """The images of an index, with the same centre."""
        return replace(self, pixels=self.pixels[index])
