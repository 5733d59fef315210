"""The planner: every pixel is answered once, by whichever kernel, in as much memory as there is."""

from __future__ import annotations

import pytest
import torch

import elsewhere as els
from elsewhere.engine import Layout, Metric, Planner, Region, Step, planner
from elsewhere.engine.dense import DenseJob
from elsewhere.engine.same_place import SamePlaceJob
from elsewhere.engine.search.job import SearchJob
from elsewhere.engine.sliding import SlidingJob
from elsewhere.machines.base import SoftmaxMachine

DATA = els.load_images("fashion-mini", 40)
FLOATS = DATA.scaled().double()


def steps_of(machine: SoftmaxMachine, dtype: torch.dtype = torch.float32, window: int = 5) -> list[Step]:
    x = els.make_noise(2, DATA.shape).to(dtype)
    return [step for steps in machine._planner.plan(machine.layout(28, 28, window), x, 0.7, None) for step in steps]


@pytest.mark.parametrize("borders", ["aware", "wrap", "torus"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("memory", [2**26, 2**18])
@pytest.mark.usefixtures("loop")
def test_every_pixel_is_asked_for_once(borders: str, dtype: torch.dtype, memory: int) -> None:
    machine = els.EquivariantLocalScore(DATA, 5, borders)  # type: ignore[arg-type]
    machine._planner.workspace.memory = memory
    seen = torch.zeros(28 * 28, dtype=torch.int64)
    for step in steps_of(machine, dtype):
        assert step.pixels is not None
        assert step.job.count == 2 * len(step.pixels)
        seen.index_add_(0, step.pixels, torch.ones_like(step.pixels))
    assert bool((seen == 1).all())


@pytest.mark.usefixtures("loop")
def test_kernels_follow_from_the_layout_and_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    els_machine, local = els.EquivariantLocalScore(DATA, 5), els.LocalScore(DATA, 5)
    compiled = planner.sliding.serves(local.store, Metric.square(5))
    assert {type(step.job) for step in steps_of(els.IdealScore(DATA))} == {DenseJob}
    assert {type(step.job) for step in steps_of(local)} == {SlidingJob if compiled else SamePlaceJob}
    assert {type(step.job) for step in steps_of(local, torch.float64)} == {SamePlaceJob}
    assert {type(step.job) for step in steps_of(els_machine, torch.float64)} == {DenseJob, SamePlaceJob}
    monkeypatch.setattr(planner, "SEARCH_PLACES", 10_000)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
    assert SearchJob not in {type(step.job) for step in steps_of(els_machine)}
    assert SearchJob in {type(step.job) for step in steps_of(els_machine.with_engine("fast"))}


@pytest.mark.parametrize("metric", [Metric.square(5), Metric.tapered(5), Metric.weighted(torch.rand(5, 5))])
@pytest.mark.parametrize("equivariant", [False, True])
def test_any_metric_is_weighed_as_the_definition_says(metric: Metric, equivariant: bool) -> None:
    planner = els.IdealScore(FLOATS)._planner
    x = (FLOATS[:1].flip(3) + 0.5 * els.make_noise(1, DATA.shape)).double() - planner.workspace.store.offset
    places = els.machines.borders.interior(28, 28, 5)
    assert places is not None
    region = Region(places.rows, places.columns, places if equivariant else None)
    out, _ = planner.average(Layout((region,), metric), x, 0.8, None)
    weights = torch.ones(5, 5).double() if metric.weights is None else metric.weights
    keys = FLOATS - planner.workspace.store.offset
    windows = keys.unfold(2, 5, 1).unfold(3, 5, 1)[:, 0]
    for row, column in ((2, 2), (9, 14), (25, 20)):
        query = x[0, 0, row - 2 : row + 3, column - 2 : column + 3]
        some = windows.flatten(0, 2) if equivariant else windows[:, row - 2, column - 2]
        logs = -(((query - some) ** 2) * weights).sum((1, 2)) / (2 * 0.8**2)
        expected = logs.softmax(0) @ some[:, 2, 2]
        assert float(out[0, 0, row, column]) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("equivariant", [False, True])
def test_whole_windows_are_averaged_too(equivariant: bool) -> None:
    planner = els.IdealScore(FLOATS)._planner
    x = els.make_noise(1, DATA.shape).double()
    places = els.machines.borders.interior(28, 28, 3)
    assert places is not None
    region = Region(places.rows, places.columns, places if equivariant else None)
    layout = Layout((region,), Metric.square(3), response=Metric.square(3))
    (step,), *_ = planner.plan(layout, x, 0.8, None)
    (state,) = els.engine.run([step.job])
    windows = (FLOATS - planner.workspace.store.offset).unfold(2, 3, 1).unfold(3, 3, 1)[:, 0]
    row, column = 10, 17
    query = x[0, 0, row - 1 : row + 2, column - 1 : column + 2]
    some = windows.flatten(0, 2) if equivariant else windows[:, row - 1, column - 1]
    expected = (-((query - some) ** 2).sum((1, 2)) / (2 * 0.8**2)).softmax(0) @ some.flatten(1)
    assert step.pixels is not None
    mean = state.mean()[int((step.pixels == row * 28 + column).nonzero())]
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-9)


def test_a_planner_is_plain_data() -> None:
    planner = els.IdealScore(DATA)._planner
    assert isinstance(planner, Planner)
    assert planner.engine == "auto"
