"""What is decided for queries before anything is read: which groups are opened, and how many cells are read first."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from elsewhere.engine.pool import in_parallel
from elsewhere.engine.search.gaussians import SmoothedIndex, predicted_log_masses


@dataclass(frozen=True)
class Plan:
    """What some queries ask of an index.

    Attributes:
        reference: log of all predicted mass and of the mass of high-multiplicity keys, float64 (Q,): masses are
            relative to it.
        opened: which groups are opened, bool (Q, G).
        closed: mass, and mass times values, of the other groups, by their Gaussians, float64 (Q, 1 + V).
        closed_squares: sum of the squares of the masses of the blocks of the other groups, float64 (Q,).
        uncertainty: how wrong Gaussians may be about a cell's mass, as a share of it, float32 (Q,).
        first: number of cells of the first round, float64 (Q,).
        ranked: log shares of the heaviest cells of the sample, in order, float32 (Q, n).
    """

    reference: Tensor
    opened: Tensor
    closed: Tensor
    closed_squares: Tensor
    uncertainty: Tensor
    first: Tensor
    ranked: Tensor


@dataclass(frozen=True)
class Planning:
    """Makes the plans of queries that share a noise level.

    Attributes:
        smoothed: the index at this noise level.
        rows: see `query_rows`, in the dtype of the tables, (Q, 2 d + 3).
        outside: log mass of the high-multiplicity keys, float64 (Q,); None where there are none.
    """

    smoothed: SmoothedIndex
    rows: Tensor
    outside: Tensor | None

    def plan(self) -> Plan:
        """The plan of all queries."""
        parts = torch.split(torch.arange(len(self.rows), device="cpu"), self.smoothed.settings.queries_planned)
        sample = self.smoothed.sample()
        most = self.smoothed.settings.most_cells // self.smoothed.sample_step + 2

        def plan(part: Tensor) -> Plan:
            logs = predicted_log_masses(self.rows[part], sample)
            return self._plan(part, logs.topk(min(logs.shape[1], most), dim=1).values)

        plans = list(in_parallel(plan, parts))
        return Plan(*(torch.cat([getattr(plan, field.name) for plan in plans]) for field in fields(Plan)))

    def _plan(self, part: Tensor, ranked: Tensor) -> Plan:
        smoothed, settings, rows, wide = self.smoothed, self.smoothed.settings, self.rows[part], torch.float64
        share = predicted_log_masses(rows, smoothed.groups)
        peak = share.amax(1, keepdim=True)
        mass = (share - peak).float().clamp_(min=-settings.largest).exp_()
        reference = peak.squeeze(1).double() + mass.sum(1, dtype=wide).log()
        if self.outside is not None:
            reference = torch.logaddexp(reference, self.outside[part])
        mass *= (peak - reference[:, None]).exp().float()
        relative = reference.to(share.dtype)[:, None]
        share -= relative
        opened = share >= self._threshold(share)[:, None] - smoothed.margin
        spread = (rows.float() @ smoothed.log_variance).clamp_(min=0)
        # The predicted mass is zero where high-multiplicity keys have all of it.
        spread = ((spread * mass).sum(1) / mass.sum(1).clamp(min=1e-30)).sqrt()
        # The third cumulant of log-weights inside a cell is what a Gaussian misses: about s^3 / 6 times their skewness.
        uncertainty = (spread**3 / 6).clamp(min=1e-6, max=1.0)
        closed = mass.masked_fill_(opened, 0)
        index = smoothed.index
        value_rows = rows[:, index.basis.shape[1] + 2 :].float()
        values = [(closed * (value_rows @ table)).sum(1, dtype=wide) for table in smoothed.groups[0].values]
        squares = (closed.square() * (index.block / index.bounds.diff())).sum(1, dtype=wide)
        most = max(settings.least_first, min(settings.numbers_first // index.keys.width, settings.most_first))
        first = (uncertainty.double() * most).clamp(min=settings.fewest) * smoothed.more_cells
        left = torch.stack([closed.sum(1, dtype=wide), *values], dim=1)
        return Plan(reference, opened, left, squares, uncertainty, first, (ranked - relative).float())

    def _threshold(self, share: Tensor) -> Tensor:
        """Log share down to which groups are opened, (Q,)."""
        settings = self.smoothed.settings
        step = max(1, share.shape[1] // settings.groups_sampled)
        some = share[:, ::step].sort(dim=1, descending=True).values
        mass = some.clamp(-settings.largest, settings.largest).exp()
        left = mass.sum(1, keepdim=True) - mass.cumsum(1)
        rank = torch.arange(1, some.shape[1] + 1, device="cpu") * step
        enough = (left <= settings.closed_mass / step) & (rank >= settings.groups_opened)
        enough[:, -1] = True
        found = some.gather(1, enough.int().argmax(1, keepdim=True)).squeeze(1)
        return found if share.shape[1] > settings.groups_opened else found.fill_(-torch.inf)


def depth(ranked: Tensor, cells: Tensor, step: int, count: int) -> Tensor:
    """Log shares down to which so many cells are read, (A,).

    Args:
        ranked: see `Plan`, (A, n).
        cells: how many cells, float64 (A,).
        step: cells for each cell of the sample.
        count: number of cells of the index.
    """
    ranks = (cells / step).long()[:, None]
    # Half-way to the next one, so that rounding does not decide on which side of it a cell lies.
    after, before = (ranked.gather(1, at.clamp(max=ranked.shape[1] - 1)) for at in (ranks + 1, ranks))
    found = ((before + after) / 2).masked_fill_(ranks >= -(-count // step), -torch.inf)
    return found.squeeze(1)
