"""Noise levels of schedules that give a setting for each of them: the checks, and the nearest level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from elsewhere.checks import check_levels, seen_text
from elsewhere.schedules import check_level


def check_decreasing(sigmas: object, count: int, settings: str) -> tuple[float, ...]:
    """Noise levels, strictly decreasing, one for each setting.

    Args:
        sigmas: what was given for them.
        count: number of settings.
        settings: name of the argument that has the settings, in the plural: "windows".

    Raises:
        TypeError: not numbers.
        ValueError: none, another number than of settings, not strictly decreasing, or out of range.
    """
    levels = check_levels("sigmas", sigmas)
    if not levels or len(levels) != count:
        raise ValueError(
            f"sigmas and {settings} must have one length, 1 or more, got {len(levels)} sigmas and {count} {settings}: "
            "give one for each noise level"
        )
    for sigma in levels:
        check_level(sigma, "every one of sigmas")
    if any(a <= b for a, b in pairwise(levels)):
        raise ValueError(f"sigmas must decrease strictly, got {seen_text(levels)}")
    return levels


def nearest_level(sigmas: Sequence[float], sigma: float) -> int:
    """Index of the level nearest to sigma in log sigma, the first of equals.

    Raises:
        TypeError: sigma is no number.
        ValueError: sigma outside `schedules.SIGMAS`.

    Example:
        >>> nearest_level((10.0, 1.0, 0.1), 3.0)
        1
    """
    at = math.log(check_level(sigma))
    distances = [abs(math.log(level) - at) for level in sigmas]
    return distances.index(min(distances))
