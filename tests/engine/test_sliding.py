"""The compiled loop against the same averages by matrix products, in float64."""

from __future__ import annotations

import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import elsewhere as els
from elsewhere.engine import Metric, PixelStore, merge_all, runner
from elsewhere.engine.kernels import loader
from elsewhere.engine.overlaps import AxisOverlap, RegionPair, axis_overlaps
from elsewhere.engine.same_place import SamePlaceJob
from elsewhere.engine.sliding import SlidingAttribution, SlidingJob, serves

GRAY = els.load_images("fashion-mini", 40)
COLOUR = els.load_images("pixel-faces", 40)
compiled_only = pytest.mark.skipif(loader.library() is None, reason="the loop was not compiled here")


def job(
    data: els.ImageSet = GRAY,
    sigma: float = 0.5,
    window: int = 5,
    batch: int = 2,
    log_counts: torch.Tensor | None = None,
) -> SlidingJob:
    x = data.scaled()[:batch] + sigma * els.make_noise(batch, data.shape)
    store = PixelStore.of(data.images)
    whole = RegionPair(*([AxisOverlap(0, 0, side)] for side in data.shape[1:]))
    metric = Metric.square(window)
    return SlidingJob(x - store.offset, sigma, store, metric, [whole], torch.arange(x[0, 0].numel()), None, log_counts)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_where_there_is_a_compiler_the_loop_was_compiled() -> None:
    assert loader.library() is not None


def test_rows_that_meet_are_all_rows_of_both_ranges_once() -> None:
    lines = axis_overlaps([(range(3, 6), range(2)), (range(6, 7), range(2, 3)), (range(9, 10), range(8, 9))])
    pairs = [(row + line.shift, row) for line in lines for row in range(line.start, line.stop)]
    assert sorted(pairs) == [(3, 0), (3, 1), (4, 0), (4, 1), (5, 0), (5, 1), (6, 2), (9, 8)]


def test_lines_side_by_side_become_one() -> None:
    assert axis_overlaps((range(row, row + 1), range(row, row + 1)) for row in range(7)) == [AxisOverlap(0, 0, 7)]


@compiled_only
@pytest.mark.parametrize("data", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize(
    ("sigma", "window"), [(1e-3, 3), (0.02, 9), (0.15, 3), (0.6, 7), (2.5, 15), (5.0, 25), (1e3, 63)]
)
@pytest.mark.parametrize("borders", ["aware", "wrap", "torus"])
@pytest.mark.parametrize("taper", [False, True], ids=["square", "tapered"])
def test_agrees_with_products_in_float64(
    data: els.ImageSet, sigma: float, window: int, borders: str, taper: bool
) -> None:
    # Products of the largest windows take long.
    batch, count = (1, 17) if window > 30 else (2, len(data))
    machine = els.EquivariantLocalScore(els.ImageSet(data.images[:count]), window, borders, taper=taper)  # type: ignore[arg-type]
    x = data.scaled()[:batch] + sigma * els.make_noise(batch, data.shape)
    assert float((machine(x, sigma) - machine(x.double(), sigma)).abs().max()) < 5e-5


@compiled_only
@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.2])
def test_long_rows_of_tapered_windows_lose_no_digits(sigma: float) -> None:
    rows = GRAY.images[:32, :, 8:16, 4:24].reshape(2, 16, 1, 8, 20)
    data = els.ImageSet(torch.cat([*rows, *rows.flip(4), *rows, *rows.flip(3)] * 2, dim=3).contiguous())
    assert data.shape == (1, 8, 320)
    machine = els.EquivariantLocalScore(data, 7, "torus", taper=True)
    x = data.scaled()[:1].flip(3) * 0.8 + sigma * els.make_noise(1, data.shape)
    assert float((machine(x, sigma) - machine(x.double(), sigma)).abs().max()) < 1e-4


@compiled_only
@pytest.mark.parametrize("sigma", [0.05, 0.6])
def test_floats_agree_with_bytes(sigma: float) -> None:
    x = GRAY.scaled()[:2] + sigma * els.make_noise(2, GRAY.shape)
    of_bytes, of_floats = (els.EquivariantLocalScore(data, 5)(x, sigma) for data in (GRAY, GRAY.scaled()))
    assert float((of_bytes - of_floats).abs().max()) < 5e-5


@compiled_only
def test_many_equal_windows_lose_no_digits() -> None:
    levels = torch.linspace(90, 165, 16).byte()
    machine = els.EquivariantLocalScore(els.ImageSet(levels.view(-1, 1, 1, 1).repeat(1, 1, 160, 160)), 3, "wrap")
    x = els.make_noise(1, (1, 3, 3))
    # Summed in float32 from beginning to end it would be 8.5e-6.
    assert float((machine(x, 3.0) - machine(x.double(), 3.0)).abs().max()) < 2e-6


@compiled_only
@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(1, 2), max_size=2, unique=True), sigma=st.sampled_from([0.02, 0.5, 30.0]))
def test_ranges_of_images_merge_to_all_of_them(cuts: list[int], sigma: float) -> None:
    some = job(sigma=sigma)
    assert len(some) == 3
    merged = merge_all(some.run(a, b) for a, b in pairwise([0, *sorted(cuts), 3]))
    whole = some.run(0, 3)
    torch.testing.assert_close(merged.mean(), whole.mean(), atol=1e-5, rtol=0)
    torch.testing.assert_close(merged.log_total, whole.log_total, atol=1e-4, rtol=1e-6)


@compiled_only
@pytest.mark.parametrize("keys", [range(1, 11), range(4, 5), range(2, 12)], ids=["interior", "one place", "as many"])
def test_a_periodic_image_meets_what_its_repetition_meets(keys: range) -> None:
    store = PixelStore.of(GRAY.images[:, :, 8:20, 8:20])
    x = els.make_noise(2, (1, 10, 10)) - store.offset
    metric = Metric.square(3)

    def repeated(side: int) -> torch.Tensor:
        index = torch.arange(-1, side) % 10
        return x[:, :, index[:, None], index]

    def inside(width: int) -> torch.Tensor:
        at = torch.arange(1, 11)
        return (at[:, None] * width + at).flatten()

    lines = axis_overlaps([(range(1, 11), keys)])
    plain = SlidingJob(repeated(11), 0.6, store, metric, [RegionPair(lines, lines)], inside(12))
    lines = [AxisOverlap(1 - keys.start + shift, keys.start, keys.stop) for shift in range(10)]
    side = 10 + len(keys)
    turning = SlidingJob(repeated(side), 0.6, store, metric, [RegionPair(lines, lines)], inside(side + 1), (10, 10))
    assert turning.keys_met == plain.keys_met == len(store) * len(keys) ** 2
    assert turning.pairs == plain.pairs
    states = [job.run(0, len(job)) for job in (turning, plain)]
    torch.testing.assert_close(states[0].mean(), states[1].mean(), rtol=0, atol=1e-5)
    torch.testing.assert_close(states[0].log_total, states[1].log_total, rtol=1e-6, atol=1e-4)
    tops = [
        SlidingAttribution(job, state, 3).run(0, len(job)).top
        for job, state in zip((turning, plain), states, strict=True)
    ]
    torch.testing.assert_close(tops[0].logs, tops[1].logs, rtol=0, atol=1e-3)


@compiled_only
def test_log_totals_are_those_of_products() -> None:
    x = (GRAY.scaled()[:2] + 0.5 * els.make_noise(2, GRAY.shape)).double()
    machine = els.LocalScore(GRAY, 5)
    (step,), *_ = machine._planner.plan(machine.layout(28, 28, 5), machine._centred(x), 0.5, None)
    assert isinstance(step.job, SamePlaceJob)
    expected = runner.run([step.job])[0]
    torch.testing.assert_close(runner.run([job()])[0].log_total, expected.log_total, atol=1e-3, rtol=0)


def attributed(average: SlidingJob, top: int = 5) -> SlidingAttribution:
    return average.attribution(average.run(0, len(average)), len(average.x), top)


def plain_weights(average: SlidingJob, sigma: float, window: int) -> torch.Tensor:
    """softmax_j(-|q_i - k_j|^2 / (2 sigma^2)) of windows at the same place, all at once, (B, P, N)."""
    keys = average.store.centred(average.store.pixels, torch.float64)
    squares = (average.x[:, None] - keys).square().sum(2) / 127.5**2
    sums = F.avg_pool2d(squares, window, 1, window // 2, divisor_override=1)
    return torch.softmax(-sums.flatten(2) / (2 * sigma**2), 1).mT


@compiled_only
@pytest.mark.parametrize("data", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("top", [1, 5, 40])
def test_an_attribution_finds_the_largest_weights_and_whose_they_are(
    data: els.ImageSet, sigma: float, top: int
) -> None:
    average = job(data, sigma)
    trace, weights = attributed(average, top).run(0, len(average)), plain_weights(average, sigma, 5)
    torch.testing.assert_close(trace.shares, weights.sum(1), rtol=1e-4, atol=1e-6)
    expected = weights.flatten(0, 1).sort(dim=1, descending=True).values[:, :top]
    torch.testing.assert_close(trace.top.logs.exp(), expected, rtol=2e-3, atol=1e-30)
    image, row, column = attributed(average).locate(trace.top.keys, torch.tensor(0), torch.tensor(0))
    torch.testing.assert_close(weights.flatten(0, 1).gather(1, image), expected, rtol=2e-3, atol=1e-30)
    place = torch.arange(len(weights[0])).repeat(2)[:, None].expand(image.shape)
    assert torch.equal(row * data.shape[2] + column, place), "the local machine knows where it is"


@compiled_only
def test_a_window_that_stands_for_others_weighs_as_much_as_all_of_them() -> None:
    doubled = els.ImageSet(torch.cat([GRAY.images[:20]] * 2))
    counts = torch.zeros(40, *GRAY.shape[1:])
    counts[:20], counts[20:] = np.log(2), -torch.inf
    average, single = job(doubled, log_counts=counts), job(els.ImageSet(GRAY.images[:20]))
    merged = attributed(average, 40)
    top = merged.run(0, len(average)).top
    expected = attributed(single, 20).run(0, len(single)).top
    assert torch.equal(top.keys[:, :20].sort(1).values, expected.keys.sort(1).values)
    torch.testing.assert_close(top.logs[:, :20], expected.logs, atol=1e-5, rtol=0)
    assert (top.keys[:, 20:] == -1).all()
    assert top.logs[:, 20:].isneginf().all()
    assert (merged.counts(top.keys[:, :20]) == 2).all()


@compiled_only
@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(1, 2), max_size=2, unique=True), sigma=st.sampled_from([0.02, 0.5, 30.0]))
def test_attributions_of_ranges_merge_to_that_of_all(cuts: list[int], sigma: float) -> None:
    traced = attributed(job(sigma=sigma), 7)
    whole = traced.run(0, 3)
    merged = merge_all(traced.run(a, b) for a, b in pairwise([0, *sorted(cuts), 3]))
    assert torch.equal(merged.top.logs, whole.top.logs)
    assert torch.equal(merged.shares, whole.shares)


@compiled_only
def test_sums_are_double_where_float_would_lose_what_decides() -> None:
    assert not job(sigma=1.0).wide.any()
    assert job(sigma=0.01).wide.all()


@compiled_only
def test_an_image_has_the_same_answer_in_any_batch() -> None:
    assert torch.equal(job(batch=3).run(0, 3).mean()[: 28 * 28], job(batch=1).run(0, 3).mean())


@compiled_only
def test_a_mixed_batch_is_its_parts() -> None:
    machine = els.EquivariantLocalScore(GRAY, 5)
    sigma = torch.tensor([0.01, 2.0])
    x = GRAY.scaled()[:2] + sigma.view(2, 1, 1, 1) * els.make_noise(2, GRAY.shape)
    together = machine(x, sigma)
    assert all(torch.equal(together[i], machine(x[i : i + 1], float(sigma[i]))[0]) for i in range(2))


@compiled_only
@pytest.mark.parametrize(("count", "dtype", "fits"), [(40, "byte", True), (15, "byte", False), (40, "double", False)])
def test_which_images_it_serves(count: int, dtype: str, fits: bool) -> None:
    images = GRAY.images[:count] if dtype == "byte" else GRAY.scaled()[:count].double()
    assert serves(PixelStore.of(images), Metric.square(5)) == fits


@compiled_only
def test_no_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        sliding_float = sliding_double = staticmethod(lambda task: 1)

    some = job()
    monkeypatch.setattr(loader, "library", Full)
    with pytest.raises(MemoryError, match="batch of 2 images of 28x28"):
        some.run(0, 1)


@compiled_only
@pytest.mark.parametrize(
    ("window", "sigma", "fresh"), [(3, 0.1, True), (5, 0.1, True), (5, 2.0, False), (7, 0.1, False)]
)
@pytest.mark.parametrize("data", [GRAY, COLOUR], ids=["gray", "colour"])
def test_small_windows_are_added_up_anew(data: els.ImageSet, window: int, sigma: float, fresh: bool) -> None:
    some = job(data, sigma, window)
    assert some.fresh.tolist() == [fresh] * 2
    assert not (some.fresh & some.wide).any()
    weights, values = plain_weights(some, sigma, window), some.store.centred(some.store.pixels, torch.float64)
    means = torch.einsum("bpn,ncp->bpc", weights, values.flatten(2) / 127.5).flatten(0, 1)
    torch.testing.assert_close(some.run(0, len(some)).mean(), means, rtol=0, atol=5e-6)
    torch.testing.assert_close(attributed(some).run(0, len(some)).shares, weights.sum(1), rtol=1e-4, atol=1e-6)


@compiled_only
@pytest.mark.parametrize("window", [3, 5])
def test_images_far_from_all_training_images_are_weighed_in_double(window: int) -> None:
    x = 80 * els.make_noise(2, GRAY.shape)
    machine = els.EquivariantLocalScore(GRAY, window)
    assert float((machine(x, 0.06) - machine(x.double(), 0.06)).abs().max()) < 5e-5
