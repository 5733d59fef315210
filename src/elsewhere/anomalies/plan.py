"""Build the points of a measurement from the names and options of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elsewhere.anomalies.points import NETWORK, Point, two_windows
from elsewhere.anomalies.subjects import SUBJECTS, Subject
from elsewhere.best import choose_family
from elsewhere.contenders import choose_contenders, load_yardstick
from elsewhere.data import ImageSet, load_images
from elsewhere.factory import borders_of, choose_window, make_windowed
from elsewhere.machines.borders import Borders
from elsewhere.machines.locality import check_window
from elsewhere.machines.table import BEST, NETWORK_PREFIX, TABLE, WINDOWED, WindowedName
from elsewhere.schedules import Schedule

ALWAYS = float("inf")


def parse_levels(text: str) -> list[float]:
    """Parse noise levels such as "2,1,0.5"; an empty text has none.

    Raises:
        ValueError: not positive numbers.
    """
    try:
        levels = [float(part) for part in text.split(",")] if text.strip() else []
    except ValueError:
        levels = [-1.0]
    if not all(0 < level < ALWAYS for level in levels):
        raise ValueError(f"--shrink must be positive noise levels such as 2,1,0.5, got {text!r}")
    return levels


@dataclass(frozen=True)
class Windows:
    """The windows to measure.

    Attributes:
        late: odd sides in pixels of the window at low noise; each is also measured at every noise level.
        large: odd side of the window at high noise.
        shrink: noise levels at which the large window shrinks to a late one; may be empty.
        locality: file with windows calibrated for the network; None: those shipped with it.

    Raises:
        TypeError, ValueError: `late` is empty, a side is not odd, or a late one is larger than `large`.
    """

    late: Sequence[int]
    large: int
    shrink: Sequence[float] = ()
    locality: Path | None = None

    def __post_init__(self) -> None:
        if not self.late:
            raise ValueError("--windows is empty: give one or more odd sides, such as 5")
        for side in (*self.late, self.large):
            check_window(side)
        if max(self.late) > self.large:
            raise ValueError(f"--windows must be at most --large ({self.large}), got {max(self.late)}")

    def check(self, schedule: Schedule) -> None:
        """Check that every level of `shrink` is inside the range of the schedule.

        Raises:
            ValueError: a noise level at or above the first, or below the last of the schedule.
        """
        low, high = schedule.sigmas[-2], schedule.sigmas[0]
        for level in self.shrink:
            if not low <= level < high:
                raise ValueError(
                    f"--shrink must be between {low:.3g} and {high:.3g}, the noise levels of {schedule.name}, "
                    f"got {level:g}"
                )

    def points(
        self, name: WindowedName, data: ImageSet, network_name: str, borders: Borders, schedule: Schedule, count: int,
        **settings: Any,
    ) -> Iterator[Point]:  # fmt: skip
        """The points of one machine: windows fitted to the network, constant windows, shrinking windows."""
        title = TABLE[name].report_name
        fitting, _ = choose_window(name, network_name, None, self.locality)
        base = make_windowed(name, data, fitting, borders, **settings)
        yield Point(f"{title} fitted", title, base, count)
        late = sorted(set(self.late))
        for side in sorted({*late, self.large}):
            yield Point(f"{title} {side}", title, base.with_window(side), count, side, ALWAYS)
        for level in sorted(set(self.shrink), reverse=True):
            for side in late:
                if side != self.large:
                    machine = base.with_window(two_windows(self.large, side, level, schedule))
                    yield Point(f"{title} {self.large} to {side} at {level:g}", title, machine, count, side, level)


def prepare(
    subject: str,
    drawers: Sequence[str],
    network: str | None,
    any_data: bool,
    windows: Windows,
    schedule: Schedule,
    count: int,
    els_count: int | None = None,
    family: Path | None = None,
    **settings: Any,
) -> tuple[Subject, ImageSet, list[Point]]:
    """The arguments of `measure`: the subject, its training images and the points.

    Args:
        subject: a name in `SUBJECTS`.
        drawers: names of the denoisers: see `split_contenders`. Without "network", the borders of ELS are those of zero
            padding.
        network: a trained network; None: the one shipped for these images.
        any_data: accept a network that was trained on other images.
        windows: of the local and the equivariant local machine.
        schedule: noise levels.
        count: number of seeds of every point.
        els_count: number of seeds of the points of ELS, which is slow; None: `count`.
        family: for "best": see `choose_family`.
        settings: further arguments of the machines.

    Raises:
        FileNotFoundError: no such network or file of windows.
        TypeError, ValueError: windows outside the range of the run, or a network of other images.
    """
    if set(WINDOWED) & set(drawers):
        windows.check(schedule)
    what = SUBJECTS[subject]
    name = network or what.network
    data = load_images(what.data)
    net = load_yardstick(name, data, any_data) if NETWORK in drawers else None
    if family is not None and BEST not in drawers:
        raise ValueError(
            f"--family goes with --machines {BEST}, got {','.join(drawers)}: add it, or leave out --family"
        )
    points: list[Point] = []
    for drawer in drawers:
        number = els_count if drawer == "els" and els_count is not None else count
        if drawer in WINDOWED:
            points += windows.points(drawer, data, name, borders_of(net), schedule, number, **settings)
            continue
        mine = family if drawer == BEST else None
        chosen = choose_contenders([drawer], data, name, net, family=mine, any_data=any_data, **settings)
        for title, denoiser in chosen.denoisers.items():
            # A point's name is that of its file, and a network may be named by a path.
            short = Path(title).name if drawer.startswith(NETWORK_PREFIX) else title
            points.append(Point(short, short, denoiser, number))
    return what, data, points


def about(drawers: Sequence[str], subject: Subject, network: str | None, family: Path | None) -> dict[str, Any]:
    """What results say beside the settings of every point: under "family", the settings of the calibrated machine.

    Args:
        drawers, network, family: see `prepare`.
        subject: what is counted.
    """
    return {"family": choose_family(network or subject.network, family).content()} if BEST in drawers else {}
