"""Audit: which images of any set are copies of training images, and what is known of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.neighbours import (
    LEVEL,
    Aligned,
    Neighbours,
    nearest,
    nearest_aligned,
    place_each,
    tile_distances,
)
from elsewhere.analysis.novelty import COPY
from elsewhere.analysis.provenance import Provenance, provenance
from elsewhere.checks import check_fields, check_memory, check_seed, check_whole, checked
from elsewhere.data import ImageSet
from elsewhere.data.images import to_uint8
from elsewhere.denoiser import check_images
from elsewhere.files import csv_text, json_text, write_text
from elsewhere.machines.locality import check_window
from elsewhere.notices import warn
from elsewhere.phrases import count
from elsewhere.pictures import save_bytes

FORMAT = "elsewhere.audit/1"
VERDICTS = ("copy", "near copy", "mosaic", "novel", "no copy")
"""In order of gravity. "no copy" is said of images that are no copies and whose pixels were not traced."""

YOON = 1 / 3
CARLINI_COUNT, CARLINI_ALPHA = 50, 0.5
CANDIDATES = 16
SHIFT = 3
NEAR_RATIO = 0.5
RARE = 0.001
DUPLICATE = 4 * LEVEL
MOSAIC = 0.95
HELD_OUT = 16
"""Training images taken out to see how much of an image is locally consistent by chance."""


@dataclass(frozen=True)
class Measures:
    """How near each of B images is to the training images. All distances are rms, of images in [-1, 1].

    Attributes:
        nearest: the nearest training images as they stand, up to CARLINI_COUNT.
        aligned: the nearest ones when they may be shifted and mirrored, up to CANDIDATES.
        tiles: distance of the worst of 4 x 4 tiles, to the training image where that is least, float64 (B,).
        aligned_ratio: distance of the nearest aligned training image as a part of that of the next one which is not
            a duplicate of it, float64 (B,). NaN where all candidates are duplicates.
    """

    nearest: Neighbours
    aligned: Aligned
    tiles: Tensor
    aligned_ratio: Tensor

    @property
    def yoon(self) -> Tensor:
        """Distance to the nearest training image as a part of that to the second nearest, float64 (B,).

        Yoon et al. (2023) call an image memorised below 1/3. NaN where both distances are 0.
        """
        return _ratio(self.nearest.distances[:, 0], self.nearest.distances[:, 1])

    @property
    def carlini(self) -> Tensor:
        """Distance to the nearest training image over half the mean distance to the 50 nearest, float64 (B,).

        Carlini et al. (2023): l2(x, nearest) / (alpha * mean of l2(x, y), y among the n nearest), alpha = 0.5, n = 50;
        below 1 an image counts as extracted. Sets of fewer images have fewer neighbours to average over. NaN where all
        distances are 0.
        """
        return _ratio(self.nearest.distances[:, 0], CARLINI_ALPHA * self.nearest.distances.mean(1))


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        training, generated: the images.
        measures: of the generated images.
        verdicts: one of VERDICTS for each.
        null: the same measures of training images against all the others.
        near: rms distance below which a near copy must lie: RARE of the training images are as near to another.
        traced: the generated images whose pixels were traced, int64 (L,).
        provenance: what was found for those; None where L is 0.
        held_out: the same of training images that were taken out, None where L is 0.
        settings: what is needed to run this again.
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
        return f"Audit({self.generated.name!r} against {self.training.name!r}: {counts})"

    def counts(self) -> dict[str, int]:
        """How many images each verdict was given to."""
        return {verdict: self.verdicts.count(verdict) for verdict in VERDICTS}

    @property
    def headline(self) -> str:
        """What was found, in words, and no more than that."""
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
        """A sentence for each of the two sets of which only the first images were read."""
        sets = {"training": self.training, "generated": self.generated}
        return [f"Of the {name} images {some.amount} were read." for name, some in sets.items() if some.is_part]

    @property
    def mosaic(self) -> float:
        """Share of consistent pixels from which an image that is no copy is called a mosaic."""
        return _mosaic_share(self.held_out)

    @property
    def settled(self) -> Tensor:
        """Whether no training image that the search has passed over could change "no copy" to a copy, bool (B,)."""
        limit = torch.clamp(NEAR_RATIO * self.measures.aligned.distances[:, 0], max=self.near).clamp(min=COPY)
        flagged = torch.tensor([verdict in VERDICTS[:2] for verdict in self.verdicts], dtype=torch.bool, device="cpu")
        return flagged | (self.measures.aligned.beyond >= limit)

    def change(self, index: int) -> str:
        """How the nearest training image has to be changed to lie on a generated image, in words.

        Raises:
            TypeError, ValueError: index is not the number of a generated image.
        """
        check_whole("index", index, 0, len(self.generated) - 1)
        aligned = self.measures.aligned
        return describe_change(aligned.shifts[index, 0].tolist(), bool(aligned.mirrored[index, 0]))

    def summary(self) -> dict[str, Any]:
        """The counts, the published criteria, and how often training images among themselves meet each criterion.

        An image on which a criterion is undefined, such as the ratio of two distances of 0, does not meet it.

        "pixels" says how many images were traced, and of the numbers of these and of the training images taken out the
        lowest, the quartiles and the highest: "consistent", the share of locally consistent pixels, and "sources", the
        effective number of training images. None where no image was traced.
        """
        m, null = self.measures, self.null
        near = _near_copies(m, self.near)
        criteria = {
            "rms below one gray level, shifts and mirroring allowed": (
                m.aligned.distances[:, 0] < COPY,
                null.aligned.distances[:, 0] < COPY,
            ),
            "copy or near copy": (near, _near_copies(null, self.near)),
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
            "pixels": {"generated": _spread(self.provenance), "training": _spread(self.held_out)},
            "settled": int(self.settled.sum()),
            "undefined": {
                "generated": int((m.yoon.isnan() | m.carlini.isnan()).sum()),
                "training": int((null.yoon.isnan() | null.carlini.isnan()).sum()),
            },
            "duplicates_among_training": int((null.aligned.distances[:, 0] < DUPLICATE).sum()),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Every number of every image; None for a ratio that is undefined and for pixels that were not traced."""
        m, place = self.measures, {int(index): row for row, index in enumerate(self.traced)}
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
                "settled": bool(self.settled[i]),
                "consistent": None,
                "sources": None,
                "main_source": None,
                "main_credit": None,
            }
            if i in place and self.provenance is not None:
                p, at = self.provenance, place[i]
                row["consistent"], row["sources"] = float(p.consistent[at]), float(p.sources[at])
                row["main_source"], row["main_credit"] = int(p.images[at, 0]), float(p.credits[at, 0])
            found.append(row)
        return found

    def thresholds(self) -> dict[str, float]:
        """The numbers that the verdicts turn on."""
        return {
            "copy_distance": COPY,
            "near_distance": self.near,
            "near_ratio": NEAR_RATIO,
            "mosaic_share": self.mosaic,
            "yoon": YOON,
            "carlini": 1.0,
        }

    def to_json(self) -> str:
        """Settings, thresholds, summary and every image, as JSON text."""
        null = self.null
        content = {
            "format": FORMAT,
            "headline": self.headline,
            "settings": self.settings,
            "thresholds": self.thresholds(),
            "summary": self.summary(),
            "null": {
                "distance": null.nearest.distances[:, 0].tolist(),
                "aligned_distance": null.aligned.distances[:, 0].tolist(),
                "aligned_ratio": null.aligned_ratio.tolist(),
                "yoon": null.yoon.tolist(),
                "carlini": null.carlini.tolist(),
                "worst_tile": null.tiles.tolist(),
                "consistent": None if self.held_out is None else self.held_out.consistent.tolist(),
                "sources": None if self.held_out is None else self.held_out.sources.tolist(),
            },
            "images": self.rows(),
        }
        return json_text(content)

    def to_csv(self) -> str:
        """One line an image."""
        return csv_text(self.rows())

    @checked
    def save(self, folder: str | Path) -> None:
        """Write report.html, results.json, results.csv, pairs.png and distances.png.

        Each file is written whole or not at all, and none before all are ready.

        Raises:
            OSError: the folder cannot be made or written; the message names it.
        """
        # Here, not above: the report describes audits, and needs this module.
        from elsewhere.analysis.audit_report import distances_png, pairs_png, render_audit

        report, pairs, distances = render_audit(self), pairs_png(self), distances_png(self)
        numbers, lines = self.to_json(), self.to_csv()
        folder = Path(folder)
        try:
            write_text(folder / "results.json", numbers + "\n")
            write_text(folder / "results.csv", lines)
            save_bytes(folder / "pairs.png", pairs)
            save_bytes(folder / "distances.png", distances)
            write_text(folder / "report.html", report)
        except OSError as error:
            raise OSError(f"cannot write the audit to {folder}: {error.strerror}; choose another folder") from error


@checked
def audit(
    training: ImageSet,
    generated: ImageSet | Tensor | np.ndarray,
    *,
    shift: int | None = None,
    window: int = 3,
    pixels: int = 32,
    by_class: bool = False,
    null: int = 1000,
    seed: int = 0,
    memory: int = 2**30,
    about: Mapping[str, str] | None = None,
    progress: bool = False,
) -> Audit:
    """Look for copies of training images among any images, and say what the others are made of.

    Verdicts, the first that holds:

    - copy: the nearest training image differs by less than one gray level (rms);
    - near copy: so it does after a shift of up to `shift` pixels or mirroring left to right; or, so aligned, it is
      nearer than all but one in a thousand training images are to any other, and less than half as far as the next
      training image that is not a duplicate of it (copies with noise, small changes);
    - mosaic: at least 95 % of the pixels are the centre of a training window nearest to their own, and no training
      image that was taken out of the set has as many;
    - novel: none of this;
    - no copy: neither copy nor near copy; its pixels were not traced.

    Beside them stand two published criteria, of Yoon et al. (2023), *Diffusion probabilistic models generalize when
    they fail to memorize*, and of Carlini et al. (2023), *Extracting training data from diffusion models*, arXiv
    2301.13188, and how often training images among themselves meet each criterion. The first of them misses a copy of
    an image that the training set has twice.

    Args:
        training: the training images, three or more.
        generated: an ImageSet, or floats (B, C, H, W) in about [-1, 1], which are clipped and rounded to 8 bits.
        shift: largest shift in pixels, 0 or more, less than half a side; SHIFT, or as much as small images allow, when
            None.
        window: odd side of the windows that pixels are traced by.
        pixels: images to trace pixel by pixel, which takes longest: a random choice of those that are no copies. 0 for
            none.
        by_class: trace pixels among training images of the image's own class only, as of images drawn for a class;
            both sets must have labels.
        null: training images to hold against the others, a random choice.
        seed: of both choices.
        memory: bytes to work in beside the images, 64 MiB or more.
        about: further settings to put on record.
        progress: show a bar with the time left.

    Returns:
        An Audit; `audit.save(folder)` writes a report.

    Raises:
        TypeError: images or numbers of the wrong kind.
        ValueError: sets of different sizes or colours, fewer than three training images, a number out of range, classes
            asked for that are not there.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=60)
        >>> found = els.audit(data, data.scaled()[:2], pixels=0)
        >>> found.verdicts
        ('copy', 'copy')
    """
    images = _image_set(generated)
    _check(training, images)
    if not isinstance(generated, ImageSet):
        _check_range(training, images)
    side = min(images.shape[1:])
    shift = min(SHIFT, (side - 1) // 2) if shift is None else check_whole("shift", shift, 0)
    pixels, null = check_whole("pixels", pixels, 0), check_whole("null", null, 1)
    seed, memory, window = check_seed(seed), check_memory(memory), check_window(window)
    if 2 * shift >= side:
        raise ValueError(
            f"shift must be less than half of {count(side, 'pixel')}, the shorter side of the images, got {shift}"
        )
    if by_class:
        _check_classes(training, images)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(training), generator=generator, device="cpu")[:null].sort().values
    mine = _measure(images.images, training.images, shift, memory, None, progress)
    theirs = _measure(training.images[chosen], training.images, shift, memory, chosen, progress)
    near = _near_distance(theirs)
    free = (~_near_copies(mine, near)).nonzero().flatten()
    traced = free[torch.randperm(len(free), generator=generator, device="cpu")[:pixels]].sort().values
    found, held_out = None, None
    if len(traced):
        trace = partial(_trace, training=training, window=window, by_class=by_class, memory=memory, progress=progress)
        found = trace(images, traced, among=torch.arange(len(training), device="cpu"))
        out, rest = _hold_out(training, by_class, generator)
        held_out = trace(training, out, among=rest) if len(out) else None
    return Audit(
        training=training,
        generated=images,
        measures=mine,
        verdicts=_verdicts(mine, near, traced, found, _mosaic_share(held_out)),
        null=theirs,
        near=near,
        traced=traced,
        provenance=found,
        held_out=held_out,
        settings={
            "training": _describe(training),
            "generated": {**_describe(images), "clipped": _clipped(generated)},
            "shift": shift,
            "window": window,
            "pixels": pixels,
            "by_class": by_class,
            "null": len(chosen),
            "seed": seed,
            "memory": memory,
            "version": __version__,
            "torch": torch.__version__,
            "about": dict(about or {}),
        },
    )


def describe_change(shift: list[int], mirrored: bool) -> str:
    """A placing in words, such as "mirrored, 2 down, 1 left"; "as it stands" where there is none."""
    down, right = shift
    words = ["mirrored"] if mirrored else []
    if down:
        words.append(f"{abs(down)} {'down' if down > 0 else 'up'}")
    if right:
        words.append(f"{abs(right)} {'right' if right > 0 else 'left'}")
    return ", ".join(words) or "as it stands"


def _measure(
    images: Tensor, training: Tensor, shift: int, memory: int, exclude: Tensor | None, progress: bool
) -> Measures:
    plain = nearest(images, training, CARLINI_COUNT, memory=memory, exclude=exclude, progress=progress)
    tiles = tile_distances(images, training, plain.indices, memory=memory)
    aligned = nearest_aligned(
        images, training, CANDIDATES, reach=shift, memory=memory, exclude=exclude, progress=progress
    )
    return Measures(plain, aligned, tiles, _distinct_ratio(aligned, training, memory))


def _verdicts(
    measures: Measures, near: float, traced: Tensor, found: Provenance | None, mosaic: float
) -> tuple[str, ...]:
    same, close = measures.nearest.distances[:, 0] < COPY, _near_copies(measures, near)
    verdicts = ["copy" if a else "near copy" if b else "no copy" for a, b in zip(same, close, strict=True)]
    if found is not None:
        for index, share in zip(traced.tolist(), found.consistent.tolist(), strict=True):
            verdicts[index] = "mosaic" if share >= mosaic else "novel"
    return tuple(verdicts)


def _spread(found: Provenance | None) -> dict[str, Any] | None:
    """How many images were traced, and between which numbers they lie."""
    if found is None:
        return None
    names = ("lowest", "lower_quartile", "median", "upper_quartile", "highest")
    parts = torch.linspace(0, 1, len(names), dtype=torch.float64, device="cpu")
    return {
        "traced": len(found.sources),
        "consistent": dict(zip(names, found.consistent.quantile(parts).tolist(), strict=True)),
        "sources": dict(zip(names, found.sources.quantile(parts).tolist(), strict=True)),
    }


def _mosaic_share(held_out: Provenance | None) -> float:
    return MOSAIC if held_out is None else max(MOSAIC, float(held_out.consistent.max()))


def _hold_out(training: ImageSet, by_class: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some training images, and the others; by class only such images that others of their class are left of."""
    order = torch.randperm(len(training), generator=generator, device="cpu")
    out, rest = order.tensor_split([min(HELD_OUT, len(training) // 2)])
    if by_class:
        out = out[torch.isin(_labels(training)[out], _labels(training)[rest])]
    return out, rest.sort().values


def _trace(
    images: ImageSet,
    which: Tensor,
    training: ImageSet,
    among: Tensor,
    window: int,
    by_class: bool,
    memory: int,
    progress: bool,
) -> Provenance:
    """Provenance of some images among some of the training images, class by class where asked for."""
    parts, places = [], []
    for label in torch.unique(_labels(images)[which]).tolist() if by_class else [None]:
        mine = (
            torch.ones(len(which), dtype=torch.bool, device="cpu") if label is None else _labels(images)[which] == label
        )
        theirs = among if label is None else among[_labels(training)[among] == label]
        found = provenance(
            images.images[which[mine]], training.images[theirs], window, memory=memory, progress=progress
        )
        parts.append(replace(found, images=theirs[found.images]))
        places.append(mine.nonzero().flatten())
    order = torch.cat(places).argsort()
    values = [torch.cat([getattr(part, f.name) for part in parts])[order] for f in fields(Provenance)]
    return Provenance(*values)


def _labels(data: ImageSet) -> Tensor:
    assert data.labels is not None
    return data.labels


def _check_classes(training: ImageSet, generated: ImageSet) -> None:
    for data in (training, generated):
        if data.labels is None:
            raise ValueError(f"by_class was asked for but {data.name} has no labels: leave it out")
    unknown = set(_labels(generated).tolist()) - set(_labels(training).tolist())
    if unknown:
        raise ValueError(f"{generated.name} has images of class {min(unknown)}, {training.name} has none")


def _distinct_ratio(aligned: Aligned, training: Tensor, memory: int) -> Tensor:
    """Distance of the first candidate as a part of that of the next one which is no duplicate of it."""
    rows = max(1, memory // (64 * aligned.indices.shape[1] * training[0].numel()))
    ratios = []
    for part in torch.split(torch.arange(len(aligned.indices), device="cpu"), rows):
        index = aligned.indices[part]
        shifts, mirrored = aligned.shifts[part].flatten(0, 1), aligned.mirrored[part].flatten()
        placed, inside = place_each(training[index].flatten(0, 1), shifts, mirrored)
        placed = placed.view(*index.shape, *placed.shape[1:]).float()
        both = inside.view(*index.shape, 1, *inside.shape[1:])
        both = both & both[:, :1]
        apart = ((placed - placed[:, :1]) * both).square().sum((2, 3, 4))
        area = (both.sum((2, 3, 4)) * training.shape[1]).clamp(min=1)
        other = (apart / area).sqrt() * LEVEL >= DUPLICATE
        next_ = other.int().argmax(1, keepdim=True)
        distances = aligned.distances[part]
        ratio = _ratio(distances[:, 0], distances.gather(1, next_).squeeze(1))
        ratios.append(ratio.where(other.any(1), torch.nan))
    return torch.cat(ratios)


def _near_distance(null: Measures) -> float:
    """The aligned distance that RARE of the training images without a duplicate have to their nearest other one."""
    distances = null.aligned.distances[:, 0]
    distances = distances[distances >= DUPLICATE]
    return float(distances.quantile(RARE, interpolation="lower")) if len(distances) else 0.0


def _near_copies(measures: Measures, near: float) -> Tensor:
    """Which images are copies or near copies, bool (B,)."""
    distances = measures.aligned.distances[:, 0]
    # Where all candidates are duplicates of the nearest one, no other image says that such a distance is usual.
    return (distances < COPY) | ((distances < near) & ~(measures.aligned_ratio >= NEAR_RATIO))


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b; NaN for 0 / 0: two training images that are equally near are no evidence for either."""
    return (a / b).where(b > 0, torch.nan)


def _defined(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _image_set(images: object) -> ImageSet:
    if isinstance(images, ImageSet):
        return images
    floats = check_images(images, "generated").detach().cpu()
    if floats.shape[1] not in (1, 3):
        raise ValueError(f"generated must have 1 or 3 channels, got {floats.shape[1]}")
    if float(floats.abs().max()) > 2:
        low, high = float(floats.min()), float(floats.max())
        raise ValueError(f"generated must lie in about [-1, 1], got {low:.3g} to {high:.3g}: bring it to that range")
    return ImageSet(to_uint8(floats.float()), name="array")


def _clipped(images: object) -> float:
    """Share of the pixels that had to be clipped to [-1, 1]."""
    if isinstance(images, ImageSet):
        return 0.0
    return float((check_images(images, "generated").abs() > 1).double().mean())


def _check_range(training: ImageSet, generated: ImageSet) -> None:
    """Warn where floats look as if 0 were black: as they were read, copies among them would be missed."""
    middle = 127
    dark = (training.images.amin((1, 2, 3)) < middle).double().mean()
    if int(generated.images.min()) >= middle and float(dark) > 0.9:
        warn(
            "generated has no value below 0, which is middle gray, while most training images have: if 0 is black in "
            "it, give 2 * generated - 1"
        )


def _check(training: ImageSet, generated: ImageSet) -> None:
    if training.shape != generated.shape:
        raise ValueError(
            f"the training images {training.name} are {_shape(training)}, the generated images {generated.name} "
            f"{_shape(generated)}: give both one size and colours, by --size and --gray or "
            "load_images(source, size=..., gray=...)"
        )
    if len(training) < 3:
        raise ValueError(f"an audit needs 3 training images or more, {training.name} has {len(training)}")


def _shape(data: ImageSet) -> str:
    channels, height, width = data.shape
    return f"{height} x {width} {'gray' if channels == 1 else 'colour'}"


def _describe(data: ImageSet) -> dict[str, Any]:
    return {
        "name": data.name,
        "images": len(data),
        "of": data.total,
        "shape": list(data.shape),
        "fingerprint": data.fingerprint(),
    }
