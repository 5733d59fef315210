"""The arguments of `load_images`, checked once and passed to every reader."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from elsewhere.checks import seen_text
from elsewhere.limits import LARGEST_SIDE, require_memory

BEYOND = "images beyond limit"
"""The kind of `ImageSet.left_out` that the caller asked for."""

IGNORE = "labels=False (in the command line --ignore-labels)"
"""The remedy for labels that cannot be used."""

FITS = ("crop", "stretch")
FILTERS = ("lanczos", "bilinear")


@dataclass(frozen=True)
class Request:
    """How many images, of which split, in what size and colours; see `load_images` for the meaning of each.

    Attributes:
        limit: how many images, or None for all.
        size: (height, width) in pixels, or None to keep the size of the files.
        fit: "crop" or "stretch".
        resample: "lanczos" or "bilinear": the filter that changes the size.
        gray: True, False, or None to keep what the files have.
        split: name of the split.
        labels: whether labels are read.
        value_range: the values of black and white in the source, or None to derive them from its dtype and values.
        progress: whether to show a bar with the time left.
        room: makes the arrays that decoded images are written to; None: in memory.
        left_out: what the readers did not take, a number for each kind. A request serves one call, in which every
            reader adds to this counter.
    """

    limit: int | None = None
    size: tuple[int, int] | None = None
    fit: str = "crop"
    gray: bool | None = None
    split: str = "train"
    labels: bool = True
    value_range: tuple[float, float] | None = None
    progress: bool = False
    resample: str = "lanczos"
    room: Callable[[tuple[int, ...]], NDArray[np.uint8]] | None = field(default=None, compare=False)
    left_out: Counter[str] = field(default_factory=Counter, compare=False)

    def count(self, available: int, name: str) -> int:
        """How many of the available images to read; the others are counted as left out.

        Raises:
            ValueError: there are none, or fewer than asked for.
        """
        if available < 1:
            raise ValueError(f"{name} holds no images: give a source with at least one")
        if self.limit is None:
            return available
        if not 1 <= self.limit <= available:
            raise ValueError(
                f"limit must be between 1 and {available}, the size of {name}, got {seen_text(self.limit)}"
            )
        if self.limit < available:
            self.left_out[BEYOND] += available - self.limit
        return self.limit

    def place_for(self, shape: tuple[int, ...], what: str, remedy: str, copies: int = 1) -> NDArray[np.uint8]:
        """An array for decoded images: in memory, if there is enough for so many of them, or where `room` makes it.

        Raises:
            MemoryError: more than the machine has.
            OSError: more than the disk has room for.
        """
        if self.room is not None:
            return self.room(shape)
        require_memory(copies * math.prod(shape), what, remedy)
        return np.empty(shape, np.uint8)

    def refuse_split(self, name: str) -> None:
        """For a source that has no splits: it is all training images.

        Raises:
            ValueError: another split was asked for.
        """
        if self.split != "train":
            raise ValueError(f"split={self.split!r} was asked for, but {name} has no splits: leave split out")


def make_request(
    limit: object,
    size: object,
    fit: object,
    gray: object,
    split: object,
    labels: object = True,
    value_range: object = None,
    progress: object = False,
    resample: object = "lanczos",
) -> Request:
    """Check the arguments of `load_images`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a limit or size out of range, an unknown fit or filter, an empty split, black and white that are
            equal.
    """
    if limit is not None and not _is_int(limit):
        raise TypeError(f"limit must be an integer or None, got {seen_text(limit)}")
    if isinstance(limit, int) and limit < 1:
        raise ValueError(f"limit must be 1 or more, got {seen_text(limit)}: leave it out to take all images")
    if not isinstance(fit, str) or fit not in FITS:
        raise ValueError(f"fit must be {' or '.join(map(repr, FITS))}, got {seen_text(fit)}")
    if not isinstance(resample, str) or resample not in FILTERS:
        raise ValueError(f"resample must be {' or '.join(map(repr, FILTERS))}, got {seen_text(resample)}")
    if gray is not None and not isinstance(gray, bool):
        raise TypeError(f"gray must be True, False or None, got {seen_text(gray)}")
    if not isinstance(split, str):
        raise TypeError(f"split must be a name such as 'train' or 'test', got {seen_text(split)}")
    if not split:
        raise ValueError("split must be a name such as 'train' or 'test', got an empty string")
    if not isinstance(labels, bool):
        raise TypeError(
            f"labels must be True (read them) or False (leave them out), got {type(labels).__name__}: "
            "to give labels yourself, build ImageSet(images, labels)"
        )
    if not isinstance(progress, bool):
        raise TypeError(f"progress must be True or False, got {seen_text(progress)}")
    whole = int(limit) if isinstance(limit, int) else None
    return Request(whole, _check_size(size), fit, gray, split, labels, _check_range(value_range), progress, resample)


def _check_size(size: object) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if _is_int(size) else size
    if not isinstance(sides, (tuple, list)) or len(sides) != 2 or not all(map(_is_int, sides)):
        raise TypeError(f"size must be an integer or (height, width), got {seen_text(size)}")
    if min(sides) < 1:
        raise ValueError(f"size must be 1 or more pixels a side, got {seen_text(size)}")
    if max(sides) > LARGEST_SIDE:
        raise ValueError(f"size must be at most {LARGEST_SIDE} pixels a side, got {seen_text(size)}")
    return int(sides[0]), int(sides[1])


def _check_range(value_range: object) -> tuple[float, float] | None:
    if value_range is None:
        return None
    if (
        not isinstance(value_range, (tuple, list))
        or len(value_range) != 2
        or not all(isinstance(value, Real) and not isinstance(value, bool) for value in value_range)
    ):
        raise TypeError(f"value_range must be (black, white), such as (0, 255), got {value_range!r}")
    black, white = map(float, value_range)
    if not (math.isfinite(black) and math.isfinite(white)) or black == white:
        raise ValueError(f"value_range must be two finite values that differ, (black, white), got {value_range!r}")
    return black, white


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
