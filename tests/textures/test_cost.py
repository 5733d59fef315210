"""The estimate of time and memory."""

from __future__ import annotations

import pytest
import torch

import elsewhere as els
from elsewhere.textures import cost
from elsewhere.textures.cost import Cost, estimate_cost
from elsewhere.textures.plan import plan_texture
from tests.textures.texture_toys import toy

SETTINGS = els.TextureSettings(window=5, scales=2, steps=4)


def test_the_estimate_counts_the_pairs_that_are_left() -> None:
    plan = plan_texture(toy(), (12, 15), SETTINGS, 2**26)
    whole, rest = estimate_cost(plan, 3), estimate_cost(plan, 3, done=plan.work // 2)
    assert whole.pairs == 3 * plan.work
    assert rest.pairs == pytest.approx(whole.pairs / 2, abs=3)
    assert whole.rate > 0
    assert whole.memory > 64 * 3 * 12 * 15


def test_the_rate_is_pairs_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that counts calls: those at high noise take 1, 10 and 2 seconds, then 2 each, those at low noise 5."""
    plan = plan_texture(toy(1, 30, 30), (200, 300), els.TextureSettings(window=5, scales=1), 2**26)
    took = [1, 2, 2, 2, 5, 5, 5, 10, 2]
    now = iter([time for second in took for time in (0, second)])
    monkeypatch.setattr(cost, "perf_counter", lambda: next(now))
    asked: list[torch.Size] = []
    machine = plan.scales[0].machine
    monkeypatch.setattr(type(machine), "__call__", lambda self, x, sigma: asked.append(x.shape) or x)
    found = estimate_cost(plan, 1)
    shape = asked[0]
    assert asked == [shape] * 9
    assert found.rate == (shape[2] - 4) * (shape[3] - 4) * 26 * 26 / 3
    assert shape[2] <= 200
    assert shape[3] <= 300


def test_the_estimate_in_words() -> None:
    text = str(Cost(3 * 10**9, 5e7, 2**28))
    assert text == (
        "3e+09 pairs of patches at 50 million a second: about 60 s, and 256 MiB of memory beside Python's own"
    )
