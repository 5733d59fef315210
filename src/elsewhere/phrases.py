"""Numbers in words, for the terminal, reports and error messages."""

from __future__ import annotations

import math
from collections.abc import Sequence


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun, singular or plural: "1 seed", "2 seeds", "0 copies".

    Args:
        number: the number.
        noun: the noun in the singular.
        plural: the noun in the plural; None: `noun` with an s.

    Example:
        >>> count(1, "seed"), count(3, "copy", "copies")
        ('1 seed', '3 copies')
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def decimal(value: float | None, form: str = ".3f") -> str:
    """A number in a format, or "undefined" for None and NaN.

    Example:
        >>> decimal(0.5), decimal(float("nan"))
        ('0.500', 'undefined')
    """
    return "undefined" if value is None or math.isnan(value) else format(value, form)


def part_of(number: int, total: int | None, noun: str) -> str:
    """A number and its noun, as a part of `total` if that is more.

    Example:
        >>> part_of(4000, 4000, "image"), part_of(100, 4000, "image")
        ('4000 images', 'only the first 100 of 4000 images')
    """
    if total is None or number >= total:
        return count(number, noun)
    return f"only the first {number} of {count(total, noun)}"


def listed(words: Sequence[str], last_by: str = "and") -> str:
    """Words with commas, and a last "and" or another word.

    Example:
        >>> listed(["is"]), listed(["is", "ls", "els"])
        ('is', 'is, ls and els')
    """
    *first, last = words
    return f"{', '.join(first)} {last_by} {last}" if first else last


def duration(seconds: float) -> str:
    """A time in words, to two figures or so.

    Example:
        >>> duration(8.4), duration(200), duration(13_400)
        ('8 s', '3 min', '3 h 43 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def gibibytes(size: int) -> str:
    """Bytes in GiB.

    Example:
        >>> gibibytes(3 * 2**29)
        '1.5 GiB'
    """
    return f"{size / 2**30:.3g} GiB"
