"""What a search attributes, against all weights in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from elsewhere.engine import SoftmaxState, WindowKeys, build_index
from elsewhere.engine.kernels import loader
from elsewhere.engine.search.attribution import SearchAttribution
from elsewhere.engine.search.job import SearchJob
from elsewhere.engine.search.settings import SearchSettings
from elsewhere.engine.search.sources import MergedSources
from tests.engine.engine_toys import TOYS, asked, keys_of, levels, real, rows_of

BATCH, EACH = 3, 10


def traced(
    keys: WindowKeys,
    sigma: float,
    top: int = 8,
    settings: SearchSettings = TOYS,
    queries: Tensor | None = None,
) -> tuple[SearchAttribution, SoftmaxState, Tensor]:
    """The attribution job of a search, the state of the search, and the queries."""
    if queries is None:
        queries = asked(keys, levels(sigma, each=BATCH * EACH), seed=3)
    job = SearchJob(queries, sigma, build_index(keys.merged()), 1e-3, 2**28, traced=True, settings=settings)
    state = job.run()
    return job.attribution(state, BATCH, top), state, queries


def weights_of(keys: WindowKeys, queries: Tensor, sigma: float) -> Tensor:
    """All weights, float64 (Q, K)."""
    rows, _, counts = rows_of(keys)
    squares = torch.cdist(queries.double(), rows, compute_mode="donot_use_mm_for_euclid_dist").square()
    return (counts.log() - squares / (2 * sigma**2)).softmax(1)


def shares_of(keys: WindowKeys, weights: Tensor) -> Tensor:
    """Weights of single windows (Q, M) by image drawn and training image, (B, N)."""
    return weights.view(BATCH, EACH, len(keys.store), -1).sum((1, 3))


@pytest.mark.parametrize("name", ["fashion-mini", "pixel-faces"])
@pytest.mark.parametrize("taper", [False, True])
@pytest.mark.parametrize("sigma", [0.05, 0.4, 2.0])
def test_the_largest_weights_are_those_of_all_keys(name: str, taper: bool, sigma: float) -> None:
    keys, _ = real(name, 40, 3, taper=taper)
    job, _, queries = traced(keys, sigma)
    found = job.run()
    exact = weights_of(job.keys, queries, sigma)
    expected = exact.topk(8, dim=1).values
    assert float(((found.top.logs.exp() - expected).abs().amax(1) < 1e-3).double().mean()) >= 0.99
    # The keys named have these weights.
    named = exact.gather(1, found.top.keys.clamp(min=0))
    assert float(((named - expected).abs().amax(1) < 1e-3).double().mean()) >= 0.99
    assert float(found.unread.max()) <= 1


@pytest.mark.parametrize("sigma", [0.05, 0.4, 2.0])
@pytest.mark.parametrize("compiled", [True, False])
def test_credits_are_those_of_single_windows(sigma: float, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(loader, "library", lambda: None)
    keys, _ = real("pixel-faces", 40, 3)
    job, _, queries = traced(keys, sigma)
    shares = job.run().shares
    assert torch.allclose(shares.sum(1), torch.full((BATCH,), float(EACH)).double(), rtol=1e-9)
    expected = shares_of(keys, weights_of(keys, queries, sigma))
    assert float((shares - expected).abs().sum(1).max()) / (2 * EACH) < 0.02


def test_copies_of_an_image_share_alike() -> None:
    images = real("fashion-mini", 30, 5)[0].store.pixels
    keys = keys_of(torch.cat([images, images[:10]]), 5)
    shares = traced(keys, 0.4)[0].run().shares
    assert torch.allclose(shares[:, :10], shares[:, 30:], rtol=1e-4, atol=1e-9)


def test_little_read_leaves_a_share_unread_and_credits_that_sum_to_one() -> None:
    keys, _ = real("fashion-mini", 150, 5)
    little = replace(TOYS, rounds=(0.0,), numbers_first=0, least_first=4, fewest=4, nearest=4, propagated_share=1.0)
    job, _, queries = traced(keys, 2.0, settings=little)
    found = job.run()
    assert 0.05 < float(found.unread.mean()) < 1
    assert torch.allclose(found.shares.sum(1), torch.full((BATCH,), float(EACH)).double(), rtol=1e-9)
    expected = shares_of(keys, weights_of(keys, queries, 2.0))
    assert float((found.shares - expected).abs().sum(1).max()) / (2 * EACH) < 0.2


def test_far_queries_are_attributed_too() -> None:
    keys, _ = real("fashion-mini", 20, 3)
    queries = torch.full((BATCH * EACH, keys.width), 1e6)
    job, _, _ = traced(keys, 1e-3, queries=queries)
    assert len(job.job.blurred) == BATCH * EACH
    found = job.run()
    assert torch.allclose(found.shares.sum(1), torch.full((BATCH,), float(EACH)).double(), rtol=1e-6)
    assert float(found.unread.max()) == 0


def test_sources_are_the_images_of_all_equal_windows() -> None:
    pixels = torch.randint(0, 2, (12, 1, 6, 6), generator=torch.Generator().manual_seed(0)).mul(255).byte()
    keys = keys_of(pixels, 3).merged()
    order = torch.randperm(len(keys), generator=torch.Generator().manual_seed(1))
    keys = keys.arranged(order)
    sources, whole = MergedSources.of(keys), keys.sources()
    assert whole.bounds is not None
    single = torch.ones(len(keys), dtype=torch.bool)
    single[sources.keys] = False
    assert bool((whole.counts(torch.arange(len(keys)))[single] == 1).all())
    for row, key in enumerate(sources.keys.tolist()):
        expected = torch.bincount(whole.images[whole.bounds[key] : whole.bounds[key + 1]].long(), minlength=12)
        some = slice(int(sources.bounds[row]), int(sources.bounds[row + 1]))
        found = torch.zeros(12)
        found[sources.images[some].long()] = sources.shares[some]
        assert torch.allclose(found, expected / expected.sum())
        assert float(sources.counts[row]) == float(expected.sum())


def test_a_search_that_kept_nothing_cannot_be_attributed() -> None:
    keys, index = real("fashion-mini", 20, 3)
    job = SearchJob(asked(keys, levels(1.0, each=2)), 1.0, index, 1e-3, 2**28)
    state = job.run()
    with pytest.raises(ValueError, match="make the job with traced=True"):
        job.attribution(state, 1, 8)
