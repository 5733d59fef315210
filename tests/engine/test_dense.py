from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import elsewhere as els
from elsewhere.engine import Extent, ImageKeys, Metric, PixelStore, WindowKeys, merge_all, runner
from elsewhere.engine.dense import DenseJob
from elsewhere.engine.same_place import SamePlaceJob


def store(count: int = 40, channels: int = 1, size: int = 7, levels: int = 256) -> PixelStore:
    generator = torch.Generator().manual_seed(count)
    return PixelStore.of(
        torch.randint(0, levels, (count, channels, size, size), generator=generator).mul(255 // (levels - 1)).byte()
    )


def window_keys(levels: int = 256, **settings: object) -> WindowKeys:
    return WindowKeys(store(levels=levels), Extent(1, 1, 1, 1), range(1, 6), range(1, 6), **settings)  # type: ignore[arg-type]


def shared(keys: WindowKeys | ImageKeys, count: int = 5, sigma: float = 0.5) -> DenseJob:
    queries = torch.randn(count, keys.width, generator=torch.Generator().manual_seed(1))
    return DenseJob(queries, sigma, keys)


@pytest.mark.parametrize(("start", "stop"), [(0, 1000), (3, 7), (24, 26), (130, 131), (975, 1000)])
def test_lengths_of_windows_are_those_of_their_numbers(start: int, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elsewhere.engine.keys.windows.multiplies_bytes", lambda width: True)
    read = window_keys().read(start, stop)
    expected = (read.raw.double() - read.centre).square().sum(1)
    assert torch.allclose(read.norms.double(), expected, rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(
    cuts=st.lists(st.integers(1, 999), min_size=0, max_size=5, unique=True), sigma=st.sampled_from([0.01, 0.5, 30.0])
)
def test_ranges_of_keys_merge_to_all_of_them(cuts: list[int], sigma: float) -> None:
    job = shared(window_keys(), sigma=sigma)
    edges = [0, *sorted(cuts), len(job)]
    merged = merge_all(job.run(a, b) for a, b in pairwise(edges))
    whole = job.run(0, len(job))
    assert torch.allclose(merged.mean(), whole.mean(), atol=1e-6)
    assert torch.allclose(merged.log_total, whole.log_total, rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_same_places_merge_too(sigma: float) -> None:
    images = store()
    x = torch.randn(2, 1, 7, 7, generator=torch.Generator().manual_seed(2))
    job = SamePlaceJob(x, sigma, images, Metric.square(3), torch.arange(49))
    merged = merge_all([job.run(0, 13), job.run(13, 40)])
    assert torch.allclose(merged.mean(), job.run(0, 40).mean(), atol=1e-6)


def test_log_totals_are_those_of_the_definition() -> None:
    keys = window_keys()
    job = shared(keys)
    rows, _ = keys.tile(0, len(keys), torch.empty(len(keys), keys.width + 2, dtype=torch.float64))
    queries = torch.randn(5, keys.width, generator=torch.Generator().manual_seed(1)).double()
    distances = torch.cdist(queries, rows[:, :-2] / 127.5).square()
    expected = (-distances / (2 * 0.5**2)).logsumexp(1)
    assert torch.allclose(job.run(0, len(job)).log_total, expected, atol=1e-4)


@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("sigma", [0.02, 0.5, 10.0])
def test_merging_equal_windows_changes_nothing(levels: int, sigma: float) -> None:
    plain, merged = window_keys(levels), window_keys(levels, merge=True)
    assert (len(merged) < len(plain)) == (levels < 256)
    one, other = shared(plain, sigma=sigma), shared(merged, sigma=sigma)
    a, b = one.run(0, len(one)), other.run(0, len(other))
    assert torch.allclose(a.mean(), b.mean(), atol=1e-6)
    assert torch.allclose(a.log_total, b.log_total, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.001, 0.5])
def test_keys_held_ready_are_those_read_from_the_images(sigma: float) -> None:
    read, held = shared(window_keys(), sigma=sigma), shared(window_keys(hold=10**7), sigma=sigma)
    assert window_keys(hold=10**7).nbytes > window_keys().nbytes == 0
    assert torch.equal(read.run(0, 1000).mean(), held.run(0, 1000).mean())


def test_float32_is_left_where_it_would_lose_what_decides() -> None:
    assert {block.rows.dtype for block in shared(window_keys(), sigma=1.0).blocks} == {torch.float32}
    assert {block.rows.dtype for block in shared(window_keys(), sigma=0.01).blocks} == {torch.float64}


def test_far_queries_neither_overflow_nor_vanish() -> None:
    keys = ImageKeys(store())
    queries = torch.full((1, keys.width), 300.0)
    state = DenseJob(queries, 1e-3, keys).run(0, 40)
    assert torch.isfinite(state.mean()).all()
    assert torch.isfinite(state.log_total).all()


def test_the_cut_of_a_job_covers_its_keys_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PIECE", 100)
    job = shared(window_keys())
    pieces = runner.cut(job)
    assert len(pieces) == min(runner.MOST_PIECES, job.pairs // 100)
    assert [a for a, _ in pieces[1:]] == [b for _, b in pieces[:-1]]
    assert (pieces[0][0], pieces[-1][1]) == (0, len(job))


def test_pieces_on_all_cores_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    job = shared(window_keys())
    whole = job.run(0, len(job)).mean()
    monkeypatch.setattr(runner, "PIECE", 500)
    assert torch.allclose(runner.run([job, job])[1].mean(), whole, atol=1e-6)


def test_a_job_without_keys_is_refused() -> None:
    keys = window_keys()
    keys.kept = torch.zeros(0, dtype=torch.int32)
    with pytest.raises(ValueError, match="at least one key"):
        runner.run([shared(keys)])


def test_an_error_in_a_piece_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(DenseJob, "run", fail)
    with pytest.raises(MemoryError, match="no room"):
        runner.run([shared(window_keys())])


def test_few_queries_and_many_large_windows_lose_nothing() -> None:
    keys = WindowKeys(
        PixelStore.of(els.load_images("fashion-mini").images), Extent(5, 5, 5, 5), range(8, 14), range(8, 14)
    )
    queries, _ = keys.some(torch.tensor([7]), torch.empty(1, keys.width + 2))
    queries = queries[:, :-2] / keys.scale
    raw = (keys.raw(0, len(keys)).double() - keys.store.centre) / keys.scale
    weights = (-(queries.double() - raw).square().sum(1) / (2 * 4.0**2)).softmax(0)
    found = DenseJob(queries, 4.0, keys).run(0, len(keys)).mean()
    assert torch.allclose(found, weights @ raw[:, keys.centres], rtol=0, atol=3e-6)
