"""Rates with intervals, and whether two drawers are wrong on the same seeds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.checks import check_fields, checked
from elsewhere.optional import require

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rate:
    """A share of pictures with its 95 % interval (Wilson 1927).

    Attributes:
        hits, total: so many of so many.
        share: hits / total.
        low, high: ends of the interval.
    """

    hits: int
    total: int
    share: float
    low: float
    high: float

    def __post_init__(self) -> None:
        check_fields(self)

    def __str__(self) -> str:
        return f"{self.share:.1%} ({self.low:.1%} to {self.high:.1%})"


@checked
def rate(hits: Bools) -> Rate:
    """The share of True, with its 95 % interval.

    Raises:
        TypeError, ValueError: not a bool array (N,), or an empty one.
        ImportError: scipy is not installed.
    """
    _check_line("hits", hits)
    if not len(hits):
        raise ValueError("hits is empty: a rate needs at least one picture, got none")
    result = _stats().binomtest(int(hits.sum()), len(hits))
    interval = result.proportion_ci(0.95, method="wilson")
    return Rate(result.k, result.n, result.k / result.n, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Agreement:
    """Which seeds one drawer and the network get wrong.

    Attributes:
        both, only_machine, only_network, neither: seeds, by who was wrong.
        fisher: p of Fisher's exact test that the two are wrong independently of one another, two-sided.
        mcnemar: p of McNemar's exact test that both are wrong equally often.
        kappa: Cohen's kappa: 0 for independent, 1 for always together; NaN when neither or both always are wrong.
        foretold: share of the network's mistakes on whose seeds the machine was wrong too; NaN without any.
        correct: share of the seeds of the machine's mistakes that the network gets wrong too; NaN without any.
    """

    both: int
    only_machine: int
    only_network: int
    neither: int
    fisher: float
    mcnemar: float
    kappa: float
    foretold: float
    correct: float

    def __post_init__(self) -> None:
        check_fields(self)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


@checked
def agreement(machine: Bools, network: Bools) -> Agreement:
    """Compare where a machine and a network are wrong, the same seeds in the same order.

    Raises:
        TypeError, ValueError: not bool arrays (N,) of one length, or empty ones.
        ImportError: scipy is not installed.
    """
    _check_line("machine", machine)
    _check_line("network", network)
    if len(machine) != len(network) or not len(machine):
        raise ValueError(
            f"machine and network need the same seeds of both, one or more, got {len(machine)} and {len(network)}"
        )
    table = [[int((machine & network).sum()), int((machine & ~network).sum())]]
    table.append([int((~machine & network).sum()), int((~machine & ~network).sum())])
    (both, only_machine), (only_network, neither) = table
    total = len(machine)
    observed = (both + neither) / total
    expected = (machine.mean() * network.mean()) + (1 - machine.mean()) * (1 - network.mean())
    return Agreement(
        both,
        only_machine,
        only_network,
        neither,
        fisher=float(_stats().fisher_exact(table).pvalue),
        mcnemar=more_often(only_machine, only_network),
        kappa=float((observed - expected) / (1 - expected)) if expected < 1 else math.nan,
        foretold=both / (both + only_network) if both + only_network else math.nan,
        correct=both / (both + only_machine) if both + only_machine else math.nan,
    )


def more_often(only_first: int, only_second: int) -> float:
    """p of McNemar's exact test, two-sided, from the seeds that only one of two gets wrong; 1 without any."""
    discordant = only_first + only_second
    return float(_stats().binomtest(only_first, discordant).pvalue) if discordant else 1.0


def _check_line(name: str, hits: Bools) -> None:
    if hits.ndim != 1:
        raise ValueError(f"{name} must be (N,), one value a picture, got shape {hits.shape}")


def _stats() -> Any:
    return require("scipy.stats", extra="anomalies", purpose="testing rates")
