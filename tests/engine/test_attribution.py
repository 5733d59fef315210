from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.engine import Extent, ImageKeys, Metric, PixelStore, WindowKeys, merge_all, runner
from elsewhere.engine.attribution import TiledAttribution
from elsewhere.engine.dense import DenseJob
from elsewhere.engine.same_place import SamePlaceJob
from tests.engine.engine_toys import every_window

PIXELS = torch.randint(0, 2, (12, 1, 7, 7), generator=torch.Generator().manual_seed(0)).mul(255).byte()
STORE = PixelStore.of(torch.cat([PIXELS, PIXELS[:4]]))  # four images twice


def windows(**settings: bool) -> WindowKeys:
    return WindowKeys(STORE, Extent(1, 1, 1, 1), range(1, 6), range(2, 6), **settings)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shared(keys: WindowKeys | ImageKeys, count: int = 6, sigma: float = 0.7) -> DenseJob:
    return DenseJob(noise(count, keys.width), sigma, keys)


def traced(average: DenseJob | SamePlaceJob, top: int = 5, batch: int = 2) -> TiledAttribution:
    return TiledAttribution(average, average.run(0, len(average)), batch, len(STORE), top)


def plain_weights(average: DenseJob) -> np.ndarray:
    """softmax_j(-|q_i - k_j|^2 / (2 sigma^2) + log count_j), all at once."""
    keys, _ = average.keys.tile(0, len(average), torch.empty(len(average), average.keys.width + 2).double())
    queries = noise(average.count, average.keys.width)
    distances = torch.cdist(queries, keys[:, :-2] / 127.5, compute_mode="donot_use_mm_for_euclid_dist").square()
    return torch.softmax(-distances / (2 * 0.7**2) + keys[:, -1], 1).numpy()


@pytest.mark.parametrize("merge", [False, True])
def test_the_largest_weights_are_those_of_the_definition(merge: bool) -> None:
    average = shared(windows(merge=merge))
    weights = plain_weights(average)
    top = traced(average, top=7).run(0, len(average)).top
    order = np.argsort(-weights, axis=1)[:, :7]
    np.testing.assert_allclose(top.logs.exp().numpy(), np.take_along_axis(weights, order, 1), rtol=1e-9)
    np.testing.assert_allclose(top.logs.exp().numpy(), np.take_along_axis(weights, top.keys.numpy(), 1), rtol=1e-9)
    if merge:  # without equal keys no ties
        np.testing.assert_array_equal(top.keys.numpy(), order)


@pytest.mark.parametrize("merge", [False, True])
def test_images_share_what_their_windows_weigh(merge: bool) -> None:
    # Against every window for itself: a merged one must be shared among the images that it came from.
    weights = plain_weights(shared(windows())).reshape(2, 3, len(STORE), 20)
    average = shared(windows(merge=merge))
    assert (len(average) < 320) == merge
    shares = traced(average).run(0, len(average)).shares
    np.testing.assert_allclose(shares.numpy(), weights.sum((1, 3)), rtol=1e-9)
    assert torch.allclose(shares[:, :4], shares[:, 12:], rtol=1e-9), "copies share alike"


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(1, 15), max_size=4, unique=True), top=st.integers(1, 20), same_place=st.booleans())
def test_ranges_of_keys_merge_to_all_of_them(cuts: list[int], top: int, same_place: bool) -> None:
    # All different: the last bit of a product decides between equal keys, and depends on the tile.
    images = PixelStore.of(torch.randint(0, 256, (16, 1, 7, 7), generator=torch.Generator().manual_seed(2)).byte())
    average = (
        SamePlaceJob(noise(2, 1, 7, 7), 0.3, images, Metric.square(3), torch.arange(49))
        if same_place
        else shared(ImageKeys(images))
    )
    job = traced(average, top)
    whole, merged = job.run(0, 16), merge_all(job.run(a, b) for a, b in pairwise([0, *sorted(cuts), 16]))
    assert torch.equal(merged.top.keys, whole.top.keys)
    assert torch.allclose(merged.top.logs, whole.top.logs, rtol=1e-12)
    assert torch.allclose(merged.shares, whole.shares, rtol=1e-12)


def test_more_is_asked_for_than_there_is() -> None:
    top = traced(shared(ImageKeys(STORE)), top=20).run(0, 16).top
    assert sorted(top.keys[0, :16].tolist()) == list(range(16))
    assert top.keys[:, 16:].eq(-1).all()
    assert torch.allclose(top.logs.exp().sum(1), torch.ones(6).double())


def test_of_equal_images_the_first_is_kept() -> None:
    average = SamePlaceJob(noise(1, 1, 7, 7), 0.05, STORE, Metric.square(13), torch.arange(49))
    job = traced(average, top=1, batch=1)
    assert job.run(0, 16).top.keys.max() < 12


def test_small_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = traced(shared(windows(merge=True), count=12)).run(0, 200)
    monkeypatch.setattr("elsewhere.engine.dense.ROWS", 5)
    monkeypatch.setattr("elsewhere.engine.dense.TILE", 5 * 64)
    small = traced(shared(windows(merge=True), count=12)).run(0, 200)
    assert torch.equal(small.top.keys, whole.top.keys)
    assert torch.allclose(small.shares, whole.shares, rtol=1e-12)


def test_pieces_on_all_cores_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    job = traced(shared(windows(merge=True), count=12))
    whole = job.run(0, len(job))
    monkeypatch.setattr(runner, "PIECE", 300)
    pieces = runner.run([job])[0]
    assert torch.equal(pieces.top.keys, whole.top.keys)
    assert torch.allclose(pieces.shares, whole.shares, rtol=1e-12)


def test_counts_and_places_are_those_of_the_images() -> None:
    keys = windows(merge=True)
    one = torch.zeros((), dtype=torch.int64)
    image, row, column = keys.locate(torch.arange(len(keys)), one, one)
    every = every_window(windows())
    counts = keys.sources().counts(torch.arange(len(keys)))
    assert int(counts.sum()) == len(every)
    for i, j, k, count in zip(image.tolist(), row.tolist(), column.tolist(), counts.tolist(), strict=True):
        window = STORE.pixels[i, :, j - 1 : j + 2, k - 1 : k + 2].flatten()
        equal = (every == window).all(1).nonzero().flatten()
        assert len(equal) == count
        assert int(equal[0]) == (i * 5 + j - 1) * 4 + k - 2, "the first of the equal ones is kept"
