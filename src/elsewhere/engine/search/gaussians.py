"""The Gaussians of an index, smoothed with noise, as tables for matrix products with queries.

sigma^2 log sum_j exp(-d_j^2 / (2 sigma^2)) never falls when sigma grows: its derivative is the entropy of the weights.
A Gaussian is a continuum and breaks that rule at small sigma, where a few keys are all that counts: it predicts
neighbours that do not exist. Therefore the predicted log mass of a cell is the least of what its Gaussian predicts at
the noise level of the query and at larger ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from elsewhere.engine.pool import in_parallel
from elsewhere.engine.search.index import Gaussians, Index
from elsewhere.engine.search.settings import SearchSettings


@dataclass(frozen=True)
class GaussianTable:
    """Gaussians smoothed with one noise level.

    The query's side of the products is (z^2, |q outside the basis|^2, a number added to all log masses, z, 1), z being
    the query's position along the basis: see `query_rows`.

    Attributes:
        masses: products with it are log masses, (2 d + 3, n).
        values: products with (z, 1) are mean values, (V, d + 1, n).
    """

    masses: Tensor
    values: Tensor

    @classmethod
    def of(cls, what: Gaussians, free: int, sigma: float, level: float, dtype: torch.dtype) -> GaussianTable:
        noise, wide = level**2, torch.float64
        mean, variance, rest = what.mean.to(dtype), what.variance.to(dtype), what.rest.to(dtype)
        precision = 1 / (noise + variance)
        scaled = mean * precision
        constant = (
            what.log_mass.double()
            - 0.5 * torch.log1p(variance / noise).sum(1, dtype=wide)
            - 0.5 * free * torch.log1p(rest / noise)
            - 0.5 * (mean * scaled).sum(1, dtype=wide)
        )
        stretch = (level / sigma) ** 2
        masses = torch.empty((2 * mean.shape[1] + 3, len(what)), dtype=dtype, device="cpu")
        masses[: mean.shape[1]] = precision.T * (-0.5 * stretch)
        masses[mean.shape[1]] = -0.5 * stretch / (noise + rest)
        masses[mean.shape[1] + 1] = 1.0
        masses[mean.shape[1] + 2 : -1] = scaled.T * stretch
        masses[-1] = constant * stretch
        gain = what.slope * precision.float()[:, None]
        constant_value = what.value - (gain * mean.float()[:, None]).sum(2)
        return cls(masses, torch.cat([gain.permute(1, 2, 0), constant_value.T[:, None]], dim=1))


def query_rows(index: Index, queries: Tensor) -> Tensor:
    """The query's side of the products with a `GaussianTable`, float64 (Q, 2 d + 3); queries are float64."""
    offset = queries - index.origin
    along = offset @ index.basis.double()
    outside = (offset.square().sum(1, keepdim=True) - along.square().sum(1, keepdim=True)).clamp(min=0)
    return torch.cat([along.square(), outside, torch.zeros_like(outside), along, torch.ones_like(outside)], dim=1)


def predicted_log_masses(rows: Tensor, tables: Sequence[GaussianTable]) -> Tensor:
    """Predicted log masses (Q, n): the least over noise levels."""
    logs = rows @ tables[0].masses
    for table in tables[1:]:
        torch.minimum(logs, rows @ table.masses, out=logs)
    return logs


class SmoothedIndex:
    """The Gaussians of the groups and cells of an index at one noise level.

    Attributes:
        cells, groups: tables at the noise level and at larger ones.
        dtype: of the tables: float64 where float32 does not distinguish Gaussians.
        nat: what one nat at the width of cells is at this noise level, at least 1.
        nearest_regime: whether only the nearest keys contribute.
        margin: nats by which groups are read further down, float32 (G,): zero but for outliers.
        log_variance: products with query rows are variances of log-weights inside the cells of groups, (2 d + 3, G).
    """

    def __init__(self, index: Index, sigma: float, settings: SearchSettings) -> None:
        self.index, self.sigma, self.settings = index, sigma, settings
        shares = index.cells.log_mass.double().softmax(0)[:, None]
        width = math.sqrt(float((shares * index.cells.variance).sum(0).max()))
        steps = math.log(max(settings.widest_level * width / sigma, 1.0)) / math.log(settings.level_step)
        count = min(settings.most_levels, 1 + max(1, math.ceil(steps)))
        levels = [sigma * settings.level_step**step for step in range(count)]
        self.dtype = dtype = torch.float64 if sigma < settings.float64_below * width else torch.float32
        work = [(what, level) for what in (index.cells, index.groups) for level in levels]
        tables = list(in_parallel(lambda one: GaussianTable.of(one[0], index.free, sigma, one[1], dtype), work))
        self.cells, self.groups = tables[: len(levels)], tables[len(levels) :]
        self.log_variance = self._log_variance()
        self.nat = max(1.0, (width / sigma) ** 2)
        self.nearest_regime = self.nat > settings.nearest_regime
        margin = settings.outlier_margin * self.nat
        self.margin = torch.full((len(index.groups),), margin, dtype=torch.float32, device="cpu")
        self.margin[: index.regular] = 0.0

    def blurred(self, queries: Tensor) -> Tensor:
        """Which queries are so far away that rounding decides predicted log masses, bool (Q,)."""
        squares = queries.double().square().sum(1)
        return squares / self.sigma**2 * torch.finfo(self.dtype).eps > self.settings.blurred

    @property
    def more_cells(self) -> float:
        """How many times as many cells as in a small index are read in the first round."""
        return math.sqrt(max(1.0, len(self.index.cells) / self.settings.cells_first))

    @property
    def sample_step(self) -> int:
        """Cells for each cell of the sample."""
        return min(self.settings.sparsest_sample, max(1, len(self.index.cells) // self.settings.cells_sampled))

    def sample(self) -> list[GaussianTable]:
        """The tables of the cells of the sample."""
        step = self.sample_step
        return [replace(table, masses=table.masses[:, ::step].contiguous()) for table in self.cells]

    def _log_variance(self) -> Tensor:
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
