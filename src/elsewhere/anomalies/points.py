"""The points of a measurement: denoisers and the windows that they use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elsewhere.checks import MOST_IMAGES, check_fields, check_path, check_whole, checked, seen_text
from elsewhere.denoiser import DenoiserLike
from elsewhere.machines.locality import LocalitySchedule, check_window
from elsewhere.schedules import Schedule

NETWORK = "network"
"""Name of the point of the trained network."""


@dataclass(frozen=True)
class Point:
    """One denoiser of a measurement.

    Attributes:
        name: its name in tables, also the name of its file.
        machine: "IS", "LS", "ELS" or "network".
        denoiser: D(x, sigma, label=None).
        count: number of seeds to draw, 1 or more.
        late: side of the window at low noise, odd, in pixels; None if it has no late window.
        shrink: the noise level at and below which the window is `late`; above, it is the large one. inf: `late` at
            every level. None: not applicable.

    Raises:
        TypeError, ValueError: a field of another type or out of range, or a name that no file can have.
    """

    name: str
    machine: str
    denoiser: DenoiserLike
    count: int
    late: int | None = None
    shrink: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_whole("count", self.count, 1, limit=MOST_IMAGES)
        check_path("name", self.name, "a valid file name")
        if Path(self.name).name != self.name:
            raise ValueError(f"name must be a valid file name, got {seen_text(self.name)}")
        if self.late is not None:
            check_window(self.late, "late")
        if self.shrink is not None and not self.shrink >= 0:
            raise ValueError(f"shrink must be a noise level of 0 or more, got {self.shrink}")


@checked
def two_windows(large: int, small: int, shrink: float, schedule: Schedule) -> LocalitySchedule:
    """A large window while sigma is above `shrink`, a small one at and below it.

    Args:
        large, small: odd sides in pixels.
        shrink: noise level, 0 or more.
        schedule: the noise levels of the run.

    Raises:
        TypeError, ValueError: sides that are not odd, small above large, or a noise level below 0.

    Example:
        >>> from elsewhere.schedules import Schedule
        >>> two_windows(9, 3, 0.5, Schedule((2.0, 1.0, 0.5, 0.1, 0.0))).windows
        (9, 9, 3, 3)
    """
    if check_window(small, "small") > check_window(large, "large"):
        raise ValueError(f"small must be at most large ({large}), got {small}")
    if shrink < 0:
        raise ValueError(f"shrink must be a noise level of 0 or more, got {shrink}")
    levels = schedule.sigmas[:-1]
    return LocalitySchedule(levels, tuple(large if sigma > shrink else small for sigma in levels))
