"""Which rows and columns of x meet which of the training images, by the shift between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class AxisOverlap:
    """Rows (or columns) of the training images that meet rows of x: start to stop - 1 meet start + shift, ..."""

    shift: int
    start: int
    stop: int


@dataclass(frozen=True)
class RegionPair:
    """Rows and columns that meet, in every combination.

    The window of x around (row + row shift, column + column shift) has the key around (row, column). A window ends
    where the training image ends.
    """

    rows: Sequence[AxisOverlap]
    columns: Sequence[AxisOverlap]


def axis_overlaps(ranges: Iterable[tuple[range, range]]) -> list[AxisOverlap]:
    """Every row of x in a range with every row of the training images in the range beside it."""
    overlaps: list[AxisOverlap] = []
    for queries, keys in ranges:
        for shift in range(queries.start - keys.stop + 1, queries.stop - keys.start):
            start, stop = max(keys.start, queries.start - shift), min(keys.stop, queries.stop - shift)
            before = next((one for one in overlaps if one.shift == shift and one.stop == start), None)
            if before is not None:
                overlaps.remove(before)
                start = before.start
            overlaps.append(AxisOverlap(shift, start, stop))
    return overlaps
