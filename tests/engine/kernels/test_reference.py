"""The inner loop of the fast engine, as Python and as TorchScript."""

from __future__ import annotations

import pytest
import torch
from elsewhere.engine.search.scan import Asked, Chunk, Found, Limits, Tables
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.engine.kernels import reference, scan
from elsewhere.engine.search import rounds
from tests.engine.engine_toys import asked, brute, levels, real, search

UNLIKE = 3


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=14))
def test_blocks_read_by_one_product_are_asked_about_as_often(sizes: list[int]) -> None:
    sets, largest = reference.alike(sizes, UNLIKE)
    assert sorted(block for chosen in sets for block in chosen) == [b for b, size in enumerate(sizes) if size]
    for chosen, most in zip(sets, largest, strict=True):
        assert chosen == sorted(chosen)
        assert max(sizes[block] for block in chosen) == most
        assert min(sizes[block] for block in chosen) * UNLIKE >= most


WINDOWS = pytest.mark.parametrize(
    ("name", "window"), [("fashion-mini", 5), ("pixel-faces", 3), ("fashion-mini", 11), ("pixel-faces", 7)]
)


@WINDOWS
@pytest.mark.parametrize("sigma", [0.02, 0.5, 4.0])
def test_torchscript_finds_the_same(name: str, window: int, sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, index = real(name, 40, window)
    seen = []

    def both(chunk: Chunk, tables: Tables, limits: Limits, round_: Asked) -> Found:
        as_script, as_python = (f(chunk, tables, limits, round_) for f in (reference.read, reference.read_groups))
        for mine, theirs in zip(as_script, as_python, strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-12)
        seen.append(int((as_python.peak > -torch.inf).sum()))
        return as_script

    assert isinstance(reference.read, torch.jit.ScriptFunction), "not merely the same function twice"
    monkeypatch.setattr(scan, "serves", lambda keys: False)
    monkeypatch.setattr(rounds, "read", both)
    noise = levels(sigma, each=12)
    queries = asked(keys, noise, seed=1)
    state = search(index, queries, noise)
    assert sum(seen) > 0
    assert float((state.mean() - brute(keys, queries, noise).mean()).abs().max()) < 5e-3


def test_few_keys_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "serves", lambda keys: False)
    keys, index = real("fashion-mini", 40, 5)
    noise = levels(0.1, 1.0, each=12)
    queries = asked(keys, noise, seed=2)
    together = search(index, queries, noise).mean()
    monkeypatch.setattr(rounds, "LIMITS", rounds.LIMITS._replace(at_once=1, unlike=1))
    assert torch.allclose(search(index, queries, noise).mean(), together, rtol=0, atol=1e-6)
