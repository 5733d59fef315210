"""The plain scan against sums over keys and cells, written out in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from elsewhere.engine.kernels import reference, scan
from elsewhere.engine.kernels.reference import ScanQueries
from elsewhere.engine.search.gaussians import SmoothedIndex
from elsewhere.engine.search.rounds import Search
from tests.engine.engine_toys import TOYS, asked, brute, levels, real, rows_of, search

WINDOWS = pytest.mark.parametrize(
    ("name", "window", "taper"),
    [("fashion-mini", 5, False), ("pixel-faces", 3, False), ("fashion-mini", 7, True)],
)


def scanned(name: str, window: int, taper: bool, lower: float) -> tuple[Search, torch.Tensor, reference.ScanResult]:
    """A search, its queries, and what the plain scan of all groups finds down to a log share."""
    keys, index = real(name, 40, window, taper=taper)
    queries = asked(keys, levels(0.5, each=6), seed=1)
    one = Search(queries, SmoothedIndex(index, 0.5, TOYS), 1e-3, torch.full((6, 8), -1))
    everyone, everything = torch.arange(6), torch.ones(len(index.groups), 6, dtype=torch.bool)
    bounds = torch.full((6,), lower), torch.full((6,), torch.inf)
    round_ = ScanQueries(everyone, everything, *bounds, compares=True, floors=torch.full((6,), -torch.inf).double())
    return one, queries, reference.scan_groups(one.chunk((0, len(index.groups))), one.tables, round_, TOYS)


@WINDOWS
def test_all_keys_are_weighed_where_every_block_is_read(name: str, window: int, taper: bool) -> None:
    one, queries, found = scanned(name, window, taper, -torch.inf)
    rows, values, counts = (part[one.index.outside :] for part in rows_of(one.index.keys))
    squares = (queries.double()[:, None] - rows).square().sum(2)
    logs = counts.log() - squares / (2 * 0.5**2) - one.plan.reference[:, None]
    assert torch.allclose(found.peak + found.read[:, 0].log(), logs.logsumexp(1), rtol=0, atol=1e-9)
    assert torch.allclose(found.read[:, 1:] / found.read[:, :1], logs.softmax(1) @ values, rtol=0, atol=1e-9)
    assert float(found.left.abs().max()) == 0
    # The heaviest keys are those of blocks: the first of them is the heaviest of all.
    assert torch.allclose(found.tops.amax(1), logs.amax(1), rtol=0, atol=1e-9)
    heaviest = found.top_keys.gather(1, found.tops.argmax(1, keepdim=True)).squeeze(1) - one.index.outside
    assert torch.allclose(logs.gather(1, heaviest[:, None]).squeeze(1), logs.amax(1), rtol=0, atol=1e-9)
    # Read less predicted, over all blocks: what is read of them is the sum of both.
    assert torch.allclose(found.band[:, 0] + found.band[:, 2], logs.exp().sum(1), rtol=1e-6)


@WINDOWS
def test_gaussians_stand_for_all_where_no_block_is_read(name: str, window: int, taper: bool) -> None:
    one, _, found = scanned(name, window, taper, torch.inf)
    logs = torch.stack([one.tables.queries @ table for table in one.tables.masses]).amin(0).double()
    mass = logs.clamp(max=TOYS.largest).exp()
    directions = one.index.basis.shape[1]
    values = torch.stack([one.tables.queries[:, directions + 2 :] @ table for table in one.tables.values], dim=2)
    assert torch.allclose(found.left[:, 0], mass.sum(1), rtol=1e-5)
    assert torch.allclose(found.left[:, 1:], (mass[..., None] * values).sum(1), rtol=1e-4, atol=1e-6)
    assert bool((found.peak == -torch.inf).all())
    assert bool((found.top_keys == -1).all())


@pytest.mark.parametrize("sigma", [0.02, 0.5, 4.0])
def test_a_search_by_the_plain_scan_is_as_good(sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "serves", lambda keys: False)
    keys, index = real("fashion-mini", 40, 5)
    noise = levels(sigma, each=12)
    queries = asked(keys, noise, seed=1)
    little = replace(TOYS, numbers_first=0, least_first=60)
    found = search(index, queries, noise, settings=little)
    assert float((found.mean() - brute(keys, queries, noise).mean()).abs().max()) < 5e-3
