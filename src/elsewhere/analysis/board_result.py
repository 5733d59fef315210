"""What the board measured, and the statistics over seeds derived from it: data only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from elsewhere.analysis.comparison_result import median_interval
from elsewhere.checks import check_choice, check_fields
from elsewhere.optional import require
from elsewhere.phrases import count

REFERENCE = "Wiener"
"""Errors at a noise level are also given relative to those of the method of this name, where there is one."""
METRICS = ("pearson_r", "r_squared", "mse")
RESAMPLES = 2000
"""Bootstrap resamples: the ends of a 95 % interval then rest on 50 resamples each."""
UNITS = "images in [-1, 1]; with images in [0, 1] every MSE would be a quarter, every rms a half"


class Paired(NamedTuple):
    """How the r of a method differs from that of the best rival, seed by seed.

    Attributes:
        rival: the best of the other machines.
        difference: median over seeds of the method's r minus the rival's.
        low, high: 95 % bootstrap interval of it (percentiles); None for fewer than two seeds.
        p: two-sided p-value of the Wilcoxon signed-rank test; None for fewer than two seeds.
        wins, seeds: seeds on which the method's r is higher, of those on which both are defined.
    """

    rival: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    wins: int
    seeds: int


@dataclass(frozen=True)
class BoardRow:
    """What one method did.

    Attributes:
        name: in tables: "ELS".
        title: in words: "equivariant local".
        kind: "machine"; or "network", for networks in place of a machine.
        about: the method on one line.
        why: why it was not measured, in a sentence; empty if it was.
        metrics: "pearson_r", "r_squared" and "mse" of its images and the network's, one number a seed; NaN where it is
            undefined. Empty without a network.
        rms: for each noise level, root mean square error of x0hat, in units of [-1, 1], over all images and pixels:
            against the network's x0hat on the network's own path, or without a network against held-out images.
        seconds: with a network, to make the method and draw all images, divided by their number; without one, of one
            call for one image.
        memory: peak bytes of the same and of the calls behind `rms`, or None: see `peak_memory.HOW`.
        pictures: its first images, as data URIs of PNG files.
    """

    name: str
    title: str = ""
    kind: str = "machine"
    about: str = ""
    why: str = ""
    metrics: dict[str, tuple[float, ...]] = field(default_factory=dict)
    rms: tuple[float, ...] = ()
    seconds: float | None = None
    memory: int | None = None
    pictures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)

    def median(self, metric: str) -> float:
        """Median of a metric over the seeds where it is defined; NaN where it was not measured.

        Raises:
            TypeError, ValueError: no such metric.
        """
        values = np.array(self.metrics.get(check_choice("metric", metric, METRICS), ()), np.float64)
        defined = values[~np.isnan(values)]
        return float(np.median(defined)) if len(defined) else math.nan


@dataclass(frozen=True)
class BoardSection:
    """All methods on one network, or without one.

    Attributes:
        name: of the network or, without one, of the images.
        network: what it is on one line; empty without a network.
        data: name and number of the training images.
        sigmas: noise levels at which x0hat was compared, decreasing.
        seeds: number of images drawn or, without a network, held out.
        rows: one for each method.
        target: the network's own row, or without one the held-out images.
        settings: further settings, for the record.
    """

    name: str
    network: str
    data: str
    sigmas: tuple[float, ...]
    seeds: int
    rows: tuple[BoardRow, ...]
    target: BoardRow
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def measured(self) -> tuple[BoardRow, ...]:
        """The rows that have numbers."""
        return tuple(row for row in self.rows if not row.why)

    @property
    def ranked(self) -> tuple[BoardRow, ...]:
        """The best first: by median r or, without a network, by the mean over noise levels of log rms; then the rows
        that were not measured."""
        return tuple(sorted(self.rows, key=lambda row: (bool(row.why), *self._rank(row))))

    @property
    def best(self) -> BoardRow | None:
        """The best machine; None if none was measured. Networks in place of a machine do not compete."""
        return next((row for row in self.ranked if row.kind == "machine" and not row.why), None)

    def row(self, name: str) -> BoardRow:
        """The row of a method.

        Raises:
            TypeError, ValueError: no such method.
        """
        check_choice("name", name, [row.name for row in self.rows])
        return next(row for row in self.rows if row.name == name)

    def relative(self, name: str) -> tuple[float, ...] | None:
        """For each noise level, the rms of a method divided by Wiener's; None if either was not measured.

        Raises:
            TypeError, ValueError: no such method.
        """
        row = self.row(name)
        reference = next((other for other in self.measured if other.name == REFERENCE), None)
        if row.why or reference is None:
            return None
        pairs = zip(row.rms, reference.rms, strict=True)
        return tuple(ours / theirs if theirs else math.nan for ours, theirs in pairs)

    def mean_relative(self, name: str) -> float | None:
        """Geometric mean of `relative` over the noise levels; None if that is None.

        Raises:
            TypeError, ValueError: no such method.
        """
        ratios = self.relative(name)
        return None if ratios is None else geometric_mean(ratios)

    def paired(self, name: str) -> Paired | None:
        """A method against the best of the other machines; None without a network, a measurement or a rival.

        Raises:
            TypeError, ValueError: no such method.
            ImportError: scipy is not installed.
        """
        row = self.row(name)
        rivals = [r for r in self.ranked if r.kind == "machine" and not r.why and r.name != name]
        if row.why or not row.metrics or not rivals:
            return None
        return compare_paired(row, rivals[0])

    def summary(self, name: str) -> dict[str, Any]:
        """metric -> {"median", "low", "high", "undefined"} of a method: see `ComparisonResult.summary`.

        Raises:
            TypeError, ValueError: no such method.
        """
        return {metric: median_interval(np.array(values)) for metric, values in self.row(name).metrics.items()}

    def _rank(self, row: BoardRow) -> tuple[float, ...]:
        r = row.median("pearson_r")
        if row.metrics:
            return (math.inf if math.isnan(r) else -r,)
        return (geometric_mean(row.rms) if row.rms else math.inf,)


@dataclass(frozen=True)
class BoardResult:
    """The board: every method on every network. `board` returns a `Board`, which can also be written to files.

    Attributes:
        sections: one for each network, and one for each set of images without a network.
        settings: everything needed to repeat it.
    """

    sections: tuple[BoardSection, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        best = ", ".join(f"{s.name}: {s.best.name if s.best else 'nothing measured'}" for s in self.sections)
        return f"{type(self).__name__}({count(len(self.sections), 'section')}; best machine: {best})"

    def table(self) -> list[dict[str, Any]]:
        """One row for each section and method, the best first: medians, paired difference, cost, rms.

        None for what was not measured. "rms" is the geometric mean over noise levels, "relative_rms" the same of the
        ratios to Wiener's.
        """
        rows = []
        for section in self.sections:
            for row in section.ranked:
                paired = section.paired(row.name)
                rows.append(
                    {
                        "section": section.name,
                        "network": bool(section.network),
                        "method": row.name,
                        "kind": row.kind,
                        **{metric: _number(row.median(metric)) for metric in METRICS},
                        "rival": paired and paired.rival,
                        "r_difference": paired and _number(paired.difference),
                        "r_difference_low": paired and paired.low,
                        "r_difference_high": paired and paired.high,
                        "wilcoxon_p": paired and paired.p,
                        "rms": _number(geometric_mean(row.rms)) if row.rms else None,
                        "relative_rms": section.mean_relative(row.name),
                        "seconds_an_image": row.seconds,
                        "peak_memory_bytes": row.memory,
                        "not_measured": row.why,
                    }
                )
        return rows


def compare_paired(row: BoardRow, rival: BoardRow) -> Paired:
    """The differences of Pearson r over the seeds on which both rows have a value.

    Raises:
        ImportError: scipy is not installed.
    """
    stats = require("scipy.stats", extra="board", purpose="the board")
    ours, theirs = (np.array(each.metrics["pearson_r"], np.float64) for each in (row, rival))
    differences = (ours - theirs)[~np.isnan(ours + theirs)]
    seeds, wins = len(differences), int((differences > 0).sum())
    middle = float(np.median(differences)) if seeds else math.nan
    if seeds < 2:
        return Paired(rival.name, middle, None, None, None, wins, seeds)
    # In units of ranks two equal images are a tie; the test is undefined where all are.
    p = float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0
    interval = stats.bootstrap(
        (differences,), np.median, n_resamples=RESAMPLES, method="percentile", random_state=np.random.default_rng(0)
    ).confidence_interval
    return Paired(rival.name, middle, float(interval.low), float(interval.high), p, wins, seeds)


def geometric_mean(values: tuple[float, ...]) -> float:
    """Of the values above 0; NaN where there are none."""
    defined = [value for value in values if value > 0]
    return math.exp(sum(map(math.log, defined)) / len(defined)) if defined else math.nan


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
