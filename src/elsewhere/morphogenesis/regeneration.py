"""Wounds in patterns, and how well they heal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.checks import check_fields, check_number, check_sides, check_whole, checked, seen
from elsewhere.engine.workspace import wrap
from elsewhere.machines.locality import check_window
from elsewhere.morphogenesis.growth import find_sources
from elsewhere.morphogenesis.patterns import Pattern, check_pattern, measure


@checked
def disc(size: tuple[int, int], radius: float) -> Tensor:
    """A round wound in the middle of an image, bool (H, W).

    Raises:
        TypeError, ValueError: a side below 1 or above 2^15, a radius below 0.
    """
    size = check_sides("size", size)
    radius = check_number("radius", radius, 0)
    rows, columns = (torch.arange(side, dtype=torch.float64, device="cpu") - (side - 1) / 2 for side in size)
    return torch.hypot(rows[:, None], columns[None]) <= radius


@checked
def rectangle(size: tuple[int, int], height: int, width: int) -> Tensor:
    """A rectangular wound in the middle of an image, bool (H, W); a side as long as the image makes it a band.

    Raises:
        TypeError, ValueError: sides that are below 1 or do not fit into the image.
    """
    size = check_sides("size", size)
    height, width = check_whole("height", height, 1, size[0]), check_whole("width", width, 1, size[1])
    wound = torch.zeros(size, dtype=torch.bool, device="cpu")
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    wound[top : top + height, left : left + width] = True
    return wound


def check_wound(wound: Tensor, shape: Sequence[int]) -> None:
    """Make sure that a wound is a bool tensor of the size of an image.

    Raises:
        TypeError, ValueError: it is not.
    """
    if wound.dtype != torch.bool:
        raise TypeError(f"wound must be a bool tensor, true where the image is to be filled, got {seen(wound)}")
    if wound.shape != tuple(shape):
        raise ValueError(f"wound must be {tuple(shape)}, as the image, got {tuple(wound.shape)}")


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

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def assess(image: Tensor, before: Tensor, wound: Tensor, original: Tensor, window: int) -> Healing:
    """Measure an image (H, W) that was wounded and filled again.

    Args:
        image: after.
        before: the same without the wound.
        wound: bool (H, W).
        original: (h, w), where the rule was learnt.
        window: odd side of the windows compared, in pixels.

    Raises:
        TypeError, ValueError: not images, images or a wound of another size, an empty wound, not a window.
    """
    image, before = check_pattern("image", image), check_pattern("before", before)
    original = check_pattern("original", original)
    window = check_window(window)
    if before.shape != image.shape:
        raise ValueError(f"before must be {tuple(image.shape)}, as image, got {tuple(before.shape)}")
    check_wound(wound, image.shape)
    if not bool(wound.any()):
        raise ValueError("wound is empty: there is nothing to heal")
    inside = (image - before)[wound].double()
    windows = torch.nn.functional.max_pool2d(wrap(wound[None, None].double(), window // 2), window, 1)[0, 0] > 0
    strange = find_sources(image, original, window).distances[windows]
    return Healing(float(inside.square().mean().sqrt()), float(strange.square().mean().sqrt()), measure(image))
