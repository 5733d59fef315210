"""The compiled inner loop of the fast engine against the tensor code."""

from __future__ import annotations

import pytest
import torch
from elsewhere.engine.blocks import QuantisedQueries
from elsewhere.engine.search.scan import Asked, Chunk, Found, Limits, Tables

from elsewhere.engine.kernels import loader, reference, scan
from elsewhere.engine.keys import Extent, PixelStore, WindowKeys
from elsewhere.engine.search import rounds
from tests.engine.engine_toys import asked, brute, levels, real, search

WINDOWS = (("fashion-mini", 3), ("fashion-mini", 5), ("pixel-faces", 3), ("fashion-mini", 11), ("pixel-faces", 7))
pytestmark = pytest.mark.skipif(loader.library() is None, reason="no compiled loop")


def unlimited(round_: Asked) -> Asked:
    """The same, but every key may be named."""
    return round_._replace(floors=torch.full_like(round_.floors, -torch.inf))


# Products of whole numbers where noise is large enough; windows of an odd and of an even number of pixels.
@pytest.mark.parametrize(
    ("name", "window", "floats", "sigma"),
    [
        *(
            (name, window, floats, sigma)
            for name, window in WINDOWS
            for floats in (False, True)
            for sigma in (0.5, 4.0)
        ),
        ("fashion-mini", 3, False, 0.07),
        ("pixel-faces", 3, False, 0.1),
    ],
)
def test_the_loop_finds_what_the_tensor_code_does(
    name: str, window: int, floats: bool, sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, index = real(name, 40, window, floats)
    seen = []
    read = scan.read

    def both(chunk: Chunk, tables: Tables, limits: Limits, round_: Asked, compact: QuantisedQueries) -> Found:
        mine = read(chunk, tables, limits, unlimited(round_), compact)
        theirs = reference.read_groups(chunk, tables, limits, round_)
        there = theirs.peak > -torch.inf
        assert torch.equal(mine.peak > -torch.inf, there)
        assert torch.allclose(mine.peak[there], theirs.peak[there], rtol=1e-4, atol=2e-2)
        mass = mine.read[there, :1] * (mine.peak - theirs.peak)[there, None].exp()
        assert torch.allclose(mass, theirs.read[there, :1], rtol=2e-2)
        means = (what[there, 1:] / what[there, :1] for what in (mine.read, theirs.read))
        assert not there.any() or float((next(means) - next(means)).abs().sum(1).max()) < 1e-3
        for other in ("left", "left_squares"):
            assert torch.allclose(getattr(mine, other), getattr(theirs, other), rtol=1e-3, atol=1e-12)
        tops, order = mine.tops.sort(dim=1, descending=True)
        named = theirs.tops > -torch.inf
        assert torch.equal(tops > -torch.inf, named)
        assert torch.allclose(tops[named], theirs.tops[named], rtol=1e-4, atol=2e-2)
        # Those that are as heavy as one another may come in another order.
        alike = mine.top_keys.gather(1, order) == theirs.top_keys
        assert float(alike[named].double().mean()) > 0.97 or not named.any()
        assert torch.allclose(mine.band[:, :2], theirs.band[:, :2], rtol=1e-3, atol=1e-12)
        assert torch.allclose(mine.band, theirs.band, rtol=3e-2, atol=1e-12 + 1e-4 * float(theirs.band.abs().max()))
        seen.append((int(there.sum()), compact.pixels.dtype))
        return mine

    monkeypatch.setattr(scan, "read", both)
    noise = levels(sigma, each=12)
    queries = asked(keys, noise, seed=1)
    state = search(index, queries, noise)
    assert sum(count for count, _ in seen) > 0
    whole = not floats and sigma > 0.2
    assert {dtype for _, dtype in seen} == {torch.int16 if whole else torch.float32}
    assert float((state.mean() - brute(keys, queries, noise).mean()).abs().max()) < 5e-3


def test_what_one_part_named_spares_the_others_lighter_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "LIMITS", rounds.LIMITS._replace(kept=4))
    keys, index = real("fashion-mini", 40, 7)
    read, parts = scan.read, []

    def both(chunk: Chunk, tables: Tables, limits: Limits, round_: Asked, compact: QuantisedQueries) -> Found:
        before = round_.floors.clone()
        spared = read(chunk, tables, limits, round_, compact)
        assert bool((round_.floors >= before).all())
        parts.append((round_.queries, spared, read(chunk, tables, limits, unlimited(round_), compact)))
        return spared

    monkeypatch.setattr(scan, "read", both)
    noise = levels(0.5, each=12)
    search(index, asked(keys, noise, seed=4), noise)
    everyone = [part[1:] for part in parts if len(part[0]) == 12]
    spared, free = (rounds._merged([part[which] for part in everyone]) for which in (0, 1))
    assert torch.equal(spared.tops, free.tops)
    assert torch.equal(spared.top_keys, free.top_keys)
    named = [sum(int((part[which].top_keys >= 0).sum()) for part in everyone) for which in (0, 1)]
    assert named[0] < named[1]


# Pixels are put side by side eight pairs at a time; what is left over, and the last keys, are no less right.
@pytest.mark.parametrize(
    "sides", [(1, 1), (1, 2), (3, 3), (3, 5), (4, 4), (1, 17), (3, 6), (1, 31), (4, 8), (3, 11), (7, 7)]
)
def test_products_are_right_whatever_the_width(sides: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (37, 1, *sides), generator=generator, dtype=torch.uint8)
    extent = Extent(sides[0] // 2, (sides[0] - 1) // 2, sides[1] // 2, (sides[1] - 1) // 2)
    keys = WindowKeys(
        PixelStore.of(pixels), extent, range(extent.top, extent.top + 1), range(extent.left, extent.left + 1)
    )
    queries = torch.randn((7, keys.width), generator=generator, dtype=torch.float64)
    sigma = torch.linspace(0.5, 4.0, 7, dtype=torch.float64)
    compact = QuantisedQueries.of(queries, keys, sigma, torch.zeros(7, dtype=torch.float64), products=True)
    state, exact = scan.weigh(keys.read(0, len(keys)), keys.scale, compact), brute(keys, queries, sigma)
    assert torch.allclose(state.log_total, exact.log_total, rtol=0, atol=1e-2)
    assert torch.allclose(state.mean(), exact.mean(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("width", [1, 9, 16, 121])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_distances_of_pairs(width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(width)
    raw = torch.randint(256, (50, width), generator=generator).to(dtype)
    queries = 255 * torch.rand((7, width), generator=generator, dtype=torch.float64)
    # One that is a key: what would cancel is not rounded.
    queries[3] = raw[5].double() + 1e-6
    who = torch.randint(7, (50,), generator=generator)
    who[5] = 3
    found = scan.distances(raw, queries, who)
    assert torch.allclose(found, (raw.double() - queries[who]).square().sum(1), rtol=1e-12)
    assert 0 < float(found[5]) < 2e-12 * width


def test_distances_without_a_compiled_loop_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, who = torch.arange(24, dtype=torch.uint8).view(4, 6), torch.tensor([1, 0, 1, 1])
    queries = torch.linspace(0, 20, 12, dtype=torch.float64).view(2, 6)
    compiled = scan.distances(raw, queries, who)
    monkeypatch.setattr(loader, "library", lambda: None)
    assert torch.allclose(scan.distances(raw, queries, who), compiled, rtol=1e-12)
