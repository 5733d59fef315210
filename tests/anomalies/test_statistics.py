from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsewhere.anomalies import agreement, rate
from elsewhere.anomalies.statistics import more_often
from tests.data.toys import few

pytest.importorskip("scipy")
Z = 1.959963984540054


@few
@given(hits=st.integers(0, 60), misses=st.integers(0, 60))
def test_the_interval_is_wilsons(hits: int, misses: int) -> None:
    n = hits + misses
    if not n:
        return
    found = rate(np.array([True] * hits + [False] * misses))
    p = hits / n
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    assert (found.hits, found.total, found.share) == (hits, n, p)
    assert found.low == pytest.approx(max(0.0, middle - half), abs=1e-9)
    assert found.high == pytest.approx(min(1.0, middle + half), abs=1e-9)


def hypergeometric(a: int, b: int, c: int, d: int) -> float:
    """Fisher's two-sided p by summing every table of these margins that is no likelier than this one."""
    row, column, n = a + b, a + c, a + b + c + d

    def probability(x: int) -> float:
        return math.comb(column, x) * math.comb(n - column, row - x) / math.comb(n, row)

    possible = range(max(0, row + column - n), min(row, column) + 1)
    return sum(p for x in possible if (p := probability(x)) <= probability(a) * (1 + 1e-7))


@few
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_the_agreement_is_that_of_the_textbooks(pairs: list[tuple[bool, bool]]) -> None:
    machine, network = (np.array(side) for side in zip(*pairs, strict=True))
    found = agreement(machine, network)
    a, b, c, d = (pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False)))
    assert (found.both, found.only_machine, found.only_network, found.neither) == (a, b, c, d)
    assert found.fisher == pytest.approx(hypergeometric(a, b, c, d))
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert found.mcnemar == pytest.approx(min(1.0, 2 * tail) if b != c else 1.0)
    n = a + b + c + d
    chance = ((a + b) * (a + c) + (c + d) * (b + d)) / n**2
    if chance < 1 - 1e-9:
        assert found.kappa == pytest.approx(((a + d) / n - chance) / (1 - chance), abs=1e-9)
    if a + c:
        assert found.recall == pytest.approx(a / (a + c))
    if a + b:
        assert found.precision == pytest.approx(a / (a + b))


def test_shares_of_nothing_are_no_numbers_and_nothing_in_json() -> None:
    found = agreement(np.array([False, False]), np.array([False, False]))
    assert math.isnan(found.recall)
    assert math.isnan(found.kappa)
    assert found.to_dict()["recall"] is None
    assert found.to_dict()["neither"] == 2
    assert more_often(0, 0) == 1


def test_the_old_names_of_recall_and_precision_still_work_and_warn() -> None:
    found = agreement(np.array([True, True, False]), np.array([True, False, True]))
    with pytest.warns(DeprecationWarning, match=r"use Agreement\.recall"):
        assert found.foretold == found.recall
    with pytest.warns(DeprecationWarning, match=r"use Agreement\.precision"):
        assert found.correct == found.precision


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="the same length of 1 or more, got 2 and 3"):
        agreement(np.zeros(2, bool), np.zeros(3, bool))
    with pytest.raises(ValueError, match="got 0 and 0"):
        agreement(np.zeros(0, bool), np.zeros(0, bool))
    with pytest.raises(ValueError, match="needs one or more trials"):
        rate(np.zeros(0, bool))
