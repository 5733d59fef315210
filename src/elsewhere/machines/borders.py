"""Which places of an image are alike, as seen through a window of a given size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from elsewhere.engine import Extent

Distances = tuple[int, int]


class Wraps(NamedTuple):
    """Whether windows that reach over an edge go on at the opposite one: in x, and in the training images."""

    x: bool
    training: bool


@dataclass(frozen=True)
class BorderClass:
    """Places at the same distance from the same borders, every distance counted up to the window's radius only.

    Interior places share one class; an edge row is alike with itself alone, in any interior column; a corner place
    is alike with nothing else.

    Attributes:
        rows, columns: the places, a rectangle.
        key: distances to top and bottom, and to left and right: equal keys see equally far in every direction.
    """

    rows: range
    columns: range
    key: tuple[Distances, Distances]

    @property
    def extent(self) -> Extent:
        """How far a window reaches from these places before the image ends."""
        return Extent(*self.key[0], *self.key[1])

    @property
    def alone(self) -> bool:
        """Whether it is a single place."""
        return len(self.rows) == len(self.columns) == 1


def line_classes(length: int, window: int) -> dict[Distances, range]:
    """Positions along one side of an image, by their distances to its two ends, each at most the radius."""
    radius = window // 2
    classes: dict[Distances, range] = {}
    for position in range(length):
        key = (min(position, radius), min(length - 1 - position, radius))
        first = classes[key].start if key in classes else position
        classes[key] = range(first, position + 1)
    return classes


def border_classes(height: int, width: int, window: int) -> list[BorderClass]:
    """Every place of a (height, width) image in exactly one class."""
    return [
        BorderClass(rows, columns, (row_key, column_key))
        for row_key, rows in line_classes(height, window).items()
        for column_key, columns in line_classes(width, window).items()
    ]


def interior(height: int, width: int, window: int) -> BorderClass | None:
    """The places whose window lies wholly inside the image; None when the window is larger than the image."""
    radius = window // 2
    key = (radius, radius)
    rows, columns = line_classes(height, window).get(key), line_classes(width, window).get(key)
    return None if rows is None or columns is None else BorderClass(rows, columns, (key, key))


def wrap(x: Tensor, radius: int) -> Tensor:
    """Images (B, C, H, W) with their opposite sides on every side, also where the radius exceeds the image."""
    for axis in (2, 3):
        index = torch.arange(-radius, x.shape[axis] + radius, device=x.device) % x.shape[axis]
        x = x.index_select(axis, index)
    return x
