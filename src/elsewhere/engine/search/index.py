"""An index over windows: cells of alike keys, each with a Gaussian that tells what is in it without reading it.

Keys are cut into groups by k-means on a few main directions, in two levels, so that the work for a key hardly grows
with their number. A group is halved again and again, across its longest direction, into blocks, which are read as a
whole, and a block into cells: all blocks of a group have the same number of keys, so that many are read by one product.
A cell keeps the number, the mean and the variances of its keys along the main directions, their mean value, and how
values vary with position: smoothed with noise, that Gaussian says what the cell would add to a softmax average.

Keys that lie so far out that their cells promise nothing of them are strays. They are taken out again, and cut into
groups of their own, whose Gaussians are as wide as they are rare: a search looks there sooner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from elsewhere.engine.kernels import loader
from elsewhere.engine.keys.windows import WindowKeys
from elsewhere.engine.pool import in_parallel

KEYS_A_CELL = 128
# Cells of a block, and blocks of a group in the mean.
BLOCK = 4
BLOCKS_A_GROUP = 12
# Steps towards the longest direction of a set.
POWER = 3
# Keys looked at for the main directions and for the first centres.
SAMPLE = 100_000
ROUNDS = 5
# Main directions hold this share of the variance; what is left counts as the same in all other directions.
VARIANCE_KEPT = 0.97
MOST_DIRECTIONS = 40
# Keys that stand for this many equal windows or more would drown the Gaussian of a cell: they stay outside the cells.
HEAVY = 64.0
MOST_HEAVY = 4096
# A cell's variances count as much as those of this many keys of the group that it is a part of.
PRIOR_KEYS = 10.0
# A key is a stray where its cell, at a noise level of STRAY_NOISE times the width of cells, promises e^-STRAY of what
# it does of a key at its mean distance.
STRAY = 3.0
STRAY_NOISE = 2.0
# Numbers of keys held at once while building.
TILE = 2**22


@dataclass(frozen=True)
class Gaussians:
    """Gaussians in place of sets of keys, in units of the queries, counted from the index's origin.

    Attributes:
        log_mass: log of the number of windows, (n,).
        mean, variance: along the main directions, (n, d).
        rest: variance in each of the other directions, (n,).
        value: mean value, (n, V).
        slope: covariance of value and position, (n, V, d).
    """

    log_mass: Tensor
    mean: Tensor
    variance: Tensor
    rest: Tensor
    value: Tensor
    slope: Tensor

    def __len__(self) -> int:
        return len(self.log_mass)


@dataclass(frozen=True)
class Index:
    """Keys in the order of their cells, and what is known of each cell.

    Attributes:
        keys: the heavy keys first, then those of cell 0, cell 1, ...
        starts: where each cell begins in `keys`, and the end, int64 (C + 1,); starts[0] is the number of heavy keys.
        bounds: where each group begins among the cells, and the end, int64 (G + 1,). From there on, every BLOCK cells
            are a block; all blocks of a group have the same number of keys, but for the last, which may have fewer.
        origin: the mean of all keys, (D,).
        basis: orthonormal main directions, (D, d).
        cells, groups: Gaussians in place of each cell and of each group.
        inner: mean variance of the cells of each group along the main directions, (G, d).
        plain: number of groups that come before those of strays.
    """

    keys: WindowKeys
    starts: Tensor
    bounds: Tensor
    origin: Tensor
    basis: Tensor
    cells: Gaussians
    groups: Gaussians
    inner: Tensor
    plain: int

    @property
    def heavy(self) -> int:
        """Number of keys outside the cells."""
        return int(self.starts[0])

    @property
    def nbytes(self) -> int:
        """Bytes held beside the images."""
        assert self.keys.kept is not None
        held = [*self.tensors().values(), *([] if self.keys.copies is None else [self.keys.copies])]
        # A search needs to know of every place which key is there.
        numbers = self.keys.places * self.keys.kept.element_size()
        return numbers + sum(tensor.numel() * tensor.element_size() for tensor in held)

    def copied(self) -> Index:
        """The same index, with the windows copied out of the images, which makes reading faster by far."""
        return replace(self, keys=self.keys.copied())

    def tensors(self) -> dict[str, Tensor]:
        """All that a file must hold to make the index again from the images."""
        assert self.keys.kept is not None
        held = {"kept": self.keys.kept, "starts": self.starts, "bounds": self.bounds}
        held |= {
            "origin": self.origin,
            "basis": self.basis,
            "inner": self.inner,
            "plain": torch.tensor([self.plain], dtype=torch.int64, device="cpu"),
        }
        for name, what in (("cells", self.cells), ("groups", self.groups)):
            held |= {f"{name}.{field.name}": getattr(what, field.name) for field in fields(Gaussians)}
        if self.keys.log_counts is not None:
            held["log_counts"] = self.keys.log_counts
        return held

    @classmethod
    def of_tensors(cls, keys: WindowKeys, held: dict[str, Tensor]) -> Index:
        """The index that gave these tensors; `keys` are windows at the same places of the same images."""
        cells, groups = (
            Gaussians(*(held[f"{name}.{field.name}"] for field in fields(Gaussians))) for name in ("cells", "groups")
        )
        return cls(
            keys.replaced(held["kept"], held.get("log_counts")),
            held["starts"],
            held["bounds"],
            held["origin"],
            held["basis"],
            cells,
            groups,
            held["inner"],
            int(held["plain"]),
        )


def build_index(keys: WindowKeys, seed: int = 0, told: Callable[[float], None] | None = None) -> Index:
    """Cut keys into cells.

    Args:
        keys: at least one.
        seed: of the keys looked at first and of the first centres.
        told: called with the share of the keys that are done, now and then.
    """
    generator = torch.Generator().manual_seed(seed)
    heavy, light = _split_heavy(keys)
    origin, basis = _directions(keys, light, _draw(light, SAMPLE, generator))
    builder = _Builder(keys, origin, basis)
    cut: list[_Cut] = []

    def cut_up(some: Tensor, set_aside: bool) -> None:
        for one in builder.cut_all(some, generator, seed, set_aside):
            cut.append(one)
            if told is not None:
                told(sum(len(done.order) for done in cut) / len(light))

    cut_up(light, set_aside=True)
    plain, strays = sum(len(one.groups) for one in cut), torch.cat([one.strays for one in cut])
    cut_up(strays, set_aside=False)
    cells = Gaussians(*(torch.cat([getattr(one.cells, f.name) for one in cut]) for f in fields(Gaussians)))
    starts = _edges(torch.cat([one.sizes for one in cut])) + len(heavy)
    bounds = _edges(torch.cat([one.groups for one in cut]))
    order = torch.cat([heavy, *(one.order for one in cut)])
    return Index(keys.arranged(order), starts, bounds, origin, basis, cells, *_together(cells, bounds), plain)


def _members(near: Tensor) -> list[Tensor]:
    """Which things belong to each set that any belongs to, from the set of each thing."""
    return [inside for inside in torch.split(near.argsort(stable=True), torch.bincount(near).tolist()) if len(inside)]


def _halved(positions: Tensor) -> tuple[Tensor, list[int]]:
    """Cut the keys of a group into cells.

    Returns:
        The keys in the order of their cells, int64 (n,), and the number of keys of each cell.
    """
    blocks = max(1, round(len(positions) / (KEYS_A_CELL * BLOCK)))
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
            cells = min(BLOCK, len(inside))
            parts, of_cells = [len(inside) * (i + 1) // cells - len(inside) * i // cells for i in range(cells)], True
        if len(parts) == 1:
            order.append(inside)
            sizes.append(len(inside))
            continue
        half = len(parts) // 2
        count = sum(parts[:half])
        sorted_ = _split(positions, inside, count)
        # The last in is the first out.
        left += [(sorted_[count:], parts[half:], of_cells), (sorted_[:count], parts[:half], of_cells)]
    return torch.cat(order), sizes


def _split(positions: Tensor, keys: Tensor, first: int) -> Tensor:
    """Some keys, those `first` before the others that lie least far along the longest direction of them all."""
    library = loader.library()
    if library is None or positions.dtype != torch.float32:
        return keys[_along(positions[keys]).argsort()]
    table, keys = positions.contiguous(), keys.clone()
    where = loader.address(table, torch.float32, *table.shape), loader.address(keys, torch.int64, len(keys))
    if library.split_keys(where[0], table.shape[1], where[1], len(keys), first, POWER):
        raise MemoryError(f"not enough memory to cut {len(keys)} windows into cells")
    return keys


def _along(positions: Tensor) -> Tensor:
    """Where points lie along the longest direction of them all, or nearly so."""
    offset = positions - positions.mean(0)
    direction = offset[offset.square().sum(1).argmax()]
    for _ in range(POWER):
        direction = (offset @ direction) @ offset
        direction = direction / direction.norm().clamp(min=1e-20)
    return offset @ direction


def _edges(sizes: Tensor) -> Tensor:
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


@dataclass(frozen=True)
class _Cut:
    """A part of the keys, cut.

    Attributes:
        order: the keys in the order of their cells.
        sizes, groups: number of keys of each cell, and of cells of each group.
        cells: Gaussians in place of the cells.
        strays: keys that are in no cell yet.
    """

    order: Tensor
    sizes: Tensor
    groups: Tensor
    cells: Gaussians
    strays: Tensor


class _Points(NamedTuple):
    """Keys as the builder sees them: see `_Builder.project`."""

    along: Tensor
    outside: Tensor
    values: Tensor
    counts: Tensor

    def take(self, some: Tensor) -> _Points:
        return _Points(*(column[some] for column in self))


def _arranged(along: Tensor, groups: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Groups of points cut into cells.

    Returns:
        The points in the order of their cells, the cell of each point, and sizes as of `_Cut`.
    """
    order: list[Tensor] = []
    sizes: list[int] = []
    cells: list[int] = []
    for members in groups:
        sorted_, of_group = _halved(along[members])
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

    @property
    def free(self) -> int:
        """Number of directions outside the basis."""
        return self.keys.width - self.basis.shape[1]

    def parts(self, index: Tensor) -> tuple[Tensor, ...]:
        return torch.split(index, max(1, TILE // self.keys.width))

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
        """Cut keys in parts, in no time that grows faster than their number: see `cut`."""
        if not len(keys):
            return iter(())
        # As many branches on each of the two levels.
        branches = max(1, round((len(keys) / (KEYS_A_CELL * BLOCK * BLOCKS_A_GROUP)) ** (1 / 2)))
        some = self.project(_draw(keys, SAMPLE, generator))[0]
        centres = _kmeans(some, branches, generator)
        near = torch.cat(list(in_parallel(lambda part: _nearest(self.project(part)[0], centres), self.parts(keys))))
        pieces = [(keys[inside], index + seed * branches) for index, inside in enumerate(_members(near))]
        return in_parallel(lambda piece: self.cut(*piece, set_aside), pieces)

    def cut(self, inside: Tensor, seed: int, set_aside: bool) -> _Cut:
        """Cut some keys into groups and cells, and set those aside that turn out to be strays, if that is wanted."""
        generator = torch.Generator().manual_seed(seed)
        projected = [self.project(part) for part in self.parts(inside)]
        points = _Points(*(torch.cat(columns) for columns in zip(*projected, strict=True)))
        wanted = max(1, round(len(inside) / (KEYS_A_CELL * BLOCK * BLOCKS_A_GROUP)))
        centres = _kmeans(points.along[_some(len(inside), 80 * wanted, generator)], wanted, generator)
        groups = _members(_nearest(points.along, centres))
        arranged, cell, by_cell, by_group = _arranged(points.along, groups)
        cells = self._gaussians(points, cell, by_group)
        strays = (
            self._strays(points, cell, cells) if set_aside else torch.zeros(len(inside), dtype=torch.bool, device="cpu")
        )
        if strays.all():
            # None lies farther out than the rest.
            strays = torch.zeros_like(strays)
        if strays.any():
            kept = (~strays).nonzero().flatten()
            number = (~strays).cumsum(0) - 1
            points = points.take(kept)
            groups = [number[left] for some in groups if len(left := some[~strays[some]])]
            arranged, cell, by_cell, by_group = _arranged(points.along, groups)
            cells, arranged = self._gaussians(points, cell, by_group), kept[arranged]
        return _Cut(inside[arranged], by_cell, by_group, cells, inside[strays])

    def _strays(self, points: _Points, cell: Tensor, cells: Gaussians) -> Tensor:
        """Which keys their own cells promise hardly anything of, as far as they lie out, bool (n,)."""
        shares = cells.log_mass.double().softmax(0)[:, None]
        noise = (STRAY_NOISE**2 * (shares * cells.variance).sum(0).max()).float()
        precision, precision_outside = 1 / (cells.variance + noise), 1 / (cells.rest + noise)
        usual = (cells.variance * precision).sum(1) + self.free * cells.rest * precision_outside
        far = torch.empty(len(cell), dtype=torch.float32, device="cpu")
        for part in torch.split(torch.arange(len(cell), device="cpu"), 2**16):
            at = cell[part]
            far[part] = ((points.along[part] - cells.mean[at]).square_() * precision[at]).sum(1)
            far[part] += points.outside[part] * precision_outside[at] - usual[at]
        return far / 2 + points.counts.log() > STRAY

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
        # A few keys tell little of their variances: those of the whole group, as wide as the cell is, tell the rest.
        group = torch.repeat_interleave(torch.arange(len(groups), device="cpu"), groups)

        group_mass = torch.zeros(len(groups), dtype=torch.float32, device="cpu").index_add_(0, group, mass)

        def pooled(what: Tensor) -> Tensor:
            return _means(what, mass, group, group_mass)[group]

        size = torch.bincount(cell, minlength=total).float()
        kept = size / (size + PRIOR_KEYS)
        width = variance.sum(1) + free * rest
        common = pooled(variance), pooled(rest), pooled(slope)
        ratio = width / (common[0].sum(1) + free * common[1]).clamp(min=1e-20)
        ratio = kept * ratio + (1 - kept)

        def shrunk(own: Tensor, whole: Tensor, scale: bool) -> Tensor:
            share, like = (t.view(-1, *[1] * (own.ndim - 1)) for t in (kept, ratio))
            made = share * own + (1 - share) * like * whole
            # At large noise only what the cells have together counts, and that is known.
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


def _split_heavy(keys: WindowKeys) -> tuple[Tensor, Tensor]:
    everything = torch.arange(len(keys), device="cpu")
    if keys.log_counts is None:
        return everything[:0], everything
    heavy = (keys.log_counts >= math.log(HEAVY)).nonzero().flatten()
    if len(heavy) > MOST_HEAVY:
        heavy = heavy[keys.log_counts[heavy].topk(MOST_HEAVY).indices].sort().values
    if len(heavy) == len(keys):
        heavy = heavy[:-1]
    light = torch.ones(len(keys), dtype=torch.bool, device="cpu")
    light[heavy] = False
    return heavy, light.nonzero().flatten()


def _some(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Positions of a random part of so many things, in order, all of them where no more are there than wanted."""
    if count <= wanted:
        return torch.arange(count, device="cpu")
    return torch.randint(count, (wanted,), generator=generator, device="cpu").sort().values


def _draw(index: Tensor, wanted: int, generator: torch.Generator) -> Tensor:
    return index[_some(len(index), wanted, generator)]


def _directions(keys: WindowKeys, light: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of all light keys and main directions, of which the first hold the values and what varies with them.

    What Gaussians say of values is then right to first order in 1 / sigma^2.
    """

    def moments(part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, values = keys.some(part, torch.empty((len(part), keys.width + 2), dtype=torch.float32, device="cpu"))
        counts = rows[:, -1].exp()
        weighted = rows[:, :-2] * counts[:, None]
        return counts.sum().double(), weighted.sum(0).double(), (weighted.T @ values).double()

    parts = list(in_parallel(moments, torch.split(light, max(1, TILE // keys.width))))
    count, first, joint = (
        sum(sums, torch.zeros((), dtype=torch.float32, device="cpu")) for sums in zip(*parts, strict=True)
    )
    mean = first / count
    varying = joint / count - mean[:, None] * mean[keys.centres]
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
    enough = int((left > (1 - VARIANCE_KEPT) * covariance.trace()).sum()) + 1
    enough = min(enough, MOST_DIRECTIONS, keys.width - leading.shape[1])
    basis = torch.cat([leading, directions[:, :enough]], dim=1)
    return (mean / keys.scale).float(), basis.float().contiguous()


def _nearest(positions: Tensor, centres: Tensor) -> Tensor:
    half = centres.square().sum(1) / 2
    return torch.cat([(part @ centres.T).sub_(half).argmax(1) for part in torch.split(positions, 8192)])


def _kmeans(positions: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres (count or fewer, d) of Lloyd's algorithm, begun on a random choice of the positions."""
    centres = positions[torch.randperm(len(positions), generator=generator, device="cpu")[:count]].clone()
    for _ in range(ROUNDS if len(centres) > 1 else 0):
        near = _nearest(positions, centres)
        sizes = torch.bincount(near, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, near, positions)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centres)
    return centres
