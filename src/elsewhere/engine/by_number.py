"""The job of metrics that differ from number to number: every number of an image weighs the training images itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from elsewhere.engine.attribution import TiledAttribution
from elsewhere.engine.jobs import TILE, Tile
from elsewhere.engine.keys.base import Sources
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.same_place import FAR
from elsewhere.engine.state import SoftmaxState, least, stack

# Numbers of an image whose weights are multiplied together: neighbours look at nearly the same numbers.
BLOCK = 64
# Blocks must save this share of the products before copying rows together for them pays.
SPARSE = 0.7


@dataclass(frozen=True)
class _Block:
    """Some columns of the matrix, without the rows that are zero in all of them; None: all rows or columns."""

    rows: Tensor | None
    columns: Tensor | None
    weights: Tensor  # (rows, columns)


class NumberJob:
    """Every number of an image against the same number of every training image, each with weights of its own.

        x0hat_m = sum_j softmax_j(-sum_n M[n, m] (x_n - k_jn)^2 / (2 sigma^2)) k_jm

    The distances of a tile are one product of squared differences with M, or one for each block of the image where M
    is mostly zero. As in `SamePlaceJob`, squared differences serve at small sigma, and at large sigma x^2 is left out
    and added once at the end.

    Args:
        x: noisy images (B, C, H, W), centred as the store is.
        sigma: noise level.
        store: the training images, of the same size.
        matrix: M, (C H W, C H W), 0 or more.
        split: one softmax for each so many images in their order, whose results are averaged; None for one over all.

    Attributes:
        queries: the flattened images, so that autograd can take a gradient further back.
        scale: units of the tiles for each unit of the queries.
    """

    scale = 1.0

    def __init__(self, x: Tensor, sigma: float, store: PixelStore, matrix: Tensor, split: int | None = None) -> None:
        queries = x.flatten(1)
        if bool((x.abs().amax() > FAR * (1 + sigma)).any()):
            queries = queries.double()
        self.queries = queries
        self.x = queries.detach()
        self.shape = x.shape
        self.store = store
        self.blocks = _blocks(matrix, x.shape[1:], self.x)
        self.precision = (1 / sigma) ** 2
        self.expand = sigma > 1
        self.split = split
        self.count = self.x.numel()

    @property
    def pairs(self) -> int:
        return self.count * len(self.store)

    @property
    def keys_met(self) -> int:
        return len(self.store)

    def __len__(self) -> int:
        return len(self.store) if self.split is None else -(-len(self.store) // self.split)

    @property
    def offset(self) -> Tensor:
        if not self.expand or self.split is not None:
            return self.x.new_zeros(self.count, dtype=torch.float64)
        left_out = self._times(self.x.square().T.contiguous()).T.double()
        return -(left_out * self.precision / 2).flatten()

    def sources(self) -> Sources:
        return Sources(torch.arange(len(self.store), device=self.x.device))

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return keys, row.expand(keys.shape), column.expand(keys.shape)

    def attribution(self, state: SoftmaxState, batch: int, top: int) -> TiledAttribution:
        pixels = _PixelWeights(self, state)
        ones = state.total.new_ones(pixels.count)
        found = SoftmaxState(torch.zeros_like(ones), ones, ones[:, None])
        return TiledAttribution(pixels, found, batch, len(self.store), top)

    def run(self, start: int, stop: int) -> SoftmaxState:
        numbers = self.x.shape[1]
        states: list[SoftmaxState | None] = [None] * len(self.x)
        for tile in self.tiles(start, stop):
            image = tile.queries.start // numbers
            found = self._state(tile.logs[0], tile.keys)
            before = states[image]
            states[image] = found if before is None else before.merge(found)
        known = [state for state in states if state is not None]
        assert len(known) == len(self.x), "a job was run on an empty range"
        return stack(known).completed(self.offset, 1.0)

    def _state(self, logs: Tensor, images: Tensor) -> SoftmaxState:
        """Of one tile (d, T) of one image; the logs are overwritten."""
        peak = logs.amax(-1)
        weights = logs.sub_(peak[:, None]).clamp_(min=least(logs.dtype)).exp_()
        total, weighted = weights.sum(-1).double(), torch.linalg.vecdot(weights, images).double()[:, None]
        if self.split is None:
            return SoftmaxState(peak.double(), total, weighted)
        # Every split counts once, whatever its likelihood.
        return SoftmaxState(torch.zeros_like(total), torch.ones_like(total), weighted / total[:, None])

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        """One image of the batch at a time; with `split`, a tile is a split."""
        numbers = self.x.shape[1]
        columns = self.split or max(1, TILE // numbers)
        low, high = (start, stop) if self.split is None else (start * columns, min(stop * columns, len(self.store)))
        for left in range(low, high, columns):
            images = self.store.centred(self.store.pixels[left : min(left + columns, high)], self.x.dtype)
            images = (images.flatten(1) / self.store.scale).T.contiguous()
            for number, x in enumerate(self.x[:, :, None]):
                closeness = (2 * x - images).mul_(images) if self.expand else (x - images).square_().neg_()
                logs = self._times(closeness).mul_(self.precision / 2)
                queries = slice(number * numbers, (number + 1) * numbers)
                yield Tile(queries, left, logs[None], images[..., None], images)

    def parts(self, gradient: Tensor) -> list[tuple[NumberJob, Tensor]]:
        """See `DifferentiableJob`: every split is a softmax average of its own."""
        if not gradient.any():
            return []
        if self.split is None:
            return [(self, gradient)]
        jobs = []
        for left in range(0, len(self.store), self.split):
            job = copy.copy(self)
            job.store = replace(self.store, pixels=self.store.pixels[left : left + self.split])
            job.split = None
            jobs.append((job, gradient / len(self)))
        return jobs

    def gather(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """Add the keys of a tile, times coefficients (1, d, T), to the sums of its image, shaped as `queries`."""
        image = tile.queries.start // self.x.shape[1]
        spread = torch.zeros_like(tile.keys)
        for block in self.blocks:
            product = block.weights @ (coefficients[0] if block.columns is None else coefficients[0, block.columns])
            if block.rows is None:
                spread += product
            else:
                spread.index_add_(0, block.rows, product)
        into[image] += torch.linalg.vecdot(spread, tile.keys)

    def _times(self, numbers: Tensor) -> Tensor:
        """M^T times numbers (d, T)."""
        first = self.blocks[0]
        if first.rows is None or first.columns is None:
            return first.weights.T @ numbers
        out = torch.zeros_like(numbers)
        for block in self.blocks:
            assert block.rows is not None
            out[block.columns] = block.weights.T @ numbers[block.rows]
        return out


class _PixelWeights:
    """The weights of a `NumberJob` by pixel: the mean over channels, which have weights of their own."""

    def __init__(self, job: NumberJob, state: SoftmaxState) -> None:
        self.job = job
        self.log_total = (state.log_total - job.offset).view(len(job.x), -1)
        self.channels = job.shape[1]
        self.count = job.count // self.channels
        self.offset = self.log_total.new_zeros(self.count)

    @property
    def pairs(self) -> int:
        return self.job.pairs

    @property
    def keys_met(self) -> int:
        return self.job.keys_met

    def __len__(self) -> int:
        return len(self.job)

    def run(self, start: int, stop: int) -> SoftmaxState:
        raise AssertionError("these weights were averaged before")

    def attribution(self, state: SoftmaxState, batch: int, top: int) -> TiledAttribution:
        raise AssertionError("this is the attribution")

    def sources(self) -> Sources:
        return self.job.sources()

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.job.locate(keys, row, column)

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        numbers, pixels = self.job.x.shape[1], self.count // len(self.job.x)
        for tile in self.job.tiles(start, stop):
            image, logs = tile.queries.start // numbers, tile.logs[0]
            if self.job.split is None:
                logs = logs - self.log_total[image, :, None].to(logs.dtype)
            else:
                logs = logs.log_softmax(-1) - math.log(len(self.job))
            if self.channels > 1:
                logs = logs.view(self.channels, pixels, -1).logsumexp(0) - math.log(self.channels)
            queries = slice(image * pixels, (image + 1) * pixels)
            yield Tile(queries, tile.start, logs, tile.values, tile.keys)


def _blocks(matrix: Tensor, shape: torch.Size, like: Tensor) -> list[_Block]:
    """The matrix in blocks of neighbouring pixels, each with the rows that it needs; one block where that saves little.

    Args:
        matrix: (d, d).
        shape: C, H and W.
        like: of the dtype and on the device wanted.
    """
    channels, height, width = shape
    matrix = matrix.to(like.device)
    side = max(1, math.isqrt(BLOCK // channels))
    flat = torch.arange(channels * height * width, device=like.device).view(channels, height, width)
    chosen, cost = [], 0
    for top in range(0, height, side):
        for left in range(0, width, side):
            columns = flat[:, top : top + side, left : left + side].flatten()
            rows = matrix[:, columns].ne(0).any(1).nonzero().flatten()
            chosen.append((rows, columns))
            cost += len(rows) * len(columns)
    if cost > SPARSE * matrix.numel():
        return [_Block(None, None, matrix.to(like.dtype))]
    return [_Block(rows, columns, matrix[rows][:, columns].to(like.dtype)) for rows, columns in chosen]
