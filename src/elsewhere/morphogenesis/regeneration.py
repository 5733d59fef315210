"""Wounds in patterns, and how well they heal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.machines.borders import wrap
from elsewhere.morphogenesis.growth import find_sources
from elsewhere.morphogenesis.patterns import Pattern, measure


def disc(size: tuple[int, int], radius: float) -> Tensor:
    """A round wound in the middle of an image, bool (H, W)."""
    rows, columns = (torch.arange(side, dtype=torch.float64, device="cpu") - (side - 1) / 2 for side in size)
    return torch.hypot(rows[:, None], columns[None]) <= radius


def rectangle(size: tuple[int, int], height: int, width: int) -> Tensor:
    """A rectangular wound in the middle of an image, bool (H, W); a side as long as the image makes it a band."""
    wound = torch.zeros(size, dtype=torch.bool, device="cpu")
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    wound[top : top + height, left : left + width] = True
    return wound


@dataclass(frozen=True)
class Healing:
    """How well an image fits where it was wounded.

    Attributes:
        error: root mean squared difference to the image before the wound, inside it. What was there is not always
            determined by what is around: then a good healing may be far from it.
        strangeness: root mean squared distance of the windows that touch the wound to the nearest windows of the
            original, from which the rule was learnt: what does not fit, at seams above all, is strange to it.
        pattern: what the whole image shows.
    """

    error: float
    strangeness: float
    pattern: Pattern


def assess(image: Tensor, before: Tensor, wound: Tensor, original: Tensor, window: int) -> Healing:
    """Measure an image (H, W) that was wounded and filled again.

    Args:
        image: after.
        before: the same without the wound.
        wound: bool (H, W).
        original: (h, w), where the rule was learnt.
        window: odd side of the windows compared, in pixels.

    Raises:
        ValueError: an empty wound.
    """
    if not bool(wound.any()):
        raise ValueError("wound is empty: there is nothing to heal")
    inside = (image - before)[wound].double()
    windows = torch.nn.functional.max_pool2d(wrap(wound[None, None].double(), window // 2), window, 1)[0, 0] > 0
    strange = find_sources(image, original, window).distances[windows]
    return Healing(float(inside.square().mean().sqrt()), float(strange.square().mean().sqrt()), measure(image))
