"""The search: read only the keys that matter, let Gaussians stand for the rest, and estimate how far off that may be.

Every query is first weighed against the Gaussians of groups and cells. The cells that seem to matter most are read, key
by key; all others are approximated by their Gaussians. What was read is compared with what was predicted of it, and the
rest may be off by as much. Where that is more than the tolerance, further cells are read. At last, adjacent queries
propagate what they found.

Keys are read in five places: the rounds (`_round`), propagation (`_propagate`, which reads whole blocks), the
high-multiplicity keys (`_weigh_outside`), queries too far away to be searched (job.py), and the attribution pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from elsewhere.engine.dense import DenseJob
from elsewhere.engine.kernels import reference, scan
from elsewhere.engine.kernels.reference import Chunk, ScanQueries, ScanResult, ScanTables
from elsewhere.engine.keys.base import rounding_of
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.precision import COARSE, RESOLVED, ROUNDING
from elsewhere.engine.search.error import Unread, estimated_error
from elsewhere.engine.search.gaussians import SmoothedIndex, query_rows
from elsewhere.engine.search.neighbours import Propagation
from elsewhere.engine.search.plan import Planning, depth
from elsewhere.engine.state import SoftmaxState, merge_all


@dataclass
class Known:
    """What is known of some queries, as sums relative to e^reference: see `ScanResult`."""

    peak: Tensor
    read: Tensor
    left: Tensor
    left_squares: Tensor
    tops: Tensor
    top_keys: Tensor

    @classmethod
    def nothing(cls, count: int, values: int, kept: int) -> Known:
        found = ScanResult.nothing(count, values, kept)
        return cls(found.peak, found.read, found.left, found.left_squares, found.tops, found.top_keys)

    def add_read(self, at: Tensor, peak: Tensor, read: Tensor) -> None:
        """Add what was read for the queries `at`, which may repeat, relative to peaks of its own."""
        highest = self.peak.scatter_reduce(0, at, peak, "amax")
        # Nothing read on either side: -inf - -inf would be NaN.
        anchor = highest.clamp(min=-1e300)
        self.read *= (self.peak - anchor).exp()[:, None]
        self.peak = highest
        self.read.index_add_(0, at, read * (peak - anchor[at]).exp()[:, None])

    def add_tops(self, at: Tensor, tops: Tensor, keys: Tensor) -> None:
        """Add the heaviest keys of blocks, for the queries `at`, of which there is one each."""
        best = torch.cat([self.tops[at], tops], dim=1).topk(self.tops.shape[1], dim=1)
        self.tops[at] = best.values
        self.top_keys[at] = torch.cat([self.top_keys[at], keys], dim=1).gather(1, best.indices)


def merged(parts: list[ScanResult]) -> ScanResult:
    """What was found in several parts of the index, for the same queries."""
    peaks, read, left, left_squares, band = (torch.stack(some) for some in list(zip(*parts, strict=True))[:5])
    peak = peaks.amax(0)
    # Nothing read anywhere: -inf - -inf would be NaN.
    share = (peaks - peak.clamp(min=-1e300)).exp()
    best = torch.cat([part.tops for part in parts], dim=1).topk(parts[0].tops.shape[1], dim=1)
    top_keys = torch.cat([part.top_keys for part in parts], dim=1).gather(1, best.indices)
    sums = (read * share[..., None]).sum(0), left.sum(0), left_squares.sum(0), band.sum(0)
    return ScanResult(peak, *sums, best.values, top_keys)


class Search:
    """The search of queries that share a noise level.

    Args:
        queries: (Q, D), centred as the keys are and multiplied by their `roots`.
        smoothed: the index at the noise level.
        tolerance: error of the average aimed for, in units of the values.
        adjacent: see `Propagation`.

    Attributes:
        known: what was found, after `run`.
        quantised: the queries for the compiled scan; None where the plain one serves.
    """

    def __init__(self, queries: Tensor, smoothed: SmoothedIndex, tolerance: float, adjacent: Tensor) -> None:
        index, sigma = smoothed.index, smoothed.sigma
        self.smoothed, self.index, self.settings = smoothed, index, smoothed.settings
        self.tolerance, self.count = tolerance, len(queries)
        wide, keys = queries.double(), index.keys
        self.propagation = Propagation.of(keys, index.outside, wide, sigma, adjacent)
        rows = query_rows(index, wide)
        self.outside = self._weigh_outside(queries) if index.outside else None
        log_total = None if self.outside is None else self.outside.log_total
        self.plan = Planning(smoothed, rows.to(smoothed.dtype), log_total).plan()
        rows[:, index.basis.shape[1] + 1] = -self.plan.reference
        self.tables = ScanTables(
            index.starts,
            index.bounds,
            index.block,
            [table.masses for table in smoothed.cells],
            smoothed.cells[0].values,
            keys.scale,
            rows.to(smoothed.dtype),
            wide,
            sigma,
            self.plan.reference,
        )
        self.quantised = self._quantised(wide) if queries.dtype == torch.float32 else None
        # By group: a column of the other table is scattered in memory.
        self.opened = self.plan.opened.T.contiguous()
        self.step = smoothed.sample_step
        self.known = Known.nothing(self.count, index.cells.value.shape[1], self.settings.kept)

    def _quantised(self, queries: Tensor) -> scan.QuantisedQueries | None:
        """The queries for the compiled scan, where it is available and float32 tells apart what matters."""
        keys, predicted = self.index.keys, self.plan.reference
        if self.smoothed.dtype != torch.float32 or not scan.serves(keys):
            return None
        norm = queries.square().sum(1).max().sqrt()
        rounding = float(rounding_of(norm, keys.typical_norm, 1 / self.smoothed.sigma**2))
        products = scan.multiplies(keys) and rounding <= ROUNDING and self.tolerance >= COARSE
        if not products and torch.finfo(torch.float32).eps * float(predicted.abs().max()) > ROUNDING:
            return None
        return scan.QuantisedQueries.of(queries, keys, self.smoothed.sigma, predicted, products)

    def _weigh_outside(self, queries: Tensor) -> SoftmaxState:
        """The high-multiplicity keys, which are weighed one by one."""
        job = DenseJob(queries, self.smoothed.sigma, self.index.keys, self.tolerance)
        edges = [self.index.outside * step // 4 for step in range(5)]
        ranges = [(a, b) for a, b in pairwise(edges) if a < b]
        return merge_all(in_parallel(lambda part: job.run(*part), ranges))

    def run(self) -> SoftmaxState:
        """The state of every query, with its error."""
        known, settings = self.known, self.settings
        active = torch.arange(self.count, device="cpu")
        everything = self.opened.all(0)
        upper = torch.full((self.count,), torch.inf, dtype=torch.float32, device="cpu")
        error = torch.full((self.count,), torch.inf, dtype=torch.float64, device="cpu")
        mean = torch.full((self.count, known.read.shape[1] - 1), torch.inf, dtype=torch.float64, device="cpu")
        cells = self.plan.first.clone()
        for number, least_error in enumerate(settings.rounds):
            active = active[error[active] > least_error * self.tolerance]
            if not len(active):
                break
            if number:
                growth = (error[active] / self.tolerance).pow(1 / settings.error_power)
                growth = growth.clamp(settings.least_growth, settings.most_growth)
                least = settings.least_first * self.smoothed.more_cells
                cells[active] = (cells[active].clamp(min=least) * growth).clamp(max=settings.most_cells)
                lower = self._depth(active, cells[active])
            else:
                nearest = self._depth(active, cells[active].clamp(max=settings.nearest))
                lower = self._depth(active, cells[active]).clamp(min=-settings.depth * self.smoothed.nat)
                lower = torch.minimum(lower, nearest)
            lower = torch.minimum(lower, upper[active])
            found = self._round(active, lower, upper[active], known.tops[active, -1])
            known.add_read(active, found.peak, found.read)
            known.add_tops(active, found.tops, found.top_keys)
            known.left[active], known.left_squares[active] = found.left, found.left_squares
            upper[active] = lower
            last, state = mean, self.state()
            mean = state.mean()
            if self.smoothed.nearest_regime:
                error[active] = (mean - last)[active].abs().amax(1)
            else:
                error[active] = self._error(found.band, state, active)
            # Every key was read, for `lower` is -inf: the average is exact. Who leaves keys out must not get here.
            error[active[lower.isinf() & everything[active]]] = 0
        self._propagate()
        return replace(self.state(), error=error.clamp(min=RESOLVED * self.tolerance))

    def _depth(self, active: Tensor, cells: Tensor) -> Tensor:
        return depth(self.plan.ranked[active], cells, self.step, len(self.index.cells))

    def _round(self, active: Tensor, lower: Tensor, upper: Tensor, floors: Tensor) -> ScanResult:
        """Read the blocks between two log shares, for some queries; keys with logs below `floors` need not be kept."""
        opened = self.opened if len(active) == self.count else self.opened[:, active]
        regular = ScanQueries(active, opened, lower, upper, not self.smoothed.nearest_regime, floors)
        # Outliers come last: the margin of the last group is theirs, or 0 where there are none.
        margin = self.smoothed.margin[-1]
        outliers = replace(regular, lower=lower - margin, upper=upper - margin)

        def search(piece: tuple[int, int]) -> ScanResult:
            chunk, round_ = self.chunk(piece), outliers if piece[0] >= self.index.regular else regular
            if self.quantised is not None:
                return scan.scan_groups(chunk, self.tables, round_, self.quantised, self.settings)
            return reference.scan_groups(chunk, self.tables, round_, self.settings)

        return merged(list(in_parallel(search, self._pieces(opened.sum(1)))))

    def chunk(self, groups: tuple[int, int]) -> Chunk:
        """The keys of a range of groups."""
        first, end = self.index.starts[self.index.bounds[list(groups)]].tolist()
        return Chunk(self.index.keys.read(first, end), first, groups)

    def _pieces(self, work: Tensor) -> list[tuple[int, int]]:
        """Ranges of groups with about as much work each."""
        done = work.double().cumsum(0)
        count = self.settings.pieces + 1
        marks = torch.linspace(0, float(done[-1]), count, dtype=torch.float32, device="cpu")[1:-1].double()
        edges = sorted({0, self.index.regular, *(torch.searchsorted(done, marks) + 1).tolist(), len(work)})
        return [(a, b) for a, b in pairwise(edges) if a < len(work)]

    def _error(self, band: Tensor, state: SoftmaxState, active: Tensor) -> Tensor:
        mass = (self.known.left + self.plan.closed)[active, 0]
        squares = self.known.left_squares[active] + self.plan.closed_squares[active]
        unread = Unread(mass, squares, self.plan.uncertainty[active])
        total = (state.log_total - self.plan.reference).exp()[active].clamp(min=1e-300)
        error = estimated_error(state.mean()[active], total, band, unread, self.settings)
        return error if self.index.keys.roots is None else self.settings.weighted_safety * error

    def state(self) -> SoftmaxState:
        """The state of all that is known: keys read, high-multiplicity keys, and Gaussians in place of the others."""
        predicted, known = self.plan.reference, self.known
        state = SoftmaxState(predicted + known.peak, known.read[:, 0], known.read[:, 1:])
        if self.outside is not None:
            state = state.merge(self.outside)
        if self.smoothed.nearest_regime:
            # A Gaussian says where keys are, but not how near the nearest is.
            return state
        left = known.left + self.plan.closed
        # Where nothing is left the peak is nowhere: keys far below the reference must not be rounded away.
        peak = predicted.masked_fill(left[:, 0] == 0, -torch.inf)
        return state.merge(SoftmaxState(peak, left[:, 0], left[:, 1:]))

    def unread(self) -> Tensor:
        """Share of each query's mass that Gaussians stand for, float64 (Q,)."""
        if self.smoothed.nearest_regime:
            return torch.zeros_like(self.plan.reference)
        left = (self.known.left + self.plan.closed)[:, 0]
        return left * (self.plan.reference - self.state().log_total).exp()

    def _propagate(self) -> None:
        """Read the blocks that hold keys propagated by adjacent queries, where these matter and were not read."""
        query, first = self._propagated()
        if len(query):
            self._take_in(query, first)
        self.known.left[:, 0].clamp_(min=0)
        self.known.left_squares.clamp_(min=0)

    def _propagated(self) -> tuple[Tensor, Tensor]:
        """Pairs of a query and the first cell of a block to be read for it, in order.

        The block holds a propagated key that weighs enough to be among the heaviest; it was not read before.
        """
        known, cells = self.known, len(self.index.cells)
        least = torch.maximum(
            self.state().log_total + math.log(self.settings.propagated_share),
            known.tops[:, -1] + self.settings.propagated_margin + self.plan.reference,
        )
        query, key = self.propagation.propagated(known.top_keys, least)
        first = self.first_cells(key)
        receivers, which = torch.unique_consecutive(query, return_inverse=True)
        new = (first[:, None] != self.first_cells(known.top_keys[receivers])[which]).all(1)
        pairs = torch.unique((query * cells + first)[new])
        return pairs // cells, pairs % cells

    def first_cells(self, key: Tensor) -> Tensor:
        """First cells of the blocks that hold some keys, -1 where there is no key or it is outside the cells."""
        index = self.index
        cell = torch.searchsorted(index.starts, key, right=True) - 1
        group = torch.searchsorted(index.bounds, cell.clamp(min=0), right=True) - 1
        begin = index.bounds[group]
        return (begin + (cell - begin) // index.block * index.block).where(cell >= 0, cell)

    def _take_in(self, query: Tensor, first: Tensor) -> None:
        """Read blocks, given by their first cells, each for a query; the queries come in order."""
        parts = torch.split(torch.arange(len(query), device="cpu"), self.settings.propagated_at_once)
        read = in_parallel(lambda part: self._read_blocks(query[part], first[part]), parts)
        for part, found in zip(parts, read, strict=True):
            at = query[part]
            self.known.add_read(at, found.peak, found.read)
            self.known.left.index_add_(0, at, -found.left)
            self.known.left_squares.index_add_(0, at, -found.left_squares)
            # One block of each query at a time.
            nth = torch.arange(len(at), device="cpu") - torch.searchsorted(at, at)
            for n in range(int(nth.max()) + 1):
                some = nth == n
                self.known.add_tops(at[some], found.tops[some], found.top_keys[some])

    def _read_blocks(self, query: Tensor, first: Tensor) -> ScanResult:
        """Read one block for each of some queries; `left` is what Gaussians no longer stand for."""
        index, tables = self.index, self.tables
        group = torch.searchsorted(index.bounds, first, right=True) - 1
        end = torch.minimum(first + index.block, index.bounds[group + 1])
        cells = first[:, None] + torch.arange(index.block, device="cpu")
        nothing, cells = cells >= end[:, None], torch.minimum(cells, end[:, None] - 1)
        rows = tables.queries[query].T[..., None]
        value_rows = rows[index.basis.shape[1] + 2 :].float()
        predicted = torch.stack([(table[:, cells] * rows).sum(0) for table in tables.masses]).amin(0)
        # The cells of closed groups were counted by the Gaussian of the group.
        nothing |= ~self.opened[group, query][:, None]
        mass = predicted.clamp(max=self.settings.largest).exp().double().masked_fill(nothing, 0)
        expected = [(mass * (table[:, cells] * value_rows).sum(0)).sum(1) for table in tables.values]
        left = torch.stack([mass.sum(1), *expected], dim=1)
        begin, stop = index.starts[first], index.starts[end]
        keys = begin[:, None] + torch.arange(int((stop - begin).max()), device="cpu")
        inside = torch.minimum(keys, stop[:, None] - 1).flatten()
        raw = index.keys.raw_at(inside)
        logs = self.propagation.logs(query.repeat_interleave(keys.shape[1]), inside, raw).view(keys.shape)
        logs -= self.plan.reference[query, None]
        logs = logs.masked_fill(keys >= stop[:, None], -torch.inf)
        centres = index.keys.store.centred(raw[:, index.keys.centres], torch.float64)
        values = (centres / index.keys.scale).view(*keys.shape, len(tables.values))
        peak, heaviest = logs.max(1)
        weights = (logs - peak[:, None]).exp()
        read = torch.cat([weights.sum(1, keepdim=True), (weights[:, None] @ values).squeeze(1)], dim=1)
        tops, top_keys = peak[:, None], (begin + heaviest)[:, None]
        return ScanResult(peak, read, left, left[:, 0].square(), left.new_empty(0), tops, top_keys)
