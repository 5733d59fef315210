"""An index against sums over its keys, written out cell by cell in float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.engine import Index, build_index
from elsewhere.engine.kernels import loader
from elsewhere.engine.search import build
from elsewhere.engine.search.index import Gaussians
from elsewhere.engine.search.settings import INDEX
from tests.engine.engine_toys import keys_of, real, rows_of

SETS = [("fashion-mini", 60, 5, False), ("pixel-faces", 30, 3, False), ("fashion-mini", 40, 3, True)]


def equal(one: Index, other: Index) -> bool:
    mine, theirs = one.tensors(), other.tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def numbers(count: int, start: int, index: Index) -> torch.Tensor:
    """For each of `count` keys from `start` on, the cell that it lies in."""
    return torch.searchsorted(index.starts, torch.arange(start, start + count), right=True) - 1


@pytest.mark.parametrize("case", SETS)
def test_every_window_is_in_exactly_one_cell_or_outside(case: tuple[str, int, int, bool]) -> None:
    keys, index = real(*case)
    assert index.keys.kept is not None
    kept = index.keys.kept.long()
    merged = keys.merged()
    expected = torch.arange(len(keys)) if merged.kept is None else merged.kept.long()
    assert torch.equal(kept.sort().values, expected)
    assert int(index.starts[0]) == index.outside
    assert int(index.starts[-1]) == len(kept)
    assert bool((index.starts.diff() > 0).all()), "no cell is empty"
    assert int(index.bounds[0]) == 0
    assert int(index.bounds[-1]) == len(index.cells) == len(index.starts) - 1
    assert bool((index.bounds.diff() > 0).all()), "no group is empty"
    assert len(index.groups) == len(index.bounds) - 1
    # Cells are about as large as they should be, on the whole.
    assert 0.3 < (len(kept) / len(index.cells)) / INDEX.keys_a_cell < 1.5


@pytest.mark.parametrize("case", SETS)
def test_blocks_of_a_group_have_the_same_number_of_keys_but_for_the_last(case: tuple[str, int, int, bool]) -> None:
    _, index = real(*case)
    for first, end in pairwise(index.bounds.tolist()):
        edges = index.starts[[*range(first, end, INDEX.cells_a_block), end]]
        sizes = edges.diff()
        assert bool((sizes[:-1] == sizes[0]).all())
        assert 0 < int(sizes[-1]) <= int(sizes[0])
        cells = index.starts[first : end + 1].diff()
        assert int(cells.max()) <= 1.5 * INDEX.keys_a_cell + 1


def test_cells_are_tighter_than_blocks_and_blocks_than_groups() -> None:
    _, index = real("fashion-mini", 60, 5)
    rows = rows_of(index.keys)[0][index.outside :]

    def spread(edges: torch.Tensor) -> float:
        squares = 0.0
        for first, end in pairwise((edges - index.outside).tolist()):
            inside = rows[first:end]
            squares += float((inside - inside.mean(0)).square().sum())
        return squares / len(rows)

    groups = pairwise(index.bounds.tolist())
    blocks = torch.tensor(
        [*(cell for first, end in groups for cell in range(first, end, INDEX.cells_a_block)), len(index.cells)]
    )
    whole = spread(torch.tensor([index.outside, len(index.keys)]))
    cells = torch.arange(len(index.starts))
    group, block, cell = (spread(index.starts[edges]) for edges in (index.bounds, blocks, cells))
    assert cell < 0.9 * block < 0.8 * group < 0.6 * whole


@pytest.mark.parametrize("case", SETS)
def test_counts_and_mean_values_are_conserved(case: tuple[str, int, int, bool]) -> None:
    keys, index = real(*case)
    _, values, counts = rows_of(index.keys)
    outside = counts[: index.outside]
    for level in (index.cells, index.groups):
        mass = level.log_mass.double().exp()
        # Masses are logs in float32.
        assert float(mass.sum() + outside.sum()) == pytest.approx(len(keys), rel=1e-5)
        held = (mass[:, None] * level.value.double()).sum(0)
        assert torch.allclose(
            held, (counts[:, None] * values)[index.outside :].sum(0), rtol=1e-4, atol=1e-5 * len(keys)
        )


@pytest.mark.parametrize("case", SETS)
def test_a_cell_is_described_by_the_keys_in_it(case: tuple[str, int, int, bool]) -> None:
    _, index = real(*case)
    rows, values, counts = (part[index.outside :] for part in rows_of(index.keys))
    along = (rows - index.origin) @ index.basis.double()
    cell = numbers(len(rows), index.outside, index)
    for chosen in range(0, len(index.cells), 7):
        inside = cell == chosen
        weights = counts[inside] / counts[inside].sum()
        assert float(index.cells.log_mass[chosen].exp()) == pytest.approx(float(counts[inside].sum()), rel=1e-5)
        mean, value = weights @ along[inside], weights @ values[inside]
        assert torch.allclose(index.cells.mean[chosen].double(), mean, atol=1e-4)
        assert torch.allclose(index.cells.value[chosen].double(), value, atol=1e-5)


@pytest.mark.parametrize("case", SETS)
def test_variances_are_those_of_the_keys_but_for_what_is_shared(case: tuple[str, int, int, bool]) -> None:
    # Without a prior, a cell's variances are its own, up to the factor that keeps the group's sums.
    keys, _ = real(*case)
    index = build_index(keys.merged(), settings=replace(INDEX, prior_keys=0.0))
    rows, values, counts = (part[index.outside :] for part in rows_of(index.keys))
    offset = rows - index.origin
    along = offset @ index.basis.double()
    outside = (offset - along @ index.basis.double().T).square().sum(1)
    cell = numbers(len(rows), index.outside, index)
    free = keys.width - index.basis.shape[1]
    for chosen in range(0, len(index.cells), 7):
        inside = cell == chosen
        weights = counts[inside] / counts[inside].sum()
        off = along[inside] - weights @ along[inside]
        change = values[inside] - weights @ values[inside]
        variance, slope = weights @ off.square(), (weights[:, None] * change).T @ off
        assert torch.allclose(index.cells.variance[chosen].double(), variance, atol=1e-4)
        assert torch.allclose(index.cells.slope[chosen].double(), slope, atol=1e-4)
        if free:
            assert float(index.cells.rest[chosen]) == pytest.approx(float(weights @ outside[inside]) / free, abs=1e-4)


@pytest.mark.parametrize("case", SETS)
def test_a_group_is_what_its_cells_are_together(case: tuple[str, int, int, bool]) -> None:
    _, index = real(*case)
    cells, bounds = index.cells, index.bounds.tolist()
    for chosen in range(len(index.groups)):
        inside = slice(bounds[chosen], bounds[chosen + 1])
        mass = cells.log_mass[inside].double().exp()
        weights = mass / mass.sum()
        mean, value = weights @ cells.mean[inside].double(), weights @ cells.value[inside].double()
        off, change = cells.mean[inside].double() - mean, cells.value[inside].double() - value
        variance = weights @ (cells.variance[inside].double() + off.square())
        slope = (weights[:, None] * change).T @ off + torch.tensordot(weights, cells.slope[inside].double(), 1)
        assert float(index.groups.log_mass[chosen].exp()) == pytest.approx(float(mass.sum()), rel=1e-5)
        assert torch.allclose(index.groups.mean[chosen].double(), mean, atol=1e-5)
        assert torch.allclose(index.groups.variance[chosen].double(), variance, atol=1e-4)
        assert torch.allclose(index.groups.value[chosen].double(), value, atol=1e-5)
        assert torch.allclose(index.groups.slope[chosen].double(), slope, atol=1e-4)


@pytest.mark.parametrize("case", SETS)
def test_all_cells_together_have_the_moments_of_all_keys(case: tuple[str, int, int, bool]) -> None:
    # Cells lend one another variance; at large noise only what they have together counts, and that is kept.
    _, index = real(*case)
    rows, values, counts = (part[index.outside :] for part in rows_of(index.keys))
    along = (rows - index.origin) @ index.basis.double()
    weights = counts / counts.sum()
    share = index.cells.log_mass.double().softmax(0)
    mean, value = index.cells.mean.double(), index.cells.value.double()
    held = share @ (index.cells.variance.double() + mean.square())
    assert torch.allclose(held, weights @ along.square(), rtol=1e-3, atol=1e-4)
    slope = (share[:, None] * value).T @ mean + torch.tensordot(share, index.cells.slope.double(), 1)
    assert torch.allclose(slope, (weights[:, None] * values).T @ along, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", SETS)
def test_main_directions_are_orthonormal_and_hold_the_values(case: tuple[str, int, int, bool]) -> None:
    keys, index = real(*case)
    basis = index.basis.double()
    assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1], dtype=torch.float64), atol=1e-5)
    for centre in keys.centres:
        direction = torch.zeros(keys.width, dtype=torch.float64)
        direction[centre] = 1
        assert float((basis.T @ direction).norm()) == pytest.approx(1, abs=1e-5)
    rows, _, counts = rows_of(index.keys)
    inside = slice(index.outside, None)
    mean = (counts[inside, None] * rows[inside]).sum(0) / counts[inside].sum()
    assert torch.allclose(index.origin.double(), mean, atol=1e-5)


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**31 - 1))
def test_the_seed_decides_and_nothing_else(seed: int) -> None:
    keys = real("fashion-mini", 40, 3, True)[0].merged()
    one = build_index(keys, seed)
    assert equal(one, build_index(keys, seed))
    assert not equal(one, build_index(keys, seed + 1))


@pytest.mark.parametrize("case", SETS)
def test_an_index_comes_back_from_its_tensors(case: tuple[str, int, int, bool]) -> None:
    keys, index = real(*case)
    again = Index.of_tensors(keys, index.tensors())
    assert equal(again, index)
    assert again.outside == index.outside
    held = sum(t.numel() * t.element_size() for t in index.tensors().values())
    assert again.nbytes == index.nbytes == held + 4 * index.keys.places
    for name in ("log_mass", "mean", "variance", "rest", "value", "slope"):
        assert torch.equal(getattr(again.groups, name), getattr(index.groups, name))
    for mine, theirs in zip(rows_of(again.keys), rows_of(index.keys), strict=True):
        assert torch.equal(mine, theirs)
    assert isinstance(again.cells, Gaussians)


def test_outliers_are_the_keys_of_which_their_own_cells_predict_least() -> None:
    keys, index = real("fashion-mini", 28, 7)
    first = int(index.starts[index.bounds[index.regular]])
    assert index.keys.kept is not None
    outliers = set(index.keys.kept[first:].tolist())
    assert 0.01 < len(outliers) / len(index.keys) < 0.1
    # Those cells come first of all: so few keys are cut as one piece.
    whole = build_index(keys.merged(), settings=replace(INDEX, outlier=torch.inf))
    assert whole.regular == len(whole.groups)
    assert whole.keys.kept is not None
    rows, _, counts = (part[whole.outside :] for part in rows_of(whole.keys))
    offset, basis, cells = rows - whole.origin, whole.basis.double(), whole.cells
    along = offset @ basis
    outside = (offset - along @ basis.T).square().sum(1)
    cell, free = numbers(len(rows), whole.outside, whole), keys.width - basis.shape[1]
    variance, rest = cells.variance.double(), cells.rest.double()
    noise = (2 * (cells.log_mass.double().softmax(0) @ variance).max().sqrt()) ** 2
    far = ((along - cells.mean.double()[cell]).square() / (variance[cell] + noise)).sum(1)
    far += outside / (rest[cell] + noise)
    usual = (variance / (variance + noise)).sum(1) + free * rest / (rest + noise)
    predicted = counts.log() + (far - usual[cell]) / 2
    kept = whole.keys.kept[whole.outside :]
    sure = (predicted - 3).abs() > 1e-3
    assert {int(key) for key in kept[sure & (predicted > 3)]} == outliers & {int(key) for key in kept[sure]}


def test_the_share_that_is_done_is_reported() -> None:
    reports: list[float] = []
    build_index(real("fashion-mini", 60, 5)[0], report=reports.append)
    assert len(reports) > 1
    assert reports == sorted(reports)
    assert reports[-1] == pytest.approx(1)


def test_windows_that_stand_for_many_are_kept_outside_the_cells() -> None:
    keys, index = real("pixel-faces", 30, 3)
    assert index.keys.log_counts is not None
    counts = index.keys.log_counts.exp()
    assert index.outside > 0
    assert float(counts[: index.outside].min()) >= INDEX.high_multiplicity - 1e-6
    assert float(counts[index.outside :].max()) < INDEX.high_multiplicity
    assert keys.log_counts is None, "the windows given are left alone"


def test_of_too_many_high_multiplicity_keys_the_highest_are_outside() -> None:
    index = build_index(real("pixel-faces", 30, 3)[0].merged(), settings=replace(INDEX, most_high_multiplicity=3))
    assert index.outside == 3
    assert index.keys.log_counts is not None
    assert float(index.keys.log_counts[:3].min()) >= float(index.keys.log_counts[3:].max())


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_few_keys_make_an_index_too(count: int) -> None:
    pixels = torch.randint(0, 256, (count, 3, 3, 3), generator=torch.Generator().manual_seed(count)).byte()
    index = build_index(keys_of(pixels, 3))
    assert index.keys.kept is not None
    assert index.keys.kept.sort().values.tolist() == list(range(count))
    assert all(torch.isfinite(tensor).all() for tensor in index.tensors().values())


def test_windows_that_would_all_be_outliers_are_in_the_index_once() -> None:
    keys = real("fashion-mini", 40, 3, True)[0].merged()
    index = build_index(keys, settings=replace(INDEX, outlier=-torch.inf))
    assert index.regular == len(index.groups)
    assert len(index.keys) == len(keys)


def test_equal_windows_alone_make_an_index_too() -> None:
    # Nothing varies: no direction is longer than another.
    index = build_index(keys_of(torch.full((40, 1, 8, 8), 7, dtype=torch.uint8), 3))
    assert len(index.keys) == 40 * 36
    assert all(torch.isfinite(tensor).all() for tensor in index.tensors().values())


# Both sides of a cut are those of the tensor code, but for keys that lie as far along as one another.
@pytest.mark.skipif(loader.library() is None, reason="no compiled loop")
@settings(max_examples=60, deadline=None)
@given(st.integers(2, 700), st.integers(1, 40), st.integers(0, 2**31), st.booleans())
def test_the_compiled_cut_is_that_of_the_tensor_code(count: int, width: int, seed: int, repeated: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn((count + 9, width), generator=generator) * torch.linspace(3, 0.1, width)
    if repeated:
        table = table[torch.randint(min(3, count), (count + 9,), generator=generator)]
    keys = torch.randperm(count + 9, generator=generator)[:count]
    first = int(torch.randint(1, count, (1,), generator=generator))
    cut = build._partition(table, keys, first, INDEX.power_steps)
    assert torch.equal(cut.sort().values, keys.sort().values)
    along = dict(zip(keys.tolist(), build._projections(table[keys], INDEX.power_steps).tolist(), strict=True))
    before, after = ([along[key] for key in part.tolist()] for part in (cut[:first], cut[first:]))
    rounding = 1e-3 * max(1e-3, max(along.values()) - min(along.values()))
    # A direction and its opposite are as long as each other; rounding may choose between points as far as each other.
    assert max(before) <= min(after) + rounding or min(before) >= max(after) - rounding


def test_an_index_made_without_the_compiled_cut_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, index = real("fashion-mini", 60, 5, False)
    monkeypatch.setattr(loader, "library", lambda: None)
    other = build_index(keys.merged())
    within = [float((one.cells.variance.sum(1) * one.cells.log_mass.exp()).sum()) for one in (index, other)]
    assert within[0] == pytest.approx(within[1], rel=1e-2)
    assert torch.equal(index.starts, other.starts)
