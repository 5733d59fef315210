"""The mosaic of a mix: a convex mix of averages is an average, with the weights of its parts times their shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.latents import Decoded
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.mixing import Mix
from elsewhere.phrases import listed

MOST = 1024
"""Largest number of sources per pixel that can be asked for."""
DEEPER = 4
"""Where several parts have weights, each is asked for this many times more sources than are wanted, because a source of
small weight in each may have a large one in all."""

Explain = Callable[[SoftmaxMachine | Mix, Tensor, Tensor, Tensor | None, int | None], MosaicResult]


def has_weights(denoiser: object) -> bool:
    """Whether an answer is an average of training images, in whole or in part."""
    if isinstance(denoiser, Decoded):
        return has_weights(denoiser.machine)
    if isinstance(denoiser, Mix):
        return any(has_weights(part) for part in denoiser.denoisers.values())
    return isinstance(denoiser, SoftmaxMachine)


def weightless_parts(mix: Mix, sigma: float) -> list[str]:
    """Names of the parts without weights that a mix asks at a noise level."""
    return [name for name in mix.shares_at(sigma) if not has_weights(mix.denoisers[name])]


def mixed_mosaic(
    mix: Mix, x: Tensor, sigma: Tensor, label: Tensor | None, top: int | None, explain: Explain
) -> MosaicResult:
    """The mosaic of a mix, for checked arguments.

    Args:
        mix: with a part that has weights.
        x, sigma, label, top: see `explain`.
        explain: makes the mosaic of a part.

    Raises:
        ValueError: no part has weights at one of the noise levels, or parts have different training images.
    """
    levels = sorted(set(sigma.tolist()))
    groups = [(sigma == level).nonzero()[:, 0] for level in levels]
    found = [
        _at(mix, x[index.to(x.device)], level, None if label is None else label[index.to(label.device)], top, explain)
        for level, index in zip(levels, groups, strict=True)
    ]
    depth = max(mosaic.image_ids.shape[-1] for mosaic in found)
    one = _joined([_deepened(mosaic, depth) for mosaic in found], torch.cat(groups).argsort())
    with torch.no_grad():
        x0 = mix.predict(x.detach(), sigma.detach(), label)
    return replace(one, x0=x0.to(one.x.device, x.dtype))


def _at(mix: Mix, x: Tensor, sigma: float, label: Tensor | None, top: int | None, explain: Explain) -> MosaicResult:
    """The mosaic of images of one noise level."""
    shares = mix.shares_at(sigma)
    explained = {name: share for name, share in shares.items() if has_weights(mix.denoisers[name])}
    if not explained:
        raise ValueError(
            f"at sigma = {sigma:g} the mix asks {listed([*shares])} alone, without weights on training images: explain "
            "another noise level"
        )
    deep = top if top is None or len(explained) == 1 else min(MOST, DEEPER * top)
    levels = torch.full((len(x),), sigma, dtype=torch.float64, device="cpu")
    parts = []
    for name, share in explained.items():
        part = mix.denoisers[name]
        assert isinstance(part, SoftmaxMachine | Mix)
        parts.append((share, explain(part, x, levels, label, deep)))
    _check_same_images([mosaic for _, mosaic in parts], [*explained])
    # What pictures say of windows is that of the part which counts most.
    main = max(parts, key=lambda part: part[0])[1]
    ids, positions, weights, counts = _together(parts, top)
    left = sum(share for name, share in shares.items() if name not in explained)
    weightless = torch.full((len(x),), left, dtype=torch.float64, device="cpu")
    for share, mosaic in parts:
        if mosaic.weightless:
            weightless += share * torch.tensor(mosaic.weightless, dtype=torch.float64, device="cpu")
    return MosaicResult(
        ids,
        positions,
        weights,
        counts,
        x.to(main.x.device),
        main.x0,
        main.sigmas,
        main.windows,
        main.wraps,
        main.store,
        torch.stack([share * mosaic.shares for share, mosaic in parts]).sum(0),
        torch.stack([share * mosaic.unread for share, mosaic in parts]).sum(0),
        torch.stack([share * mosaic.error for share, mosaic in parts]).sum(0),
        compared=main.compared,
        weightless=tuple(weightless.tolist()),
        # Those of several parts overlap: sources of one may be sources of another.
        nats=main.nats if len(parts) == 1 else None,
        met=main.met if len(parts) == 1 else None,
        missed=_missed(parts),
    )


def _missed(parts: Sequence[tuple[float, MosaicResult]]) -> Tensor | None:
    """See `MosaicResult`: that of the parts, times their shares."""
    known = [share * mosaic.missed for share, mosaic in parts if mosaic.missed is not None]
    return torch.stack(known).sum(0) if known else None


def _check_same_images(mosaics: Sequence[MosaicResult], names: Sequence[str]) -> None:
    first = mosaics[0].store.pixels
    for mosaic, name in zip(mosaics, names, strict=True):
        pixels = mosaic.store.pixels
        if pixels is not first and (pixels.shape != first.shape or not torch.equal(pixels, first)):
            raise ValueError(
                f"{names[0]} and {name} have different training images, so their weights cannot be added: explain each "
                "of them"
            )


def _together(parts: Sequence[tuple[float, MosaicResult]], top: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sources of all parts, largest weight first: image ids, positions, weights and counts, as in a mosaic."""
    share, one = parts[0]
    if len(parts) == 1:
        return one.image_ids, one.positions, share * one.weights, one.counts
    ids, rows, columns, counts = (
        torch.cat(some, -1)
        for some in zip(
            *((m.image_ids, m.positions[..., 0], m.positions[..., 1], m.counts) for _, m in parts), strict=True
        )
    )
    weights = torch.cat([share * mosaic.weights for share, mosaic in parts], -1)
    return sum_equal(ids, torch.stack([rows, columns], -1), weights, counts, one.store.image_size, top)


def sum_equal(
    ids: Tensor, positions: Tensor, weights: Tensor, counts: Tensor, size: tuple[int, int], top: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sources with equal ones summed, largest weight first.

    Args:
        ids, positions, weights, counts: as in a mosaic, (..., K), positions (..., K, 2); missing sources have the id -1
            and the weight 0.
        size: height and width of the training images.
        top: how many to keep; None: all.
    """
    height, width = size
    keys = ((ids * height + positions[..., 0]) * width + positions[..., 1]).where(ids >= 0, -1)
    keys, order = keys.sort(dim=-1, stable=True)
    weights, counts = weights.gather(-1, order), counts.gather(-1, order)
    # Equal sources lie side by side: number the different ones.
    place = torch.zeros_like(keys)
    place[..., 1:] = (keys[..., 1:] != keys[..., :-1]).long().cumsum(-1)
    summed = torch.zeros_like(weights).scatter_add(-1, place, weights)
    largest = torch.zeros_like(counts).scatter_reduce(-1, place, counts, "amax")
    different = torch.full_like(keys, -1).scatter_reduce(-1, place, keys, "amax")
    summed, order = summed.sort(dim=-1, descending=True, stable=True)
    kept = slice(0, top)
    keys, counts = different.gather(-1, order)[..., kept], largest.gather(-1, order)[..., kept]
    there = keys >= 0
    image, place = keys.div(height * width, rounding_mode="floor"), keys % (height * width)
    positions = torch.stack([place.div(width, rounding_mode="floor"), place % width], -1)
    return image.where(there, -1), positions.where(there[..., None], -1), summed[..., kept], counts


def _deepened(mosaic: MosaicResult, depth: int) -> MosaicResult:
    """The mosaic with room for more sources than there are."""
    more = depth - mosaic.image_ids.shape[-1]
    pad = torch.nn.functional.pad
    return replace(
        mosaic,
        image_ids=pad(mosaic.image_ids, (0, more), value=-1),
        positions=pad(mosaic.positions, (0, 0, 0, more), value=-1),
        weights=pad(mosaic.weights, (0, more)),
        counts=pad(mosaic.counts, (0, more)),
    )


def _joined(mosaics: Sequence[MosaicResult], order: Tensor) -> MosaicResult:
    """Mosaics of some images each as one of all of them, in the order given."""
    names = [field.name for field in fields(MosaicResult) if field.name not in ("store", "step")]
    joined: dict[str, Any] = {}
    for name in names:
        values = [getattr(mosaic, name) for mosaic in mosaics]
        if name == "missed" and any(value is not None for value in values):
            # None stands for nothing missed.
            values = [
                mosaic.unread * 0 if value is None else value for mosaic, value in zip(mosaics, values, strict=True)
            ]
        if any(value is None for value in values):
            joined[name] = None
        elif isinstance(values[0], Tensor):
            joined[name] = torch.cat(values)[order.to(values[0].device)]
        else:
            every = [value for some in values for value in some]
            joined[name] = tuple(every[index] for index in order.tolist())
    return MosaicResult(**joined, store=mosaics[0].store)
