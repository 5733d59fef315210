"""One machine used by several threads, and machines that are sent to other processes."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import elsewhere as els
from elsewhere.engine import planner
from elsewhere.engine.workspace import MemoryCache


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> els.EquivariantLocalScore:
    monkeypatch.setattr(planner, "SEARCH_PLACES", 1)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 1, 7, 7), generator=generator, dtype=torch.uint8)
    return els.EquivariantLocalScore(els.ImageSet(images), 3, engine="fast")


def test_a_machine_in_use_is_sent_without_its_indexes(machine: els.EquivariantLocalScore) -> None:
    x = els.make_noise(1, (1, 7, 7))
    unused = len(pickle.dumps(machine))
    answer = machine(x, 1.0)
    sent = pickle.dumps(machine)
    assert len(sent) < unused + 1000
    for other in (pickle.loads(sent), copy.deepcopy(machine)):
        torch.testing.assert_close(other(x, 1.0), answer, rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit", [0, 2**30])
def test_threads_share_a_machine(machine: els.EquivariantLocalScore, limit: int) -> None:
    """Also one whose cache drops what other threads have just made."""
    asked = [els.make_noise(1, (1, 7, 7), seed=seed) for seed in range(3)]
    answers = [machine(x, 1.0) for x in asked]
    machine._planner.workspace.kept = MemoryCache(limit)
    with ThreadPoolExecutor(4) as pool:
        for got, wanted in zip(pool.map(lambda x: machine(x, 1.0), asked * 2), answers * 2, strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
    assert machine._planner.workspace.kept.used == sum(
        size for _, size in machine._planner.workspace.kept.things.values()
    )
