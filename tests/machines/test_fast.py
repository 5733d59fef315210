"""Machines that search: near the exact ones, and honest about how near."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import elsewhere as els
from elsewhere.engine import planner
from elsewhere.engine.kernels import loader
from elsewhere.engine.search.job import SearchJob
from elsewhere.files import default_folder
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.equivariant_local import Borders
from elsewhere.machines.windowed import Window

DATA = els.load_images("fashion-mini", 60)
COLOUR = els.load_images("pixel-faces", 30)
BORDERS: tuple[Borders, ...] = ("aware", "wrap", "torus")


@pytest.fixture(autouse=True)
def small_ones_are_searched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SEARCH_PLACES", 400)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)


def fast(
    data: els.ImageSet = DATA, window: Window = 5, borders: Borders = "aware", **settings: object
) -> SoftmaxMachine:
    return els.EquivariantLocalScore(data, window, borders, engine="fast", **settings)


def noisy(data: els.ImageSet, sigma: float | torch.Tensor, batch: int = 2, seed: int = 1) -> torch.Tensor:
    level = torch.as_tensor(sigma, dtype=torch.float32).view(-1, 1, 1, 1)
    return data.scaled()[:batch].flip(3) * 0.8 + level * els.make_noise(batch, data.shape, seed)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries every search had."""
    seen: list[int] = []
    honest = SearchJob.run

    def search(self: SearchJob, start: int, stop: int) -> object:
        seen.append(len(self.queries))
        return honest(self, start, stop)

    monkeypatch.setattr(SearchJob, "run", search)
    return seen


@pytest.mark.parametrize("borders", BORDERS)
@pytest.mark.parametrize("data", [DATA, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("sigma", [0.05, 1.5, 40.0])
def test_near_the_exact_machine(searches: list[int], borders: Borders, data: els.ImageSet, sigma: float) -> None:
    machine = fast(data, 5 if data is DATA else 3, borders)
    x = noisy(data, sigma, batch=1)
    found, expected = machine(x, sigma), machine.with_engine("exact")(x, sigma)
    assert searches
    assert machine.last_error.shape == (1, *data.shape[1:])
    error = (found - expected).abs().amax(1)
    assert float(error.max()) < 5e-3
    assert float(error.square().mean().sqrt()) < 5e-4
    # Float32 has some 1e-5 of its own.
    assert float((error <= machine.last_error + 1e-5).double().mean()) > 0.95


@pytest.mark.parametrize("borders", BORDERS)
def test_a_label_keeps_only_its_own_images(searches: list[int], borders: Borders) -> None:
    machine = fast(borders=borders)
    x, label = noisy(DATA, 0.8), torch.tensor([3, 0])
    found = machine(x, 0.8, label)
    assert searches
    assert float((found - machine.with_engine("exact")(x, 0.8, label)).abs().max()) < 5e-3
    assert DATA.labels is not None
    alone = fast(els.ImageSet(DATA.images[DATA.labels == 3]), borders=borders)
    assert float((found[:1] - alone(x[:1], 0.8)).abs().max()) < 5e-3


def test_every_image_has_its_own_noise_level_and_window() -> None:
    machine = fast(window=els.LocalitySchedule((5.0, 0.5), (7, 3)))
    sigma = torch.tensor([5.0, 0.5, 2.0])
    x = noisy(DATA, sigma, batch=3)
    found, errors = machine(x, sigma), machine.last_error
    assert float((found - machine.with_engine("exact")(x, sigma)).abs().max()) < 5e-3
    for i, level in enumerate(sigma.tolist()):
        assert torch.allclose(machine(x[i : i + 1], level)[0], found[i], rtol=0, atol=1e-5)
        assert torch.allclose(machine.last_error[0], errors[i], rtol=0.01, atol=1e-5)


def test_another_size_than_the_training_images() -> None:
    machine = fast(borders="torus")
    x = 0.8 * els.make_noise(1, (1, 13, 40))
    assert float((machine(x, 0.8) - machine.with_engine("exact")(x, 0.8)).abs().max()) < 5e-3
    assert machine.last_error.shape == (1, 13, 40)


def test_numpy_and_float64_come_back_as_they_went_in() -> None:
    machine = fast()
    x = noisy(DATA, 0.5, batch=1)
    wide = machine(x.double(), 0.5)
    assert wide.dtype == torch.float64
    assert torch.allclose(wide.float(), machine(x, 0.5), rtol=0, atol=2e-3)
    assert (machine(x.numpy(), 0.5) == machine(x, 0.5).numpy()).all()


@settings(deadline=None, max_examples=2)
@given(down=st.integers(-14, 14), right=st.integers(-14, 14), sigma=st.sampled_from([0.05, 0.7, 8.0]))
def test_rolling_the_noise_rolls_the_wrapped_image(down: int, right: int, sigma: float) -> None:
    machine = WRAPPED
    x = noisy(DATA, sigma, batch=1)
    rolled = machine(x.roll((down, right), (2, 3)), sigma)
    assert torch.allclose(rolled, machine(x, sigma).roll((down, right), (2, 3)), rtol=0, atol=1e-5)


WRAPPED = fast(borders="wrap")


def test_a_whole_run_ends_where_the_exact_one_does() -> None:
    machine = els.EquivariantLocalScore(DATA, 5, engine="fast", tolerance=1e-4)
    noise, few = els.make_noise(1, DATA.shape, 2), els.schedules.cosine(8)
    found, expected = els.sample(machine, noise, few), els.sample(machine.with_engine("exact"), noise, few)
    # A pixel that stands between two windows may fall to either side.
    assert float((found.images - expected.images).abs().median()) < 1e-3
    assert float((found.images - expected.images).square().mean().sqrt()) < 0.02


@pytest.mark.parametrize(("window", "tolerance", "off"), [(5, 1e-3, 2e-4), (5, 9e-4, 0.0), (9, 1e-3, 0.0)])
@pytest.mark.parametrize("sigma", [0.05, 1.0])
def test_what_is_weighed_is_off_by_rounding_at_most(
    sigma: float, window: int, tolerance: float, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than an edge has, fewer than the interior.
    monkeypatch.setattr(planner, "SEARCH_PLACES", 2000)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
    machine = els.EquivariantLocalScore(DATA, window, engine="fast", tolerance=tolerance)
    x = noisy(DATA, sigma)
    found = machine(x, sigma)
    assert machine.last_error.shape == (2, 28, 28)
    assert float(machine.last_error.max()) > 0
    edges = torch.ones(28, 28, dtype=torch.bool)
    edges[window // 2 : -(window // 2), window // 2 : -(window // 2)] = False
    # Rounded only where the tolerance allows it, by a compiled loop, and through small windows.
    allowed = off if loader.library() is not None else 0.0
    assert float(machine.last_error[:, edges].max()) == pytest.approx(allowed)
    exact = machine.with_engine("exact")
    assert float((found - exact(x, sigma)).abs()[:, :, edges].max()) <= allowed + 1e-5
    assert exact.last_error.shape == (2, 28, 28)
    assert float(exact.last_error.abs().max()) == 0
    for other in (els.IdealScore(DATA, engine="fast"), els.LocalScore(DATA, 5, engine="fast")):
        assert torch.equal(other(x, sigma), other.with_engine("exact")(x, sigma))
        assert float(other.last_error.abs().max()) == 0


def test_a_smaller_tolerance_gives_a_smaller_estimate() -> None:
    x = noisy(DATA, 1.5)
    errors = []
    for tolerance in (0.1, 1e-3, 1e-5):
        machine = fast(tolerance=tolerance)
        machine(x, 1.5)
        errors.append(float(machine.last_error.mean()))
    assert errors[0] > errors[1] > errors[2]


def test_the_size_decides_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, searches: list[int]) -> None:
    x = noisy(DATA, 1.0, batch=1)

    def searched(**settings: object) -> bool:
        searches.clear()
        els.EquivariantLocalScore(DATA, 5, **settings)(x, 1.0)
        return bool(searches)

    monkeypatch.setattr(planner, "AUTO_PIXELS", DATA.images[:, 0].numel())
    assert searched()
    assert searched(engine="auto")
    assert not searched(engine="exact")
    monkeypatch.setattr(planner, "AUTO_PIXELS", DATA.images[:, 0].numel() + 1)
    assert not searched(engine="auto")
    assert searched(engine="fast")
    monkeypatch.setattr(planner, "SEARCH_PLACES", 10**6)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
    assert not searched(engine="fast")


def test_the_repr_says_that_it_approximates(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fast(tolerance=0.01)
    assert "engine='fast', tolerance=0.01" in repr(machine)
    assert "fast" not in repr(machine.with_engine("exact"))
    assert "fast" not in repr(els.EquivariantLocalScore(DATA, 5))
    assert "fast" not in repr(els.LocalScore(DATA, 5, engine="fast")), "it weighs every window all the same"
    monkeypatch.setattr(planner, "AUTO_PIXELS", DATA.images[:, 0].numel())
    assert "engine='fast', tolerance=0.001" in repr(els.EquivariantLocalScore(DATA, 5)), "chosen by size"


def test_another_engine_leaves_the_machine_alone() -> None:
    machine = fast()
    assert machine.with_engine("exact").store is machine.store
    assert machine.engine == "fast"


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("taper", [False, True], ids=["square", "tapered"])
def test_an_explanation_from_the_search_is_near_the_exact_one(searches: list[int], sigma: float, taper: bool) -> None:
    # On the torus all windows are searched, and the exact engine merges equal ones as the search does.
    machine = fast(borders="torus", taper=taper)
    x = noisy(DATA, sigma, batch=1)
    found, expected = els.explain(machine, x, sigma, 8), els.explain(machine.with_engine("exact"), x, sigma, 8)
    assert searches
    off = (found.weights - expected.weights).abs().amax(-1).flatten()
    # Few cells are read of so small an index: of real ones 1e-3 (benchmarks/explain.py).
    assert float(off.quantile(0.99)) < 3e-3
    torch.testing.assert_close(found.credits(), expected.credits(), rtol=0, atol=1e-2)
    torch.testing.assert_close(found.credits().sum(1), torch.ones(1).double(), rtol=0, atol=1e-6)
    # Most are far below the tolerance; a single pixel may be off by several times as much: see test_rounds.
    off = (found.x0 - expected.x0).abs().flatten()
    assert float(off.max()) < 5e-3
    assert float(off.quantile(0.99)) < 1e-3
    assert bool((found.unread >= 0).all())


def test_all_weights_are_weighed_one_by_one_whatever_the_engine(searches: list[int]) -> None:
    few = els.EquivariantLocalScore(els.load_images("fashion-mini", 2), 5, "torus", engine="fast")
    x = noisy(DATA, 0.3, batch=1)
    found, expected = els.explain(few, x, 0.3, None), els.explain(few.with_engine("exact"), x, 0.3, None)
    assert not searches
    assert torch.equal(found.image_ids, expected.image_ids)
    assert torch.equal(found.weights, expected.weights)


@pytest.mark.parametrize("borders", BORDERS)
def test_prepare_leaves_nothing_to_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, borders: Borders) -> None:
    from elsewhere.engine.search import cache

    monkeypatch.setattr(cache, "WORTH_KEEPING", 400)
    windows = els.LocalitySchedule((5.0, 0.5), (7, 3))
    machine = els.EquivariantLocalScore(DATA, windows, borders, engine="fast", cache=tmp_path)
    made = machine.prepare([None, 3])
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == len(made) >= 4, "two windows of two classes, and edges"
    assert {(one.window, one.label) for one in made} == {(3, None), (7, None), (3, 3), (7, 3)}
    side = {"aware": 26, "wrap": 26, "torus": 28}[borders]
    assert max(one.windows for one in made) == 60 * side**2
    assert all(0 < one.keys <= one.windows and one.nbytes > 0 and one.seconds > 0 for one in made)

    def build(*_: object, **__: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(cache, "build_index", build)
    # Another machine finds the files; this one has them in memory.
    again = els.EquivariantLocalScore(DATA, windows, borders, engine="fast", cache=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in (machine, again):
            one(noisy(DATA, 5.0), 5.0)
            one(noisy(DATA, 0.5), 0.5, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert els.EquivariantLocalScore(DATA, windows, borders, engine="exact", cache=tmp_path).prepare([5]) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == kept, "the exact engine needs none"


def test_classes_of_as_many_images_have_indexes_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from elsewhere.engine.search import cache

    monkeypatch.setattr(cache, "WORTH_KEEPING", 400)
    data = els.ImageSet(DATA.images, torch.arange(60) % 2)
    machine = els.EquivariantLocalScore(data, 5, "wrap", engine="fast", cache=tmp_path)
    machine.prepare([0, 1])
    assert len(list(tmp_path.iterdir())) == 2


def test_the_cache_is_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELSEWHERE_CACHE", str(tmp_path / "named"))
    assert els.EquivariantLocalScore(DATA, 5).cache is None  # that of the user, found when it is needed
    assert default_folder() == tmp_path / "named"
    assert els.EquivariantLocalScore(DATA, 5, cache=str(tmp_path)).cache == tmp_path


BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: fast(tolerance=0.0), ValueError, "between 1e-05 and 0.1 and finite, got 0"),
    (lambda: fast(tolerance=0.5), ValueError, "got 0.5"),
    (lambda: fast(tolerance=float("nan")), ValueError, "finite number, got NaN"),
    (lambda: fast(tolerance="small"), TypeError, "tolerance must be a number, got str 'small'"),
    (lambda: fast(tolerance=True), TypeError, "got bool"),
    (lambda: els.EquivariantLocalScore(DATA, 5, engine="quick"), ValueError, "'auto', 'exact', 'fast', got 'quick'"),
    (lambda: fast().with_engine("quick"), ValueError, "auto, exact, fast, got 'quick'"),  # type: ignore[arg-type]
    (lambda: fast(cache=7), TypeError, "cache must be a string or a path or None, got int 7"),
    (lambda: fast(device="meta"), ValueError, "device 'meta' cannot be used here"),
    (lambda: els.EquivariantLocalScore(DATA, 5).prepare([99]), ValueError, "between 0 and 9, got 99"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_bad_settings_say_what_is_wrong(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
