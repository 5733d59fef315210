from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elsewhere.engine import Extent
from elsewhere.machines.borders import border_classes, interior

side = st.integers(1, 12)
windows = st.integers(0, 8).map(lambda r: 2 * r + 1)


@given(height=side, width=side, window=windows)
def test_every_place_is_in_exactly_one_class_of_its_like(height: int, width: int, window: int) -> None:
    radius = window // 2
    seen = {}
    for places in border_classes(height, width, window):
        for i in places.rows:
            for j in places.columns:
                assert (i, j) not in seen
                seen[i, j] = places.extent
                reach = (i, height - 1 - i, j, width - 1 - j)
                assert places.extent == Extent(*(min(distance, radius) for distance in reach))
    assert len(seen) == height * width


@given(height=side, width=side, window=windows)
def test_the_interior_is_where_a_window_fits(height: int, width: int, window: int) -> None:
    places = interior(height, width, window)
    if window > min(height, width):
        assert places is None
    else:
        assert places is not None
        assert (len(places.rows), len(places.columns)) == (height - window + 1, width - window + 1)


def test_an_edge_row_shares_its_columns_and_a_corner_nothing() -> None:
    classes = {(p.rows.start, p.columns.start): p for p in border_classes(8, 9, 5)}
    assert classes[2, 2].rows == range(2, 6)
    assert classes[2, 2].columns == range(2, 7)
    assert classes[0, 2].rows == range(1)
    assert classes[0, 2].columns == range(2, 7)
    assert len(classes[0, 0]) == 1
    assert len(classes[7, 8]) == 1
