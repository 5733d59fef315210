"""The attribution pass of a search: which keys weigh most, and whose images they are, from what the search read.

The search kept, for each query, the heaviest key of each of its heaviest blocks. The t heaviest keys lie in the t
blocks whose heaviest keys weigh most: these blocks are read again, now that the totals are known. The weight that their
keys do not hold is credited to training images by the predicted masses of groups, evenly over the windows of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from elsewhere.engine.attribution import TiledAttribution
from elsewhere.engine.dense import DenseJob
from elsewhere.engine.kernels import loader, reference
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.search.gaussians import predicted_log_masses
from elsewhere.engine.search.index import Index
from elsewhere.engine.search.rounds import Search
from elsewhere.engine.state import Attribution, SoftmaxState, TopWeights

# Pieces that the blocks are divided into, each with sums for all training images of its own.
PIECES = 4
# The weight of groups that together hold less than this share of what is spread goes evenly to all training images.
TAIL = 0.01


@dataclass(frozen=True)
class _Ranges:
    """Ranges of keys, and the queries that ask for each.

    Attributes:
        first, end: int64 (R,), rising.
        bounds: where the requests of each begin, and the end, int64 (R + 1,).
        queries: positions of queries, rising in each range, int64.
    """

    first: Tensor
    end: Tensor
    bounds: Tensor
    queries: Tensor

    def part(self, low: int, high: int) -> _Ranges:
        some = self.queries[self.bounds[low] : self.bounds[high]]
        return _Ranges(self.first[low:high], self.end[low:high], self.bounds[low : high + 1] - self.bounds[low], some)


class Searched(Protocol):
    """A `SearchJob` that has been run: its queries, and what its searches kept."""

    queries: Tensor
    count: int
    sigma: float
    index: Index
    searches: list[tuple[Tensor, Search]]
    blurred: Tensor


class SearchAttribution:
    """The attribution job of a `SearchJob`, from what its search kept.

    Args:
        job: the search, made with `traced` and run.
        state: its result.
        batch: number of images that its queries belong to, equally many each.
        top: number of the largest weights to keep for each query; of more than `SearchSettings.kept` some may be
            missed.
    """

    # It divides its work among the cores itself.
    pairs = 0

    def __init__(self, job: Searched, state: SoftmaxState, batch: int, top: int) -> None:
        self.job, self.state, self.top, self.batch = job, state, top, batch
        self.keys = job.index.keys
        self.sources = job.index.sources
        self.image = torch.arange(job.count, device="cpu") // (job.count // batch)

    def __len__(self) -> int:
        return 1

    def counts(self, keys: Tensor) -> Tensor:
        if self.keys.log_counts is None:
            return torch.ones_like(keys)
        return self.keys.log_counts[keys].exp().round().long()

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.keys.locate(keys, row, column)

    def run(self, start: int = 0, stop: int = 1) -> Attribution:
        job, images = self.job, len(self.keys.store)
        top = TopWeights.none(job.count, self.top, self.state.peak)
        shares = torch.zeros(images, self.batch, dtype=torch.float64, device="cpu")
        unread = torch.zeros(job.count, dtype=torch.float64, device="cpu")
        for some, search in job.searches:
            found, read = self._read_again(some, search, shares)
            top.logs[some], top.keys[some] = found.logs, found.keys
            unread[some] = search.unread()
            self._spread((1 - read).clamp(min=0), some, search, shares)
        if len(job.blurred):
            self._weigh(top, shares)
        # Rounding: the weights of a query sum to one.
        shares *= job.count // self.batch / shares.sum(0).clamp(min=1e-300)
        return Attribution(top, shares.T.contiguous(), unread)

    def _read_again(self, some: Tensor, search: Search, shares: Tensor) -> tuple[TopWeights, Tensor]:
        """The largest weights of the queries of a search, and the weight of all keys read again, float64 (Q,)."""
        ranges = _ranges(search)
        log_totals = search.state().log_total - search.plan.reference
        marks = torch.linspace(0, int(ranges.bounds[-1]), PIECES + 1, dtype=torch.float64, device="cpu")[1:-1]
        edges = sorted({0, *torch.searchsorted(ranges.bounds, marks.long()).tolist(), len(ranges.first)})
        pieces = [ranges.part(a, b) for a, b in pairwise(edges) if a < len(ranges.first)]
        weigh = self._weigh_compiled if search.quantised is not None else self._weigh_plain

        def read(piece: _Ranges) -> tuple[TopWeights, Tensor, Tensor]:
            found = TopWeights.none(len(some), self.top, log_totals)
            own, mass = torch.zeros_like(shares), torch.zeros_like(log_totals)
            weigh(piece, search, self.image[some], log_totals, (found, mass, own))
            return found, mass, own

        top, total = TopWeights.none(len(some), self.top, log_totals), torch.zeros_like(log_totals)
        for found, mass, own in in_parallel(read, pieces):
            top, total = top.merge(found), total + mass
            shares += own
        return top, total

    def _weigh_compiled(
        self,
        piece: _Ranges,
        search: Search,
        image: Tensor,
        log_totals: Tensor,
        into: tuple[TopWeights, Tensor, Tensor],
    ) -> None:
        library, queries, (top, read, shares) = loader.library(), search.quantised, into
        assert library is not None
        assert queries is not None
        low, high = int(piece.first[0]), int(piece.end[-1])
        relative = queries.relative_to(log_totals)
        chunk = self.keys.read(low, high)
        task, held = relative.input(chunk, low, self.keys.scale)
        count, requests = len(piece.first), len(piece.queries)
        attribution = loader.struct(
            "attribution_task",
            **{"in": task[0], "from": self.sources.compiled(self.keys)[0]},
            ranges=count,
            first=loader.address(piece.first.contiguous(), torch.int64, count),
            end=loader.address(piece.end.contiguous(), torch.int64, count),
            bounds=loader.address(piece.bounds, torch.int64, count + 1),
            queries=loader.address(piece.queries.contiguous(), torch.int64, requests),
            image=loader.address(image, torch.int64, len(log_totals)),
            batch=self.batch,
            top=self.top,
            logs=loader.address(top.logs, torch.float64, len(log_totals), self.top),
            keys=loader.address(top.keys, torch.int64, len(log_totals), self.top),
            read=loader.address(read, torch.float64, len(log_totals)),
            shares=loader.address(shares, torch.float64, len(shares), self.batch),
        )
        failed = library.attribute_keys(attribution)
        del held
        if failed:
            raise MemoryError(f"not enough memory to attribute the weights of {len(log_totals)} queries")

    def _weigh_plain(
        self,
        piece: _Ranges,
        search: Search,
        image: Tensor,
        log_totals: Tensor,
        into: tuple[TopWeights, Tensor, Tensor],
    ) -> None:
        """The same in plain code, in float64."""
        top, read, shares = into
        for number, (low, high) in enumerate(zip(piece.first.tolist(), piece.end.tolist(), strict=True)):
            queries = piece.queries[piece.bounds[number] : piece.bounds[number + 1]]
            keys = self.keys.read(low, high)
            logs = reference.log_weights(keys, 0, high - low, search.tables, queries) - log_totals[queries, None]
            weights = logs.exp()
            read[queries] += weights.sum(1)
            sums = torch.zeros(self.batch, high - low, dtype=torch.float64, device="cpu")
            sums.index_add_(0, image[queries], weights)
            self.sources.credit(self.keys, low, sums.T.contiguous(), shares)
            best = logs.topk(min(self.top, high - low), dim=1)
            merged = TopWeights(top.logs[queries], top.keys[queries]).merge(TopWeights(best.values, best.indices + low))
            top.logs[queries], top.keys[queries] = merged.logs, merged.keys

    def _spread(self, rest: Tensor, some: Tensor, search: Search, shares: Tensor) -> None:
        """Credit the weight of each query that was not read again, float64 (Q,), by the predicted masses of groups."""
        smoothed, index = search.smoothed, search.index
        of_groups = torch.zeros(self.batch, len(index.groups), dtype=torch.float64, device="cpu")
        matters = (rest > 1e-4).nonzero().flatten()
        for part in torch.split(matters, 256):
            logs = predicted_log_masses(search.tables.queries[part], smoothed.groups)
            of_groups.index_add_(0, self.image[some[part]], logs.double().softmax(1) * rest[part, None])
        total = torch.zeros(self.batch, dtype=torch.float64, device="cpu").index_add_(0, self.image[some], rest)
        order = of_groups.sum(0).argsort(descending=True)
        held = of_groups.sum(0)[order].cumsum(0)
        chosen = order[: int((held < (1 - TAIL) * held[-1]).sum()) + 1].sort().values
        weights = (of_groups[:, chosen].T / index.groups.log_mass[chosen, None].double().exp()).contiguous()
        first, end = index.starts[index.bounds[chosen]], index.starts[index.bounds[chosen + 1]]
        self.sources.spread(self.keys, first, end, weights, shares)
        shares += (total - of_groups[:, chosen].sum(1)).clamp(min=0) / len(shares)

    def _weigh(self, top: TopWeights, shares: Tensor) -> None:
        """Queries that were weighed against every key are so once more."""
        job = self.job
        for number in range(self.batch):
            some = job.blurred[self.image[job.blurred] == number]
            if not len(some):
                continue
            dense = DenseJob(job.queries[some], job.sigma, self.keys)
            one = TiledAttribution(dense, self.state.take(some), 1, len(self.keys.store), self.top)
            found = one.run(0, len(self.keys))
            top.logs[some], top.keys[some] = found.top.logs, found.top.keys
            shares[:, number] += found.shares[0]


def _ranges(search: Search) -> _Ranges:
    """The high-multiplicity keys, for all queries, and the heaviest blocks of each."""
    index, count = search.index, search.count
    first = search.first_cells(search.known.top_keys)
    query, _ = (there := first >= 0).nonzero().unbind(1)
    codes = (first[there] * count + query).sort().values
    cells, requests = torch.unique_consecutive(codes // count, return_counts=True)
    group = torch.searchsorted(index.bounds, cells, right=True) - 1
    begin = index.starts[cells]
    end = index.starts[torch.minimum(cells + index.block, index.bounds[group + 1])]
    queries = codes % count
    if index.outside:
        zero, all_queries = torch.zeros(1, dtype=torch.int64, device="cpu"), torch.arange(count, device="cpu")
        begin, end = torch.cat([zero, begin]), torch.cat([zero + index.outside, end])
        queries, requests = torch.cat([all_queries, queries]), torch.cat([zero + count, requests])
    return _Ranges(begin, end, torch.cat([requests.new_zeros(1), requests.cumsum(0)]), queries)
