"""A subject that is counted without image analysis, and drawers whose mistakes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import schedules
from elsewhere.anomalies import Point, Subject
from elsewhere.data import ImageSet

SCHEDULE = schedules.cosine(3)


def count_bright(images: Any) -> np.ndarray:
    """How many pixels of the first row are bright: a limb a pixel."""
    rows = torch.as_tensor(np.asarray(images))[:, 0, 0]
    return (rows > 0).sum(1).numpy().astype(np.int64)


def image_of(number: int, side: int = 8) -> Tensor:
    image = torch.full((1, side, side), -1.0)
    image[0, 0, :number] = 1.0
    return image


def toy_data(count: int = 12) -> ImageSet:
    """Images with two limbs of class 1, and with none of class 0."""
    images = torch.stack([image_of(2 if i % 2 else 0) for i in range(count)])
    return ImageSet(((images + 1) * 127.5).to(torch.uint8), torch.arange(count) % 2, "toys")


SUBJECT = Subject("horns", "toys", 1, "toy-net", 2, count_bright)


class Scripted:
    """Draws images with the given numbers of limbs, by seed: a seed is known by the first pixel of its noise."""

    num_classes = 2

    def __init__(self, numbers: list[int], noise: Tensor, shrinking: float | None = None) -> None:
        self.known = {round(float(x[0, -1, -1]), 4): n for x, n in zip(noise, numbers, strict=True)}
        self.calls = 0
        self.labels: set[object] = set()

    def __repr__(self) -> str:
        return f"Scripted({sorted(self.known.items())})"

    def __call__(self, x: Tensor, sigma: Any, label: Any = None) -> Tensor:
        self.calls += 1
        self.labels.add(label)
        if not hasattr(self, "order"):
            self.order: list[int] = []
        first = SCHEDULE.sigmas[0]
        if abs(float(sigma) - first) < 1e-9:
            self.order = [self.known[round(float(one[0, -1, -1]) / first, 4)] for one in x]
        return torch.stack([image_of(n, x.shape[-1]) for n in self.order]).to(x.dtype)


def scripted(name: str, numbers: list[int], noise: Tensor, **fields: Any) -> Point:
    machine = fields.pop("machine", "ELS")
    return Point(name, machine, Scripted(numbers, noise[: len(numbers)]), len(numbers), **fields)
