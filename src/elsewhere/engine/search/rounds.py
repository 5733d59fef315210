"""The fast engine: read only the keys that matter, let Gaussians stand for the rest, and say how far off that can be.

Every query is first weighed against the Gaussians of groups and cells. The cells that seem to matter most are read, key
by key; all others keep their Gaussians. What was read is compared with what had been expected of it: by as much may the
rest be off as well. Where that is more than the tolerance, the next cells are read. At last every query looks at what
those beside it found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
from torch import Tensor

from elsewhere.engine.dense import DenseJob
from elsewhere.engine.kernels import scan
from elsewhere.engine.kernels.reference import Asked, Chunk, Found, Limits, Tables, read
from elsewhere.engine.keys.base import rounding_of
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.precision import COARSE, RESOLVED, ROUNDING
from elsewhere.engine.runner import run
from elsewhere.engine.search.index import BLOCK, Gaussians, Index
from elsewhere.engine.search.neighbours import Naming, adjacent_queries
from elsewhere.engine.state import SoftmaxState, merge_all, stack

# Reading goes on in rounds, each where the estimated error is above so many tolerances.
ROUNDS = (0.0, 1.0)
# Cells of the first round: more where windows are small, so many numbers together for each key of a cell, and fewer
# where Gaussians are good.
FIRST = 150_000
LEAST_FIRST, MOST_FIRST = 1600, 3500
FEWEST = 1600
# In the next one as many as the error asks for, which falls with the power FALL of their number or faster: so many
# times as many, of LEAST_FIRST where Gaussians seemed better than they were, and no more than MOST.
FALL = 1.3
LEAST_GROWTH, MOST_GROWTH = 2.0, 8.0
MOST = 24_000
# About so many groups are opened, those that seem to matter most, and more where they leave more than CLOSED of the
# mass.
OPENED = 400
CLOSED = 0.03
# Cells of less than e^-EXPAND of the mass are not read in the first round, but for the NEAREST so many.
EXPAND = 30.0
NEAREST = 400
# Of strays Gaussians promise too little: they are read down to e^-LIFT of what others are.
LIFT = 4.5
# Thresholds are found on a sample: one of so many groups, and of so many cells.
GROUPS_SAMPLED = 512
CELLS_SAMPLED = 1024
SPARSEST = 80
# Where one nat of a Gaussian's is worth so many, the nearest keys are all that counts.
FROZEN = 6.0
# An average is off by at most CAUTION times what errors that are independent from block to block add up to.
CAUTION = 5.0
# The least that Gaussians are reckoned to be off, as a share of the mass and in units of the values, where they are no
# good.
SUSPECT = 0.1
# Beside the noise level itself, Gaussians are asked at levels STEP apart, up to GRAIN times the width of cells.
STEP = 1.5
GRAIN = 3.0
LEVELS = 24
# Queries planned at once, pieces that the work is cut into, and bytes that a query needs beside them.
PLANNED = 64
PIECES = 16
A_QUERY = 2**16
LARGEST = 80.0
# What is computed of the keys that are turned into floats at once stays in a core's own cache.
LIMITS = Limits(block=BLOCK, at_once=8192, unlike=3, largest=LARGEST, most=300.0, band=3.4, kept=64)
# What the queries on all sides found is looked at as well, in so many passes. It matters where it has this share of the
# mass.
PASSES = 2
NAMED = 1e-3
NAMED_AT_ONCE = 32
NEAR = 0.1
# Queries so far from all keys that log masses are rounded by more nats than this are not searched.
BLURRED = 1.0
# Below this share of the width of cells, float32 does not tell Gaussians apart.
PRECISE = 0.05


class SearchJob:
    """Every query against the keys of an index, those that matter one by one: see `DenseJob` for the formula.

    Args:
        queries: (Q, D), centred as the keys are, float32 or float64.
        sigma: noise level.
        index: where keys and values come from.
        tolerance: the largest error of the average aimed for, in units of the values.
        memory: bytes that the search may use, roughly.
        grid: rows and columns of the images, or parts of them, whose windows the queries are, one after another.
    """

    # The search divides its work among the cores itself.
    pairs = 0

    def __init__(
        self,
        queries: Tensor,
        sigma: float,
        index: Index,
        tolerance: float,
        memory: int,
        grid: tuple[int, int] = (1, 1),
    ) -> None:
        self.queries = queries
        self.count = len(queries)
        self.sigma = sigma
        self.index = index
        self.tolerance = tolerance
        self.at_once = max(64, memory // (A_QUERY + len(index.groups)))
        self.adjacent = adjacent_queries(len(queries), grid)

    def __len__(self) -> int:
        return 1

    @property
    def keys_met(self) -> int:
        return len(self.index.keys)

    def run(self, start: int = 0, stop: int = 1) -> SoftmaxState:
        """The state of every query, with its `error`."""
        states, order = [], []
        looks = _Looks(self.index, self.sigma)
        blurred = looks.blur(self.queries)
        if blurred.any():
            order.append(blurred.nonzero().flatten())
            states.append(self._weighed(order[-1]))
        searched = (~blurred).nonzero().flatten()
        for some in torch.split(searched, self.at_once) if len(searched) else ():
            # Queries that are searched at another time have nothing to propagate.
            number = torch.full((len(self.queries) + 1,), -1, dtype=torch.int64, device="cpu")
            number[some] = torch.arange(len(some), device="cpu")
            states.append(_Search(self.queries[some], looks, self.tolerance, number[self.adjacent[some]]).run())
            order.append(some)
        return stack(states).take(torch.cat(order).argsort())

    def _weighed(self, some: Tensor) -> SoftmaxState:
        """The state of some queries against every key."""
        (state,) = run([DenseJob(self.queries[some], self.sigma, self.index.keys)])
        return replace(state, error=torch.zeros_like(state.peak))


@dataclass(frozen=True)
class _Look:
    """Gaussians smoothed with one noise level, as tables for products with what a query asks.

    A query asks with (z^2, |q outside the basis|^2, what is added to all logs, z, 1), z its position along the basis.
    """

    masses: Tensor  # (2 d + 3, n)
    values: Tensor  # (V, d + 1, n), for products with (z, 1)

    @classmethod
    def of(cls, what: Gaussians, free: int, sigma: float, level: float, dtype: torch.dtype) -> _Look:
        noise, wide = level**2, torch.float64
        mean, variance, rest = what.mean.to(dtype), what.variance.to(dtype), what.rest.to(dtype)
        precision = 1 / (noise + variance)
        drawn = mean * precision
        constant = (
            what.log_mass.double()
            - 0.5 * torch.log1p(variance / noise).sum(1, dtype=wide)
            - 0.5 * free * torch.log1p(rest / noise)
            - 0.5 * (mean * drawn).sum(1, dtype=wide)
        )
        stretch = (level / sigma) ** 2
        masses = torch.empty((2 * mean.shape[1] + 3, len(what)), dtype=dtype, device="cpu")
        masses[: mean.shape[1]] = precision.T * (-0.5 * stretch)
        masses[mean.shape[1]] = -0.5 * stretch / (noise + rest)
        masses[mean.shape[1] + 1] = 1.0
        masses[mean.shape[1] + 2 : -1] = drawn.T * stretch
        masses[-1] = constant * stretch
        gain = what.slope * precision.float()[:, None]
        still = what.value - (gain * mean.float()[:, None]).sum(2)
        return cls(masses, torch.cat([gain.permute(1, 2, 0), still.T[:, None]], dim=1))


class _Looks:
    """What the groups and cells of an index look like at one noise level.

    sigma^2 log sum_j exp(-d_j^2 / (2 sigma^2)) never falls when sigma grows: its derivative is the entropy of the
    weights. A Gaussian, which is a continuum, breaks that rule at small sigma, where a few keys are all that counts. So
    a set's log mass is the least of what its Gaussian says at this and at greater noise levels.
    """

    def __init__(self, index: Index, sigma: float) -> None:
        self.index = index
        self.sigma = sigma
        free = len(index.origin) - index.basis.shape[1]
        weights = index.cells.log_mass.double().softmax(0)[:, None]
        grain = GRAIN * math.sqrt(float((weights * index.cells.variance).sum(0).max()))
        count = min(LEVELS, 1 + max(1, math.ceil(math.log(max(grain / sigma, 1.0)) / math.log(STEP))))
        levels = [sigma * STEP**step for step in range(count)]
        self.dtype = dtype = torch.float64 if sigma < PRECISE * grain / GRAIN else torch.float32
        work = [(what, level) for what in (index.cells, index.groups) for level in levels]
        looks = list(in_parallel(lambda one: _Look.of(one[0], free, sigma, one[1], dtype), work))
        self.cells, self.groups = looks[: len(levels)], looks[len(levels) :]
        self.spoil = self._spoil()
        # One nat, or what one nat at the grain's level is at this one.
        self.nat = max(1.0, (grain / GRAIN / sigma) ** 2)
        self.frozen = self.nat > FROZEN
        # By how much deeper groups and cells of strays are looked at, (G,).
        self.lift = torch.full((len(index.groups),), LIFT * self.nat, dtype=torch.float32, device="cpu")
        self.lift[: index.plain] = 0.0

    def blur(self, queries: Tensor) -> Tensor:
        """Which queries lie so far away that rounding decides what Gaussians say of them, bool (Q,)."""
        squares = queries.double().square().sum(1)
        return squares / self.sigma**2 * torch.finfo(self.dtype).eps > BLURRED

    def _spoil(self) -> Tensor:
        """Table of the variance of log-weights inside the cells of each group, (2 d + 3, G)."""
        variance, rest = self.index.inner.double(), self.index.groups.rest.double()
        noise, mean = self.sigma**2, self.index.groups.mean.double()
        steep = variance / (noise + variance).square()
        rows = [
            steep.T,
            (rest / (noise + rest).square())[None],
            torch.zeros_like(rest)[None],
            (-2 * mean * steep).T,
            (mean.square() * steep).sum(1)[None],
        ]
        return torch.cat(rows).float()


def _weigh(asked: Tensor, looks: list[_Look], cells: slice) -> Tensor:
    """Log masses (Q, n) of what queries ask of some cells."""
    logs = asked @ looks[0].masses[:, cells]
    for look in looks[1:]:
        torch.minimum(logs, asked @ look.masses[:, cells], out=logs)
    return logs


@dataclass
class _Known:
    """What is known of some queries, as sums relative to e^reference: see `Found`."""

    peak: Tensor
    read: Tensor
    left: Tensor
    left_squares: Tensor
    tops: Tensor
    top_keys: Tensor

    @classmethod
    def nothing(cls, count: int, values: int) -> _Known:
        def new(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device="cpu")

        return cls(
            new(count) - torch.inf,
            new(count, 1 + values),
            new(count, 1 + values),
            new(count),
            new(count, LIMITS.kept) - torch.inf,
            torch.full((count, LIMITS.kept), -1, dtype=torch.int64, device="cpu"),
        )

    def add_read(self, at: Tensor, peak: Tensor, read: Tensor) -> None:
        """Add what was read for the queries `at`, which may repeat, relative to peaks of its own."""
        highest = self.peak.scatter_reduce(0, at, peak, "amax")
        # Nothing read on either side: -inf - -inf would be NaN.
        anchor = highest.clamp(min=-1e300)
        self.read *= (self.peak - anchor).exp()[:, None]
        self.peak = highest
        self.read.index_add_(0, at, read * (peak - anchor[at]).exp()[:, None])

    def add_tops(self, at: Tensor, tops: Tensor, keys: Tensor) -> None:
        """Add heavy keys of the queries `at`, of which there is one each."""
        best = torch.cat([self.tops[at], tops], dim=1).topk(LIMITS.kept, dim=1)
        self.tops[at] = best.values
        self.top_keys[at] = torch.cat([self.top_keys[at], keys], dim=1).gather(1, best.indices)


def _merged(parts: list[Found]) -> Found:
    """What was found in several parts of the index, for the same queries."""
    peaks, read, left, left_squares, band = (torch.stack(some) for some in list(zip(*parts, strict=True))[:5])
    peak = peaks.amax(0)
    # Nothing read anywhere: -inf - -inf would be NaN.
    share = (peaks - peak.clamp(min=-1e300)).exp()
    best = torch.cat([part.tops for part in parts], dim=1).topk(LIMITS.kept, dim=1)
    top_keys = torch.cat([part.top_keys for part in parts], dim=1).gather(1, best.indices)
    sums = (read * share[..., None]).sum(0), left.sum(0), left_squares.sum(0), band.sum(0)
    return Found(peak, *sums, best.values, top_keys)


@dataclass(frozen=True)
class _Plan:
    """What some queries make of groups, before anything is read.

    Attributes:
        reference: log of all mass that groups and heavy keys claim, float64 (Q,).
        opened: which groups are opened, (Q, G).
        closed: mass, and mass times values, of the others, relative to the reference, (Q, 1 + V).
        closed_squares: sum of the squares of the masses of their blocks, (Q,).
        doubt: how wrong Gaussians may be about a cell's mass, as a share of it, (Q,).
        first: number of cells of the first round, float64 (Q,).
        ranked: log shares of the heaviest cells of the sample, in order, (Q, n).
    """

    reference: Tensor
    opened: Tensor
    closed: Tensor
    closed_squares: Tensor
    doubt: Tensor
    first: Tensor
    ranked: Tensor


class _Search:
    """The search of queries that share a noise level."""

    def __init__(self, queries: Tensor, looks: _Looks, tolerance: float, beside: Tensor) -> None:
        index, sigma = looks.index, looks.sigma
        self.looks, self.index, self.tolerance = looks, index, tolerance
        self.count = len(queries)
        self.values = index.cells.value.shape[1]
        keys = index.keys
        wide = queries.double()
        pixels = wide * keys.scale + keys.store.centre
        self.naming = Naming(keys, index.heavy, pixels, sigma * keys.scale, beside)
        norms = wide.square().sum(1)
        precision = 1 / sigma**2
        rounding = float(rounding_of(norms.max().sqrt(), keys.typical_norm, precision))
        dtype = torch.float64 if rounding > ROUNDING or queries.dtype == torch.float64 else torch.float32
        one = torch.ones_like(norms)
        rows = [wide * (precision / keys.scale), (one * (-precision / (2 * keys.scale**2)))[:, None], one[:, None]]
        offset = wide - index.origin
        along = offset @ index.basis.double()
        outside = (offset.square().sum(1) - along.square().sum(1)).clamp(min=0)
        asked = torch.cat(
            [along.square(), outside[:, None], torch.zeros_like(along[:, :1]), along, one[:, None]], dim=1
        )
        self.asked = asked.to(looks.cells[0].masses.dtype)
        self.asked_values = self.asked[:, along.shape[1] + 2 :].float()
        self.heavy = self._weigh_heavy(queries) if index.heavy else None
        step = min(SPARSEST, max(1, len(index.cells) // CELLS_SAMPLED))
        self.sample = [replace(look, masses=look.masses[:, ::step].contiguous()) for look in looks.cells], step
        parts = torch.split(torch.arange(self.count, device="cpu"), PLANNED)
        plans = list(in_parallel(self._plan, parts))
        self.plan = _Plan(*(torch.cat([getattr(plan, field.name) for plan in plans]) for field in fields(_Plan)))
        # What a product of rows and keys lacks to be a log-weight relative to the reference.
        lacking = -norms * precision / 2 - self.plan.reference
        self.asked[:, along.shape[1] + 1] = -self.plan.reference.to(self.asked.dtype)
        self.compact = self._compact(wide, rounding) if queries.dtype == torch.float32 else None
        self.tables = Tables(
            index.starts,
            index.bounds,
            [look.masses for look in looks.cells],
            looks.cells[0].values,
            keys.scale,
            torch.cat([*rows, lacking[:, None]], dim=1).to(dtype),
            self.asked,
            self.asked_values,
        )
        # By group: a column of the other table is scattered in memory.
        self.opened = self.plan.opened.T.contiguous()

    def _compact(self, queries: Tensor, rounding: float) -> scan.QuantisedQueries | None:
        """What the compiled loop needs, where it is there and float32 tells apart what decides."""
        keys, reference = self.index.keys, self.plan.reference
        if self.asked.dtype != torch.float32 or not scan.serves(keys):
            return None
        products = keys.is_bytes and rounding <= ROUNDING and self.tolerance >= COARSE
        if not products and torch.finfo(torch.float32).eps * float(reference.abs().max()) > ROUNDING:
            return None
        return scan.QuantisedQueries.of(queries, keys, self.looks.sigma, reference, products)

    def _weigh_heavy(self, queries: Tensor) -> SoftmaxState:
        job = DenseJob(queries, self.looks.sigma, self.index.keys, self.tolerance)
        edges = [self.index.heavy * step // 4 for step in range(5)]
        ranges = [(a, b) for a, b in pairwise(edges) if a < b]
        return merge_all(in_parallel(lambda part: job.run(*part), ranges))

    def _plan(self, part: Tensor) -> _Plan:
        asked = self.asked[part]
        share = _weigh(asked, self.looks.groups, slice(None))
        peak = share.amax(1, keepdim=True)
        mass = (share - peak).float().clamp_(min=-LARGEST).exp_()
        reference = peak.squeeze(1).double() + mass.sum(1, dtype=torch.float64).log()
        if self.heavy is not None:
            reference = torch.logaddexp(reference, self.heavy.log_total[part])
        mass *= (peak - reference[:, None]).exp().float()
        relative = reference.to(share.dtype)[:, None]
        share -= relative
        opened = share >= self._threshold(share)[:, None] - self.looks.lift
        spread = (asked.float() @ self.looks.spoil).clamp_(min=0)
        # No mass where heavy keys have it all.
        spread = ((spread * mass).sum(1) / mass.sum(1).clamp(min=1e-30)).sqrt()
        # Log-weights inside a cell that vary by s spoil its mass by their third cumulant, about s^3 / 6 of their skew.
        doubt = (spread**3 / 6).clamp(min=1e-6, max=1.0)
        closed = mass.masked_fill_(opened, 0)
        asked_values, wide = self.asked_values[part], torch.float64
        values = [(closed * (asked_values @ look)).sum(1, dtype=wide) for look in self.looks.groups[0].values]
        squares = (closed.square() * (LIMITS.block / self.index.bounds.diff())).sum(1, dtype=wide)
        # Less to read where Gaussians are good.
        most = max(LEAST_FIRST, min(FIRST // self.index.keys.width, MOST_FIRST))
        first = (doubt.double() * most).clamp(min=FEWEST)
        left = torch.stack([closed.sum(1, dtype=wide), *values], dim=1)
        return _Plan(reference, opened, left, squares, doubt, first, self._ranked(asked, relative))

    def _threshold(self, share: Tensor) -> Tensor:
        """Log share down to which groups are opened, (Q,)."""
        step = max(1, share.shape[1] // GROUPS_SAMPLED)
        some = share[:, ::step].sort(dim=1, descending=True).values
        mass = some.clamp(-LARGEST, LARGEST).exp()
        left = mass.sum(1, keepdim=True) - mass.cumsum(1)
        enough = (left <= CLOSED / step) & (torch.arange(1, some.shape[1] + 1, device="cpu") * step >= OPENED)
        enough[:, -1] = True
        found = some.gather(1, enough.int().argmax(1, keepdim=True)).squeeze(1)
        return found if share.shape[1] > OPENED else found.fill_(-torch.inf)

    def _ranked(self, asked: Tensor, relative: Tensor) -> Tensor:
        """Log shares of the heaviest cells of the sample, in order, (Q, n)."""
        looks, step = self.sample
        logs = _weigh(asked, looks, slice(None)).sub_(relative)
        return logs.topk(min(logs.shape[1], MOST // step + 2), dim=1).values.float()

    def _depth(self, active: Tensor, cells: Tensor) -> Tensor:
        """Log shares down to which so many cells are read, (A,)."""
        ranked, step = self.plan.ranked[active], self.sample[1]
        ranks = (cells / step).long()[:, None]
        # Half-way to the next one, so that rounding does not decide on which side of it a cell lies.
        after, before = (ranked.gather(1, at.clamp(max=ranked.shape[1] - 1)) for at in (ranks + 1, ranks))
        depth = ((before + after) / 2).masked_fill_(ranks >= -(-len(self.index.cells) // step), -torch.inf)
        return depth.squeeze(1)

    def run(self) -> SoftmaxState:
        known = _Known.nothing(self.count, self.values)
        active = torch.arange(self.count, device="cpu")
        everything = self.opened.all(0)
        before = torch.full((self.count,), torch.inf, dtype=torch.float32, device="cpu")
        error = torch.full((self.count,), torch.inf, dtype=torch.float64, device="cpu")
        mean = torch.full((self.count, self.values), torch.inf, dtype=torch.float64, device="cpu")
        cells = self.plan.first.clone()
        for worth in ROUNDS:
            active = active[error[active] > worth * self.tolerance]
            if not len(active):
                break
            if worth:
                growth = (error[active] / self.tolerance).pow(1 / FALL).clamp(LEAST_GROWTH, MOST_GROWTH)
                cells[active] = (cells[active].clamp(min=LEAST_FIRST) * growth).clamp(max=MOST)
                until = self._depth(active, cells[active])
            else:
                nearest = self._depth(active, cells[active].clamp(max=NEAREST))
                until = torch.minimum(self._depth(active, cells[active]).clamp(min=-EXPAND * self.looks.nat), nearest)
            until = torch.minimum(until, before[active])
            found = self._round(active, until, before[active], known.tops[active, -1])
            known.add_read(active, found.peak, found.read)
            known.add_tops(active, found.tops, found.top_keys)
            known.left[active], known.left_squares[active] = found.left, found.left_squares
            before[active] = until
            last, state = mean, self._state(known)
            mean = state.mean()
            if self.looks.frozen:
                error[active] = (mean - last)[active].abs().amax(1)
            else:
                error[active] = self._error(known, found.band, state, active)
            error[active[until.isinf() & everything[active]]] = 0
        self._read_named(known)
        state = self._state(known)
        return replace(state, error=error.clamp(min=RESOLVED * self.tolerance))

    def _read_named(self, known: _Known) -> None:
        """Read the blocks that hold what was found beside a query, where that matters and was not read."""
        told = torch.ones(self.count, dtype=torch.bool, device="cpu")
        for _ in range(PASSES):
            query, first = self._named(known, told)
            if not len(query):
                break
            self._take_in(known, query, first)
            # Others have nothing to tell that was not heard before.
            told = torch.zeros_like(told)
            told[query] = True
        known.left[:, 0].clamp_(min=0)
        known.left_squares.clamp_(min=0)

    def _take_in(self, known: _Known, query: Tensor, first: Tensor) -> None:
        """Read blocks, told by their first cells, each for a query; the queries come in order."""
        parts = torch.split(torch.arange(len(query), device="cpu"), NAMED_AT_ONCE)
        read = in_parallel(lambda part: self._read_blocks(query[part], first[part]), parts)
        for part, found in zip(parts, read, strict=True):
            at = query[part]
            known.add_read(at, found.peak, found.read)
            known.left.index_add_(0, at, -found.left)
            known.left_squares.index_add_(0, at, -found.left_squares)
            # One block of each query at a time.
            nth = torch.arange(len(at), device="cpu") - torch.searchsorted(at, at)
            for n in range(int(nth.max()) + 1):
                some = nth == n
                known.add_tops(at[some], found.tops[some], found.top_keys[some])

    def _named(self, known: _Known, told: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of query and block, told by its first cell, in order.

        The block holds a key that lies beside one found beside the query, by one of the queries `told`, bool (Q,); it
        was not read, and would have been among those with the heaviest keys.
        """
        total = self._state(known).log_total
        # Had it been read it would be among the heaviest, but for rounding.
        least = torch.maximum(total + math.log(NAMED), known.tops[:, -1] + NEAR + self.plan.reference)
        query, key = self.naming.named(known.top_keys, told, least)
        first = self._first(key)
        asked, which = torch.unique_consecutive(query, return_inverse=True)
        new = (first[:, None] != self._first(known.top_keys[asked])[which]).all(1)
        pairs = torch.unique((query * len(self.index.cells) + first)[new])
        return pairs // len(self.index.cells), pairs % len(self.index.cells)

    def _first(self, key: Tensor) -> Tensor:
        """First cells of the blocks that hold some keys, -1 where there is no key or it is outside the cells."""
        cell = torch.searchsorted(self.index.starts, key, right=True) - 1
        group = torch.searchsorted(self.index.bounds, cell.clamp(min=0), right=True) - 1
        begin = self.index.bounds[group]
        return (begin + (cell - begin) // LIMITS.block * LIMITS.block).where(cell >= 0, cell)

    def _read_blocks(self, query: Tensor, first: Tensor) -> Found:
        """Read one block for each of some queries; `left` is what Gaussians stand for no longer."""
        index = self.index
        group = torch.searchsorted(index.bounds, first, right=True) - 1
        end = torch.minimum(first + LIMITS.block, index.bounds[group + 1])
        cells = first[:, None] + torch.arange(LIMITS.block, device="cpu")
        nothing, cells = cells >= end[:, None], torch.minimum(cells, end[:, None] - 1)
        asked, asked_values = (what[query].T[..., None] for what in (self.asked, self.asked_values))
        claims = torch.stack([(look.masses[:, cells] * asked).sum(0) for look in self.looks.cells]).amin(0)
        # Of closed groups, Gaussians of their own stand for all.
        nothing |= ~self.opened[group, query][:, None]
        mass = claims.clamp(max=LARGEST).exp().double().masked_fill(nothing, 0)
        expected = [(mass * (look[:, cells] * asked_values).sum(0)).sum(1) for look in self.looks.cells[0].values]
        left = torch.stack([mass.sum(1), *expected], dim=1)
        begin, stop = index.starts[first], index.starts[end]
        keys = begin[:, None] + torch.arange(int((stop - begin).max()), device="cpu")
        inside = torch.minimum(keys, stop[:, None] - 1).flatten()
        raw = index.keys.raw_at(inside)
        logs = self.naming.logs(query.repeat_interleave(keys.shape[1]), inside, raw).view(keys.shape)
        logs -= self.plan.reference[query, None]
        logs = logs.masked_fill(keys >= stop[:, None], -torch.inf)
        centres = index.keys.store.centred(raw[:, index.keys.centres], torch.float64)
        values = (centres / index.keys.scale).view(*keys.shape, self.values)
        peak, which = logs.max(1)
        weights = (logs - peak[:, None]).exp()
        read = torch.cat([weights.sum(1, keepdim=True), (weights[:, None] @ values).squeeze(1)], dim=1)
        tops, top_keys = peak[:, None], (begin + which)[:, None]
        return Found(peak, read, left, left[:, 0].square(), left.new_empty(0), tops, top_keys)

    def _state(self, known: _Known) -> SoftmaxState:
        """The state of all that is known: keys read, heavy keys, and Gaussians in place of the others."""
        reference = self.plan.reference
        state = SoftmaxState(reference + known.peak, known.read[:, 0], known.read[:, 1:])
        if self.heavy is not None:
            state = state.merge(self.heavy)
        if self.looks.frozen:
            # A Gaussian says where keys are, but not how near the nearest is.
            return state
        left = known.left + self.plan.closed
        # Where nothing is left the peak is nowhere: keys far below the reference must not be rounded away.
        peak = reference.masked_fill(left[:, 0] == 0, -torch.inf)
        return state.merge(SoftmaxState(peak, left[:, 0], left[:, 1:]))

    def _round(self, active: Tensor, until: Tensor, before: Tensor, floors: Tensor) -> Found:
        """Read the blocks between two log shares, for some queries; keys with logs below `floors` need not be named."""
        opened = self.opened if len(active) == self.count else self.opened[:, active]
        plain = Asked(active, opened, until, before, not self.looks.frozen, floors)
        lift = self.looks.lift[-1]
        astray = plain._replace(until=until - lift, before=before - lift)

        def search(piece: tuple[int, int]) -> Found:
            chunk, asked = self._chunk(piece), astray if piece[0] >= self.index.plain else plain
            if self.compact is not None:
                return scan.read(chunk, self.tables, LIMITS, asked, self.compact)
            return read(chunk, self.tables, LIMITS, asked)

        return _merged(list(in_parallel(search, self._pieces(opened.sum(1)))))

    def _chunk(self, groups: tuple[int, int]) -> Chunk:
        first, end = self.index.starts[self.index.bounds[list(groups)]].tolist()
        return Chunk(self.index.keys.read(first, end), first, groups)

    def _pieces(self, work: Tensor) -> list[tuple[int, int]]:
        """Ranges of groups, from one to before another, with about as much work each."""
        done = work.double().cumsum(0)
        marks = torch.linspace(0, float(done[-1]), PIECES + 1, dtype=torch.float32, device="cpu")[1:-1].double()
        edges = sorted({0, self.index.plain, *(torch.searchsorted(done, marks) + 1).tolist(), len(work)})
        return [(a, b) for a, b in pairwise(edges) if a < len(work)]

    def _error(self, known: _Known, band: Tensor, state: SoftmaxState, active: Tensor) -> Tensor:
        """How far off the averages may be, the largest over channels."""
        mean = state.mean()[active]
        total = (state.log_total - self.plan.reference).exp()[active].clamp(min=1e-300)
        expected, squared, missed, missed_squared = band[:, :4].unbind(1)
        off, mixed, off_squared = band[:, 4:].chunk(3, dim=1)
        # Errors that are independent from block to block, and those that all blocks have in common.
        apart = (off_squared - 2 * mean * mixed + mean.square() * missed_squared[:, None]).clamp(min=0).amax(1)
        alike = (off - mean * missed[:, None]).abs().amax(1)
        left = (known.left + self.plan.closed)[active, 0]
        squares = known.left_squares[active] + self.plan.closed_squares[active]
        apart *= (squares / squared.clamp(min=1e-300)).clamp(min=1.0)
        apart += (SUSPECT * self.plan.doubt[active]).square() * squares
        off_by = CAUTION * apart.sqrt() + alike * left / expected.clamp(min=1e-300)
        # Nothing to go by: all of what is left may be wrong.
        error: Tensor = torch.where(expected > 0, off_by, left) / total
        return error
