"""The second look at the keys: once the totals are known, which keys weigh most, and whose images they are."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine.jobs import Average, Job, Tile, least
from elsewhere.engine.state import SoftmaxState

LONGER = 4
"""Pieces of a second look are longer than those of a first one, this many times."""


@dataclass(frozen=True)
class Top:
    """The largest weights of each query, in decreasing order; of equal ones those whose keys come first.

    Attributes:
        logs: log-weights, (Q, k), -inf where there are fewer keys than k.
        keys: positions of their keys, int64 (Q, k), -1 where there is none.
    """

    logs: Tensor
    keys: Tensor

    @classmethod
    def none(cls, count: int, k: int, like: Tensor) -> Top:
        """Of no keys at all."""
        logs = torch.full((count, k), -math.inf, dtype=torch.float64, device=like.device)
        return cls(logs, torch.full((count, k), -1, dtype=torch.int64, device=like.device))

    def merge(self, other: Top) -> Top:
        """Of both sets of keys, those of `other` coming after these."""
        logs, keys = torch.cat([self.logs, other.logs], 1), torch.cat([self.keys, other.keys], 1)
        logs, order = logs.sort(dim=1, descending=True, stable=True)
        k = self.logs.shape[1]
        return Top(logs[:, :k], keys.gather(1, order[:, :k]))


@dataclass(frozen=True)
class Trace:
    """Where the weights of some keys went.

    Attributes:
        top: the largest ones of every query.
        shares: sum over the queries of an image of the weights that each training image has, float64 (B, N).
    """

    top: Top
    shares: Tensor

    def merge(self, other: Trace) -> Trace:
        """Of both sets of keys, those of `other` coming after these."""
        return Trace(self.top.merge(other.top), self.shares + other.shares)


class SecondLook(ABC):
    """A job on the keys of another one, whose state is known: it finds where the weights went.

    Args:
        first: the other job.
    """

    def __init__(self, first: Job[SoftmaxState]) -> None:
        self._first = first

    @property
    def pairs(self) -> int:
        # Every piece begins without a top, and lets nearly all keys in at first: a few long ones do less work.
        return -(-self._first.pairs // LONGER)

    def __len__(self) -> int:
        return len(self._first)

    @abstractmethod
    def run(self, start: int, stop: int) -> Trace:
        """What is known from the keys in a range."""

    @abstractmethod
    def counts(self, keys: Tensor) -> Tensor:
        """How many equal windows stand behind each key, int64, of the shape of `keys`."""

    @abstractmethod
    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column of the windows' centres, for positions of keys asked for from a row and a column."""


class Tracing(SecondLook):
    """A job on the keys of an average whose state is known: w_ij = exp(l_ij - peak_i) / total_i, key by key.

    Same tiles, same log-weights: what is named is what was averaged. It costs a second product a tile.

    Args:
        average: the job.
        state: the state of all its keys.
        batch: number of images B that its queries belong to, equally many each, one image after the other.
        images: number of training images N.
        top: how many of the largest weights to keep for each query.
    """

    def __init__(self, average: Average, state: SoftmaxState, batch: int, images: int, top: int) -> None:
        super().__init__(average)
        self.average = average
        self.top = top
        self.shape = (batch, images)
        self.peak = state.peak - average.offset
        self.total = state.total
        self.sources = average.sources()
        self.image = torch.arange(average.count, device=state.peak.device) // (average.count // batch)

    def run(self, start: int, stop: int) -> Trace:
        top = Top.none(self.average.count, self.top, self.peak)
        shares = self.peak.new_zeros(self.shape)
        for tile in self.average.tiles(start, stop):
            logs = tile.logs.reshape(-1, tile.logs.shape[-1])
            logs = logs.sub_(self.peak[tile.queries, None].to(logs.dtype))
            _improve(top, tile, logs)
            weights = logs.clamp_(min=least(logs.dtype)).exp_()
            # Rows of this sum over the queries of one image; a tile seldom meets more than two.
            image = self.image[tile.queries]
            first, last = int(image[0]), int(image[-1])
            members = image == torch.arange(first, last + 1, device=image.device)[:, None]
            sums = (members / self.total[tile.queries]).to(weights.dtype) @ weights
            self.sources.share(sums, tile.start, shares[first : last + 1])
        return Trace(Top(top.logs - self.total.log()[:, None], top.keys), shares)

    def counts(self, keys: Tensor) -> Tensor:
        return self.sources.counts(keys)

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.average.locate(keys, row, column)


def _improve(top: Top, tile: Tile, logs: Tensor) -> None:
    """Let the keys of a tile into the top of its queries, in place."""
    best, keys = top.logs[tile.queries], top.keys[tile.queries]
    # Strictly larger: of equal weights the earlier key stays. Once a run has warmed up, few rows are left.
    rows = (logs.amax(1) > best[:, -1]).nonzero().flatten()
    if not len(rows):
        return
    some = logs[rows] if len(rows) < len(logs) else logs
    found = _largest(some, min(top.logs.shape[1], logs.shape[1]))
    here = Top(some.gather(1, found).double(), found + tile.start)
    merged = Top(best[rows], keys[rows]).merge(here)
    best[rows], keys[rows] = merged.logs, merged.keys


def _largest(logs: Tensor, k: int) -> Tensor:
    """Columns of the k largest numbers of each row, the first ones of equal numbers, in ascending order."""
    if k == logs.shape[1]:
        return torch.arange(k, device=logs.device).expand(len(logs), k)
    values, columns = logs.topk(k, dim=1, sorted=False)
    # topk takes any of several equal numbers: where more of them are there than fit, sort.
    tied = (logs >= values.amin(1, keepdim=True)).sum(1) > k
    if bool(tied.any()):
        columns[tied] = logs[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return columns.sort(dim=1).values
