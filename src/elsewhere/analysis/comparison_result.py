"""What a comparison measured, and the statistics over seeds derived from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from elsewhere.analysis.finals import far_outside
from elsewhere.analysis.metrics import cosine_similarity, mse, pearson_r, r_squared
from elsewhere.analysis.novelty import Nearest
from elsewhere.checks import check_choice, check_fields
from elsewhere.machines.locality import LocalitySchedule
from elsewhere.phrases import count, decimal

NETWORK = "network"
METRICS = {"pearson_r": pearson_r, "r_squared": r_squared, "mse": mse, "cosine": cosine_similarity}
RESAMPLES = 2000
"""Bootstrap resamples: the ends of a 95 % interval then rest on 50 resamples each."""


@dataclass(frozen=True)
class ComparisonResult:
    """What machines and a network drew from the same noises.

    Attributes:
        images: name -> final images (B, C, H, W), the machines in the order given, then "network".
        metrics: machine -> metric ("pearson_r", "r_squared", "mse", "cosine") -> float64 (B,), against the network;
            NaN where the metric is undefined, such as r of a constant image.
        nearest: name -> nearest training images, for every machine that knows its data, and for the network.
        seconds: name -> seconds it took to draw all images.
        windows: machine -> its locality schedule, where it looks through one.
        labels: names or numbers of the classes asked for, one a seed; empty when none was.
        settings: what is needed to run this again.
        warnings: what a reader must know before the numbers: sentences, none when all is well.
    """

    images: dict[str, Tensor]
    metrics: dict[str, dict[str, np.ndarray]]
    nearest: dict[str, Nearest]
    seconds: dict[str, float]
    windows: dict[str, LocalitySchedule] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        medians = ", ".join(f"{name} {decimal(self.median(name, 'pearson_r'))}" for name in self.machines)
        return f"Comparison({count(self.seeds, 'seed')}, median Pearson r: {medians})"

    @property
    def machines(self) -> tuple[str, ...]:
        """Names of the machines, in the order given."""
        return tuple(self.metrics)

    @property
    def seeds(self) -> int:
        """How many noises were drawn from."""
        return len(self.images[NETWORK])

    @property
    def title(self) -> str:
        """What was compared: the images and the network, as far as they have names."""
        names = [self.settings.get("data"), self.settings.get("network_name")]
        return " and ".join(name for name in names if name) or "Comparison"

    @property
    def near(self) -> bool:
        """Whether any machine is near the network; if not, which of them is closer says nothing.

        Its median R^2 must be above 0, where the mean gray of each of the network's images would be as near. And most
        of the network's images must not be far outside [-1, 1], where all images of the machines lie.
        """
        known = [self.median(name, "r_squared") for name in self.machines]
        return self._has_images and any(value > 0 for value in known)

    @property
    def _has_images(self) -> bool:
        return float(far_outside(self.images[NETWORK]).double().mean()) <= 0.5

    @property
    def closest(self) -> tuple[str, ...]:
        """The machines with the highest median Pearson r, several when they tie; empty when none is near.

        Medians tie when they are equal to three decimals, as they are printed.
        """
        medians = {name: round(self.median(name, "pearson_r"), 3) for name in self.machines}
        best = max((r for r in medians.values() if not np.isnan(r)), default=None)
        return tuple(name for name, r in medians.items() if r == best) if self.near else ()

    @property
    def leading(self) -> str:
        """The machine that reports put first: one of the closest, or of all where none is near; of several "ELS"."""
        first = self.closest or self.machines
        return "ELS" if "ELS" in first else first[0]

    @property
    def pair(self) -> tuple[str, str] | None:
        """Two machines to hold against each other: the other, and the leading one. None when there is only one.

        The other is IS where it does not lead, else ELS, else the first of the others.
        """
        others = [name for name in self.machines if name != self.leading]
        if not others:
            return None
        return next((name for name in ("IS", "ELS") if name in others), others[0]), self.leading

    def verdict(self) -> str:
        """Which machine is closer to the network, in one sentence; empty for one machine that is near."""
        if not self._has_images:
            return "No machine is near the network, as its pictures are far outside -1..1."
        if not self.near:
            medians = [self.median(name, "r_squared") for name in self.machines]
            best = max((value for value in medians if not np.isnan(value)), default=None)
            if best is None:
                return "Which machine is closer to the network cannot be said: R^2 is undefined on every seed."
            return (
                f"No machine is near the network: the best median R^2 is {best:.3f}, and a picture of one gray would "
                "reach 0."
            )
        if self.pair is None:
            return ""
        other, name = self.pair
        if {other, name} <= set(self.closest):
            return f"{name} and {other} are equally close to the network: their median r is the same to three decimals."
        wins, seeds = self._wins(name, other)
        if not seeds:
            return f"Whether {name} or {other} is closer to the network cannot be said: r is undefined on every seed."
        undefined = self.seeds - seeds
        left_out = f" ({undefined} left out: r is undefined)" if undefined else ""
        return f"{name} is closer to the network than {other} on {wins} of {count(seeds, 'seed')}{left_out}."

    def median(self, machine: str, metric: str) -> float:
        """Median of a metric over the seeds where it is defined; NaN where it never is. See `undefined`.

        Raises:
            ValueError: no machine of that name.
        """
        return _median(self._metric(machine, metric))

    def undefined(self, machine: str, metric: str) -> int:
        """On how many seeds a metric is undefined (NaN), and left out of the median.

        Raises:
            TypeError, ValueError: no machine of that name.
        """
        return int(np.isnan(self._metric(machine, metric)).sum())

    def beats(self, machine: str, other: str) -> float:
        """Share of seeds, 0 to 1, on which `machine` has a strictly higher Pearson r than `other`.

        Seeds on which either r is undefined are left out; NaN where that is every seed.

        Raises:
            TypeError, ValueError: no machine of that name.
        """
        wins, seeds = self._wins(machine, other)
        return wins / seeds if seeds else np.nan

    def _wins(self, machine: str, other: str) -> tuple[int, int]:
        """On how many seeds a machine has the higher r, and on how many both have one."""
        ours, theirs = self._metric(machine, "pearson_r"), self._metric(other, "pearson_r", "other")
        return int((ours > theirs).sum()), int((~np.isnan(ours + theirs)).sum())

    def table(self) -> list[dict[str, Any]]:
        """One row a seed and name: the metrics and the nearest training image.

        None for metrics of the network, for undefined ones, and for a nearest training image that is not known.
        """
        rows = []
        for seed in range(self.seeds):
            for name in self.images:
                row: dict[str, Any] = {"seed": seed, "label": self.labels[seed] if self.labels else None, "name": name}
                values = self.metrics.get(name)
                row |= {metric: None if values is None else _number(values[metric][seed]) for metric in METRICS}
                near = self.nearest.get(name)
                row["nearest_index"] = None if near is None else int(near.indices[seed])
                row["nearest_distance"] = None if near is None else float(near.distances[seed])
                rows.append(row)
        return rows

    def summary(self) -> dict[str, dict[str, Any]]:
        """Name -> metric -> {"median", "low", "high", "undefined"}, also for "nearest_distance"; "copies", "seconds".

        low and high bound the 95 % bootstrap interval of the median (2,000 resamples of the seeds, always the
        same ones); None when fewer than two seeds have a value. "undefined" is the number of seeds where the metric is
        undefined, which the median leaves out; it is None when that is all of them. "copies" is the share of images
        nearer than one grey level, rms, to a training image.
        """
        result: dict[str, dict[str, Any]] = {}
        for name in self.images:
            entry: dict[str, Any] = {m: _median_interval(v) for m, v in self.metrics.get(name, {}).items()}
            if name in self.nearest:
                entry["nearest_distance"] = _median_interval(self.nearest[name].distances.numpy())
                entry["copies"] = float(self.nearest[name].copies.double().mean())
            result[name] = {**entry, "seconds": self.seconds[name]}
        return result

    def _metric(self, machine: str, metric: str, argument: str = "machine") -> np.ndarray:
        return self.metrics[check_choice(argument, machine, self.machines)][check_choice("metric", metric, METRICS)]


def _median(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(np.median(defined)) if len(defined) else np.nan


def _median_interval(values: np.ndarray) -> dict[str, float | int | None]:
    """Median over the seeds that have a value, with its 95 % percentile-bootstrap interval; see `summary`."""
    defined = values[~np.isnan(values)]
    low = high = None
    if len(defined) > 1:
        picks = np.random.default_rng(0).integers(len(defined), size=(RESAMPLES, len(defined)))
        low, high = (float(end) for end in np.quantile(np.median(defined[picks], axis=1), [0.025, 0.975]))
    return {"median": _number(_median(values)), "low": low, "high": high, "undefined": len(values) - len(defined)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
