"""Wounds in patterns, and measures of how well they heal."""

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
    """A circular wound in the middle of an image, bool (H, W).

    Args:
        size: (height, width) in pixels, 1 to 2^15.
        radius: in pixels, 0 or more.

    Raises:
        TypeError, ValueError: a side or a radius out of range.
    """
    size = check_sides("size", size)
    radius = check_number("radius", radius, 0)
    rows, columns = (torch.arange(side, dtype=torch.float64, device="cpu") - (side - 1) / 2 for side in size)
    return torch.hypot(rows[:, None], columns[None]) <= radius


@checked
def rectangle(size: tuple[int, int], height: int, width: int) -> Tensor:
    """A rectangular wound in the middle of an image, bool (H, W).

    Args:
        size: (height, width) of the image in pixels, 1 to 2^15.
        height, width: sides of the wound, 1 or more and at most those of the image.

    Raises:
        TypeError, ValueError: a side out of range.

    Example:
        >>> int(rectangle((8, 8), 2, 3).sum())
        6
    """
    size = check_sides("size", size)
    height, width = check_whole("height", height, 1, size[0]), check_whole("width", width, 1, size[1])
    wound = torch.zeros(size, dtype=torch.bool, device="cpu")
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    wound[top : top + height, left : left + width] = True
    return wound


def check_wound(wound: Tensor, shape: Sequence[int]) -> None:
    """Check that a wound is a bool tensor of the size of an image.

    Raises:
        TypeError, ValueError: it is not.
    """
    if wound.dtype != torch.bool:
        raise TypeError(f"wound must be a bool tensor, True where the image is to be filled, got {seen(wound)}")
    if wound.shape != tuple(shape):
        raise ValueError(f"wound must have the shape of the image, {tuple(shape)}, got {tuple(wound.shape)}")


@dataclass(frozen=True)
class Healing:
    """Measures of how well a wound was filled.

    Attributes:
        error: rms difference to the image before the wound, inside the wound. If the surroundings do not determine the
            content of the wound, a good result may have a large error.
        strangeness: rms distance of the windows that overlap the wound to the nearest windows of the original. It is
            large where the content does not fit, above all at seams.
        pattern: measures of the whole image.
    """

    error: float
    strangeness: float
    pattern: Pattern

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def assess(image: Tensor, before: Tensor, wound: Tensor, original: Tensor, window: int) -> Healing:
    """Measure how well the wound in an image was filled.

    Args:
        image: the filled image, (H, W), floating point.
        before: the image before the wound, (H, W).
        wound: bool (H, W).
        original: the image that the machine knows, (h, w).
        window: odd side in pixels of the windows that are compared.

    Raises:
        TypeError, ValueError: not images, images or a wound of another size, an empty wound, or not an odd side.
    """
    image, before = check_pattern("image", image), check_pattern("before", before)
    original = check_pattern("original", original)
    window = check_window(window)
    if before.shape != image.shape:
        raise ValueError(f"before must have the shape of image, {tuple(image.shape)}, got {tuple(before.shape)}")
    check_wound(wound, image.shape)
    if not bool(wound.any()):
        raise ValueError("wound is empty: mark one or more pixels")
    inside = (image - before)[wound].double()
    windows = torch.nn.functional.max_pool2d(wrap(wound[None, None].double(), window // 2), window, 1)[0, 0] > 0
    strange = find_sources(image, original, window).distances[windows]
    return Healing(float(inside.square().mean().sqrt()), float(strange.square().mean().sqrt()), measure(image))
