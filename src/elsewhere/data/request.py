"""What the caller asked of the images, checked once and carried to every reader."""

from __future__ import annotations

from dataclasses import dataclass

FITS = ("crop", "stretch")


@dataclass(frozen=True)
class Request:
    """How many images, of which split, in what size and colours; see `load_images` for the meaning of each.

    Attributes:
        limit: how many images, or None for all.
        size: (height, width) in pixels, or None to keep the size of the files.
        fit: "crop" or "stretch".
        gray: True, False, or None to keep what the files have.
        split: name of the split.
    """

    limit: int | None = None
    size: tuple[int, int] | None = None
    fit: str = "crop"
    gray: bool | None = None
    split: str = "train"

    def count(self, available: int, name: str) -> int:
        """How many of the available images to read.

        Raises:
            ValueError: there are none, or fewer than asked for.
        """
        if available < 1:
            raise ValueError(f"{name} holds no images: give a source with at least one")
        if self.limit is None:
            return available
        if not 1 <= self.limit <= available:
            raise ValueError(f"limit must be between 1 and {available}, the size of {name}, got {self.limit}")
        return self.limit

    def refuse_split(self, name: str) -> None:
        """For a source that has no splits: it is all training images.

        Raises:
            ValueError: another split was asked for.
        """
        if self.split != "train":
            raise ValueError(f"split={self.split!r} was asked for, but {name} has no splits: leave split out")


def make_request(limit: object, size: object, fit: object, gray: object, split: object) -> Request:
    """Check the arguments of `load_images`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: a limit or size below 1, an unknown fit, an empty split.
    """
    if limit is not None and not _is_int(limit):
        raise TypeError(f"limit must be an integer or None, got {limit!r}")
    if isinstance(limit, int) and limit < 1:
        raise ValueError(f"limit must be 1 or more, got {limit}: leave it out to take all images")
    if fit not in FITS:
        raise ValueError(f"fit must be {' or '.join(map(repr, FITS))}, got {fit!r}")
    if gray is not None and not isinstance(gray, bool):
        raise TypeError(f"gray must be True, False or None, got {gray!r}")
    if not isinstance(split, str):
        raise TypeError(f"split must be a name such as 'train' or 'test', got {split!r}")
    if not split:
        raise ValueError("split must be a name such as 'train' or 'test', got an empty string")
    whole = int(limit) if isinstance(limit, int) else None
    return Request(whole, _check_size(size), str(fit), gray, split)


def _check_size(size: object) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if _is_int(size) else size
    if not isinstance(sides, (tuple, list)) or len(sides) != 2 or not all(map(_is_int, sides)):
        raise TypeError(f"size must be an integer or (height, width), got {size!r}")
    if min(sides) < 1:
        raise ValueError(f"size must be 1 or more pixels a side, got {size!r}")
    return int(sides[0]), int(sides[1])


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
