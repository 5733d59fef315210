"""Which places of an image are alike, as seen through a window of a given size."""

from __future__ import annotations

from elsewhere.engine import Extent, Places

Distances = tuple[int, int]


def line_classes(length: int, window: int) -> dict[Distances, range]:
    """Positions along one side of an image, by their distances to its two ends, each at most the radius."""
    radius = window // 2
    classes: dict[Distances, range] = {}
    for position in range(length):
        key = (min(position, radius), min(length - 1 - position, radius))
        first = classes[key].start if key in classes else position
        classes[key] = range(first, position + 1)
    return classes


def border_classes(height: int, width: int, window: int) -> list[Places]:
    """Every place of a (height, width) image in exactly one border class.

    Places of a class are at the same distance from the same borders, every distance counted up to the window's radius
    only: their windows have the same extent. Interior places share one class; an edge row is a class of its own, in
    any interior column; a corner place is alike with no other.
    """
    return [
        Places(rows, columns, Extent(*row_key, *column_key))
        for row_key, rows in line_classes(height, window).items()
        for column_key, columns in line_classes(width, window).items()
    ]


def interior(height: int, width: int, window: int) -> Places | None:
    """The places whose window lies wholly inside the image; None when the window is larger than the image."""
    radius = window // 2
    key = (radius, radius)
    rows, columns = line_classes(height, window).get(key), line_classes(width, window).get(key)
    return None if rows is None or columns is None else Places(rows, columns, Extent(*key, *key))
