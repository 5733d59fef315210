"""Neighbour propagation against a loop over all queries and keys."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import elsewhere as els
from elsewhere.engine import Metric, WindowKeys
from elsewhere.engine.kernels import loader
from elsewhere.engine.search import neighbours
from elsewhere.engine.search.neighbours import SIDES, Propagation, adjacent_queries
from tests.engine.engine_toys import keys_of, rows_of

GRID = (5, 4)
KEPT = 6


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), images=st.integers(1, 3))
def test_sides_of_a_query(rows: int, columns: int, images: int) -> None:
    places = [(n, i, j) for n in range(images) for i in range(rows) for j in range(columns)]
    found = adjacent_queries(len(places), (rows, columns))
    for (n, i, j), sides in zip(places, found.tolist(), strict=True):
        there = [(n, i + down, j + right) for down, right in SIDES]
        assert sides == [places.index(place) if place in places else -1 for place in there]


def wide(keys: WindowKeys) -> WindowKeys:
    """The same keys, their places in 64 bits as where there are billions."""
    other = copy.copy(keys)
    assert keys.kept is not None
    other.kept = keys.kept.long()
    return other


def some_keys(kind: str) -> WindowKeys:
    keys = keys_of(els.load_images("pixel-faces" if kind == "colour" else "fashion-mini", 12).images, 5)
    if kind == "floats":
        keys = keys_of(els.load_images("fashion-mini", 12).scaled(), 5)
    if kind == "every place":
        return keys
    if kind == "tapered":
        return keys_of(els.load_images("fashion-mini", 12).images, 5, Metric.tapered(5)).merged()
    return wide(keys.merged()) if kind == "wide" else keys.merged()


def expected(asked: Propagation, found: Tensor, least: Tensor) -> set[tuple[int, int]]:
    """Pairs of a query and a key adjacent to one that an adjacent query found, but for those that it found itself."""
    keys = asked.keys
    rows, _, counts = rows_of(keys)
    centre = keys.store.centre if keys.roots is None else keys.store.centre * keys.roots
    queries, pairs = (asked.queries - centre) / keys.scale, set()
    for query, sides in enumerate(asked.adjacent.tolist()):
        for (down, right), there in zip(SIDES, sides, strict=True):
            if there < 0:
                continue
            for key in keys.shifted(found[there][found[there] >= 0], -down, -right).tolist():
                if key < asked.skipped or key in found[query].tolist():
                    continue
                squares = (queries[query] - rows[key]).square().sum() * keys.scale**2
                if float(counts[key].log() - squares / (2 * asked.sigma**2)) > float(least[query]):
                    pairs.add((query, key))
    return pairs


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", ["bytes", "floats", "colour", "every place", "wide", "tapered"])
def test_all_keys_that_matter_are_propagated_once_and_in_order(
    kind: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "AT_ONCE", 7)
    keys = some_keys(kind)
    if not compiled:
        monkeypatch.setattr(loader, "library", lambda: None)
    generator = torch.Generator().manual_seed(3)
    count = 2 * GRID[0] * GRID[1]
    adjacent = adjacent_queries(count, GRID)
    # As close together as they are in an image, so that many propagate the same keys.
    first = torch.randint(len(keys) - 60, (count, 1), generator=generator) // 400 * 400
    found = first + torch.stack([torch.randperm(50, generator=generator)[:KEPT] for _ in range(count)])
    found[torch.rand(found.shape, generator=generator) < 0.2] = -1
    queries = 255 * torch.rand((count, keys.width), generator=generator, dtype=torch.float64)
    asked = Propagation(keys, 40, queries if kind != "floats" else queries / 255 * 2 - 1, 90.0, adjacent)
    if kind == "floats":
        asked = Propagation(keys, 40, asked.queries, 0.7, adjacent)
    every = expected(asked, found, torch.full((count,), -torch.inf))
    assert len(every) > 200
    logs = asked.logs(*(both := torch.tensor(sorted(every)).T), keys.raw_at(both[1]))
    # Between two of them, so that rounding does not decide.
    middle = logs.sort().values[len(logs) // 2 :][:2].mean()
    least = torch.full((count,), float(middle), dtype=torch.float64)
    least[: count // 4] = -torch.inf
    query, key = asked.propagated(found, least)
    pairs = list(zip(query.tolist(), key.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    own = {(query, key) for query, key in pairs if key in found[query].tolist()}
    wanted = expected(asked, found, least)
    assert set(pairs) - own == wanted
    assert 0 < len(wanted) < len(every)


def test_queries_that_found_nothing_propagate_nothing() -> None:
    keys = some_keys("bytes")
    adjacent, nothing = adjacent_queries(20, GRID), torch.full((20,), -torch.inf, dtype=torch.float64)
    asked = Propagation(keys, 0, torch.zeros(20, keys.width, dtype=torch.float64), 1.0, adjacent)
    query, key = asked.propagated(torch.full((20, 5), -1), nothing)
    assert query.shape == key.shape == (0,)
