"""The training images nearest to each of many images: without alignment, and under small shifts and mirroring.

Both searches select candidates by float32 matrix products, tile by tile, and then compute the distances of the
candidates without cancellation: an exact copy has distance 0. Distances are root mean squared (rms) differences of
images in [-1, 1], over pixels and channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.progress import track

LEVEL = 1 / 127.5
"""One gray level, of images in [-1, 1]."""
SPARE = 8
"""Candidates beyond those requested, because float32 may swap near ties."""
BLOCKS, AXES = 13, 48
"""The bounds of the aligned search: an image is reduced to BLOCKS x BLOCKS means, and these to AXES principal axes."""
TILES = 4
"""Tiles per side, as in Carlini et al. (2023)."""
QUERIES = 512
"""Largest number of images searched for at once."""
TILE, COLUMNS = 400_000, 1024
"""Numbers in a tile of bounds, and training images in it: such a tile stays in a core's cache until it is reduced."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest training images of each of B images.

    Attributes:
        indices: indices of the training images, nearest first, int64 (B, K).
        distances: their rms distances, float64 (B, K).
    """

    indices: Tensor
    distances: Tensor


@dataclass(frozen=True)
class Aligned(Neighbours):
    """The nearest training images when they may be shifted by a few pixels and mirrored.

    Attributes:
        indices, distances: as in Neighbours; the distance is that of the best alignment, over the overlapping pixels.
        shifts: shift (down, right) in pixels that aligns the training image, int64 (B, K, 2).
        mirrored: whether it is mirrored left to right before the shift, bool (B, K).
        beyond: lower bound of the distance of all other training images, float64 (B,); infinite if there are none.
    """

    shifts: Tensor
    mirrored: Tensor
    beyond: Tensor


@dataclass(frozen=True)
class Placing:
    """An alignment: optional mirroring left to right, then a shift down and right by some pixels."""

    down: int
    right: int
    mirror: bool


def nearest(
    images: Tensor, training: Tensor, count: int, *, memory: int, exclude: Tensor | None = None, progress: bool = False
) -> Neighbours:
    """The `count` nearest training images of each image.

    Args:
        images: (B, C, H, W), uint8 or floats in about [-1, 1].
        training: (N, C, H, W), uint8 or floats.
        count: number of neighbours, at most the number of training images.
        memory: working memory in bytes.
        exclude: for each image, the index of a training image to leave out, int64 (B,): the image itself, if it is one.
        progress: show a progress bar with the time left.
    """
    keep = len(training) - (exclude is not None)
    count, wide = min(count, keep), min(count + SPARE, keep)
    size = training[0].numel()
    columns = _between(memory // (24 * (size + QUERIES)), 256, 16384)
    rows = _between(memory // (32 * wide * size), 1, QUERIES)
    starts = range(0, len(images), rows)
    found = []
    for start in track(starts, len(starts), "nearest training images", progress):
        some = images[start : start + rows]
        queries = _centred(some)
        best = _Best(len(some), wide)
        for left in range(0, len(training), columns):
            keys = _centred(training[left : left + columns])
            # |q|^2 is the same for all keys and left out.
            distances = torch.addmm(keys.square().sum(1), queries, keys.T, alpha=-2)
            best.add(distances, left, None if exclude is None else exclude[start : start + rows])
        squares = (_levels(training[best.indices]) - _levels(some)[:, None]).square_().sum((2, 3, 4))
        squares, order = squares.sort(dim=1, stable=True)
        found.append((best.indices.gather(1, order)[:, :count], squares[:, :count]))
    indices, all_squares = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Neighbours(indices, (all_squares / size).sqrt() * LEVEL)


def nearest_aligned(
    images: Tensor,
    training: Tensor,
    count: int,
    *,
    reach: int,
    memory: int,
    exclude: Tensor | None = None,
    progress: bool = False,
) -> Aligned:
    """The training images nearest to each image when they may be shifted up to `reach` pixels and mirrored.

    The distance is the mean over the pixels where both images overlap. The central part of a training image, which
    overlaps under every shift, is reduced to AXES numbers by orthonormal projections. The distance of these is a lower
    bound of the true one; it selects the candidates, whose distances are then computed exactly, in whole gray levels.

    Args:
        images, training: uint8 (B, C, H, W) and (N, C, H, W).
        memory, exclude, progress: as in `nearest`.
        count: number of candidates that are measured exactly and returned.
        reach: largest shift in pixels, less than half a side of the images.
    """
    placings = all_placings(reach)
    count = min(count, len(training) - (exclude is not None))
    screen = _Screen.of(training, placings, reach)
    size = training[0].numel()
    rows = _between(memory // (48 * len(placings) * size), 1, QUERIES)
    per_tile = max(1, TILE // (len(placings) * COLUMNS))
    masks = _placed(torch.ones(1, *training.shape[1:], dtype=torch.float64, device="cpu"), placings)[0]
    starts = range(0, len(images), rows)
    found = []
    for start in track(starts, len(starts), "shifts and mirror images", progress):
        some = images[start : start + rows]
        queries = screen.queries(some)
        blocks = [block.flatten(0, 1) for block in torch.split(queries, per_tile, dim=1)]
        best = _Best(len(some), count)
        for left in range(0, len(training), COLUMNS):
            keys = screen.keys[left : left + COLUMNS].T
            tiles = ((block @ keys).view(len(placings), -1, keys.shape[1]) for block in blocks)
            bounds = torch.cat([tile.amin(0) for tile in tiles])
            best.add(bounds, left, None if exclude is None else exclude[start : start + rows])
        last = best.values[:, -1].double() - screen.rounding(queries).amax(0)
        found.append((*_measure(some, training, best.indices, placings, masks), last))
    indices, squares, chosen, last = (torch.cat(parts) for parts in zip(*found, strict=True))
    table = torch.tensor([(p.down, p.right, p.mirror) for p in placings], dtype=torch.int64, device="cpu")[chosen]
    beyond = last.clamp(min=0).sqrt() * LEVEL
    if count == len(training) - (exclude is not None):
        beyond = torch.full_like(beyond, torch.inf)
    return Aligned(indices, squares.sqrt() * LEVEL, table[..., :2], table[..., 2].bool(), beyond)


def tile_distances(images: Tensor, training: Tensor, candidates: Tensor, *, memory: int) -> Tensor:
    """The largest rms difference in any tile of a 4 x 4 grid, minimised over the candidates, float64 (B,).

    Carlini et al. (2023, arXiv 2301.13188) compare images in this way: two images that share a large uniform background
    have a small mean difference, but not a small difference in their worst tile.

    Args:
        images, training: uint8 (B, C, H, W) and (N, C, H, W).
        candidates: indices of the training images to compare each image with, int64 (B, K).
        memory: working memory in bytes.
    """
    runs = [_runs(side, min(side, TILES)) for side in images.shape[2:]]
    down, across = (member / member.sum(1, keepdim=True) for member in runs)
    rows = _between(memory // (16 * candidates.shape[1] * images[0].numel()), 1, QUERIES)
    worst = []
    for some, index in zip(torch.split(images, rows), torch.split(candidates, rows), strict=True):
        squares = (training[index].float() - some[:, None].float()).square_().mean(2)
        worst.append((down @ squares @ across.T).amax((2, 3)).amin(1))
    return torch.cat(worst).double().sqrt() * LEVEL


def place_each(images: Tensor, shifts: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Align each image (B, C, H, W) by its own shift and mirroring; also return where it has pixels, bool (B, H, W)."""
    height, width = images.shape[2:]
    row = torch.arange(height, device="cpu")[None, :, None] - shifts[:, 0, None, None]
    column = torch.arange(width, device="cpu")[None, None, :] - shifts[:, 1, None, None]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    column = torch.where(mirrored[:, None, None], width - 1 - column, column)
    flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    index = flat.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view(images.shape) * inside[:, None], inside


def all_placings(reach: int) -> list[Placing]:
    """All alignments with shifts up to `reach`, the smallest first, because the first of equal ones is reported."""
    steps = range(-reach, reach + 1)
    everything = [Placing(down, right, mirror) for mirror in (False, True) for down in steps for right in steps]
    return sorted(everything, key=lambda p: (p.mirror, abs(p.down) + abs(p.right)))


def place(images: Tensor, placing: Placing) -> Tensor:
    """Images (..., H, W) after an alignment; zero outside the moved image."""
    down, right = placing.down, placing.right
    height, width = images.shape[-2:]
    out = torch.zeros_like(images)
    source = images.flip(-1) if placing.mirror else images
    out[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = source[
        ..., max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    return out


class _Best:
    """The keys with the `count` lowest values seen so far, for each query."""

    def __init__(self, queries: int, count: int) -> None:
        self.count = count
        self.values = torch.empty(queries, 0, dtype=torch.float32, device="cpu")
        self.indices = torch.empty(queries, 0, dtype=torch.int64, device="cpu")

    def add(self, values: Tensor, start: int, exclude: Tensor | None) -> None:
        """Add the values (queries, keys) of the keys from index `start` on. Overwrites excluded entries of `values`."""
        if exclude is not None:
            inside = ((exclude >= start) & (exclude < start + values.shape[1])).nonzero().flatten()
            values[inside, exclude[inside] - start] = torch.inf
        low, index = values.topk(min(self.count, values.shape[1]), dim=1, largest=False)
        merged = torch.cat([self.values, low], 1)
        indices = torch.cat([self.indices, index + start], 1)
        self.values, order = merged.topk(min(self.count, merged.shape[1]), dim=1, largest=False)
        self.indices = indices.gather(1, order)


@dataclass(frozen=True)
class _Screen:
    """Lower bounds of the mean squared differences under all alignments, by one matrix product.

    The central part of a training image is compared with the part of the query that it would cover, both reduced to
    block means and then to principal axes. These are orthonormal projections, which never lengthen a difference.

    Attributes:
        keys: rows (k, |k|^2, 1), float32 (N, AXES + 2).
        largest: the largest |k|^2.
    """

    keys: Tensor
    placings: list[Placing]
    reach: int
    pooling: tuple[Tensor, Tensor]
    mean: Tensor
    axes: Tensor
    largest: float

    @classmethod
    def of(cls, training: Tensor, placings: list[Placing], reach: int) -> _Screen:
        height, width = training.shape[2] - 2 * reach, training.shape[3] - 2 * reach
        pooling = _blocks(height), _blocks(width)
        middle = training[:, :, reach : reach + height, reach : reach + width]
        parts = torch.split(middle, 4096)
        mean = torch.stack([_pool(part, pooling).double().sum(0) for part in parts]).sum(0) / len(middle)
        centred = (_pool(part, pooling).double() - mean for part in parts)
        axes = torch.linalg.eigh(sum(part.T @ part for part in centred))[1][:, -AXES:].float()
        reduced = torch.cat([(_pool(part, pooling) - mean.float()) @ axes for part in parts])
        norms = reduced.square().sum(1, keepdim=True)
        rows = torch.cat([reduced, norms, torch.ones_like(norms)], 1)
        return cls(rows, placings, reach, pooling, mean.float(), axes, float(norms.max()))

    def queries(self, images: Tensor) -> Tensor:
        """Rows (alignments, B, AXES + 2) whose products with the keys are the bounds, in squared gray levels."""
        channels, height, width = images.shape[1:]
        rows = []
        for placing in self.placings:
            source = images.flip(-1) if placing.mirror else images
            # Mirroring turns right into left; all shifts occur, so the smallest bound is the same.
            top, left = self.reach + placing.down, self.reach + placing.right
            part = source[:, :, top : top + height - 2 * self.reach, left : left + width - 2 * self.reach]
            q = (_pool(part, self.pooling) - self.mean) @ self.axes
            overlap = channels * (height - abs(placing.down)) * (width - abs(placing.right))
            rows.append(torch.cat([-2 * q, torch.ones_like(q[:, :1]), q.square().sum(1, keepdim=True)], 1) / overlap)
        return torch.stack(rows)

    def rounding(self, queries: Tensor) -> Tensor:
        """Largest float32 rounding error of the bounds of queries (..., AXES + 2), from the squares that cancel."""
        return 64 * torch.finfo(torch.float32).eps * (queries[..., -1] + self.largest * queries[..., -2])


def _blocks(side: int) -> Tensor:
    """An orthonormal matrix (blocks, side) that takes the means of at most BLOCKS runs of pixels."""
    member = _runs(side, min(side, BLOCKS))
    return member / member.sum(1, keepdim=True).sqrt()


def _runs(side: int, count: int) -> Tensor:
    """Membership, 0 or 1, of the pixels of a side in `count` runs of almost equal length, (count, side)."""
    index = torch.arange(side, device="cpu") * count // side
    return (index == torch.arange(count, device="cpu")[:, None]).float()


def _pool(images: Tensor, pooling: tuple[Tensor, Tensor]) -> Tensor:
    return (pooling[0] @ (images.float() - 128) @ pooling[1].T).flatten(1)


def _measure(
    images: Tensor, training: Tensor, candidates: Tensor, placings: list[Placing], masks: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates sorted by mean squared difference, these differences, and the indices of the best alignments.

    Exact: the terms are products of whole gray levels, summed in float64.
    """
    keys = training[candidates].flatten(2).double()
    overlap = masks.sum(1)[None, :, None]
    # Move the image instead of the training images, which are more.
    moved = _placed(images.double(), placings)
    squares = moved.square().sum(2, keepdim=True) - 2 * moved @ keys.transpose(1, 2) + masks @ keys.square().mT
    least = squares / overlap
    chosen = least.argmin(1)
    means = least.gather(1, chosen[:, None]).squeeze(1)
    means, order = means.sort(dim=1, stable=True)
    return candidates.gather(1, order), means, chosen.gather(1, order)


def _placed(images: Tensor, placings: list[Placing]) -> Tensor:
    """Images (B, C, H, W) under every inverse alignment, (B, alignments, C H W); zero where they do not overlap."""
    undone = []
    for placing in placings:
        back = place(images, Placing(-placing.down, -placing.right, False))
        undone.append(back.flip(-1) if placing.mirror else back)
    return torch.stack(undone, 1).flatten(2)


def _centred(images: Tensor) -> Tensor:
    # For uint8 images these are integers around 0, whose products are exact in float32 up to about 1,000 pixels.
    levels = images if images.dtype == torch.uint8 else _levels(images)
    return levels.float().sub_(128).flatten(1)


def _levels(images: Tensor) -> Tensor:
    """Gray levels 0 to 255, float64; integers for uint8 images."""
    return images.double() if images.dtype == torch.uint8 else (images.double() + 1) * 127.5


def _between(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
