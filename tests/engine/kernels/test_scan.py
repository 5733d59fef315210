"""The compiled scan against the plain one, which is its definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from elsewhere.engine.kernels import loader, reference, scan
from elsewhere.engine.kernels.reference import Chunk, ScanQueries, ScanResult, ScanSettings, ScanTables
from elsewhere.engine.kernels.scan import QuantisedQueries
from elsewhere.engine.keys import Extent, Metric, PixelStore, WindowKeys
from elsewhere.engine.search import rounds
from tests.engine.engine_toys import TOYS, asked, brute, levels, real, search

WINDOWS = (("fashion-mini", 3), ("fashion-mini", 5), ("pixel-faces", 3), ("fashion-mini", 11), ("pixel-faces", 7))
pytestmark = pytest.mark.skipif(loader.library() is None, reason="no compiled kernels")


def unlimited(round_: ScanQueries) -> ScanQueries:
    """The same, but every key may be kept."""
    return replace(round_, floors=torch.full_like(round_.floors, -torch.inf))


# Products of whole numbers where noise is large enough; windows of an odd and of an even number of pixels.
@pytest.mark.parametrize(
    ("name", "window", "floats", "sigma", "taper"),
    [
        *(
            (name, window, floats, sigma, taper)
            for name, window in WINDOWS
            for floats, taper in ((False, False), (True, False), (False, True))
            for sigma in (0.5, 4.0)
        ),
        ("fashion-mini", 3, False, 0.07, False),
        ("fashion-mini", 3, False, 0.07, True),
        ("pixel-faces", 3, False, 0.1, False),
        ("fashion-mini", 5, True, 0.5, True),
    ],
)
def test_the_compiled_scan_finds_what_the_plain_one_does(
    name: str, window: int, floats: bool, sigma: float, taper: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, index = real(name, 40, window, floats, taper)
    seen = []
    compiled = scan.scan_groups

    def both(
        chunk: Chunk, tables: ScanTables, round_: ScanQueries, queries: QuantisedQueries, settings: ScanSettings
    ) -> ScanResult:
        mine = compiled(chunk, tables, unlimited(round_), queries, settings)
        theirs = reference.scan_groups(chunk, tables, round_, settings)
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
        kept = theirs.tops > -torch.inf
        assert torch.equal(tops > -torch.inf, kept)
        assert torch.allclose(tops[kept], theirs.tops[kept], rtol=1e-4, atol=2e-2)
        # Those that are as heavy as one another may come in another order.
        alike = mine.top_keys.gather(1, order) == theirs.top_keys
        assert float(alike[kept].double().mean()) > 0.97 or not kept.any()
        assert torch.allclose(mine.band[:, :2], theirs.band[:, :2], rtol=1e-3, atol=1e-12)
        assert torch.allclose(mine.band, theirs.band, rtol=3e-2, atol=1e-12 + 1e-4 * float(theirs.band.abs().max()))
        seen.append((int(there.sum()), queries.pixels.dtype))
        return mine

    monkeypatch.setattr(scan, "scan_groups", both)
    noise = levels(sigma, each=12)
    queries = asked(keys, noise, seed=1)
    state = search(index, queries, noise)
    assert sum(count for count, _ in seen) > 0
    whole = not floats and sigma > 0.2
    assert {dtype for _, dtype in seen} == {torch.int16 if whole else torch.float32}
    assert float((state.mean() - brute(keys, queries, noise).mean()).abs().max()) < 5e-3


def test_the_heavy_keys_of_one_part_spare_the_others_lighter_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, index = real("fashion-mini", 40, 7)
    compiled, parts = scan.scan_groups, []

    def both(
        chunk: Chunk, tables: ScanTables, round_: ScanQueries, queries: QuantisedQueries, settings: ScanSettings
    ) -> ScanResult:
        before = round_.floors.clone()
        spared = compiled(chunk, tables, round_, queries, settings)
        assert bool((round_.floors >= before).all())
        parts.append((round_.members, spared, compiled(chunk, tables, unlimited(round_), queries, settings)))
        return spared

    monkeypatch.setattr(scan, "scan_groups", both)
    noise = levels(0.5, each=12)
    search(index, asked(keys, noise, seed=4), noise, settings=replace(TOYS, kept=4))
    everyone = [part[1:] for part in parts if len(part[0]) == 12]
    spared, free = (rounds.merged([part[which] for part in everyone]) for which in (0, 1))
    assert torch.equal(spared.tops, free.tops)
    assert torch.equal(spared.top_keys, free.top_keys)
    kept = [sum(int((part[which].top_keys >= 0).sum()) for part in everyone) for which in (0, 1)]
    assert kept[0] < kept[1]


# Pixels are put side by side eight pairs at a time: widths and numbers of keys that leave a remainder.
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
    for sigma in (0.5, 4.0):
        quantised = QuantisedQueries.of(queries, keys, sigma, torch.zeros(7, dtype=torch.float64), products=True)
        state = scan.weigh(keys.read(0, len(keys)), keys.scale, quantised)
        exact = brute(keys, queries, levels(sigma, each=7))
        assert torch.allclose(state.log_total, exact.log_total, rtol=0, atol=1e-2)
        assert torch.allclose(state.mean(), exact.mean(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("channels", [1, 3, 4, 16])
@pytest.mark.parametrize("kind", ["bytes", "floats", "tapered"])
def test_values_of_any_number_of_channels(channels: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(channels)
    pixels = torch.randint(256, (60, channels, 5, 5), generator=generator, dtype=torch.uint8)
    store = PixelStore.of(pixels if kind != "floats" else pixels / 127.5 - 1)
    metric = Metric.tapered(3) if kind == "tapered" else None
    keys = WindowKeys(store, Extent(1, 1, 1, 1), range(1, 4), range(1, 4), metric=metric)
    queries = torch.randn((9, keys.width), generator=generator, dtype=torch.float64)
    zeros = torch.zeros(9, dtype=torch.float64)
    quantised = QuantisedQueries.of(queries, keys, 2.0, zeros, products=kind != "floats")
    state = scan.weigh(keys.read(0, len(keys)), keys.scale, quantised)
    exact = brute(keys, queries, levels(2.0, each=9))
    assert state.mean().shape == (9, channels)
    assert torch.allclose(state.log_total, exact.log_total, rtol=0, atol=1e-2)
    assert torch.allclose(state.mean(), exact.mean(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("width", [1, 9, 16, 121])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_distances_of_pairs(width: int, dtype: torch.dtype, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(width)
    raw = torch.randint(256, (50, width), generator=generator).to(dtype)
    roots = torch.rand(width, generator=generator, dtype=torch.float64) if weighted else None
    keys = raw.double() if roots is None else raw.double() * roots
    queries = 255 * torch.rand((7, width), generator=generator, dtype=torch.float64)
    # One that is a key: what would cancel is not rounded.
    queries[3] = keys[5] + 1e-6
    paired = torch.randint(7, (50,), generator=generator)
    paired[5] = 3
    found = scan.distances(raw, queries, paired, roots)
    assert torch.allclose(found, (keys - queries[paired]).square().sum(1), rtol=1e-12)
    assert 0 < float(found[5]) < 2e-12 * width


def test_distances_without_a_compiled_kernel_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, paired = torch.arange(24, dtype=torch.uint8).view(4, 6), torch.tensor([1, 0, 1, 1])
    queries = torch.linspace(0, 20, 12, dtype=torch.float64).view(2, 6)
    roots = torch.linspace(0, 1, 6, dtype=torch.float64)
    compiled = scan.distances(raw, queries, paired, roots)
    monkeypatch.setattr(loader, "library", lambda: None)
    assert torch.allclose(scan.distances(raw, queries, paired, roots), compiled, rtol=1e-12)
