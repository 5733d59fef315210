"""What a comparison measured, and the statistics over seeds derived from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from elsewhere.analysis.finals import far_outside
from elsewhere.analysis.metrics import cosine_similarity, mse, pearson_r, r_squared
from elsewhere.analysis.mosaic import MosaicResult
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
    """What machines and a network drew from the same noise: data only. `compare` returns a `Comparison`, which can also
    be written to files.

    Attributes:
        images: name -> final images (B, C, H, W) in about [-1, 1]: the machines in the order given, then "network".
        metrics: machine -> metric ("pearson_r", "r_squared", "mse", "cosine") -> float64 (B,), of the machine's and the
            network's images; NaN where the metric is undefined, such as r of a constant image.
        nearest: name -> nearest training images, for the machines that have `data`, and for the network.
        seconds: name -> seconds it took to draw all images.
        windows: machine -> its locality schedule, if it has one.
        labels: class names or numbers, one per seed; empty without labels.
        settings: everything needed to repeat the comparison.
        warnings: sentences that a reader needs before the numbers; empty if there is nothing to warn of.
        mosaic: the training patches of the first images that `explained` drew, at the last step; None if no machine of
            the comparison is explained.
        explained: name of that machine.
    """

    images: dict[str, Tensor]
    metrics: dict[str, dict[str, np.ndarray]]
    nearest: dict[str, Nearest]
    seconds: dict[str, float]
    windows: dict[str, LocalitySchedule] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    mosaic: MosaicResult | None = None
    explained: str = ""

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        medians = ", ".join(f"{name} {decimal(self.median(name, 'pearson_r'))}" for name in self.machines)
        return f"{type(self).__name__}({count(self.seeds, 'seed')}, median Pearson r: {medians})"

    @property
    def machines(self) -> tuple[str, ...]:
        """Names of the machines, in the order given."""
        return tuple(self.metrics)

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.images[NETWORK])

    @property
    def title(self) -> str:
        """Names of the training images and the network, as far as they are known."""
        names = [self.settings.get("data"), self.settings.get("network_name")]
        return " and ".join(name for name in names if name) or "Comparison"

    @property
    def near(self) -> bool:
        """Whether any machine is near the network. If not, it is meaningless to say which one is closer.

        A machine is near if its median R^2 is above 0, that is, if it predicts the network's images better than their
        mean gray value, and if at most half of the network's images are far outside [-1, 1], the range of the machines.
        """
        known = [self.median(name, "r_squared") for name in self.machines]
        return self._has_images and any(value > 0 for value in known)

    @property
    def drawn(self) -> bool:
        """Whether the images are pictures: those of machines on latents are latents, unless they are `Decoded`."""
        return not self.settings.get("latents", False)

    @property
    def _has_images(self) -> bool:
        return float(far_outside(self.images[NETWORK], self.settings.get("largest", 1.0)).double().mean()) <= 0.5

    @property
    def closest(self) -> tuple[str, ...]:
        """The machines with the highest median Pearson r, several if they tie; empty if none is near.

        Medians tie if they are equal to three decimals, as they are printed.
        """
        medians = {name: round(self.median(name, "pearson_r"), 3) for name in self.machines}
        best = max((r for r in medians.values() if not np.isnan(r)), default=None)
        return tuple(name for name, r in medians.items() if r == best) if self.near else ()

    @property
    def leading(self) -> str:
        """The machine that reports discuss first: one of the closest, or of all if none is near; preferably "ELS"."""
        first = self.closest or self.machines
        return "ELS" if "ELS" in first else first[0]

    @property
    def pair(self) -> tuple[str, str] | None:
        """Two machines to contrast: another one, and the leading one. None if there is only one machine.

        The other one is "IS", else "ELS", else the first of the others.
        """
        others = [name for name in self.machines if name != self.leading]
        if not others:
            return None
        return next((name for name in ("IS", "ELS") if name in others), others[0]), self.leading

    def verdict(self) -> str:
        """Which machine is closer to the network, in one sentence; empty for a single machine that is near."""
        if not self._has_images:
            return "No machine is near the network, because its images are far outside -1..1."
        if not self.near:
            medians = [self.median(name, "r_squared") for name in self.machines]
            best = max((value for value in medians if not np.isnan(value)), default=None)
            if best is None:
                return "It is unknown which machine is closer to the network: R^2 is undefined on every seed."
            return (
                f"No machine is near the network: the best median R^2 is {best:.3f}, and a uniform gray image would "
                "reach 0."
            )
        if self.pair is None:
            return ""
        other, name = self.pair
        if {other, name} <= set(self.closest):
            return f"{name} and {other} are equally close to the network: their median r is the same to three decimals."
        wins, seeds = self._wins(name, other)
        if not seeds:
            return f"It is unknown whether {name} or {other} is closer to the network: r is undefined on every seed."
        undefined = self.seeds - seeds
        left_out = f" ({undefined} left out: r is undefined)" if undefined else ""
        return f"{name} is closer to the network than {other} on {wins} of {count(seeds, 'seed')}{left_out}."

    def median(self, machine: str, metric: str) -> float:
        """Median of a metric over the seeds where it is defined; NaN if it is undefined on every seed.

        Args:
            machine: one of `machines`.
            metric: "pearson_r", "r_squared", "mse" or "cosine".

        Raises:
            TypeError, ValueError: no such machine or metric.
        """
        return _median(self._metric(machine, metric))

    def undefined(self, machine: str, metric: str) -> int:
        """Number of seeds on which a metric is undefined (NaN) and therefore not in the median.

        Raises:
            TypeError, ValueError: no such machine or metric.
        """
        return int(np.isnan(self._metric(machine, metric)).sum())

    def beats(self, machine: str, other: str) -> float:
        """Fraction of seeds, 0 to 1, on which `machine` has a strictly higher Pearson r than `other`.

        Seeds on which either r is undefined do not count; NaN if there are no others.

        Raises:
            TypeError, ValueError: no such machine.
        """
        wins, seeds = self._wins(machine, other)
        return wins / seeds if seeds else np.nan

    def _wins(self, machine: str, other: str) -> tuple[int, int]:
        """Number of seeds on which `machine` has the higher r, and of seeds on which both r are defined."""
        ours, theirs = self._metric(machine, "pearson_r"), self._metric(other, "pearson_r", "other")
        return int((ours > theirs).sum()), int((~np.isnan(ours + theirs)).sum())

    def table(self) -> list[dict[str, Any]]:
        """One row for each seed and name: the metrics and the nearest training image.

        None for metrics of the network, for undefined metrics, and for unknown nearest training images.
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

        low and high bound the 95 % bootstrap interval of the median (2,000 resamples of the seeds with a fixed random
        state); None if fewer than two seeds have a value. "undefined" is the number of seeds on which the metric is
        undefined; if that is all of them, the median is None. "copies" is the fraction of images within one gray level
        (rms) of a training image.
        """
        result: dict[str, dict[str, Any]] = {}
        for name in self.images:
            entry: dict[str, Any] = {m: median_interval(v) for m, v in self.metrics.get(name, {}).items()}
            if name in self.nearest:
                entry["nearest_distance"] = median_interval(self.nearest[name].distances.numpy())
                entry["copies"] = float(self.nearest[name].copies.double().mean())
            result[name] = {**entry, "seconds": self.seconds[name]}
        return result

    def _metric(self, machine: str, metric: str, argument: str = "machine") -> np.ndarray:
        return self.metrics[check_choice(argument, machine, self.machines)][check_choice("metric", metric, METRICS)]


def _median(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(np.median(defined)) if len(defined) else np.nan


def median_interval(values: np.ndarray) -> dict[str, float | int | None]:
    """Median over the seeds that have a value and its 95 % percentile-bootstrap interval; see `summary`."""
    defined = values[~np.isnan(values)]
    low = high = None
    if len(defined) > 1:
        picks = np.random.default_rng(0).integers(len(defined), size=(RESAMPLES, len(defined)))
        low, high = (float(end) for end in np.quantile(np.median(defined[picks], axis=1), [0.025, 0.975]))
    return {"median": _number(_median(values)), "low": low, "high": high, "undefined": len(values) - len(defined)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
