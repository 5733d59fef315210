"""What a reproduction measured: rows of a published table, each with our number beside the published one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elsewhere.analysis.comparison_result import RESAMPLES


@dataclass(frozen=True)
class Row:
    """One number of a published table, and ours.

    Attributes:
        case: network and set: "fashion-mnist/resnet".
        method: name of the machine in the published table.
        metric: which number.
        published: the published number, or None where no text states it.
        ours: our number: the protocol's statistic over the seeds; None where it was not measured.
        low, high: 95 % bootstrap interval of ours over the seeds; None for fewer than two.
        seeds: number of noises behind ours.
        notes: what is missing, or how ours differs from the published protocol.
        values: our number for every seed; empty where it is no mean or median over them.
    """

    case: str
    method: str
    metric: str
    published: float | None = None
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    notes: tuple[str, ...] = ()
    values: tuple[float, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether there is a number of ours."""
        return self.ours is not None


@dataclass(frozen=True)
class Reproduction:
    """Published numbers against ours.

    Attributes:
        protocol: its name, paper, settings and notes, as text and numbers.
        rows: every number of the published table that a text states, and what we measured beside them.
        settings: everything needed to repeat the runs: sets, networks, machines, noise, seconds.
    """

    protocol: dict[str, Any]
    rows: tuple[Row, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> tuple[Row, ...]:
        """The rows with a number of ours."""
        return tuple(row for row in self.rows if row.measured)

    def __repr__(self) -> str:
        return f"Reproduction({self.protocol['name']!r}, {len(self.measured)} of {len(self.rows)} rows measured)"


def summarise(values: np.ndarray, statistic: str) -> tuple[float | None, float | None, float | None]:
    """Median or mean over the seeds that have a value, and the ends of its 95 % percentile-bootstrap interval.

    Args:
        values: one number for each seed, (B,); NaN where it is undefined.
        statistic: "median" or "mean".

    Returns:
        The statistic, None if no seed has a value; low and high, None for fewer than two.
    """
    function: Any = np.median if statistic == "median" else np.mean
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None, None, None
    if len(defined) == 1:
        return float(defined[0]), None, None
    picks = np.random.default_rng(0).integers(len(defined), size=(RESAMPLES, len(defined)))
    low, high = np.quantile(function(defined[picks], axis=1), [0.025, 0.975])
    return float(function(defined)), float(low), float(high)


def case_notes(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Case -> the notes that all of its measured rows share, in their order."""
    result: dict[str, list[str]] = {}
    for case in dict.fromkeys(row.case for row in rows if row.measured):
        measured = [row for row in rows if row.case == case and row.measured]
        result[case] = [note for note in measured[0].notes if all(note in row.notes for row in measured)]
    return result
