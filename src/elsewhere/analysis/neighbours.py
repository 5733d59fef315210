"""The training images nearest to each of many images: as they stand, and under small shifts and mirroring.

Both searches screen with matrix products, tile by tile, and measure the distances of what they found again without
rounding, so that nothing cancels: a copy is at distance 0 exactly. Distances are root mean squared differences of
images in [-1, 1], over pixels and channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.progress import track

LEVEL = 1 / 127.5
"""One gray level, of images in [-1, 1]."""
SPARE = 8  # Candidates beyond those asked for: float32 may swap near ties.
BLOCKS, AXES, TILES = 13, 48, 4
QUERIES = 512
# A tile of bounds of about so many numbers stays in a core's cache until it is reduced.
TILE, COLUMNS = 400_000, 1024


@dataclass(frozen=True)
class Neighbours:
    """The nearest training images of each of B images.

    Attributes:
        indices: which, nearest first, int64 (B, K).
        distances: rms, float64 (B, K).
    """

    indices: Tensor
    distances: Tensor


@dataclass(frozen=True)
class Aligned(Neighbours):
    """The nearest training images when they may be shifted by some pixels and mirrored.

    Attributes:
        indices, distances: as of Neighbours; the distance is that of the best placing, over the pixels that overlap.
        shifts: how far the training image has to move down and right, int64 (B, K, 2).
        mirrored: whether it has to be mirrored left to right first, bool (B, K).
        beyond: no training image that is not among these is nearer than this, float64 (B,); infinite where all are.
    """

    shifts: Tensor
    mirrored: Tensor
    beyond: Tensor


@dataclass(frozen=True)
class Placing:
    """An image moved down and right by some pixels, after mirroring left to right or not."""

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
        count: how many; fewer where the set has fewer.
        memory: bytes to work in.
        exclude: a training image that does not count for each image, int64 (B,): itself, where it is one of them.
        progress: show a bar with the time left.
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
            # |q|^2 is the same for all keys.
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

    Only pixels where both images are compare, and the mean is over those. The middle of a training image, which every
    shift leaves inside, is compared first, reduced to AXES numbers by orthonormal projections: that distance is never
    above the true one, so it picks candidates, whose distances are then computed in whole gray levels.

    Args:
        images, training: uint8 (B, C, H, W) and (N, C, H, W).
        memory, exclude, progress: as for `nearest`.
        count: how many candidates are measured exactly and returned.
        reach: largest shift, less than half a side of the images.
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
    """The largest rms difference of any tile of a 4 x 4 grid, of the candidate for which that is least, float64 (B,).

    Carlini et al. (2023, arXiv 2301.13188) compare images so: much plain background alone makes two images near by the
    difference of all pixels, but not by that of the worst tile.

    Args:
        images, training: uint8 (B, C, H, W) and (N, C, H, W).
        memory: bytes to work in.
        candidates: training images to compare each image with, int64 (B, K).
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
    """Every image (B, C, H, W) mirrored and moved in its own way; and where there is an image then, bool (B, H, W)."""
    height, width = images.shape[2:]
    row = torch.arange(height, device="cpu")[None, :, None] - shifts[:, 0, None, None]
    column = torch.arange(width, device="cpu")[None, None, :] - shifts[:, 1, None, None]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    column = torch.where(mirrored[:, None, None], width - 1 - column, column)
    flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    index = flat.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, index).view(images.shape) * inside[:, None], inside


def all_placings(reach: int) -> list[Placing]:
    """Every shift up to `reach`, plain and mirrored, the smallest first: among equals the first one is taken."""
    steps = range(-reach, reach + 1)
    everything = [Placing(down, right, mirror) for mirror in (False, True) for down in steps for right in steps]
    return sorted(everything, key=lambda p: (p.mirror, abs(p.down) + abs(p.right)))


def place(images: Tensor, placing: Placing) -> Tensor:
    """Images (..., H, W) mirrored and moved; zero where nothing moved in."""
    down, right = placing.down, placing.right
    height, width = images.shape[-2:]
    out = torch.zeros_like(images)
    source = images.flip(-1) if placing.mirror else images
    out[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = source[
        ..., max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    return out


class _Best:
    """The keys of the lowest values seen for each query."""

    def __init__(self, queries: int, count: int) -> None:
        self.count = count
        self.values = torch.empty(queries, 0, dtype=torch.float32, device="cpu")
        self.indices = torch.empty(queries, 0, dtype=torch.int64, device="cpu")

    def add(self, values: Tensor, start: int, exclude: Tensor | None) -> None:
        """Take in values (queries, keys) of the keys from `start` on; `values` may be changed."""
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
    """Lower bounds of the mean squared differences of all placings, from one product.

    The middle of a training image against the part of the query that would lie on it: means of blocks, and of those the
    principal axes. Both are orthonormal projections, which only shorten differences.

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
        """Rows (placings, B, AXES + 2) whose products with the keys are the bounds, in squared gray levels."""
        channels, height, width = images.shape[1:]
        rows = []
        for placing in self.placings:
            source = images.flip(-1) if placing.mirror else images
            # In the mirror, right is left: all shifts are there, so that the least of the bounds is the same.
            top, left = self.reach + placing.down, self.reach + placing.right
            part = source[:, :, top : top + height - 2 * self.reach, left : left + width - 2 * self.reach]
            q = (_pool(part, self.pooling) - self.mean) @ self.axes
            overlap = channels * (height - abs(placing.down)) * (width - abs(placing.right))
            rows.append(torch.cat([-2 * q, torch.ones_like(q[:, :1]), q.square().sum(1, keepdim=True)], 1) / overlap)
        return torch.stack(rows)

    def rounding(self, queries: Tensor) -> Tensor:
        """Largest float32 error of the bounds of queries (..., AXES + 2), from the squares that cancel in them."""
        return 64 * torch.finfo(torch.float32).eps * (queries[..., -1] + self.largest * queries[..., -2])


def _blocks(side: int) -> Tensor:
    """An orthonormal (blocks, side) matrix of the means of at most BLOCKS runs of pixels."""
    member = _runs(side, min(side, BLOCKS))
    return member / member.sum(1, keepdim=True).sqrt()


def _runs(side: int, count: int) -> Tensor:
    """Which of `count` runs, as equal as can be, each pixel of a side belongs to, 0 or 1, (count, side)."""
    index = torch.arange(side, device="cpu") * count // side
    return (index == torch.arange(count, device="cpu")[:, None]).float()


def _pool(images: Tensor, pooling: tuple[Tensor, Tensor]) -> Tensor:
    return (pooling[0] @ (images.float() - 128) @ pooling[1].T).flatten(1)


def _measure(
    images: Tensor, training: Tensor, candidates: Tensor, placings: list[Placing], masks: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates in order of their mean squared difference, that difference, and the placing that reaches it.

    In float64 these sums of products of whole gray levels are exact.
    """
    keys = training[candidates].flatten(2).double()
    overlap = masks.sum(1)[None, :, None]
    # The image is moved back instead of the training image forward: there are fewer of them.
    moved = _placed(images.double(), placings)
    squares = moved.square().sum(2, keepdim=True) - 2 * moved @ keys.transpose(1, 2) + masks @ keys.square().mT
    least = squares / overlap
    chosen = least.argmin(1)
    means = least.gather(1, chosen[:, None]).squeeze(1)
    means, order = means.sort(dim=1, stable=True)
    return candidates.gather(1, order), means, chosen.gather(1, order)


def _placed(images: Tensor, placings: list[Placing]) -> Tensor:
    """Images (B, C, H, W) with every placing undone, (B, placings, C H W): zero where the images do not overlap."""
    undone = []
    for placing in placings:
        back = place(images, Placing(-placing.down, -placing.right, False))
        undone.append(back.flip(-1) if placing.mirror else back)
    return torch.stack(undone, 1).flatten(2)


def _centred(images: Tensor) -> Tensor:
    # Whole numbers around 0, where images are uint8: their products are exact in float32 up to some 1,000 pixels.
    levels = images if images.dtype == torch.uint8 else _levels(images)
    return levels.float().sub_(128).flatten(1)


def _levels(images: Tensor) -> Tensor:
    """Gray levels 0..255, float64: whole numbers of uint8 images."""
    return images.double() if images.dtype == torch.uint8 else (images.double() + 1) * 127.5


def _between(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
