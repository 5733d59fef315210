"""Audit: find the generated images that copy training images, and measure what the others are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.audit_files import audit_csv, audit_json, save_audit
from elsewhere.analysis.audit_result import (
    CARLINI_COUNT,
    DUPLICATE,
    AuditResult,
    Measures,
    mosaic_threshold,
    near_copies,
    near_threshold,
    ratio,
)
from elsewhere.analysis.neighbours import LEVEL, Aligned, nearest, nearest_aligned, place_each, tile_distances
from elsewhere.analysis.notebook import audit_html
from elsewhere.analysis.novelty import COPY
from elsewhere.analysis.provenance import Provenance, provenance
from elsewhere.checks import check_memory, check_seed, check_whole, checked
from elsewhere.data import ImageSet
from elsewhere.data.images import to_uint8
from elsewhere.denoiser import check_images
from elsewhere.machines.locality import check_window
from elsewhere.notices import warn
from elsewhere.phrases import count

CANDIDATES = 16
"""Aligned training images that are measured exactly for each generated image, after the search by lower bounds."""
SHIFT = 3
"""Default of the largest shift, in pixels."""
HELD_OUT = 16
"""Training images traced among the others, to see what share of the pixels is locally consistent by chance."""


class Audit(AuditResult):
    """An `AuditResult` that can be written to files."""

    def _repr_html_(self) -> str:
        return audit_html(self)

    def to_json(self) -> str:
        """Settings, thresholds, summary and every image, as JSON text."""
        return audit_json(self)

    def to_csv(self) -> str:
        """One line for each generated image, as CSV text with a header."""
        return audit_csv(self)

    @checked
    def save(self, folder: str | Path) -> None:
        """Write report.html, results.json, results.csv, pairs.png and distances.png; see `save_audit`.

        Raises:
            OSError: the folder cannot be created or written; the message names it.
        """
        save_audit(self, folder)


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
    """Find copies of training images among any images, and measure what the others are made of.

    An image gets the first of these verdicts whose condition it meets:

    - copy: the nearest training image differs by less than one gray level (rms);
    - near copy: it differs by less than one gray level after shifting the training image by up to `shift` pixels or
      mirroring it left to right; or the aligned distance is smaller than that of all but one in a thousand training
      images to their nearest neighbour, and less than half the distance to the next training image that is not a
      duplicate of the nearest one (copies with noise or small changes);
    - mosaic: at least 95 % of the pixels equal the centre of the nearest training window, and at least as many as in
      any held-out training image;
    - novel: none of the above;
    - no copy: neither copy nor near copy, and its pixels were not traced.

    The result also has two published criteria, of Yoon et al. (2023), *Diffusion probabilistic models generalize when
    they fail to memorize*, and of Carlini et al. (2023), *Extracting training data from diffusion models*, arXiv
    2301.13188, and the number of training images that meet each criterion among themselves. The criterion of Yoon et
    al. misses copies of an image that occurs twice in the training set.

    Args:
        training: the training images, three or more.
        generated: an ImageSet, or floats (B, C, H, W) in about [-1, 1], which are clipped and rounded to 8 bits.
        shift: largest shift in pixels, 0 or more and less than half the shorter side. None: 3, or less for images below
            7 pixels.
        window: odd side in pixels of the windows by which pixels are traced.
        pixels: how many images to trace pixel by pixel, the slowest part; they are chosen at random among the images
            that are no copies. 0: none.
        by_class: compare the windows of an image only with training images of its class; both sets need labels. Use it
            for images that were generated for a class.
        null: how many training images to compare with all the others, chosen at random.
        seed: of both random choices.
        memory: working memory in bytes, in addition to the images, 64 MiB or more.
        about: further settings to store in the result, such as the command line.
        progress: show a progress bar with the time left.

    Returns:
        An Audit; `.save(folder)` writes the numbers, the pictures and a report.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: the two sets have different shapes, there are fewer than three training images, a number is out of
            range, or `by_class` was given and a set has no labels or an unknown class.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=60)
        >>> found = els.audit(data, data.scaled()[:2], pixels=0)
        >>> found.verdicts
        ('copy', 'copy')
    """
    # The search runs on processors.
    training, images = training.to("cpu"), _image_set(generated).to("cpu")
    _check(training, images)
    if not isinstance(generated, ImageSet):
        _check_range(training, images)
    side = min(images.shape[1:])
    shift = min(SHIFT, (side - 1) // 2) if shift is None else check_whole("shift", shift, 0)
    pixels, null = check_whole("pixels", pixels, 0), check_whole("null", null, 1)
    seed, memory, window = check_seed(seed), check_memory(memory), check_window(window)
    if 2 * shift >= side:
        raise ValueError(
            f"shift must be less than half the shorter side of the images ({count(side, 'pixel')}), got {shift}"
        )
    if by_class:
        _check_classes(training, images)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(training), generator=generator, device="cpu")[:null].sort().values
    mine = _measure(images.images, training.images, shift, memory, None, progress)
    theirs = _measure(training.images[chosen], training.images, shift, memory, chosen, progress)
    near = near_threshold(theirs)
    free = (~near_copies(mine, near)).nonzero().flatten()
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
        verdicts=_verdicts(mine, near, traced, found, mosaic_threshold(held_out)),
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
    same, close = measures.nearest.distances[:, 0] < COPY, near_copies(measures, near)
    verdicts = ["copy" if a else "near copy" if b else "no copy" for a, b in zip(same, close, strict=True)]
    if found is not None:
        for index, share in zip(traced.tolist(), found.consistent.tolist(), strict=True):
            verdicts[index] = "mosaic" if share >= mosaic else "novel"
    return tuple(verdicts)


def _hold_out(training: ImageSet, by_class: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices of held-out training images and of the rest. By class, each held-out class must also be in the rest."""
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
    """Provenance of the images `which` among the training images `among`; with `by_class`, within each class."""
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
            raise ValueError(f"by_class needs labels, and {data.name} has none: leave by_class out")
    unknown = set(_labels(generated).tolist()) - set(_labels(training).tolist())
    if unknown:
        raise ValueError(f"{generated.name} has images of class {min(unknown)}, which {training.name} does not have")


def _distinct_ratio(aligned: Aligned, training: Tensor, memory: int) -> Tensor:
    """Distance of the first candidate divided by that of the next one that is not a duplicate of it."""
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
        to_next = ratio(distances[:, 0], distances.gather(1, next_).squeeze(1))
        ratios.append(to_next.where(other.any(1), torch.nan))
    return torch.cat(ratios)


def _image_set(images: object) -> ImageSet:
    if isinstance(images, ImageSet):
        return images
    floats = check_images(images, "generated").detach().cpu()
    if floats.shape[1] not in (1, 3):
        raise ValueError(f"generated must have 1 or 3 channels, got {floats.shape[1]}")
    if float(floats.abs().max()) > 2:
        low, high = float(floats.min()), float(floats.max())
        raise ValueError(f"generated must be in about [-1, 1], got {low:.3g} to {high:.3g}: rescale it")
    return ImageSet(to_uint8(floats.float()), name="array")


def _clipped(images: object) -> float:
    """Share of the pixels that are clipped to [-1, 1]."""
    if isinstance(images, ImageSet):
        return 0.0
    return float((check_images(images, "generated").abs() > 1).double().mean())


def _check_range(training: ImageSet, generated: ImageSet) -> None:
    """Warn if floats look like [0, 1] in place of [-1, 1]: copies among them would be missed."""
    middle = 127
    dark = (training.images.amin((1, 2, 3)) < middle).double().mean()
    if int(generated.images.min()) >= middle and float(dark) > 0.9:
        warn(
            "generated has no value below 0 (middle gray), unlike most training images: if its black is 0, pass "
            "2 * generated - 1"
        )


def _check(training: ImageSet, generated: ImageSet) -> None:
    if training.shape != generated.shape:
        raise ValueError(
            f"the training images {training.name} are {_shape(training)}, the generated images {generated.name} "
            f"{_shape(generated)}: give both one size and colours, by --size and --gray, "
            "or by the same options of load_images"
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
