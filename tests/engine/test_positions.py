"""The kernel that puts positions side by side in a vector, against every pair of windows in float64."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import elsewhere as els
from elsewhere.engine import Metric, PixelStore, merge_all, planner, positions
from elsewhere.engine.dense import DenseJob
from elsewhere.engine.kernels import loader
from elsewhere.engine.positions import PositionJob
from elsewhere.engine.sliding import SlidingJob
from tests.engine.kernels.test_channels import check, problem

pytestmark = pytest.mark.skipif(loader.library() is None, reason="the kernels were not compiled here")
FACES = els.load_images("pixel-faces", 3)
# Photographs of which the canvas shows more than one: 40 x 56 of them, in colour.
PHOTO = els.ImageSet(torch.cat([*els.load_images("pixel-faces", 4).images[:, :, :28].split(1)], 3)[:, :, :, :56])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("layout", ["own place", "borders", "periodic"])
@pytest.mark.parametrize("taper", [False, True], ids=["square", "tapered"])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(("sigma", "window"), [(0.02, 3), (0.3, 5), (3.0, 7), (80.0, 5)])
def test_averages_and_attributions_are_those_of_all_pairs(
    channels: int, layout: str, taper: bool, images: int, sigma: float, window: int
) -> None:
    check(problem(channels, layout, window, sigma, taper, kind=PositionJob, images=images), 1e-5)


@pytest.mark.parametrize("taper", [False, True], ids=["square", "tapered"])
@pytest.mark.parametrize(("sigma", "window"), [(0.5, 7), (3.0, 15), (30.0, 41)])
def test_windows_may_be_larger_than_the_image(window: int, sigma: float, taper: bool) -> None:
    check(problem(3, "own place", window, sigma, taper, kind=PositionJob), 1e-5)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 3.0])
def test_bytes_are_taken_as_they_are(sigma: float) -> None:
    check(problem(3, "borders", 3, sigma, False, as_bytes=True, kind=PositionJob, images=2), 1e-5)


def in_float64(machine: els.EquivariantLocalScore | els.PatchScore, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The same answer by products in float64, of x as the kernel gets it: without the centre, in float32."""
    offset = machine.store.offset
    return machine((x - offset).double() + offset, sigma)


@pytest.mark.parametrize("borders", ["aware", "wrap", "torus"])
@pytest.mark.parametrize("taper", [False, True], ids=["square", "tapered"])
@pytest.mark.parametrize(("sigma", "window"), [(1e-3, 3), (0.02, 9), (0.15, 3), (0.6, 7), (2.5, 15), (5.0, 25)])
def test_machines_of_few_images_answer_as_in_float64(
    monkeypatch: pytest.MonkeyPatch, borders: str, taper: bool, sigma: float, window: int
) -> None:
    monkeypatch.setattr(positions, "SMALL_WINDOW", 0)
    machine = els.EquivariantLocalScore(FACES, window, borders, taper=taper)  # type: ignore[arg-type]
    x = FACES.scaled()[:2] + sigma * els.make_noise(2, FACES.shape)
    assert float((machine(x, sigma) - in_float64(machine, x, sigma)).abs().max()) < 1e-5


@pytest.mark.parametrize("borders", ["wrap", "torus"])
@pytest.mark.parametrize("response", [1, 7])
@pytest.mark.parametrize("sigma", [0.05, 0.4, 3.0])
def test_one_photograph_fills_another_canvas(borders: str, response: int, sigma: float) -> None:
    found = els.PatchSettings(7, keys=borders, response=response)  # type: ignore[arg-type]
    machine = els.PatchScore(PHOTO, found)
    x = PHOTO.scaled()[:, :, :, :44].repeat(1, 1, 2, 1)[:, :, :37] * 0.9 + sigma * els.make_noise(1, (3, 37, 44))
    assert float((machine(x, sigma) - in_float64(machine, x, sigma)).abs().max()) < 1e-5


@pytest.mark.parametrize("memory", [2**15, 2**18])
def test_a_canvas_in_bands_is_the_same(memory: int) -> None:
    whole, banded = (els.PatchScore(PHOTO, els.PatchSettings(7, keys="torus", response=5)) for _ in range(2))
    banded._planner.workspace.memory = memory
    x = els.make_noise(1, (3, 31, 37))
    torch.testing.assert_close(banded(x, 0.8), whole(x, 0.8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.3, 2.0])
@pytest.mark.parametrize("keys", ["aware", "torus"])
def test_patches_of_any_weights_are_pasted(monkeypatch: pytest.MonkeyPatch, keys: str, sigma: float) -> None:
    machine = els.PatchScore(PHOTO, els.PatchSettings(9, keys=keys, response=7))  # type: ignore[arg-type]
    profile = torch.exp(-torch.linspace(-2, 2, 7, dtype=torch.float64).square())
    response = Metric(7, profile[:, None] * profile, profile)
    layout = machine.layout_at(*machine.image_size, sigma)
    folded = type(layout)(layout.regions, layout.metric, layout.wraps, response=response)
    x = machine._centred(PHOTO.scaled() + sigma * els.make_noise(1, PHOTO.shape))
    fast, slow = (machine._planner.average(folded, some, sigma, None)[0] for some in (x, x.double()))
    assert float((fast - slow).abs().max()) < 1e-5


def job(sigma: float = 0.5, window: int = 5) -> PositionJob:
    machine = els.EquivariantLocalScore(FACES, window, "torus")
    x = machine._centred(FACES.scaled()[:2] + sigma * els.make_noise(2, FACES.shape))
    (step,), *_ = machine._planner.plan(machine.layout(32, 32, window), x, sigma, None)
    assert isinstance(step.job, PositionJob)
    return step.job


@settings(deadline=None, max_examples=10)
@given(cuts=st.lists(st.integers(1, 15), max_size=3, unique=True), sigma=st.sampled_from([0.02, 0.5, 30.0]))
def test_ranges_of_shifts_merge_to_all_of_them(cuts: list[int], sigma: float) -> None:
    some = job(sigma)
    assert len(some) == positions.MOST_RANGES
    merged = merge_all(some.run(a, b) for a, b in pairwise([0, *sorted(cuts), len(some)]))
    whole = some.run(0, len(some))
    torch.testing.assert_close(merged.mean(), whole.mean(), atol=1e-5, rtol=0)
    torch.testing.assert_close(merged.log_total, whole.log_total, atol=1e-5, rtol=1e-7)


def test_ranges_hold_every_pair_once_and_about_equally_many() -> None:
    machine = els.EquivariantLocalScore(FACES, 5)
    x = machine._centred(FACES.scaled()[:1])
    (step,), *_ = machine._planner.plan(machine.layout(32, 32, 5), x, 0.5, None)
    assert isinstance(step.job, PositionJob)
    sizes = np.diff(step.job._overlaps[:, 1:])[:, 0]
    pairs = [
        sum(sizes[a:b].sum() * sizes[c:d].sum() for a, b, c, d in step.job.regions_of(i, i + 1))
        for i in range(len(step.job))
    ]
    assert sum(pairs) * len(FACES) == step.job.pairs
    assert max(pairs) < 2 * np.mean(pairs)


def test_many_equal_windows_lose_no_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "SMALL_WINDOW", 0)
    levels = torch.linspace(90, 165, 3).byte()
    machine = els.EquivariantLocalScore(els.ImageSet(levels.view(-1, 1, 1, 1).repeat(1, 1, 160, 160)), 3, "wrap")
    x = els.make_noise(1, (1, 3, 3))
    # Summed in float32 from beginning to end it would be 1e-5.
    assert float((machine(x, 3.0) - machine(x.double(), 3.0)).abs().max()) < 2e-6


def test_weights_and_shifts_have_their_priors() -> None:
    found = els.PatchSettings(5, keys="torus", shift_width=4.0)
    machine = els.PatchScore(FACES, found, weights=[1.0, 0.0, 3.0])
    x = FACES.scaled()[:2] + 0.5 * els.make_noise(2, FACES.shape)
    assert float((machine(x, 0.5) - in_float64(machine, x, 0.5)).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("count", "dtype", "window", "kind"),
    [
        (3, "byte", 5, PositionJob),
        (3, "float", 5, PositionJob),
        (3, "byte", 3, DenseJob),
        (5, "byte", 3, DenseJob),
        (5, "byte", 5, SlidingJob),
        (40, "byte", 3, SlidingJob),
    ],
)
def test_the_planner_chooses_it_for_few_images(count: int, dtype: str, window: int, kind: type) -> None:
    data = els.load_images("pixel-faces", count)
    machine = els.EquivariantLocalScore(data if dtype == "byte" else data.scaled(), window, "torus")
    x = machine._centred(data.scaled()[:1])
    layout = machine.layout(32, 32, window)
    assert {type(step.job) for steps in machine._planner.plan(layout, x, 0.5, None) for step in steps} == {kind}
    traced = [step for steps in machine._planner.plan(layout, x, 0.5, None, traced=True) for step in steps]
    assert PositionJob not in {type(step.job) for step in traced}, "it has no attribution of its own"


def test_an_explanation_of_one_photograph_is_that_of_products() -> None:
    machine = els.EquivariantLocalScore(PHOTO, 5, "torus")
    x = PHOTO.scaled() + 0.3 * els.make_noise(1, PHOTO.shape)
    fast, slow = (els.explain(machine, some, 0.3, top=3) for some in (x, x.double()))
    torch.testing.assert_close(fast.weights, slow.weights, rtol=0, atol=1e-4)
    torch.testing.assert_close(fast.x0, machine(x, 0.3), rtol=0, atol=1e-5)


def test_which_images_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    store = PixelStore.of(FACES.images)
    assert positions.kind_of(store, Metric.square(5)) is PositionJob
    assert positions.kind_of(store, Metric.weighted(torch.rand(5, 5))) is None
    assert positions.kind_of(PixelStore.of(FACES.scaled().double()), Metric.square(5)) is None
    monkeypatch.setattr(loader, "library", lambda: None)
    assert positions.kind_of(store, Metric.square(5)) is None


def test_one_large_image_is_weighed_rather_than_searched() -> None:
    machine = els.EquivariantLocalScore(FACES, 15, "torus", engine="fast")
    layout = machine.layout(32, 32, 15)
    region = layout.regions[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "SEARCH_PLACES", 1000)
        assert not machine._planner.searched(region, layout, None)
        patch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
        assert machine._planner.searched(region, layout, None)


def test_no_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        positions_float = positions_double = staticmethod(lambda task: 1)

    some = job()
    monkeypatch.setattr(loader, "library", Full)
    with pytest.raises(MemoryError, match="not enough memory for a batch of 2 images"):
        some.run(0, 1)
