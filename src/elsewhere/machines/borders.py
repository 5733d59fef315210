"""Which places of an image are alike, as seen through a window of a given size."""

from __future__ import annotations

from typing import Literal

from elsewhere.engine import Extent, Places, Region, Wraps

Borders = Literal["aware", "wrap", "torus"]
Distances = tuple[int, int]
Size = tuple[int, int]


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


def own_places(size: Size) -> tuple[Region, ...]:
    """Every pixel of an image meets the window at its own place."""
    return (Region(range(size[0]), range(size[1]), None),)


def shared_places(borders: Borders, training: Size, drawn: Size, window: int) -> tuple[tuple[Region, ...], Wraps]:
    """Every pixel meets the windows at many places: see `EquivariantLocalScore` for the borders.

    Args:
        borders: which windows meet at the borders.
        training, drawn: height and width of the training images, and of the image that is drawn.
        window: side of the window.

    Raises:
        ValueError: an image of this size cannot be drawn.
    """
    if borders == "aware":
        known = {places.extent: places for places in border_classes(*training, window)}
        here = border_classes(*drawn, window)
        if any(places.extent not in known for places in here):
            _check_same_size(training, drawn, window)
        return tuple(Region(p.rows, p.columns, known[p.extent]) for p in here), Wraps(False, False)
    places = _inside(borders, training, window)
    if places is None:
        # No training window of this side lies inside its image: the machine is the local one.
        _check_same_size(training, drawn, window)
        return own_places(drawn), Wraps(False, False)
    return (Region(range(drawn[0]), range(drawn[1]), places),), Wraps(True, borders == "torus")


def inside_places(training: Size, drawn: Size, window: int) -> tuple[Region, ...]:
    """The pixels whose windows lie wholly inside the image that is drawn meet those of the training images.

    Raises:
        ValueError: the window is larger than one of the images.
    """
    for name, size in (("the training images", training), ("x", drawn)):
        if window > min(size):
            raise ValueError(
                f"no window of {window} lies inside {name} of {size[0]}x{size[1]} pixels: use a smaller one"
            )
    own, places = interior(*drawn, window), interior(*training, window)
    assert own is not None
    assert places is not None
    return (Region(own.rows, own.columns, places),)


def _inside(borders: Borders, training: Size, window: int) -> Places | None:
    """Centres of the training windows that queries which wrap meet, in the images as the engine pads them."""
    if borders == "wrap":
        return interior(*training, window)
    radius = window // 2
    rows, columns = (range(radius, radius + side) for side in training)
    return Places(rows, columns, Extent(radius, radius, radius, radius))


def _check_same_size(training: Size, drawn: Size, window: int) -> None:
    if drawn != training:
        raise ValueError(
            f"x is {drawn[0]}x{drawn[1]} pixels: through a window of {window} on training images of "
            f"{training[0]}x{training[1]} another size cannot be drawn; use a smaller window"
        )
