"""Small denoisers whose answers are known: a box blur stands in for a machine that looks through a window."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from elsewhere.data import ImageSet
from elsewhere.machines.locality import LocalitySchedule


class Blur:
    """x0hat = mean of x over the window; an int or a LocalitySchedule, like a windowed machine."""

    num_classes = 0

    def __init__(self, window: int | LocalitySchedule = 3, data: ImageSet | None = None, channels: int = 1) -> None:
        self.window, self.data, self.channels = window, data, channels
        self.size: tuple[int, int] | None = None if data is None else data.shape[1:]
        self.calls = 0

    def __repr__(self) -> str:
        return f"Blur({self.window})"

    def __call__(self, x: Tensor, sigma: float, label: Any = None) -> Tensor:
        self.calls += 1
        side = self.window(sigma) if isinstance(self.window, LocalitySchedule) else self.window
        return avg_pool2d(x, side, stride=1, padding=side // 2) / (1 + sigma)

    def with_window(self, window: int | LocalitySchedule) -> Blur:
        other = Blur(window, self.data, self.channels)
        other.num_classes = self.num_classes
        return other


class Nearly:
    """Another denoiser with a bias that depends on the place: alike, but not the same."""

    num_classes = 0

    def __init__(self, denoiser: Any, error: float = 0.1) -> None:
        self.denoiser, self.error = denoiser, error

    def __repr__(self) -> str:
        return f"Nearly({self.denoiser}, {self.error})"

    def __call__(self, x: Tensor, sigma: float, label: Any = None) -> Tensor:
        return self.denoiser(x, sigma) + self.error * torch.linspace(-1, 1, x.shape[-1])


def few_images(count: int = 12, channels: int = 1, side: int = 9, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 3, "few", ("cup", "<b>hat</b>", "shoe"))
