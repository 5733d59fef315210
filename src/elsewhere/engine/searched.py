"""The fast engine: read only the keys that matter, let Gaussians stand for the rest, and say how far off that can be.

Every query is first weighed against the Gaussians of groups and cells. The cells that seem to matter most are read, key
by key; all others keep their Gaussians. What was read is compared with what had been expected of it: by as much may the
rest be off as well. Where that is more than the tolerance, the next cells are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from elsewhere.engine.index import Gaussians, Index, runs
from elsewhere.engine.jobs import ROUNDING, SharedKeys
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.state import SoftmaxState, merge_all, stack

# Reading goes on in rounds: at least so many cells, and all but this share of the mass.
ROUNDS = ((800, 0.1), (2000, 0.03), (4000, 0.005), (12_000, 0.001))
# The first round is smaller where Gaussians are good.
FEWEST = 48
# Groups of less than e^-EXPAND of the mass are not opened, but for the FIRST: at least so many, and this share of all.
# The cells that matter most are then in groups that are opened: on 1,500 queries at windows 3 to 7, without exception.
EXPAND = 16.0
FIRST = (64, 0.2)
# Cells are counted by the log of their share, in bins from LOWEST on.
BINS = 72
LOWEST = -56.0
# The cells of the last so many nats before a round's end tell how good Gaussians are beyond it.
BAND = 3.4
# Where one nat of a Gaussian's is worth so many, the nearest keys are all that counts.
FROZEN = 6.0
# An average is off by at most CAUTION times what errors that are independent from cell to cell add up to.
CAUTION = 3.0
# What is less than this share of the tolerance is not told apart.
RESOLVED = 0.2
# The least that Gaussians are reckoned to be off, as a share of the mass and in units of the values, where they are no
# good.
SUSPECT = 0.1
# Beside the noise level itself, Gaussians are asked at levels STEP apart, up to GRAIN times the width of cells.
STEP = 1.5
GRAIN = 3.0
LEVELS = 24
# Bytes that a query needs while it is weighed, and pieces that the work is cut into.
A_QUERY = 2**16
PIECES = 48
# Keys copied at once.
AT_ONCE = 4096
LARGEST = 80.0
MOST = 300.0
# Below this share of the width of cells, float32 does not tell Gaussians apart.
PRECISE = 0.05


class SearchedKeys:
    """Every query against the keys of an index, those that matter one by one: see `SharedKeys` for the formula.

    Args:
        queries: (Q, D), centred as the keys are, float32 or float64.
        sigma: noise level of each query, float64 (Q,).
        index: where keys and values come from.
        tolerance: the largest error of the average aimed for, in units of the values.
        memory: bytes that the search may use, roughly.
    """

    def __init__(self, queries: Tensor, sigma: Tensor, index: Index, tolerance: float, memory: int) -> None:
        self.queries = queries
        self.sigma = sigma
        self.index = index
        self.tolerance = tolerance
        self.at_once = max(64, memory // A_QUERY)

    def search(self) -> SoftmaxState:
        """The state of every query, with its `error`."""
        states, order = [], []
        for level in torch.unique(self.sigma).tolist():
            looks = _Looks(self.index, level)
            for some in torch.split((self.sigma == level).nonzero().flatten(), self.at_once):
                states.append(_Search(self.queries[some], looks, self.tolerance).run())
                order.append(some)
        return stack(states).take(torch.cat(order).argsort())


@dataclass(frozen=True)
class _Look:
    """Gaussians smoothed with one noise level, as tables for products with what a query asks.

    A query asks with (z^2, z, |q outside the basis|^2, 1), z its position along the basis.
    """

    masses: Tensor  # (2 d + 2, n)
    values: Tensor  # (V, d + 1, n), for products with (z, 1)

    @classmethod
    def of(cls, what: Gaussians, free: int, sigma: float, level: float, dtype: torch.dtype) -> _Look:
        noise = level**2
        mean, variance, rest = what.mean.double(), what.variance.double(), what.rest.double()
        precision = 1 / (noise + variance)
        constant = (
            what.log_mass.double()
            - 0.5 * torch.log1p(variance / noise).sum(1)
            - 0.5 * free * torch.log1p(rest / noise)
            - 0.5 * (mean.square() * precision).sum(1)
        )
        masses = [-0.5 * precision.T, (mean * precision).T, -0.5 / (noise + rest)[None], constant[None]]
        stretch = (level / sigma) ** 2
        gain = what.slope.double() * precision[:, None]
        still = what.value.double() - (gain * mean[:, None]).sum(2)
        values = torch.cat([gain.permute(1, 2, 0), still.T[:, None]], dim=1)
        return cls((torch.cat(masses) * stretch).to(dtype), values.float())


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
        dtype = torch.float64 if sigma < PRECISE * grain / GRAIN else torch.float32
        self.cells = [_Look.of(index.cells, free, sigma, level, dtype) for level in levels]
        self.groups = [_Look.of(index.groups, free, sigma, level, dtype) for level in levels]
        self.spoil = self._spoil()
        # One nat, or what one nat at the grain's level is at this one.
        self.nat = max(1.0, (grain / GRAIN / sigma) ** 2)
        self.frozen = self.nat > FROZEN

    def _spoil(self) -> Tensor:
        """Table of the variance of log-weights inside the cells of each group, (2 d + 2, G)."""
        variance, rest = self.index.inner.double(), self.index.groups.rest.double()
        noise, mean = self.sigma**2, self.index.groups.mean.double()
        steep = variance / (noise + variance).square()
        rows = [
            steep.T,
            (-2 * mean * steep).T,
            (rest / (noise + rest).square())[None],
            (mean.square() * steep).sum(1)[None],
        ]
        return torch.cat(rows).float()


def _batches(sizes: Tensor) -> Iterator[slice]:
    """Runs of sets that hold AT_ONCE keys or little more together."""
    batch = sizes.cumsum(0) // AT_ONCE
    edges = [0, *((batch.diff() > 0).nonzero().flatten() + 1).tolist(), len(sizes)]
    return (slice(a, b) for a, b in pairwise(edges))


def _weigh(asked: Tensor, looks: list[_Look], cells: slice) -> Tensor:
    """Log masses (Q, n) of what queries ask of some cells."""
    logs = asked @ looks[0].masses[:, cells]
    for look in looks[1:]:
        torch.minimum(logs, asked @ look.masses[:, cells], out=logs)
    return logs


@dataclass
class _Sums:
    """What is known of some queries, as sums relative to e^reference.

    Attributes:
        peak: the largest log-weight read, (Q,).
        read: mass and mass times values of the keys read, relative to the peak, (Q, 1 + V).
        left: the same for cells not read, by their Gaussians.
        left_squares: sum of the squares of the masses of cells not read, (Q,).
        band: over the last cells read, m, v being the mass and value read and e, u those expected: sums of e, e^2,
            m - e, (m - e)^2, m v - e u, (m - e)(m v - e u) and (m v - e u)^2, (Q, 4 + 3 V).
    """

    peak: Tensor
    read: Tensor
    left: Tensor
    left_squares: Tensor
    band: Tensor

    @classmethod
    def zeros(cls, count: int, values: int) -> _Sums:
        def new(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        return cls(
            new(count) - torch.inf,
            new(count, 1 + values),
            new(count, 1 + values),
            new(count),
            new(count, 4 + 3 * values),
        )

    def add_read(self, at: Tensor, peak: Tensor, read: Tensor) -> None:
        """Add what was read for the queries `at`, which may repeat, relative to peaks of its own."""
        highest = self.peak.scatter_reduce(0, at, peak, "amax")
        # Nothing read on either side: -inf - -inf would be NaN.
        anchor = highest.clamp(min=-1e300)
        self.read *= (self.peak - anchor).exp()[:, None]
        self.peak = highest
        self.read.index_add_(0, at, read * (peak - anchor[at]).exp()[:, None])

    def add(self, other: _Sums) -> None:
        self.add_read(torch.arange(len(self.peak)), other.peak, other.read)
        self.left += other.left
        self.left_squares += other.left_squares
        self.band += other.band


class _Search:
    """The search of queries that share a noise level."""

    def __init__(self, queries: Tensor, looks: _Looks, tolerance: float) -> None:
        index, sigma = looks.index, looks.sigma
        self.looks, self.index, self.tolerance = looks, index, tolerance
        self.count = len(queries)
        self.values = index.cells.value.shape[1]
        keys = index.keys
        wide = queries.double()
        norms = wide.square().sum(1)
        precision = 1 / sigma**2
        size = keys.typical_norm
        rounding = torch.finfo(torch.float32).eps * float(norms.max().sqrt() * size + size**2 / 2) * precision
        self.dtype = torch.float64 if rounding > ROUNDING or queries.dtype == torch.float64 else torch.float32
        one = torch.ones_like(norms)
        rows = [wide * (precision / keys.scale), (one * (-precision / (2 * keys.scale**2)))[:, None], one[:, None]]
        self.rows = torch.cat(rows, dim=1).to(self.dtype)
        offset = wide - index.origin
        along = offset @ index.basis.double()
        outside = (offset.square().sum(1) - along.square().sum(1)).clamp(min=0)
        asked = torch.cat([along.square(), along, outside[:, None], one[:, None]], dim=1)
        self.asked = asked.to(looks.cells[0].masses.dtype)
        self.asked_values = torch.cat([along, one[:, None]], dim=1).float()
        self.heavy = self._weigh_heavy(queries) if index.heavy else None
        self.groups = _weigh(self.asked, looks.groups, slice(None))
        logs = self.groups.double().logsumexp(1)
        self.reference = logs if self.heavy is None else torch.logaddexp(logs, self.heavy.log_total)
        # What a product with (queries, 1) lacks to be a log-weight relative to the reference.
        self.lacking = (-norms * precision / 2 - self.reference).to(self.dtype)
        self.relative = self.reference.to(self.asked.dtype)
        share = self.groups - self.relative[:, None]
        opened = share > -EXPAND * looks.nat
        first = min(share.shape[1], max(FIRST[0], round(FIRST[1] * share.shape[1])))
        opened.scatter_(1, share.topk(first, dim=1).indices, True)
        self.opened = opened
        self.closed = self._closed(share)

    def _weigh_heavy(self, queries: Tensor) -> SoftmaxState:
        sigma = torch.full((self.count,), self.looks.sigma, dtype=torch.float64)
        job = SharedKeys(queries, sigma, self.index.keys)
        edges = [self.index.heavy * step // 4 for step in range(5)]
        ranges = [(a, b) for a, b in pairwise(edges) if a < b]
        return merge_all(in_parallel(lambda part: job.run(*part), ranges))

    def _closed(self, share: Tensor) -> tuple[Tensor, Tensor]:
        """Mass and mass times value of the groups not opened, and the sum of squares of their cells' masses."""
        mass = share.clamp(max=LARGEST).exp().masked_fill_(self.opened, 0).double()
        values = [
            (mass * self._value(self.looks.groups, v, slice(None), slice(None))).sum(1) for v in range(self.values)
        ]
        squares = (mass.square() / self.index.bounds.diff()).sum(1)
        return torch.stack([mass.sum(1), *values], dim=1), squares

    def _value(self, looks: list[_Look], channel: int, who: slice | Tensor, cells: slice) -> Tensor:
        return self.asked_values[who] @ looks[0].values[channel][:, cells]

    def run(self) -> SoftmaxState:
        known = _Sums.zeros(self.count, self.values)
        self.doubt = self._doubt()
        counts = self._count()
        heavy = self.heavy.log_total if self.heavy is not None else torch.full((self.count,), -torch.inf).double()
        active = torch.arange(self.count)
        before = torch.full((self.count,), torch.inf)
        error = torch.full((self.count,), torch.inf, dtype=torch.float64)
        mean = torch.full((self.count, self.values), torch.inf, dtype=torch.float64)
        for number, (cells, share) in enumerate(ROUNDS):
            least, most = self._first(active) if number == 0 else (torch.tensor(cells), torch.tensor(share))
            until = self._depth(counts[active], (heavy - self.reference).exp()[active], least, most)
            sums = self._round(active, until, before[active])
            known.add_read(active, sums.peak, sums.read)
            known.left[active], known.left_squares[active] = sums.left, sums.left_squares
            before[active] = until
            last, state = mean, self._state(known)
            mean = state.mean()
            if self.looks.frozen:
                error[active] = (mean - last)[active].abs().amax(1)
            else:
                error[active] = self._error(known, sums.band, state, active)
            active = active[error[active] > self.tolerance]
            if not len(active):
                break
        return replace(state, error=error.clamp(min=RESOLVED * self.tolerance))

    def _state(self, known: _Sums) -> SoftmaxState:
        """The state of all that is known: keys read, heavy keys, and Gaussians in place of the others."""
        state = SoftmaxState(self.reference + known.peak, known.read[:, 0], known.read[:, 1:])
        if self.heavy is not None:
            state = state.merge(self.heavy)
        if self.looks.frozen:
            # A Gaussian says where keys are, but not how near the nearest is.
            return state
        left = known.left + self.closed[0]
        # Where nothing is left the peak is nowhere: keys far below the reference must not be rounded away.
        peak = self.reference.masked_fill(left[:, 0] == 0, -torch.inf)
        return state.merge(SoftmaxState(peak, left[:, 0], left[:, 1:]))

    def _doubt(self) -> Tensor:
        """How wrong Gaussians may be about a cell's mass, as a share of it, (Q,)."""
        spread = (self.asked.float() @ self.looks.spoil).clamp_(min=0)
        spread = (spread * (self.groups - self.relative[:, None]).float().softmax(1)).sum(1).sqrt()
        # Log-weights inside a cell that vary by s spoil its mass by their third cumulant, about s^3 / 6 of their skew.
        return (spread**3 / 6).clamp(min=1e-6, max=1.0)

    def _first(self, active: Tensor) -> tuple[Tensor, Tensor]:
        """How many cells to read first, and how much mass to leave at most: less to read where Gaussians are good."""
        cells, share = ROUNDS[0]
        doubt = self.doubt[active]
        return (cells * doubt).clamp(min=FEWEST), (self.tolerance * 5 / doubt).clamp(min=share, max=1.0)

    def _count(self) -> Tensor:
        """How many opened cells of each query there are in every bin of log share, (Q, BINS)."""

        def count(piece: range) -> Tensor:
            found = torch.zeros((self.count, BINS), dtype=torch.int32)
            for group in piece:
                who = self.opened[:, group].nonzero().flatten()
                if not len(who):
                    continue
                logs = self._logs(who, self._cells(group))
                bins = (logs / self.looks.nat).sub_(LOWEST).clamp_(0, BINS - 1).long()
                bins += torch.arange(0, len(who) * BINS, BINS)[:, None]
                found[who] += torch.bincount(bins.flatten(), minlength=len(who) * BINS).view(-1, BINS).int()
            return found

        return sum(in_parallel(count, self._pieces(self.opened.sum(0))), torch.zeros((self.count, BINS)).int())

    def _cells(self, group: int) -> slice:
        return slice(int(self.index.bounds[group]), int(self.index.bounds[group + 1]))

    def _logs(self, who: Tensor, cells: slice) -> Tensor:
        """Log masses of some cells for some queries, relative to the reference, (Q, n)."""
        return _weigh(self.asked[who], self.looks.cells, cells).sub_(self.relative[who][:, None])

    def _pieces(self, work: Tensor) -> list[range]:
        """Ranges of groups with about as much work each."""
        done = work.double().cumsum(0)
        marks = torch.linspace(0, float(done[-1]), PIECES + 1)[1:-1].double()
        edges = sorted({0, *(torch.searchsorted(done, marks) + 1).tolist(), len(work)})
        return [range(a, b) for a, b in pairwise(edges) if a < len(work)]

    def _depth(self, counts: Tensor, heavy: Tensor, least: Tensor, most: Tensor) -> Tensor:
        """Log share down to which cells are read: `least` of them or more, and no more mass left than `most`."""
        nat = self.looks.nat
        edges = LOWEST + torch.arange(BINS)
        mass = counts.double() * ((edges + 0.5) * nat).exp()
        total = mass.sum(1) + heavy
        left = torch.cat([torch.zeros(len(mass), 1), mass.cumsum(1)[:, :-1]], dim=1) / total[:, None]
        read = counts.flip(1).cumsum(1).flip(1)
        enough = (read >= least.view(-1, 1)) & (left <= most.view(-1, 1))
        # The highest bin that has enough at and above it; the lowest stands for all that is below as well.
        highest = enough.int().mul(torch.arange(BINS) + 1).amax(1) - 1
        return torch.where(highest > 0, edges[highest.clamp(min=0)] * nat, -torch.inf).float()

    def _round(self, active: Tensor, until: Tensor, before: Tensor) -> _Sums:
        """Read the cells between two log shares, for some queries."""
        opened = self.opened[active]

        def read(piece: range) -> _Sums:
            sums = _Sums.zeros(len(active), self.values)
            for group in piece:
                who = opened[:, group].nonzero().flatten()
                if len(who):
                    self._open(group, who, active[who], until[who], before[who], sums)
            return sums

        whole = _Sums.zeros(len(active), self.values)
        for part in in_parallel(read, self._pieces(opened.sum(0))):
            whole.add(part)
        return whole

    def _open(self, group: int, who: Tensor, queries: Tensor, until: Tensor, before: Tensor, sums: _Sums) -> None:
        """Take in one group for some queries, `who` being their places in the sums."""
        cells = self._cells(group)
        logs = self._logs(queries, cells).float()
        chosen = (logs >= until[:, None]) & (logs < before[:, None])
        mass = logs.clamp(max=LARGEST).exp()
        below = mass.masked_fill(logs >= until[:, None], 0)
        expected = [self._value(self.looks.cells, v, queries, cells) for v in range(self.values)]
        left = torch.stack([below.sum(1), *((below * value).sum(1) for value in expected)], dim=1)
        sums.left.index_add_(0, who, left.double())
        sums.left_squares.index_add_(0, who, below.double().square().sum(1))
        cell, row = chosen.T.nonzero(as_tuple=True)
        if not len(cell):
            return
        peak, found = self._read(cells.start, torch.bincount(cell, minlength=logs.shape[1]), queries[row])
        at = who[row]
        sums.add_read(at, peak, found)
        if self.looks.frozen:
            return
        last = (logs[row, cell] < until[row] + BAND) | until[row].isinf()
        last = last.double()
        found *= peak.clamp(max=MOST).exp()[:, None]
        e = mass[row, cell].double() * last
        miss = (found[:, 0] * last - e)[:, None]
        off = torch.stack([found[:, 1 + v] * last - e * expected[v][row, cell] for v in range(self.values)], dim=1)
        e = e[:, None]
        band = torch.cat([e, e.square(), miss, miss.square(), off, miss * off, off.square()], dim=1)
        sums.band.index_add_(0, at, band)

    def _read(self, first: int, sizes: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Peaks (P,), masses and masses times values (P, 1 + V) of pairs of cell and query, cell by cell."""
        keys = self.index.keys
        out = torch.empty((len(queries), 1 + self.values), dtype=self.dtype)
        peak = torch.zeros(len(queries), dtype=self.dtype)
        wanted = sizes.nonzero().flatten()
        starts, stops = self.index.starts[first + wanted], self.index.starts[first + wanted + 1]
        ends = sizes[wanted].cumsum(0)
        for part in _batches(stops - starts):
            lengths = stops[part] - starts[part]
            index = runs(starts[part], lengths)
            tile, values = keys.some(index, self.rows.new_empty((len(index), keys.width + 2)))
            values = values / keys.scale
            edges = [0, *lengths.cumsum(0).tolist()]
            pairs = ends[part].tolist()
            before = int(ends[part.start - 1]) if part.start else 0
            for number, after in enumerate(pairs):
                start, stop = edges[number], edges[number + 1]
                who = queries[before:after]
                weights = torch.addmm(self.lacking[who], tile[start:stop], self.rows[who].T)
                torch.amax(weights, 0, out=peak[before:after])
                weights.sub_(peak[before:after]).clamp_(min=-LARGEST).exp_()
                torch.sum(weights, 0, out=out[before:after, 0])
                torch.mm(weights.T, values[start:stop], out=out[before:after, 1:])
                before = after
        return peak.double(), out.double()

    def _error(self, known: _Sums, band: Tensor, state: SoftmaxState, active: Tensor) -> Tensor:
        """How far off the averages may be, the largest over channels."""
        mean = state.mean()[active]
        total = (state.log_total - self.reference).exp()[active].clamp(min=1e-300)
        expected, squared, missed, missed_squared = band[:, :4].unbind(1)
        off, mixed, off_squared = band[:, 4:].chunk(3, dim=1)
        # Errors that are independent from cell to cell, and those that all cells have in common.
        apart = (off_squared - 2 * mean * mixed + mean.square() * missed_squared[:, None]).clamp(min=0).amax(1)
        alike = (off - mean * missed[:, None]).abs().amax(1)
        left = (known.left + self.closed[0])[active, 0]
        squares = known.left_squares[active] + self.closed[1][active]
        apart *= (squares / squared.clamp(min=1e-300)).clamp(min=1.0)
        apart += (SUSPECT * self.doubt[active]).square() * squares
        off_by = CAUTION * apart.sqrt() + alike * left / expected.clamp(min=1e-300)
        # Nothing to go by: all of what is left may be wrong.
        error: Tensor = torch.where(expected > 0, off_by, left) / total
        return error
