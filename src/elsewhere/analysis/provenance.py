"""Trace pixels: find the training windows nearest to the window of each pixel, and the images that contain them.

This is the equivariant local machine in the limit sigma -> 0 (Kamb & Ganguli 2025, section 4): a pixel becomes the
centre of the training window nearest to its own, among windows at the same distance from the same borders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine import Places
from elsewhere.machines.borders import border_classes
from elsewhere.progress import track

BLOCK, TILE = 512, 2048
"""Queries and keys of one matrix product of the search."""
COMMON = 64
"""Windows found in more training images than this, such as constant background, are no evidence of a source."""
ROUNDS = 200
"""Iterations of expectation-maximisation for the credits."""
TOP = 4
"""Largest credits that are returned."""


@dataclass(frozen=True)
class Provenance:
    """The sources of the pixels of B images.

    Attributes:
        consistent: fraction of the pixels that equal the centre of a nearest training window, float64 (B,).
        sources: effective number of training images that the pixels come from, 1 or more, float64 (B,).
        credits: the TOP largest contributions of training images, 0 to 1, decreasing, float64 (B, TOP).
        images: indices of those training images, int64 (B, TOP).
    """

    consistent: Tensor
    sources: Tensor
    credits: Tensor
    images: Tensor


def provenance(
    images: Tensor, training: Tensor, window: int, *, memory: int, tolerance: float = 0.5, progress: bool = False
) -> Provenance:
    """Find the training windows nearest to the window of every pixel.

    Equally near windows often come from several training images. The credits are the mixture of training images that
    maximises the likelihood of the nearest windows of an image, found by expectation-maximisation; a training image
    that explains all of them gets the credit 1. The number of sources is the perplexity
    exp(-sum c log c) of the credits.

    Args:
        images: uint8 (B, C, H, W).
        training: uint8 (N, C, H, W).
        window: odd side of the windows in pixels; windows are cut off at the borders.
        memory: working memory in bytes, for windows of training images.
        tolerance: largest difference, in gray levels, between a pixel and the centre of a window that it equals.
        progress: show a progress bar with the time left.
    """
    height, width = images.shape[2:]
    classes = border_classes(height, width, window)
    # Memory per training pixel: its window as bytes and as three float32 copies of the search; hash, index and order.
    at_once = max(1, memory // (training[0].numel() * (13 * min(window, max(height, width)) ** 2 + 48)))
    parts = [(places, start) for places in classes for start in range(0, len(training), at_once)]
    asked = torch.empty(len(images), height, width, dtype=torch.int64, device="cpu")
    found: list[_Answers] = []
    answers: _Answers | None = None
    for places, start in track(parts, len(parts), "nearest training windows", progress):
        if start == 0:
            queries, answers = _Windows.of(images, places), None
        more = _search(queries, _Windows.of(training[start : start + at_once], places), tolerance)
        more.images += start
        answers = more if answers is None else answers.merge(more)
        if start + at_once >= len(training):
            rows, columns = places.rows, places.columns
            index = queries.index.view(len(images), len(rows), len(columns))
            offset = sum(len(part.consistent) for part in found)
            asked[:, rows.start : rows.stop, columns.start : columns.stop] = index + offset
            found.append(answers)
    consistent = torch.cat([part.consistent for part in found])
    counts = torch.cat([part.counts for part in found])
    starts, sources = counts.cumsum(0) - counts, torch.cat([part.images for part in found])
    credited = [_credits(image.flatten(), starts, counts, sources, len(training)) for image in asked]
    share = consistent[asked].double().mean((1, 2))
    effective, credits, owners = (torch.stack(values) for values in zip(*credited, strict=True))
    return Provenance(share, effective, credits, owners)


@dataclass
class _Answers:
    """The nearest training windows of Q distinct query windows.

    Attributes:
        squares: smallest squared difference, float64 (Q,).
        consistent: whether one of the nearest windows has the same centre, bool (Q,).
        counts: number of training images that contain a nearest window, int64 (Q,).
        images: indices of these training images, concatenated over queries.
    """

    squares: Tensor
    consistent: Tensor
    counts: Tensor
    images: Tensor

    def merge(self, other: _Answers) -> _Answers:
        mine, theirs = self.squares <= other.squares, other.squares <= self.squares
        owner = torch.arange(len(self.squares), device="cpu")
        parts = [(a, keep, owner.repeat_interleave(a.counts)) for a, keep in ((self, mine), (other, theirs))]
        query = torch.cat([index[keep[index]] for _, keep, index in parts])
        images = torch.cat([a.images[keep[index]] for a, keep, index in parts])
        order = query.argsort(stable=True)
        return _Answers(
            torch.minimum(self.squares, other.squares),
            (self.consistent & mine) | (other.consistent & theirs),
            self.counts * mine + other.counts * theirs,
            images[order],
        )


@dataclass(frozen=True)
class _Windows:
    """The distinct windows at some positions of some images.

    Attributes:
        rows: the distinct windows, uint8 (K, D).
        centres: their centre pixels, uint8 (K, C).
        index: for each window, in the order of images and positions, which distinct window it equals.
        order, starts: all windows sorted by `index`, and where each distinct window begins.
        places: number of windows per image.
    """

    rows: Tensor
    centres: Tensor
    index: Tensor
    order: Tensor
    starts: Tensor
    places: int

    @classmethod
    def of(cls, images: Tensor, places: Places) -> _Windows:
        extent = places.extent
        windows = extent.windows(images, places.rows, places.columns)[1]
        channels, tall, wide = windows.shape[3:]
        rows = windows.reshape(-1, channels * tall * wide)
        distinct, index, counts = _distinct(rows)
        order = index.argsort(stable=True)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        centre = extent.top * wide + extent.left
        centres = distinct.view(-1, channels, tall * wide)[:, :, centre]
        return cls(distinct, centres, index, order, starts, len(rows) // len(images))


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The distinct rows, the distinct row that each row equals, and the number of each; by 64-bit hashes, verified.

    If hashes collide, the rows themselves are sorted, which takes many times as long.
    """
    _, index, counts = torch.unique(_hashes(rows), return_inverse=True, return_counts=True)
    first = torch.empty(len(counts), dtype=torch.int64, device="cpu").scatter_(
        0, index, torch.arange(len(rows), device="cpu")
    )
    distinct = rows[first]
    parts = zip(torch.split(index, 2**18), torch.split(rows, 2**18), strict=True)
    if not all(torch.equal(distinct[i], part) for i, part in parts):
        distinct, index, counts = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
    return distinct, index, counts


def _hashes(rows: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    hashes = torch.zeros(len(rows), dtype=torch.int64, device="cpu")
    for column in rows.unbind(1):
        hashes += column.long() * int(torch.randint(-(2**62), 2**62, (1,), generator=generator, device="cpu"))
        hashes ^= hashes >> 29
    return hashes


def _search(queries: _Windows, keys: _Windows, tolerance: float) -> _Answers:
    """All keys at the smallest distance from each query.

    Keys and queries are sorted by their projection on the principal axis. Differences of projections bound the distance
    from below, so a query scans outwards from its own projection until all remaining keys are farther than the best.
    """
    # Sums of squares of integers are exact in float32 up to 2^24.
    dtype = torch.float32 if 255**2 * keys.rows.shape[1] < 2**24 else torch.float64
    axis = _principal_axis(keys.rows)
    key_line, key_order = _project(keys.rows, axis).sort()
    query_line, query_order = _project(queries.rows, axis).sort()
    sorted_keys = keys.rows[key_order].to(dtype) - 128
    rows = torch.cat([sorted_keys, sorted_keys.square().sum(1, keepdim=True)], 1)
    best = torch.full((len(query_order),), torch.inf, dtype=dtype, device="cpu")
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(query_order), BLOCK):
        block = torch.arange(start, min(start + BLOCK, len(query_order)), device="cpu")
        windows = queries.rows[query_order[block]].to(dtype) - 128
        asked = torch.cat([-2 * windows, torch.ones(len(windows), 1, dtype=dtype, device="cpu")], 1)
        norms = windows.square().sum(1)
        line = query_line[block]
        for left, right in _outwards(key_line, line):
            gap = torch.maximum(key_line[left] - line, line - key_line[right - 1]).clamp(min=0)
            open_ = (gap.square() * (1 - 1e-5) <= best[block] + 1e-3).nonzero().flatten()
            if not len(open_):
                continue
            squares = asked[open_] @ rows[left:right].T + norms[open_, None]
            some = block[open_]
            best[some] = torch.minimum(best[some], squares.amin(1))
            query, key = (squares <= best[some, None]).nonzero(as_tuple=True)
            pairs.append((some[query], key + left, squares[query, key]))
    query, key, squares = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    nearest = squares == best[query]
    query, key = query_order[query[nearest]], key_order[key[nearest]]
    missed = (queries.centres[query].int() - keys.centres[key].int()).abs().amax(1) > tolerance
    consistent = torch.zeros(len(queries.rows), dtype=torch.bool, device="cpu").index_put(
        (query[~missed],), torch.tensor(True, dtype=torch.bool, device="cpu")
    )
    owners = _owners(query, key, keys)
    least = torch.empty_like(best, dtype=torch.float64).index_put((query_order,), best.double())
    return _Answers(least, consistent, torch.bincount(owners[:, 0], minlength=len(queries.rows)), owners[:, 1])


def _outwards(keys: Tensor, queries: Tensor) -> Iterator[tuple[int, int]]:
    """Tiles of sorted keys in order of distance from sorted queries: those around them first, then on both sides."""
    first = int(torch.searchsorted(keys, queries[0])) // TILE
    last = min(int(torch.searchsorted(keys, queries[-1])), len(keys) - 1) // TILE
    tiles = -(-len(keys) // TILE)
    middle = list(range(min(first, last), last + 1))
    below, above = list(range(middle[0] - 1, -1, -1)), list(range(last + 1, tiles))
    for step in range(max(len(middle), 1)):
        yield from ((tile * TILE, min((tile + 1) * TILE, len(keys))) for tile in middle[step : step + 1])
    for step in range(max(len(below), len(above))):
        for side in (below, above):
            yield from ((tile * TILE, min((tile + 1) * TILE, len(keys))) for tile in side[step : step + 1])


def _principal_axis(rows: Tensor) -> Tensor:
    some = rows[:: max(1, len(rows) // 20_000)].double()
    centred = some - some.mean(0)
    axis: Tensor = torch.linalg.eigh(centred.T @ centred)[1][:, -1]
    return axis


def _project(rows: Tensor, axis: Tensor) -> Tensor:
    return torch.cat([part.double() @ axis for part in torch.split(rows, 2**18)])


def _owners(query: Tensor, key: Tensor, keys: _Windows) -> Tensor:
    """Distinct pairs (query, training image that contains one of its keys), sorted, int64 (P, 2)."""
    counts = keys.starts[key + 1] - keys.starts[key]
    images = keys.order[_runs(keys.starts[key], counts)] // keys.places
    total = len(keys.index) // keys.places
    pairs = torch.unique(query.repeat_interleave(counts) * total + images)
    return torch.stack([pairs // total, pairs % total], 1)


def _credits(
    asked: Tensor, starts: Tensor, counts: Tensor, sources: Tensor, total: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Effective number of sources of one image, its largest credits, and the training images that have them.

    Args:
        asked: index of the distinct window of each pixel, (P,).
        starts, counts, sources: the training images of each window, `counts` entries of `sources` from `starts`.
        total: number of training images.
    """
    queries, weight = torch.unique(asked, return_counts=True)
    size = counts[queries]
    member = torch.arange(len(queries), device="cpu").repeat_interleave(size)
    within = torch.arange(len(member), device="cpu") - (size.cumsum(0) - size)[member]
    owner = sources[starts[queries][member] + within]
    telling = torch.zeros(total, dtype=torch.bool, device="cpu")
    telling[owner[size[member] <= COMMON]] = True
    if telling.any():
        member, owner = member[telling[owner]], owner[telling[owner]]
    owners, column = torch.unique(owner, return_inverse=True)
    credit = torch.full((len(owners),), 1 / len(owners), dtype=torch.float64, device="cpu")
    for _ in range(ROUNDS):
        shared = torch.zeros(len(queries), dtype=torch.float64, device="cpu").index_add(0, member, credit[column])
        given = weight[member] * credit[column] / shared[member]
        credit = torch.zeros_like(credit).index_add(0, column, given)
        credit = credit / credit.sum()
    effective = torch.special.entr(credit).sum().exp()
    top = credit.topk(min(TOP, len(credit)))
    missing = TOP - len(top.values)
    values, images = torch.nn.functional.pad(top.values, (0, missing)), owners[top.indices]
    return effective, values, torch.cat([images, images[:1].expand(missing)])


def _runs(starts: Tensor, lengths: Tensor) -> Tensor:
    """The positions start, start + 1, ... of every run, concatenated."""
    shift = (starts - lengths.cumsum(0) + lengths).repeat_interleave(lengths)
    return torch.arange(len(shift), device="cpu") + shift
