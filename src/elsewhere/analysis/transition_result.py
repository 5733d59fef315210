"""The memorisation transition: the share of copies against the number of training images. Data and derived numbers."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from elsewhere.analysis.audit_result import VERDICTS, YOON
from elsewhere.checks import check_fields, checked
from elsewhere.files import entries, entry, json_object, json_text
from elsewhere.page.wire import pack

FORMAT = "elsewhere.transition/1"
COPIES = VERDICTS[:2]
"""Verdicts that count as copies: those of an audit."""
NORMAL = 1.959964
"""Standard deviations of a normal distribution that hold 95 %."""


@dataclass(frozen=True)
class TransitionPoint:
    """What one denoiser drew from so many training images.

    Attributes:
        name: the denoiser, as in reports.
        count: number of training images.
        verdicts: of each image that was drawn: see `audit`.
        distances: rms difference of each to its nearest training image, pixels being in [-1, 1].
        ratios: that distance over the one to the second nearest; None where it is undefined.
        near: the distance below which an image may be a near copy: see `audit`.
        seconds: how long drawing took.
        picture: the image drawn from the first seed, uint8 (C, H, W), packed; None where it was not kept.
    """

    name: str
    count: int
    verdicts: tuple[str, ...]
    distances: tuple[float, ...]
    ratios: tuple[float | None, ...]
    near: float
    seconds: float
    picture: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.verdicts or not len(self.verdicts) == len(self.distances) == len(self.ratios):
            raise ValueError(
                "verdicts, distances and ratios must have one entry for each image, got "
                f"{len(self.verdicts)}, {len(self.distances)} and {len(self.ratios)}"
            )

    @property
    def copies(self) -> int:
        """Number of copies and near copies."""
        return sum(verdict in COPIES for verdict in self.verdicts)

    @property
    def share(self) -> float:
        """Share of copies and near copies among the images, 0 to 1."""
        return self.copies / len(self.verdicts)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval of `share` (Wilson 1927)."""
        return wilson(self.copies, len(self.verdicts))

    @property
    def yoon(self) -> float:
        """Share of images by the criterion of Yoon et al. (2023): nearest / second nearest < 1/3."""
        return sum(ratio is not None and ratio < YOON for ratio in self.ratios) / len(self.ratios)

    def image(self) -> np.ndarray | None:
        """The image drawn from the first seed, uint8 (C, H, W)."""
        if self.picture is None:
            return None
        found = np.frombuffer(base64.b64decode(self.picture["data"]), np.uint8)
        return found.reshape(self.picture["shape"])


@dataclass(frozen=True)
class TransitionResult:
    """Shares of copies of several denoisers, each made from several numbers of training images: data only.
    `transition` returns a `Transition`, which can also be saved.

    Attributes:
        points: of every denoiser, by the number of training images.
        settings: everything needed to repeat it.
    """

    points: tuple[TransitionPoint, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.points:
            raise ValueError("points is empty: give one or more")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.headline})"

    @property
    def names(self) -> tuple[str, ...]:
        """The denoisers, in the order of the points."""
        return tuple(dict.fromkeys(point.name for point in self.points))

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of training images, rising."""
        return tuple(sorted({point.count for point in self.points}))

    @checked
    def of(self, name: str) -> tuple[TransitionPoint, ...]:
        """The points of one denoiser, by the number of training images.

        Raises:
            ValueError: no such denoiser.
        """
        found = [point for point in self.points if point.name == name]
        if not found:
            raise ValueError(f"name must be one of {', '.join(self.names)}, got {name!r}")
        return tuple(sorted(found, key=lambda point: point.count))

    @checked
    def half(self, name: str) -> float | None:
        """The number of training images at which the share of copies falls through 1/2; None where it does not.

        Between two counts the share is taken as linear in the logarithm of the count; of several crossings, the last.

        Raises:
            ValueError: no such denoiser.
        """
        found = self.of(name)
        for one, other in reversed(list(pairwise(found))):
            if one.share >= 0.5 > other.share:
                part = (one.share - 0.5) / (one.share - other.share)
                return math.exp(math.log(one.count) + part * math.log(other.count / one.count))
        return None

    @property
    def headline(self) -> str:
        """One clause for each denoiser: where its share of copies falls through 1/2."""
        said = []
        for name in self.names:
            found, half = self.of(name), self.half(name)
            first, last = found[0], found[-1]
            ends = f"{first.share:.0%} copies or near copies from {first.count} images"
            ends += f", {last.share:.0%} from {last.count}" if last is not first else ""
            said.append(f"{name}: {ends}" + ("" if half is None else f", half near {half:,.0f}"))
        return "; ".join(said)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of a printable table."""
        header: tuple[str, ...] = (
            "denoiser",
            "training images",
            "copies and near copies",
            "95 % interval",
            "Yoon et al.",
            "median distance",
        )
        rows: list[tuple[str, ...]] = []
        for name in self.names:
            for point in self.of(name):
                low, high = point.interval
                rows.append(
                    (
                        name,
                        str(point.count),
                        f"{point.copies} of {len(point.verdicts)}",
                        f"{low:.1%} to {high:.1%}",
                        f"{point.yoon:.1%}",
                        f"{float(np.median(point.distances)):.3f}",
                    )
                )
        return header, rows

    def rows(self) -> list[dict[str, Any]]:
        """One row for each denoiser and number of training images."""
        return [
            {
                "name": point.name,
                "count": point.count,
                "images": len(point.verdicts),
                **{verdict.replace(" ", "_"): point.verdicts.count(verdict) for verdict in COPIES},
                "share": point.share,
                "low": point.interval[0],
                "high": point.interval[1],
                "yoon": point.yoon,
                "median_distance": float(np.median(point.distances)),
                "near": point.near,
                "seconds": point.seconds,
            }
            for name in self.names
            for point in self.of(name)
        ]

    def to_json(self) -> str:
        """Everything, as JSON text, which `Transition.load` reads."""
        content = {
            "format": FORMAT,
            "headline": self.headline,
            "settings": self.settings,
            "rows": self.rows(),
            "points": [asdict(point) for point in self.points],
        }
        return json_text(content)


def read_transition(text: str | bytes) -> tuple[tuple[TransitionPoint, ...], dict[str, Any]]:
    """Points and settings from JSON text.

    Raises:
        TypeError, ValueError: not such a text.
    """
    content = json_object(text, FORMAT)
    settings = entry(content, "settings")
    if not isinstance(settings, dict):
        raise TypeError('"settings" is no object')
    return tuple(read_point(point) for point in entries(content, "points")), settings


def read_point(content: Any) -> TransitionPoint:
    """A point from its JSON object.

    Raises:
        TypeError, ValueError: not such an object.
    """
    names = TransitionPoint.__dataclass_fields__
    if not isinstance(content, dict) or set(content) != set(names):
        raise ValueError(f"a point must have the entries {', '.join(names)}")
    lists = {name: tuple(content[name]) for name in ("verdicts", "distances", "ratios")}
    return TransitionPoint(**{**content, **lists})


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a rate.

    Example:
        >>> [round(end, 3) for end in wilson(1, 4)]
        [0.046, 0.699]
    """
    share, z = hits / total, NORMAL
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def packed(image: np.ndarray) -> dict[str, Any]:
    """A uint8 image as a point keeps it."""
    return pack(image, "uint8")


def default_counts(most: int, names: Sequence[int] = (10, 30, 100, 300, 1000, 3000)) -> tuple[int, ...]:
    """Three numbers a decade, up to `most` itself.

    Example:
        >>> default_counts(400)
        (10, 30, 100, 300, 400)
    """
    return (*(count for count in names if count < most), most)
