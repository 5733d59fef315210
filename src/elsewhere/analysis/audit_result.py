"""What an audit measured, the thresholds of its verdicts, and the numbers derived from both."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elsewhere.analysis.neighbours import LEVEL, Aligned, Neighbours
from elsewhere.analysis.novelty import COPY
from elsewhere.analysis.provenance import Provenance
from elsewhere.checks import check_fields, check_whole
from elsewhere.data import ImageSet
from elsewhere.notices import warn_deprecated
from elsewhere.phrases import count

VERDICTS = ("copy", "near copy", "mosaic", "novel", "no copy")
"""From the most to the least serious. "no copy": neither copy nor near copy, and its pixels were not traced."""

YOON = 1 / 3
"""Yoon et al. (2023): ratio of the two smallest distances below which an image counts as memorised."""
CARLINI_COUNT, CARLINI_ALPHA = 50, 0.5
"""Carlini et al. (2023): how many neighbours the mean distance is over, and its factor."""
NEAR_RATIO = 0.5
"""A near copy lies less than this many times as far away as the next training image that is not a duplicate."""
RARE = 0.001
"""Share of training images whose nearest other training image is closer than the threshold of near copies."""
DUPLICATE = 4 * LEVEL
"""Two training images closer than this (rms, 4 gray levels) count as duplicates of each other."""
MOSAIC_SHARE = 0.95
"""Least share of locally consistent pixels of a mosaic."""


@dataclass(frozen=True)
class Measures:
    """Distances of B images to the training images. All are rms differences of images in [-1, 1].

    Attributes:
        nearest: the nearest training images without alignment, up to CARLINI_COUNT of them.
        aligned: the nearest training images when they may be shifted and mirrored.
        tiles: distance in the worst of 4 x 4 tiles, for the training image where it is smallest, float64 (B,).
        aligned_ratio: distance to the nearest aligned training image divided by the distance to the next one that is
            not a duplicate of it, float64 (B,). NaN if all candidates are duplicates.
    """

    nearest: Neighbours
    aligned: Aligned
    tiles: Tensor
    aligned_ratio: Tensor

    @property
    def yoon(self) -> Tensor:
        """Distance to the nearest training image divided by that to the second nearest, float64 (B,).

        Yoon et al. (2023) call an image memorised below 1/3. NaN if both distances are 0.
        """
        return ratio(self.nearest.distances[:, 0], self.nearest.distances[:, 1])

    @property
    def carlini(self) -> Tensor:
        """Distance to the nearest training image over half the mean distance to the 50 nearest, float64 (B,).

        Carlini et al. (2023): l2(x, nearest) / (alpha * mean of l2(x, y), y among the n nearest), alpha = 0.5, n = 50;
        below 1 an image counts as extracted. Smaller training sets have fewer neighbours to average over. NaN if all
        distances are 0.
        """
        return ratio(self.nearest.distances[:, 0], CARLINI_ALPHA * self.nearest.distances.mean(1))


@dataclass(frozen=True)
class AuditResult:
    """What an audit found: data only. `audit` returns an `Audit`, which can also be written to files.

    Attributes:
        training, generated: the images.
        measures: of the generated images.
        verdicts: one of VERDICTS for each generated image.
        null: the same measures of training images, each compared with all the others.
        near: rms distance below which a near copy must lie. RARE of the training images are that close to another one.
        traced: indices of the generated images whose pixels were traced, int64 (L,).
        provenance: the result of tracing them; None if L is 0.
        held_out: the result of tracing held-out training images in the same way; None if L is 0.
        settings: everything needed to repeat the audit.
    """

    training: ImageSet
    generated: ImageSet
    measures: Measures
    verdicts: tuple[str, ...]
    null: Measures
    near: float
    traced: Tensor
    provenance: Provenance | None
    held_out: Provenance | None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts().items() if count)
        return f"{type(self).__name__}({self.generated.name!r} against {self.training.name!r}: {counts})"

    def counts(self) -> dict[str, int]:
        """Verdict -> number of images with it."""
        return {verdict: self.verdicts.count(verdict) for verdict in VERDICTS}

    @property
    def headline(self) -> str:
        """How many copies were found, in one or a few sentences."""
        counts, images = self.counts(), count(len(self.verdicts), "generated image")
        kinds = [(counts["copy"], "copy", "copies"), (counts["near copy"], "near copy", "near copies")]
        words = [count(number, one, more) for number, one, more in kinds if number]
        if words:
            found = f"Among {images}: {' and '.join(words)} of training images."
        else:
            found = f"No copy of a training image was found among {images} under these criteria."
        return " ".join([found, *self.left_out])

    @property
    def left_out(self) -> list[str]:
        """One sentence for each of the two sets of which only the first images were read."""
        sets = {"training": self.training, "generated": self.generated}
        return [f"Of the {name} images {some.amount} were read." for name, some in sets.items() if some.is_part]

    @property
    def mosaic(self) -> float:
        """Least share of locally consistent pixels, 0 to 1, of an image that is called a mosaic."""
        return mosaic_threshold(self.held_out)

    @property
    def proven(self) -> Tensor:
        """Whether the verdict on copying is certain, bool (B,).

        The search ranks training images by lower bounds of their distances and measures only the best candidates. The
        verdict is certain for copies and near copies, and for others if all remaining bounds exceed the threshold.
        """
        limit = torch.clamp(NEAR_RATIO * self.measures.aligned.distances[:, 0], max=self.near).clamp(min=COPY)
        flagged = torch.tensor([verdict in VERDICTS[:2] for verdict in self.verdicts], dtype=torch.bool, device="cpu")
        return flagged | (self.measures.aligned.beyond >= limit)

    @property
    def settled(self) -> Tensor:
        """Deprecated: use `proven`."""
        warn_deprecated("Audit.settled", "Audit.proven")
        return self.proven

    def change(self, index: int) -> str:
        """How the nearest training image is moved to align it with a generated image, in words.

        Args:
            index: number of the generated image, 0 to B - 1.

        Raises:
            TypeError, ValueError: index is not the number of a generated image.
        """
        check_whole("index", index, 0, len(self.generated) - 1)
        aligned = self.measures.aligned
        return describe_change(aligned.shifts[index, 0].tolist(), bool(aligned.mirrored[index, 0]))

    def summary(self) -> dict[str, Any]:
        """The counts, the published criteria, and how many training images meet each criterion among themselves.

        An image for which a criterion is undefined, such as the ratio of two distances of 0, does not meet it.

        "pixels" has, for the generated and for the held-out training images that were traced, their number and the
        minimum, quartiles and maximum of "consistent" (share of locally consistent pixels) and "sources" (effective
        number of training images); None if no image was traced.
        """
        m, null = self.measures, self.null
        near = near_copies(m, self.near)
        criteria = {
            "rms below one gray level, shifts and mirroring allowed": (
                m.aligned.distances[:, 0] < COPY,
                null.aligned.distances[:, 0] < COPY,
            ),
            "copy or near copy": (near, near_copies(null, self.near)),
            "Yoon et al. (2023): nearest / second nearest < 1/3": (m.yoon < YOON, null.yoon < YOON),
            "Carlini et al. (2023): nearest / (0.5 x mean of 50 nearest) < 1": (m.carlini < 1, null.carlini < 1),
        }
        return {
            "verdicts": self.counts(),
            "criteria": {
                name: {
                    "generated": int(mine.sum()),
                    "of_generated": len(mine),
                    "training": int(theirs.sum()),
                    "of_training": len(theirs),
                }
                for name, (mine, theirs) in criteria.items()
            },
            "median_distance": {
                "generated": float(m.nearest.distances[:, 0].median()),
                "training": float(null.nearest.distances[:, 0].median()),
            },
            "pixels": {"generated": _quantiles(self.provenance), "training": _quantiles(self.held_out)},
            "proven": int(self.proven.sum()),
            "undefined": {
                "generated": int((m.yoon.isnan() | m.carlini.isnan()).sum()),
                "training": int((null.yoon.isnan() | null.carlini.isnan()).sum()),
            },
            "duplicates_among_training": int((null.aligned.distances[:, 0] < DUPLICATE).sum()),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row for each generated image; None for undefined ratios and for pixels that were not traced."""
        m, place = self.measures, {int(index): row for row, index in enumerate(self.traced)}
        proven = self.proven
        found = []
        for i, verdict in enumerate(self.verdicts):
            row = {
                "image": i,
                "verdict": verdict,
                "nearest": int(m.nearest.indices[i, 0]),
                "distance": float(m.nearest.distances[i, 0]),
                "second_distance": float(m.nearest.distances[i, 1]),
                "yoon": _defined(m.yoon[i]),
                "carlini": _defined(m.carlini[i]),
                "worst_tile": float(m.tiles[i]),
                "aligned_nearest": int(m.aligned.indices[i, 0]),
                "aligned_distance": float(m.aligned.distances[i, 0]),
                "aligned_ratio": _defined(m.aligned_ratio[i]),
                "down": int(m.aligned.shifts[i, 0, 0]),
                "right": int(m.aligned.shifts[i, 0, 1]),
                "mirrored": bool(m.aligned.mirrored[i, 0]),
                "proven": bool(proven[i]),
                "consistent": None,
                "sources": None,
                "entropy_of_images": None,
                "main_source": None,
                "main_credit": None,
            }
            if i in place and self.provenance is not None:
                p, at = self.provenance, place[i]
                row["consistent"], row["sources"] = float(p.consistent[at]), float(p.sources[at])
                # The number of sources is the exponential of the entropy of the credits.
                row["entropy_of_images"] = math.log(float(p.sources[at])) / math.log(len(self.training))
                row["main_source"], row["main_credit"] = int(p.images[at, 0]), float(p.credits[at, 0])
            found.append(row)
        return found

    def thresholds(self) -> dict[str, float]:
        """Name -> threshold, of all thresholds that verdicts and published criteria use."""
        return {
            "copy_distance": COPY,
            "near_distance": self.near,
            "near_ratio": NEAR_RATIO,
            "mosaic_share": self.mosaic,
            "yoon": YOON,
            "carlini": 1.0,
        }


def describe_change(shift: list[int], mirrored: bool) -> str:
    """A shift (down, right) and mirroring in words.

    Example:
        >>> describe_change([2, -1], True), describe_change([0, 0], False)
        ('mirrored, 2 down, 1 left', 'as it stands')
    """
    down, right = shift
    words = ["mirrored"] if mirrored else []
    if down:
        words.append(f"{abs(down)} {'down' if down > 0 else 'up'}")
    if right:
        words.append(f"{abs(right)} {'right' if right > 0 else 'left'}")
    return ", ".join(words) or "as it stands"


def near_copies(measures: Measures, near: float) -> Tensor:
    """Which images are copies or near copies, bool (B,), for the threshold `near` of near copies."""
    distances = measures.aligned.distances[:, 0]
    # If all candidates are duplicates of the nearest one, there is no other image to compare the distance with.
    return (distances < COPY) | ((distances < near) & ~(measures.aligned_ratio >= NEAR_RATIO))


def near_threshold(null: Measures) -> float:
    """The distance below which RARE of the training images without a duplicate have their nearest neighbour; or 0."""
    distances = null.aligned.distances[:, 0]
    distances = distances[distances >= DUPLICATE]
    return float(distances.quantile(RARE, interpolation="lower")) if len(distances) else 0.0


def mosaic_threshold(held_out: Provenance | None) -> float:
    """MOSAIC_SHARE, or the largest share of consistent pixels of a held-out training image if that is higher."""
    return MOSAIC_SHARE if held_out is None else max(MOSAIC_SHARE, float(held_out.consistent.max()))


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and NaN where b is 0: two training images at distance 0 are duplicates and say nothing."""
    return (a / b).where(b > 0, torch.nan)


def _quantiles(found: Provenance | None) -> dict[str, Any] | None:
    """The number of traced images, and minimum, quartiles and maximum of their measures."""
    if found is None:
        return None
    names = ("lowest", "lower_quartile", "median", "upper_quartile", "highest")
    parts = torch.linspace(0, 1, len(names), dtype=torch.float64, device="cpu")
    return {
        "traced": len(found.sources),
        "consistent": dict(zip(names, found.consistent.quantile(parts).tolist(), strict=True)),
        "sources": dict(zip(names, found.sources.quantile(parts).tolist(), strict=True)),
    }


def _defined(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def most_serious(found: AuditResult) -> list[int]:
    """Indices by verdict, the most serious first, then by distance."""
    distances = found.measures.aligned.distances[:, 0].tolist()
    return sorted(range(len(distances)), key=lambda i: (VERDICTS.index(found.verdicts[i]), distances[i], i))
