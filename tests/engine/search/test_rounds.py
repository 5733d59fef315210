"""The fast engine against the definition in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import elsewhere as els
from elsewhere.engine import Metric, SoftmaxState, build_index
from elsewhere.engine.kernels.reference import ScanResult
from elsewhere.engine.search.gaussians import SmoothedIndex, predicted_log_masses, query_rows
from elsewhere.engine.search.rounds import Search
from tests.engine.engine_toys import TOYS, asked, brute, keys_of, levels, real, rows_of, search

NOISE = (1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 10.0, 30.0, 100.0)
SETS: list[tuple[str, int, int]] = [
    ("fashion-mini", 150, 3),
    ("fashion-mini", 150, 5),
    ("fashion-mini", 150, 11),
    ("pixel-faces", 40, 3),
]
TOLERANCE = 1e-3
# What float32 alone may be off by, in units of [-1, 1].
ROUNDING = 1e-5


def off(found: SoftmaxState, expected: SoftmaxState) -> Tensor:
    """The largest error over channels of each query."""
    return (found.mean() - expected.mean()).abs().amax(1)


def estimate(state: SoftmaxState) -> Tensor:
    assert state.error is not None
    return state.error


# So little is read that much is missed. The least number of cells is for queries of which Gaussians are sure.
LITTLE = replace(TOYS, numbers_first=0, least_first=8, most_growth=2.0)


@pytest.mark.parametrize(("name", "limit", "window"), SETS)
def test_close_to_the_definition_at_every_noise_level(name: str, limit: int, window: int) -> None:
    keys, index = real(name, limit, window)
    sigma = levels(*NOISE, each=4)
    queries = torch.cat([asked(keys, sigma, seed=1), asked(keys, sigma, seed=1, mix=True)])
    sigma = sigma.repeat(2)
    found, expected = search(index, queries, sigma, TOLERANCE), brute(keys, queries, sigma)
    error = off(found, expected)
    # An estimate, not a bound: the worst of many may be off by several times the tolerance, most are far below.
    assert float(error.max()) < 5 * TOLERANCE
    assert float((error > TOLERANCE).double().mean()) < 0.03
    assert float(error.square().mean().sqrt()) < 0.5 * TOLERANCE


def test_the_estimate_is_not_too_small() -> None:
    sigma = levels(*NOISE, each=12)
    good = []
    for name, limit, window in SETS:
        keys, index = real(name, limit, window)
        queries = asked(keys, sigma, seed=2)
        found = search(index, queries, sigma, TOLERANCE)
        assert float(estimate(found).max()) < 2 * TOLERANCE, "reading went on while it was larger"
        good.append(off(found, brute(keys, queries, sigma)) <= estimate(found) + ROUNDING)
    assert float(torch.cat(good).double().mean()) >= 0.98


def test_a_smaller_tolerance_gives_a_smaller_error() -> None:
    keys, index = real("fashion-mini", 150, 5)
    sigma = levels(0.5, 1.0, 2.0, 5.0, each=30)
    queries = asked(keys, sigma, seed=3)
    expected = brute(keys, queries, sigma)
    errors = [float(off(search(index, queries, sigma, t), expected).square().mean().sqrt()) for t in (0.1, 1e-3, 1e-5)]
    assert errors[2] < errors[1] < errors[0]
    # Four decades of tolerance are worth two of error at least.
    assert errors[2] < errors[0] / 100


@pytest.mark.parametrize("sigma", [0.2, 0.3, 0.5])
def test_outliers_are_read_sooner_than_others(sigma: float) -> None:
    # So little is read, and nothing propagated, that a window which Gaussians do not predict is not found.
    little = replace(TOYS, rounds=(0.0,), numbers_first=1, least_first=60, fewest=8, propagated_share=1.0)
    keys, index = real("fashion-mini", 150, 7)
    outliers = torch.arange(int(index.starts[index.bounds[index.regular]]), len(index.keys))
    generator = torch.Generator().manual_seed(0)
    clean = rows_of(index.keys, outliers[torch.randint(len(outliers), (200,), generator=generator)])[0]
    queries = (clean + sigma * torch.randn(clean.shape, generator=generator)).float()
    noise = levels(sigma, each=len(queries))
    expected = brute(keys, queries, noise)
    missed = []
    for margin in (0.0, TOYS.outlier_margin, 100.0):
        settings = replace(little, outlier_margin=margin)
        missed.append(int((off(search(index, queries, noise, 1e-2, settings=settings), expected) > 1e-2).sum()))
    assert missed[0] > 10
    assert missed[1] < 0.6 * missed[0]
    assert missed[2] == 0


@pytest.mark.parametrize("sigma", [1e-3, 0.01])
def test_at_tiny_noise_the_nearest_window_is_all_that_counts(sigma: float) -> None:
    keys, index = real("fashion-mini", 150, 5)
    queries = asked(keys, levels(0.3, each=40), seed=4, mix=True)
    rows, values, _ = rows_of(keys)
    distances = torch.cdist(queries.double(), rows, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(2, largest=False)
    # Where no other is nearly as near.
    clear = (nearest.values.square().diff().squeeze(1) / (2 * sigma**2)) > 20
    assert int(clear.sum()) > 5
    found = search(index, queries, levels(sigma, each=40)).mean()
    assert torch.allclose(found[clear], values[nearest.indices[:, 0]][clear], atol=1e-6)


def test_far_from_all_windows_the_nearest_cells_are_read_whatever_is_predicted() -> None:
    keys, index = real("fashion-mini", 600, 3)
    sigma = levels(0.1, each=400)
    assert not SmoothedIndex(index, 0.1, TOYS).nearest_regime
    queries = asked(keys, levels(1.0, each=400), seed=21)
    expected = brute(keys, queries, sigma)
    assert float(off(search(index, queries, sigma), expected).max()) < 5e-3
    # There predicted masses fall by more than e^-30 from a few cells to the next ones.
    none = search(index, queries, sigma, settings=replace(TOYS, nearest=0))
    assert int((off(none, expected) > 0.05).sum()) > 3


@pytest.mark.parametrize(("window", "sigma"), [(5, (0.2, 1.0, 30.0)), (11, (2.0, 30.0))])
def test_log_totals_are_those_of_the_definition(window: int, sigma: tuple[float, ...]) -> None:
    # Machines over shards merge by them.
    keys, index = real("fashion-mini", 150, window)
    noise = levels(*sigma, each=20)
    queries = asked(keys, noise, seed=5)
    found, expected = search(index, queries, noise), brute(keys, queries, noise)
    assert torch.allclose(found.log_total, expected.log_total, rtol=0, atol=0.02)


def test_shards_of_the_images_merge_to_the_whole() -> None:
    keys, _ = real("fashion-mini", 150, 5)
    halves = [keys_of(keys.store.pixels[part], 5) for part in (slice(0, 75), slice(75, 150))]
    sigma = levels(0.05, 0.3, 1.0, 5.0, 50.0, each=12)
    queries = asked(keys, sigma, seed=6)
    states = []
    for half in halves:
        # Every shard is centred on its own mean pixel.
        shift = keys.store.offset - half.store.offset
        state = search(build_index(half.merged()), queries + shift, sigma)
        value = state.weighted - shift * state.total[:, None]
        states.append(SoftmaxState(state.peak, state.total, value, state.error))
    merged, expected = states[0].merge(states[1]), brute(keys, queries, sigma)
    error = off(merged, expected)
    assert float(error.max()) < 5 * TOLERANCE
    assert float(error.square().mean().sqrt()) < 0.5 * TOLERANCE
    one, other = (estimate(state) for state in states)
    both = estimate(merged)
    assert bool((both <= torch.maximum(one, other) + 1e-12).all())
    assert bool((both >= torch.minimum(one, other) - 1e-12).all())


@settings(deadline=None, max_examples=3)
@given(seed=st.integers(0, 1000), part=st.integers(1, 11))
def test_neither_order_nor_company_of_a_query_matters(seed: int, part: int) -> None:
    keys, index = real("fashion-mini", 150, 5)
    sigma = levels(0.02, 0.5, 2.0, 40.0, each=3)
    queries = asked(keys, sigma, seed=seed)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    together = search(index, queries, sigma).mean()
    mixed = search(index, queries[order], sigma[order]).mean()
    assert torch.allclose(mixed, together[order], rtol=0, atol=1e-5)
    some = order[:part]
    assert torch.allclose(search(index, queries[some], sigma[some]).mean(), together[some], rtol=0, atol=1e-5)


def test_little_memory_gives_the_same() -> None:
    keys, index = real("fashion-mini", 150, 5)
    sigma = levels(1.0, each=200)
    queries = asked(keys, sigma, seed=7)
    # 64 queries at a time in place of all of them.
    plenty, little = (search(index, queries, sigma, memory=memory).mean() for memory in (2**28, 2**10))
    assert torch.allclose(plenty, little, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "window"), [("fashion-mini", 5), ("pixel-faces", 3)])
def test_windows_copied_out_of_the_images_give_the_same(name: str, window: int) -> None:
    keys, index = real(name, 60, window)
    copied = index.copied()
    assert copied.nbytes == index.nbytes + index.keys.nbytes_of_copies
    sigma = levels(0.05, 0.5, 3.0, each=20)
    queries = asked(keys, sigma, seed=13)
    one, other = search(index, queries, sigma), search(copied, queries, sigma)
    assert torch.equal(one.mean(), other.mean())
    assert torch.equal(estimate(one), estimate(other))


def test_gaussians_approximate_groups_that_are_not_opened_and_cells_that_are_not_read() -> None:
    # So few that every part of the search has something to leave out.
    settings = replace(LITTLE, groups_opened=2, closed_mass=1.0)
    keys, index = real("fashion-mini", 150, 3)
    assert len(index.groups) > 6
    sigma = levels(0.5, 2.0, 10.0, each=20)
    queries = asked(keys, sigma, seed=14)
    state, expected = search(index, queries, sigma, settings=settings), brute(keys, queries, sigma)
    error = off(state, expected)
    assert float(error.max()) > 1e-5, "something was left out"
    assert float(error[40:].max()) < 1e-2, "at large noise Gaussians are all that is needed"
    assert float(error[:40].max()) < 0.2, "at small noise they still say where to look"


def test_a_round_reads_as_many_cells_as_the_error_of_the_one_before_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, tolerance = 40, 1e-3
    settings = replace(TOYS, numbers_first=0, least_first=first, fewest=first)
    keys, index = real("fashion-mini", 150, 5)
    sigma = levels(0.8, each=40)
    queries = asked(keys, sigma, seed=15)
    rounds, errors = [], []
    read, error = Search._round, Search._error

    def noted(self: Search, active: Tensor, lower: Tensor, *others: Tensor) -> ScanResult:
        logs = predicted_log_masses(self.tables.queries[active], self.smoothed.cells)
        rounds.append((active, (logs >= lower[:, None]).sum(1)))
        return read(self, active, lower, *others)

    def estimated(self: Search, *what: object) -> Tensor:
        errors.append(error(self, *what))  # type: ignore[arg-type]
        return errors[-1]

    monkeypatch.setattr(Search, "_round", noted)
    monkeypatch.setattr(Search, "_error", estimated)
    search(index, queries, sigma, tolerance, settings=settings)
    assert len(rounds) > 1
    (everyone, begun), (active, cells) = rounds[:2]
    assert torch.equal(everyone, torch.arange(len(queries)))
    assert torch.equal(active, (errors[0] > tolerance).nonzero().flatten())
    # To one place on the list of cells, one of a few in a sample.
    assert bool(((begun - first).abs() <= 1).all())
    growth = (errors[0][active] / tolerance).pow(1 / settings.error_power)
    growth = growth.clamp(settings.least_growth, settings.most_growth)
    assert bool(((cells - first * growth).abs() <= 1).all())
    assert float(growth.max()) > float(growth.min())


def test_high_multiplicity_keys_are_weighed_by_their_number() -> None:
    # Half of all windows are one and the same plain window, which one key stands for.
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 1, 24, 24), generator=generator).byte()
    pixels[30:] = 100
    keys = keys_of(pixels, 5)
    index = build_index(keys.merged())
    assert index.outside == 1
    sigma = levels(0.05, 0.5, 2.0, 20.0, each=8)
    queries = asked(keys, sigma, seed=8)
    error = off(search(index, queries, sigma), brute(keys, queries, sigma))
    assert float(error.max()) < 2 * TOLERANCE


@pytest.mark.parametrize("floats", [False, True])
def test_floats_and_bytes_give_the_same(floats: bool) -> None:
    keys, index = real("fashion-mini", 60, 3, floats)
    sigma = levels(0.01, 0.3, 2.0, 50.0, each=10)
    queries = asked(keys, sigma, seed=9)
    assert float(off(search(index, queries, sigma), brute(keys, queries, sigma)).max()) < 3 * TOLERANCE


def test_wide_queries_are_answered_in_their_precision() -> None:
    keys, index = real("fashion-mini", 60, 3)
    sigma = levels(0.05, each=20)
    queries = asked(keys, sigma, seed=10)
    one, other = search(index, queries, sigma).mean(), search(index, queries.double(), sigma).mean()
    assert torch.allclose(one, other, rtol=0, atol=ROUNDING)


def test_far_queries_neither_overflow_nor_vanish() -> None:
    keys, index = real("fashion-mini", 60, 3)
    for sigma in (1e-3, 1.0, 100.0):
        state = search(index, torch.full((2, keys.width), 300.0), levels(sigma, each=2))
        for part in (state.mean(), state.log_total, estimate(state)):
            assert torch.isfinite(part).all(), sigma


def test_predicted_masses_never_fall_with_noise() -> None:
    # sigma^2 log sum_j exp(-d_j^2 / (2 sigma^2)) never falls when sigma grows; neither may what approximates it.
    keys, index = real("fashion-mini", 150, 5)
    rows = query_rows(index, asked(keys, levels(0.3, each=20), seed=11).double())
    before = torch.full((20, len(index.cells)), -math.inf, dtype=torch.float64)
    for step in range(8):
        sigma = 0.02 * TOYS.level_step**step
        tables = [replace(table, masses=table.masses.double()) for table in SmoothedIndex(index, sigma, TOYS).cells]
        now = sigma**2 * predicted_log_masses(rows, tables)
        # Float32 tables of numbers up to some 100.
        assert bool((now >= before - 1e-4 * before.abs()).all()), sigma
        before = now


def test_wide_windows_at_the_edge_of_freezing() -> None:
    # Here the nearest window may lie a hundred nats above all that Gaussians expect.
    keys, index = real("fashion-mini", 150, 11)
    sigma = levels(0.4, each=300)
    queries = asked(keys, sigma, seed=12)
    error = off(search(index, queries, sigma, TOLERANCE), brute(keys, queries, sigma))
    assert float(error.max()) < 5 * TOLERANCE


@pytest.mark.parametrize(("name", "window"), [("fashion-mini", 7), ("pixel-faces", 5)])
def test_adjacent_queries_find_what_one_alone_would_miss(name: str, window: int) -> None:
    keys, index = real(name, 60, window)
    images = els.load_images(name).scaled()[60:64]
    noisy = images + 0.4 * torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    cut = (noisy - keys.store.offset).unfold(2, window, 1).unfold(3, window, 1).permute(0, 2, 3, 1, 4, 5)
    queries, sigma = cut.flatten(0, 2).flatten(1), levels(0.4, each=math.prod(cut.shape[:3]))
    expected = brute(keys, queries, sigma)
    alone, together = (
        search(index, queries, sigma, grid=grid, settings=LITTLE) for grid in ((1, 1), (cut.shape[1], cut.shape[2]))
    )
    errors = [off(state, expected).square().mean().sqrt() for state in (alone, together)]
    assert float(errors[1]) < 0.7 * float(errors[0])
    # What is read is not counted twice: the mass is nearer to what it is, too.
    mass = [(state.log_total - expected.log_total).abs().mean() for state in (alone, together)]
    assert float(mass[1]) < float(mass[0])


def test_where_everything_was_read_neighbours_add_nothing() -> None:
    keys, index = real("fashion-mini", 20, 5)
    queries, sigma = asked(keys, levels(0.3, each=36), seed=6), levels(0.3, each=36)
    # Of so few windows all are read.
    alone, together = (search(index, queries, sigma, 1e-5, grid=grid) for grid in ((1, 1), (6, 6)))
    assert torch.equal(alone.log_total, together.log_total)
    assert torch.equal(alone.mean(), together.mean())


def test_windows_beside_others() -> None:
    for floats in (False, True):
        keys, index = real("fashion-mini", 8, 9, floats)
        some = torch.arange(index.outside, len(index.keys), 7)
        at = index.keys.locate(some, some, some)
        for down, right in ((0, 1), (1, 0), (-1, -1), (2, -3), (25, 0)):
            found = index.keys.shifted(some, down, right)
            assert int((found >= 0).sum()) > 0 or down == 25
            there = found >= 0
            image, row, column = index.keys.locate(found[there], some, some)
            assert torch.equal(image, at[0][there])
            assert torch.equal(row, at[1][there] + down)
            assert torch.equal(column, at[2][there] + right)
            # None is forgotten but those outside the grid, and those that others stand for.
            inside = (
                (at[1] + down).sub(4).ge(0) & (at[1] + down < 24) & (at[2] + right).sub(4).ge(0) & (at[2] + right < 24)
            )
            assert not (there & ~inside).any()
            assert int((inside & ~there).sum()) <= keys.places - len(index.keys)


@pytest.mark.parametrize("window", [3, 5, 7])
@pytest.mark.parametrize("floats", [False, True])
def test_tapered_windows_are_searched_as_well_as_square_ones(window: int, floats: bool) -> None:
    keys, index = real("fashion-mini", 150, window, floats, taper=True)
    sigma = levels(*NOISE, each=8)
    queries = asked(keys, sigma, seed=1)
    found, expected = search(index, queries, sigma, TOLERANCE), brute(keys, queries, sigma)
    error = off(found, expected)
    assert float(error.max()) < 5 * TOLERANCE
    assert float((error > TOLERANCE).double().mean()) < 0.03
    assert float((error <= estimate(found) + ROUNDING).double().mean()) >= 0.97


def test_any_weights_are_searched() -> None:
    # One number of a window does not count, and channels differ.
    weights = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights[0, 1, 1] = 0
    keys = keys_of(els.load_images("pixel-faces", 60).images, 3, Metric.weighted(weights))
    index = build_index(keys.merged())
    sigma = levels(0.02, 0.2, 1.0, 10.0, each=20)
    queries = asked(keys, sigma, seed=2)
    error = off(search(index, queries, sigma, TOLERANCE), brute(keys, queries, sigma))
    assert float(error.max()) < 3 * TOLERANCE


@pytest.mark.parametrize("channels", [1, 3, 4, 16])
@pytest.mark.parametrize("floats", [False, True])
def test_images_of_any_number_of_channels(channels: int, floats: bool) -> None:
    generator = torch.Generator().manual_seed(channels)
    # Smooth, so that windows are alike.
    images = torch.nn.functional.interpolate(torch.rand(40, channels, 4, 4, generator=generator), 12, mode="bilinear")
    keys = keys_of(2 * images - 1 if floats else (255 * images).byte(), 3)
    index = build_index(keys.merged())
    sigma = levels(0.05, 0.3, 1.0, 10.0, each=20)
    queries = asked(keys, sigma, seed=2)
    found, expected = search(index, queries, sigma, TOLERANCE, settings=LITTLE), brute(keys, queries, sigma)
    assert found.mean().shape == (80, channels)
    assert float(off(found, expected).max()) < 5 * TOLERANCE
    assert float(off(search(index, queries, sigma), expected).max()) < TOLERANCE
