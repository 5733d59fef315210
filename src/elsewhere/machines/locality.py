"""Locality: which window a machine looks through at each noise level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from elsewhere.checks import check_path, check_type, check_whole, seen
from elsewhere.files import details, entries, json_object, json_text, write_text
from elsewhere.machines.levels import check_decreasing, nearest_level
from elsewhere.phrases import count
from elsewhere.schedules import cosine

FORMAT = "elsewhere.locality/1"
WRITTEN = "`elsewhere calibrate` and LocalitySchedule.save write one"
# Far beyond any image; sides of windows are counted in 32 bits further down.
LARGEST_WINDOW = 2**20 + 1

PUBLISHED = (3, 3, 3, 3, 5, 5, 5, 7, 7, 7, 7, 9, 9, 11, 11, 13, 15, 17, 17, 17)
"""Windows of Kamb & Ganguli (2025) for a ResNet with zero padding on CIFAR-10, t = 1/20, 2/20, ..., 1."""


def check_window(window: object, name: str = "window") -> int:
    """An odd positive window side in pixels.

    Raises:
        TypeError: not an integer.
        ValueError: even, not positive, or above 2^20 + 1.
    """
    if isinstance(window, bool) or not isinstance(window, int | np.integer):
        raise TypeError(f"{name} must be an odd integer or a LocalitySchedule, got {seen(window)}")
    side = check_whole(name, window)
    if side < 1 or side % 2 == 0:
        raise ValueError(f"{name} must be odd and positive (3, 5, 7, ...), got {side}")
    if side > LARGEST_WINDOW:
        raise ValueError(f"{name} must be at most {LARGEST_WINDOW}, got {side}: images end long before")
    return side


@dataclass(frozen=True)
class LocalitySchedule:
    """A window side for each noise level; the machine looks through the window of the nearest level in log sigma.

    Attributes:
        sigmas: noise levels, strictly decreasing, within `schedules.SIGMAS`.
        windows: odd window sides in pixels, one a level.
        taper: whether pixels count the less the farther they are from the centre of a window: see `WindowedMachine`.
        details: how it was found (scores of every window tried, network, seeds), kept in the file.

    Raises:
        TypeError, ValueError: lengths differ, sigmas not decreasing or out of range, windows not odd and positive.
    """

    sigmas: tuple[float, ...]
    windows: tuple[int, ...]
    details: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    taper: bool = False

    def __post_init__(self) -> None:
        check_type("windows", self.windows, Sequence[int])
        check_type("details", self.details, dict)
        check_type("taper", self.taper, bool)
        windows = tuple(check_window(side, "windows") for side in self.windows)
        object.__setattr__(self, "sigmas", check_decreasing(self.sigmas, len(windows), "windows"))
        object.__setattr__(self, "windows", windows)

    def __repr__(self) -> str:
        levels = f"{count(len(self.sigmas), 'level')}, sigma {self.sigmas[0]:.4g} to {self.sigmas[-1]:.4g}"
        sides = f"windows {self.windows[0]} to {self.windows[-1]}"
        return f"LocalitySchedule({levels}, {sides}{', tapered' * self.taper})"

    def _repr_html_(self) -> str:
        from elsewhere.display import card, image_tag
        from elsewhere.pictures import figure_png, new_figure

        figure = new_figure(5, 2.2)
        axes = figure.subplots()
        axes.plot(self.sigmas, self.windows, "o-", color="#3a6ea5", markersize=4)
        axes.set(xscale="log", xlabel="noise level sigma (a run goes from left to right)", ylabel="window (pixels)")
        axes.invert_xaxis()
        axes.set_ylim(0, max(self.windows) * 1.1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92")
        picture = image_tag(figure_png(figure, 100), "side of the window at each noise level")
        return card("LocalitySchedule", [count(len(self.sigmas), "level"), *["tapered"] * self.taper], [picture])

    def __call__(self, sigma: float) -> int:
        """Window side at a noise level.

        Raises:
            TypeError: sigma is no number.
            ValueError: sigma outside `schedules.SIGMAS`.
        """
        return self.windows[nearest_level(self.sigmas, sigma)]

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            OSError: the file cannot be written.
            TypeError, ValueError: not a path, or details that JSON cannot hold.
        """
        path = check_path("path", path)
        content = {
            "format": FORMAT,
            "sigmas": list(self.sigmas),
            "windows": list(self.windows),
            "taper": self.taper,
            "details": self.details,
        }
        write_text(path, json_text(content) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> LocalitySchedule:
        """Read a file written by `save`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file.
        """
        path = check_path("path", path)
        if not path.is_file():
            raise FileNotFoundError(f"no locality schedule at {path}: {WRITTEN}")
        try:
            content = json_object(path.read_bytes(), FORMAT)
            sigmas, windows = tuple(entries(content, "sigmas")), tuple(entries(content, "windows"))
            # Files written before windows could be tapered do not say that theirs are not.
            return cls(sigmas, windows, details(content), content.get("taper", False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a locality schedule: {error}; {WRITTEN}") from error


@cache  # every repr of a machine asks for it
def published_locality() -> LocalitySchedule:
    """Windows to begin with where nothing is calibrated: the published ones of a ResNet on CIFAR-10."""
    details = {"origin": "Kamb & Ganguli (2025), CIFAR-10, ResNet with zero padding"}
    return LocalitySchedule(cosine(20).sigmas[:-1], PUBLISHED[::-1], details)
