"""Building an index: keys are cut into groups, groups into blocks, and blocks into cells.

Groups are made by k-means along a few main directions, in two levels, so that the work for a key hardly grows with the
number of keys. A group is halved repeatedly across its principal axis into blocks, which are read as a whole, and a
block into cells. All blocks of a group have the same number of keys, so that many are read by one product. A cell keeps
the number, the mean and the variances of its keys along the main directions, their mean value, and the covariance of
value and position.

Keys of which the Gaussian of their own cell predicts almost nothing are outliers. They are taken out again and cut into
groups of their own, whose Gaussians are wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from elsewhere.engine.kernels import loader
from elsewhere.engine.keys.windows import WindowKeys
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.search.index import Gaussians, Index, free_directions
from elsewhere.engine.search.settings import INDEX, IndexSettings


def build_index(
    keys: WindowKeys,
    seed: int = 0,
    report: Callable[[float], None] | None = None,
    settings: IndexSettings = INDEX,
) -> Index:
    """Cut keys into cells.

    Args:
        keys: at least one.
        seed: of the keys sampled and of the first centres.
        report: called from time to time with the share of the keys that are done.
        settings: sizes of cells, blocks and groups.
    """
    generator = torch.Generator().manual_seed(seed)
    outside, inside = _high_multiplicity(keys, settings)
    some = _draw(inside, settings.keys_sampled, generator)
    origin, basis = _directions(keys, inside, some, settings)
    builder = _Builder(keys, origin, basis, settings)
    cut: list[_Cut] = []

    def cut_up(some: Tensor, set_aside: bool) -> None:
        for one in builder.cut_all(some, generator, seed, set_aside):
            cut.append(one)
            if report is not None:
                report(sum(len(done.order) for done in cut) / len(inside))

    cut_up(inside, set_aside=True)
    regular, outliers = sum(len(one.groups) for one in cut), torch.cat([one.outliers for one in cut])
    cut_up(outliers, set_aside=False)
    cells = Gaussians(*(torch.cat([getattr(one.cells, f.name) for one in cut]) for f in fields(Gaussians)))
    starts = _edges(torch.cat([one.sizes for one in cut])) + len(outside)
    bounds = _edges(torch.cat([one.groups for one in cut]))
    order = torch.cat([outside, *(one.order for one in cut)])
    groups, inner = _together(cells, bounds)
    block = settings.cells_a_block
    return Index(keys.arranged(order), starts, bounds, origin, basis, cells, groups, inner, regular, block)


def _members(near: Tensor) -> list[Tensor]:
    """Members of each set that is not empty, from the set of each thing."""
    return [inside for inside in torch.split(near.argsort(stable=True), torch.bincount(near).tolist()) if len(inside)]


def _halved(positions: Tensor, settings: IndexSettings) -> tuple[Tensor, list[int]]:
    """Cut the keys of a group into cells.

    Returns:
        The keys in the order of their cells, int64 (n,), and the number of keys of each cell.
    """
    blocks = max(1, round(len(positions) / (settings.keys_a_cell * settings.cells_a_block)))
    order: list[Tensor] = []
    sizes: list[int] = []
    # What is still to be cut: keys, and how many go to each of its parts.
    parts = [
        len(part) for part in torch.split(torch.arange(len(positions), device="cpu"), -(-len(positions) // blocks))
    ]
    left = [(torch.arange(len(positions), device="cpu"), parts, False)]
    while left:
        inside, parts, of_cells = left.pop()
        if len(parts) == 1 and not of_cells:
            cells = min(settings.cells_a_block, len(inside))
            parts, of_cells = [len(inside) * (i + 1) // cells - len(inside) * i // cells for i in range(cells)], True
        if len(parts) == 1:
            order.append(inside)
            sizes.append(len(inside))
            continue
        half = len(parts) // 2
        count = sum(parts[:half])
        sorted_ = _partition(positions, inside, count, settings.power_steps)
        # The last in is the first out.
        left += [(sorted_[count:], parts[half:], of_cells), (sorted_[:count], parts[:half], of_cells)]
    return torch.cat(order), sizes


def _partition(positions: Tensor, keys: Tensor, first: int, steps: int) -> Tensor:
    """Partition keys so that the `first` smallest projections on their principal axis come first."""
    library = loader.library()
    if library is None or positions.dtype != torch.float32:
        return keys[_projections(positions[keys], steps).argsort()]
    table, keys = positions.contiguous(), keys.clone()
    where = loader.address(table, torch.float32, *table.shape), loader.address(keys, torch.int64, len(keys))
    if library.split_keys(where[0], table.shape[1], where[1], len(keys), first, steps):
        raise MemoryError(f"not enough memory to cut {len(keys)} windows into cells")
    return keys


def _projections(positions: Tensor, steps: int) -> Tensor:
    """Projections of points on their principal axis, found by some steps of the power method."""
    offset = positions - positions.mean(0)
    direction = offset[offset.square().sum(1).argmax()]
    for _ in range(steps):
        direction = (offset @ direction) @ offset
        direction = direction / direction.norm().clamp(min=1e-20)
    return offset @ direction


def _edges(sizes: Tensor) -> Tensor:
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


@dataclass(frozen=True)
class _Cut:
    """A part of the keys, cut into cells.

    Attributes:
        order: the keys in the order of their cells.
        sizes, groups: number of keys of each cell, and of cells of each group.
        cells: a Gaussian for each cell.
        outliers: keys that are in no cell yet.
    """

    order: Tensor
    sizes: Tensor
    groups: Tensor
    cells: Gaussians
    outliers: Tensor


class _Points(NamedTuple):
    """Keys as the builder sees them: see `_Builder.project`."""

    along: Tensor
    outside: Tensor
    values: Tensor
    counts: Tensor

    def take(self, some: Tensor) -> _Points:
        return _Points(*(column[some] for column in self))


def _arranged(along: Tensor, groups: list[Tensor], settings: IndexSettings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Groups of points cut into cells.

    Returns:
        The points in the order of their cells, the cell of each point, and sizes as of `_Cut`.
    """
    order: list[Tensor] = []
    sizes: list[int] = []
    cells: list[int] = []
    for members in groups:
        sorted_, of_group = _halved(along[members], settings)
        order.append(members[sorted_])
        sizes += of_group
        cells.append(len(of_group))
    arranged, by_cell = torch.cat(order), torch.tensor(sizes, dtype=torch.int64, device="cpu")
    cell = torch.empty_like(arranged)
    cell[arranged] = torch.arange(len(sizes), device="cpu").repeat_interleave(by_cell)
    return arranged, cell, by_cell, torch.tensor(cells, dtype=torch.int64, device="cpu")


@dataclass(frozen=True)
class _Builder:
    keys: WindowKeys
    origin: Tensor
    basis: Tensor
    settings: IndexSettings

    @cached_property
    def free(self) -> int:
        return free_directions(self.keys, self.basis)

    def parts(self, index: Tensor) -> tuple[Tensor, ...]:
        return torch.split(index, max(1, self.settings.numbers_at_once // self.keys.width))

    def project(self, index: Tensor) -> _Points:
        """Positions along the basis (T, d), squared length outside it (T,), values (T, V) and counts (T,)."""
        rows, values = self.keys.some(
            index, torch.empty((len(index), self.keys.width + 2), dtype=torch.float32, device="cpu")
        )
        offset = rows[:, :-2].div_(self.keys.scale).sub_(self.origin)
        along = offset @ self.basis
        outside = (offset.square_().sum(1) - along.square().sum(1)).clamp_(min=0)
        return _Points(along, outside, values / self.keys.scale, rows[:, -1].exp())

    def cut_all(self, keys: Tensor, generator: torch.Generator, seed: int, set_aside: bool) -> Iterator[_Cut]:
        """Cut keys in two levels, so that the time for a key hardly grows with their number: see `cut`."""
        if not len(keys):
            return iter(())
        # As many branches on each of the two levels.
        branches = max(1, round((len(keys) / self.settings.keys_a_group) ** (1 / 2)))
        some = self.project(_draw(keys, self.settings.keys_sampled, generator)).along
        centres = _kmeans(some, branches, self.settings.kmeans_rounds, generator)
        near = torch.cat(list(in_parallel(lambda part: _nearest(self.project(part)[0], centres), self.parts(keys))))
        pieces = [(keys[inside], index + seed * branches) for index, inside in enumerate(_members(near))]
        return in_parallel(lambda piece: self.cut(*piece, set_aside), pieces)

    def cut(self, inside: Tensor, seed: int, set_aside: bool) -> _Cut:
        """Cut some keys into groups and cells, and set outliers aside if that is wanted."""
        generator = torch.Generator().manual_seed(seed)
        projected = [self.project(part) for part in self.parts(inside)]
        points = _Points(*(torch.cat(columns) for columns in zip(*projected, strict=True)))
        wanted = max(1, round(len(inside) / self.settings.keys_a_group))
        # Eighty points for each centre are enough to place it.
        some = points.along[_some(len(inside), 80 * wanted, generator)]
        centres = _kmeans(some, wanted, self.settings.kmeans_rounds, generator)
        groups = _members(_nearest(points.along, centres))
        arranged, cell, by_cell, by_group = _arranged(points.along, groups, self.settings)
        cells = self._gaussians(points, cell, by_group)
        outliers = torch.zeros(len(inside), dtype=torch.bool, device="cpu")
        if set_aside:
            outliers = self._outliers(points, cell, cells)
        if outliers.all():
            # None lies farther out than the rest.
            outliers = torch.zeros_like(outliers)
        if outliers.any():
            kept = (~outliers).nonzero().flatten()
            number = (~outliers).cumsum(0) - 1
            points = points.take(kept)
            groups = [number[left] for some in groups if len(left := some[~outliers[some]])]
            arranged, cell, by_cell, by_group = _arranged(points.along, groups, self.settings)
            cells, arranged = self._gaussians(points, cell, by_group), kept[arranged]
        return _Cut(inside[arranged], by_cell, by_group, cells, inside[outliers])

    def _outliers(self, points: _Points, cell: Tensor, cells: Gaussians) -> Tensor:
        """Of which keys the Gaussians of their own cells predict almost nothing, bool (n,)."""
        shares = cells.log_mass.double().softmax(0)[:, None]
        noise = (self.settings.outlier_noise**2 * (shares * cells.variance).sum(0).max()).float()
        precision, precision_outside = 1 / (cells.variance + noise), 1 / (cells.rest + noise)
        usual = (cells.variance * precision).sum(1) + self.free * cells.rest * precision_outside
        far = torch.empty(len(cell), dtype=torch.float32, device="cpu")
        for part in torch.split(torch.arange(len(cell), device="cpu"), 2**16):
            at = cell[part]
            far[part] = ((points.along[part] - cells.mean[at]).square_() * precision[at]).sum(1)
            far[part] += points.outside[part] * precision_outside[at] - usual[at]
        return far / 2 + points.counts.log() > self.settings.outlier

    def _gaussians(self, points: _Points, cell: Tensor, groups: Tensor) -> Gaussians:
        along, outside, values, counts = points
        total = int(groups.sum())
        mass = torch.zeros(total, dtype=torch.float32, device="cpu").index_add_(0, cell, counts)

        def mean_of(what: Tensor) -> Tensor:
            return _means(what, counts, cell, mass)

        mean, value = mean_of(along), mean_of(values)
        along = along - mean[cell]
        variance = mean_of(along.square())
        slope = torch.stack([mean_of(along * v[:, None]) for v in (values - value[cell]).unbind(1)], dim=1)
        free = max(1, self.free)
        rest = mean_of(outside) / free if self.free else torch.zeros(total, dtype=torch.float32, device="cpu")
        # A few keys determine their variances badly: those of the group, scaled to the cell, supply the rest.
        group = torch.repeat_interleave(torch.arange(len(groups), device="cpu"), groups)

        group_mass = torch.zeros(len(groups), dtype=torch.float32, device="cpu").index_add_(0, group, mass)

        def pooled(what: Tensor) -> Tensor:
            return _means(what, mass, group, group_mass)[group]

        size = torch.bincount(cell, minlength=total).float()
        kept = size / (size + self.settings.prior_keys)
        width = variance.sum(1) + free * rest
        common = pooled(variance), pooled(rest), pooled(slope)
        ratio = width / (common[0].sum(1) + free * common[1]).clamp(min=1e-20)
        ratio = kept * ratio + (1 - kept)

        def shrunk(own: Tensor, whole: Tensor, scale: bool) -> Tensor:
            share, like = (t.view(-1, *[1] * (own.ndim - 1)) for t in (kept, ratio))
            made = share * own + (1 - share) * like * whole
            # At large noise only the moments of the group count: keep them.
            return made * whole / pooled(made).clamp(min=1e-20) if scale else made + whole - pooled(made)

        return Gaussians(
            mass.log(),
            mean,
            shrunk(variance, common[0], scale=True),
            shrunk(rest, common[1], scale=True),
            value,
            shrunk(slope, common[2], scale=False),
        )


def _means(what: Tensor, weights: Tensor, sets: Tensor, totals: Tensor) -> Tensor:
    """Weighted mean of rows (T, ...) over the set that each is in; totals are the sums of the weights of each set."""
    shape = (-1, *[1] * (what.ndim - 1))
    sums = totals.new_zeros((len(totals), *what.shape[1:]))
    return sums.index_add_(0, sets, what.to(totals) * weights.view(shape)) / totals.view(shape)


def _together(cells: Gaussians, bounds: Tensor) -> tuple[Gaussians, Tensor]:
    """`groups` and `inner` of an index: a group's Gaussian has the number, mean and variances of its cells together."""
    group = torch.repeat_interleave(torch.arange(len(bounds) - 1, device="cpu"), bounds.diff())
    mass = cells.log_mass.double().exp()
    total = torch.zeros(len(bounds) - 1, dtype=torch.float64, device="cpu").index_add_(0, group, mass)

    def mean_of(what: Tensor) -> Tensor:
        return _means(what, mass, group, total)

    mean, value = mean_of(cells.mean), mean_of(cells.value)
    off, change = cells.mean - mean[group], cells.value - value[group]
    groups = Gaussians(
        total.log().float(),
        mean.float(),
        mean_of(cells.variance + off.square()).float(),
        mean_of(cells.rest).float(),
        value.float(),
        mean_of(cells.slope + change[..., None] * off[:, None]).float(),
    )
    return groups, mean_of(cells.variance).float()


def _high_multiplicity(keys: WindowKeys, settings: IndexSettings) -> tuple[Tensor, Tensor]:
    """Positions of the keys that stay outside the cells, and of the others, int64."""
    everything = torch.arange(len(keys), device="cpu")
    if keys.log_counts is None:
        return everything[:0], everything
    outside = (keys.log_counts >= math.log(settings.high_multiplicity)).nonzero().flatten()
    if len(outside) > settings.most_high_multiplicity:
        highest = keys.log_counts[outside].topk(settings.most_high_multiplicity).indices
        outside = outside[highest].sort().values
    if len(outside) == len(keys):
        outside = outside[:-1]
    inside = torch.ones(len(keys), dtype=torch.bool, device="cpu")
    inside[outside] = False
    return outside, inside.nonzero().flatten()


def _some(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Positions of a random part of so many things, in order, all of them where no more are there than wanted."""
    if count <= wanted:
        return torch.arange(count, device="cpu")
    return torch.randint(count, (wanted,), generator=generator, device="cpu").sort().values


def _draw(index: Tensor, wanted: int, generator: torch.Generator) -> Tensor:
    return index[_some(len(index), wanted, generator)]


def _directions(keys: WindowKeys, inside: Tensor, some: Tensor, settings: IndexSettings) -> tuple[Tensor, Tensor]:
    """Mean of the keys in cells, and main directions, of which the first hold the values and what varies with them.

    Mean values by Gaussians are then right to first order in 1 / sigma^2.
    """

    def moments(part: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows, values = keys.some(part, torch.empty((len(part), keys.width + 2), dtype=torch.float32, device="cpu"))
        counts = rows[:, -1].exp()
        weighted = rows[:, :-2] * counts[:, None]
        of_values = (values * counts[:, None]).sum(0)
        return counts.sum().double(), weighted.sum(0).double(), of_values.double(), (weighted.T @ values).double()

    parts = list(in_parallel(moments, torch.split(inside, max(1, settings.numbers_at_once // keys.width))))
    count, first, of_values, joint = (
        sum(sums, torch.zeros((), dtype=torch.float32, device="cpu")) for sums in zip(*parts, strict=True)
    )
    mean = first / count
    varying = joint / count - mean[:, None] * (of_values / count)
    rows, _ = keys.some(some, torch.empty((len(some), keys.width + 2), dtype=torch.float32, device="cpu"))
    offset = rows[:, :-2].double() - mean
    counts = rows[:, -1:].double().exp()
    covariance = (offset * counts).T @ offset / counts.sum()
    values = torch.eye(keys.width, dtype=torch.float64, device="cpu")[:, keys.centres]
    leading = torch.linalg.qr(torch.cat([values, varying], dim=1)).Q[:, : keys.width]
    outside = torch.eye(keys.width, dtype=torch.float64, device="cpu") - leading @ leading.T
    variances, directions = torch.linalg.eigh(outside @ covariance @ outside)
    variances, directions = variances.flip(0).clamp(min=0), directions.flip(1)
    left = variances.sum() - variances.cumsum(0)
    enough = int((left > (1 - settings.variance_kept) * covariance.trace()).sum()) + 1
    enough = min(enough, settings.most_directions, keys.width - leading.shape[1])
    basis = torch.cat([leading, directions[:, :enough]], dim=1)
    return (mean / keys.scale).float(), basis.float().contiguous()


def _nearest(positions: Tensor, centres: Tensor) -> Tensor:
    half = centres.square().sum(1) / 2
    return torch.cat([(part @ centres.T).sub_(half).argmax(1) for part in torch.split(positions, 8192)])


def _kmeans(positions: Tensor, count: int, rounds: int, generator: torch.Generator) -> Tensor:
    """Centres (count or fewer, d) of Lloyd's algorithm, which starts at randomly chosen positions."""
    centres = positions[torch.randperm(len(positions), generator=generator, device="cpu")[:count]].clone()
    for _ in range(rounds if len(centres) > 1 else 0):
        near = _nearest(positions, centres)
        sizes = torch.bincount(near, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, near, positions)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centres)
    return centres
