"""Rates with confidence intervals, and the agreement of the mistakes of two denoisers. The statistics are SciPy's."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.checks import check_fields, checked
from elsewhere.notices import warn_deprecated
from elsewhere.optional import require

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rate:
    """A binomial rate with its 95 % Wilson score interval.

    Attributes:
        hits, total: number of hits and of trials.
        share: hits / total, 0 to 1.
        low, high: ends of the interval, 0 to 1.
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
    """The rate of True with its 95 % Wilson score interval (Wilson 1927), by `scipy.stats.binomtest`.

    Args:
        hits: bool (N,), N of 1 or more.

    Raises:
        TypeError, ValueError: not a bool array (N,), or an empty one.
        ImportError: SciPy is not installed (extra `anomalies`).

    Example:
        >>> print(rate(np.array([True, False, False, False])))
        25.0% (4.6% to 69.9%)
    """
    _check_line("hits", hits)
    if not len(hits):
        raise ValueError("hits is empty: a rate needs one or more trials")
    result = _stats().binomtest(int(hits.sum()), len(hits))
    interval = result.proportion_ci(0.95, method="wilson")
    return Rate(result.k, result.n, result.k / result.n, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Agreement:
    """Agreement of the mistakes of a machine and the network on the same seeds.

    Attributes:
        both, only_machine, only_network, neither: number of seeds, by who was wrong.
        fisher: two-sided p of Fisher's exact test of independence.
        mcnemar: two-sided p of McNemar's exact test of equal rates.
        kappa: Cohen's kappa: 0 for independent mistakes, 1 for identical ones; NaN if both are always right or wrong.
        recall: fraction of the network's mistakes on whose seeds the machine is wrong too; NaN if there are none.
        precision: fraction of the machine's mistakes on whose seeds the network is wrong too; NaN if there are none.
    """

    both: int
    only_machine: int
    only_network: int
    neither: int
    fisher: float
    mcnemar: float
    kappa: float
    recall: float
    precision: float

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def foretold(self) -> float:
        """Deprecated: use `recall`."""
        warn_deprecated("Agreement.foretold", "Agreement.recall")
        return self.recall

    @property
    def correct(self) -> float:
        """Deprecated: use `precision`."""
        warn_deprecated("Agreement.correct", "Agreement.precision")
        return self.precision

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, with None in place of NaN, for JSON."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


@checked
def agreement(machine: Bools, network: Bools) -> Agreement:
    """Compare the mistakes of a machine and a network on the same seeds.

    Args:
        machine, network: whether each is wrong on a seed, bool (N,), in the same order of seeds.

    Raises:
        TypeError, ValueError: not bool arrays (N,) of the same length, or empty ones.
        ImportError: SciPy is not installed (extra `anomalies`).
    """
    _check_line("machine", machine)
    _check_line("network", network)
    if len(machine) != len(network) or not len(machine):
        raise ValueError(
            f"machine and network must have the same length of 1 or more, got {len(machine)} and {len(network)}"
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
        recall=both / (both + only_network) if both + only_network else math.nan,
        precision=both / (both + only_machine) if both + only_machine else math.nan,
    )


def more_often(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's exact test, from the number of seeds on which only one of two is wrong; 1 for none."""
    discordant = only_first + only_second
    return float(_stats().binomtest(only_first, discordant).pvalue) if discordant else 1.0


def _check_line(name: str, hits: Bools) -> None:
    if hits.ndim != 1:
        raise ValueError(f"{name} must be (N,), one value per image, got shape {hits.shape}")


def _stats() -> Any:
    return require("scipy.stats", extra="anomalies", purpose="testing rates")
