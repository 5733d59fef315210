"""The result of a measurement: counted limbs, rates, agreement with the network, and tests of the claim."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.analysis.checks import describe
from elsewhere.analysis.finals import QUESTION
from elsewhere.anomalies.points import NETWORK, Point
from elsewhere.anomalies.statistics import Agreement, Rate, agreement, more_often, rate
from elsewhere.anomalies.subjects import Subject
from elsewhere.checks import check_choice, check_fields
from elsewhere.files import json_text
from elsewhere.machines.table import WINDOWED_REPORTS
from elsewhere.phrases import count, decimal

FORMAT = "elsewhere.anomalies/2"
"""Version 1 called "recall" and "precision" of the agreement "foretold" and "correct"."""
SIGNIFICANT = 0.05
"""Level of the tests of the claim."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Anomalies:
    """The counted limbs of all points, and the statistics derived from them.

    Attributes:
        subject: the kind of limbs.
        points: the denoisers, in order.
        counts: name of a point -> number of limbs in each image, in the order of the seeds, int64 (count,).
        training: number of limbs counted in training images, which shows the errors of the counting itself.
        settings: everything needed to repeat the measurement.
        outside: name of a point -> number of its images that are far outside [-1, 1]; see `analysis.finals`.
        notes: warnings about the network's training images.
    """

    subject: Subject
    points: tuple[Point, ...]
    counts: dict[str, Integers]
    training: Integers
    settings: dict[str, Any]
    outside: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences that a reader needs before the numbers; empty if there is nothing to warn of."""
        far = self.outside.get(NETWORK, 0)
        if not far:
            return self.notes
        which = f"{far} of the network's {count(len(self.counts[NETWORK]), 'image')} {'is' if far == 1 else 'are'}"
        return f"{which} far outside -1..1: {QUESTION} Their counts are meaningless.", *self.notes

    def __post_init__(self) -> None:
        check_fields(self)

    def wrong(self, name: str) -> NDArray[np.bool_]:
        """Which images of a point have a wrong number of limbs, bool (count,).

        Args:
            name: name of a point that has been counted.

        Raises:
            TypeError, ValueError: no such point has been counted.
        """
        check_choice("name", name, self.counts)
        return np.asarray(self.counts[name] != self.subject.normal)

    def agreements(self) -> dict[str, Agreement]:
        """Point -> agreement of its mistakes with those of the network; empty without a network."""
        if NETWORK not in self.counts:
            return {}
        theirs = self.wrong(NETWORK)
        result = {}
        for name in (point.name for point in self.points):
            if name != NETWORK and name in self.counts:
                ours = self.wrong(name)
                shared = min(len(ours), len(theirs))
                result[name] = agreement(ours[:shared], theirs[:shared])
        return result

    def verdicts(self) -> list[dict[str, Any]]:
        """Tests of the claim "small windows at low noise cause extra limbs", on the seeds that two points share.

        For each machine and each noise level at which the window shrinks, the smallest late window is tested against
        the largest; for each machine and late window, the earliest shrinking against the latest. The test is McNemar's
        exact one, two-sided. "confirmed": more images with extra limbs, p below 0.05; "refuted": fewer, p below 0.05;
        otherwise "undecided". There is no correction for multiple tests.
        """
        found = []
        for machine in WINDOWED_REPORTS:
            mine = [point for point in self.points if point.machine == machine and point.shrink is not None]
            for shrink in sorted({point.shrink for point in mine if point.shrink is not None}, reverse=True):
                alike = sorted((p for p in mine if p.shrink == shrink), key=lambda p: p.late or 0)
                found += self._test(alike[0], alike[-1], "smaller late window", shrink)
            for late in sorted({point.late for point in mine if point.late is not None}):
                alike = sorted((p for p in mine if p.late == late), key=lambda p: -(p.shrink or 0))
                found += self._test(alike[0], alike[-1], "earlier shrinking", late)
        return found

    def _test(self, first: Point, second: Point, what: str, fixed: float) -> list[dict[str, Any]]:
        if first.name == second.name or not {first.name, second.name} <= set(self.counts):
            return []
        shared = min(len(self.counts[point.name]) for point in (first, second))
        ours, theirs = (self.counts[point.name][:shared] > self.subject.normal for point in (first, second))
        more, fewer = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        p = more_often(more, fewer)
        verdict = "undecided" if p >= SIGNIFICANT else "confirmed" if more > fewer else "refuted"
        return [
            {
                "question": what,
                "machine": first.machine,
                "at": _number(fixed),
                "points": [first.name, second.name],
                "seeds": shared,
                "rates": [float(ours.mean()), float(theirs.mean())],
                "only_first": more,
                "only_second": fewer,
                "p": p,
                "verdict": verdict,
            }
        ]

    def table(self) -> list[dict[str, Any]]:
        """One row for each counted point: rates of wrong, extra and missing limbs with intervals, and all counts."""
        rows = []
        for point in self.points:
            if point.name not in self.counts:
                continue
            counts = self.counts[point.name]
            normal = self.subject.normal
            shares = {"wrong": counts != normal, "extra": counts > normal, "missing": counts < normal}
            rows.append(
                {
                    "name": point.name,
                    "machine": point.machine,
                    "late_window": point.late,
                    "shrink": _number(point.shrink),
                    "denoiser": describe(point.denoiser),
                    **{name: vars(rate(hits)) for name, hits in shares.items()},
                    "counts": counts.tolist(),
                }
            )
        return rows

    def tables(self) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
        """Header and rows of printable tables: rates, agreement with the network if there is one, and verdicts."""
        limbs = self.subject.limb
        rows: list[tuple[str, ...]] = [
            (self._training_title(), str(len(self.training)), str(rate(self.training != self.subject.normal)), "", "")
        ]
        for row in self.table():
            shares = [Rate(**row[kind]) for kind in ("wrong", "extra", "missing")]
            rows.append((row["name"], str(shares[0].total), str(shares[0]), *(f"{s.share:.1%}" for s in shares[1:])))
        tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [
            (("", "images", f"wrong number of {limbs} (95 %)", "extra", "missing"), rows)
        ]
        together: list[tuple[str, ...]] = [
            (
                name,
                *(str(n) for n in (a.both, a.only_machine, a.only_network, a.neither)),
                decimal(a.kappa, ".2f"),
                _p(a.fisher),
            )
            for name, a in self.agreements().items()
        ]
        if together:
            header = ("wrong on the same seeds", "both", "only this", "only network", "neither", "kappa", "p (Fisher)")
            tables.append((header, together))
        verdicts: list[tuple[str, ...]] = [
            (
                v["machine"],
                f"{v['question']}, at {v['at']}",
                f"{v['rates'][0]:.1%} and {v['rates'][1]:.1%}",
                _p(v["p"]),
                v["verdict"],
            )
            for v in self.verdicts()
        ]
        if verdicts:
            tables.append((("", f"more extra {limbs} with", "rates", "p (McNemar)", "claim"), verdicts))
        return tables

    def _training_title(self) -> str:
        """Title of the row of training images; of a large set only the first ones are counted."""
        counted, total = len(self.training), self.settings.get("training_images") or 0
        return "training images" if counted >= total else f"training images, first {counted} of {total}"

    def to_json(self) -> str:
        """Everything except the images, as JSON text."""
        content = {
            "format": FORMAT,
            "settings": self.settings,
            "warnings": self.warnings,
            "training_images_counted_wrong": vars(rate(self.training != self.subject.normal)),
            "table": self.table(),
            "agreement_with_network": {name: found.to_dict() for name, found in self.agreements().items()},
            "verdicts": self.verdicts(),
        }
        return json_text(content)


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _number(value: float | None) -> float | str | None:
    """A value for JSON, which has no infinity."""
    return "always" if value == float("inf") else value
