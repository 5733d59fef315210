from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from elsewhere.engine import SoftmaxState, merge_all


def state_of(logs: np.ndarray, values: np.ndarray) -> SoftmaxState:
    """The state of some keys, for one query."""
    if not len(logs):
        return SoftmaxState(torch.tensor([-np.inf]), torch.zeros(1).double(), torch.zeros(1, 2).double())
    weights = np.exp(logs - logs.max())
    return SoftmaxState(
        torch.tensor([logs.max()]), torch.tensor([weights.sum()]), torch.from_numpy(weights @ values)[None]
    )


@given(
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([1.0, 100.0, 1e5]),
    cuts=st.lists(st.integers(0, 20), min_size=0, max_size=4),
)
def test_shards_merge_to_the_whole_in_any_order(seed: int, spread: float, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    logs, values = rng.normal(size=20) * spread, rng.normal(size=(20, 2))
    whole = state_of(logs, values)
    edges = [0, *sorted(cuts), 20]
    shards = [state_of(logs[a:b], values[a:b]) for a, b in pairwise(edges)]
    for order in (shards, shards[::-1]):
        merged = merge_all(order)
        assert torch.allclose(merged.mean(), whole.mean(), atol=1e-12)
        assert torch.allclose(merged.log_total, whole.log_total, rtol=1e-12)


def test_nothing_merged_with_nothing_is_nothing() -> None:
    empty = state_of(np.zeros(0), np.zeros((0, 2)))
    merged = empty.merge(empty)
    assert float(merged.peak) == -np.inf
    assert float(merged.total) == 0
    assert not merged.weighted.isnan().any()
