"""Checks of values: whether numbers, names, sizes, seeds and noise levels are in range."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from elsewhere.checks.annotations import LARGEST_INTEGER, check_type
from elsewhere.checks.objects import check_dense, is_tensor
from elsewhere.checks.words import seen, seen_text
from elsewhere.limits import LARGEST_SIDE, MOST_MEMORY, total_memory

if TYPE_CHECKING:
    import torch

MOST_LEVELS = 10_001
"""Noise levels of the longest schedule, 10,000 steps and the final 0."""

MIN_MEMORY = 2**26
"""Fewest bytes that a machine works in."""

MOST_IMAGES = 2**20
"""Most images of one call of `make_noise`: the seeds of image generators are 2^20 apart."""


def check_whole(
    name: str, value: object, least: int | None = None, most: int | None = None, *, limit: int = LARGEST_INTEGER
) -> int:
    """An integer within bounds; NumPy's integers count, True and False do not.

    Args:
        name: of the argument.
        value: what was given for it.
        least, most: the bounds.
        limit: where there is no `most`, the number above which memory or time would not do. It is mentioned only where
            it is exceeded.

    Raises:
        TypeError: not an integer.
        ValueError: out of bounds.
    """
    check_type(name, value, int)
    number = int(cast(int, value))
    if number > limit and most is None:
        raise ValueError(f"{name} must be at most {limit}, got {number}")
    if (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(f"{name} must be {_bounds(least, most)}, got {number}")
    return number


def check_number(
    name: str,
    value: object,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    limit: float = math.inf,
) -> float:
    """A finite number within bounds.

    Args:
        name, value, limit: see `check_whole`.
        least, most: bounds that are allowed values.
        above, below: bounds that are not.

    Raises:
        TypeError: not a number.
        ValueError: NaN, infinite or out of bounds.
    """
    check_type(name, value, float)
    number = float(cast(float, value))
    inside = (
        (least is None or number >= least)
        and (most is None or number <= most)
        and (above is None or number > above)
        and (below is None or number < below)
    )
    if not inside or not math.isfinite(number):
        raise ValueError(
            f"{name} must be {_bounds(least, most, above, below) or 'a number'} and finite, got {number:g}"
        )
    if number > limit:
        raise ValueError(f"{name} must be at most {limit:g}, got {number:g}")
    return number


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """One of some names.

    Raises:
        TypeError: not a string.
        ValueError: another name.
    """
    check_type(name, value, str)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {seen_text(value)}")
    return cast(str, value)


def check_sides(name: str, size: object) -> tuple[int, int]:
    """(height, width) in pixels, each 1 to LARGEST_SIDE.

    Raises:
        TypeError: not a pair of integers.
        ValueError: out of bounds.
    """
    check_type(name, size, tuple[int, int])
    height, width = (int(side) for side in cast(tuple[int, int], size))
    if min(height, width) < 1:
        raise ValueError(f"both sides of {name} must be 1 or more, got {height} and {width}")
    if max(height, width) > LARGEST_SIDE:
        raise ValueError(f"both sides of {name} must be at most {LARGEST_SIDE}, got {height} and {width}")
    return height, width


def check_seed(seed: object) -> int:
    """A seed, 0 to 2^31 - 1.

    Raises:
        TypeError, ValueError: it is none.
    """
    return check_whole("seed", seed, 0, 2**31 - 1)


def check_memory(memory: object) -> int:
    """The argument `memory`: a number of bytes to work in, 64 MiB or more, and no more than the machine has.

    Raises:
        TypeError, ValueError: it is none.
    """
    check_type("memory", memory, int)
    if cast(int, memory) < MIN_MEMORY:
        raise ValueError(f"memory must be at least {MIN_MEMORY} bytes (64 MiB), got {memory}")
    there = total_memory()
    if there is not None and cast(int, memory) > there:
        raise ValueError(f"memory must be at most {there} bytes, which is what this machine has, got {memory}")
    return check_whole("memory", memory, most=MOST_MEMORY)


def check_levels(name: str, levels: object) -> tuple[float, ...]:
    """Noise levels as floats, from any sequence or array of numbers.

    Raises:
        TypeError, ValueError: they are something else, or too many.
    """
    if is_tensor(levels):
        check_dense(name, cast("torch.Tensor", levels))
    size = int(np.prod(getattr(levels, "shape", ())))
    if size > MOST_LEVELS or (isinstance(levels, Sequence) and len(levels) > MOST_LEVELS):
        raise ValueError(f"{name} must be at most {MOST_LEVELS} noise levels, got {seen(levels)}")
    numbers = levels.tolist() if is_tensor(levels) or isinstance(levels, np.ndarray) else levels  # type: ignore[attr-defined]
    check_type(name, numbers, Sequence[float])
    return tuple(float(level) for level in cast("Sequence[float]", numbers))


def _bounds(least: float | None, most: float | None, above: float | None = None, below: float | None = None) -> str:
    if least is not None and most is not None:
        return f"between {least} and {most}"
    low = f"{least} or more" if least is not None else f"above {above}" if above else "positive" if above == 0 else ""
    high = f"at most {most}" if most is not None else f"below {below}" if below is not None else ""
    return " and ".join(part for part in (low, high) if part)
