"""Averages on the way down, interpolation on the way up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from elsewhere.textures.pyramid import blend, enlarge, halved, shrink

IMAGES = torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SIDES = st.integers(1, 13)


def test_sides_are_halved_and_rounded() -> None:
    assert halved((128, 100), 2) == (32, 25)
    assert halved((3, 1), 4) == (1, 1)


@pytest.mark.parametrize("size", [(6, 5), (12, 10), (4, 2)])
def test_whole_factors_are_block_means(size: tuple[int, int]) -> None:
    torch.testing.assert_close(shrink(IMAGES, size), interpolate(IMAGES, size=size, mode="area"))


@given(SIDES, SIDES)
@settings(max_examples=20, deadline=None)
def test_shrinking_keeps_the_mean_of_any_size(height: int, width: int) -> None:
    size = (min(height, 12), min(width, 10))
    torch.testing.assert_close(shrink(IMAGES, size).mean((2, 3)), IMAGES.mean((2, 3)))


@pytest.mark.parametrize("size", [(24, 20), (25, 13), (12, 10)])
def test_enlarging_is_bilinear(size: tuple[int, int]) -> None:
    expected = interpolate(IMAGES, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarge(IMAGES, size, wraps=False), expected)


@given(st.integers(0, 11), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_rolling_a_periodic_image_rolls_the_larger_one(down: int, right: int) -> None:
    larger = enlarge(IMAGES, (24, 20), wraps=True)
    rolled = enlarge(IMAGES.roll((down, right), (2, 3)), (24, 20), wraps=True)
    torch.testing.assert_close(rolled, larger.roll((2 * down, 2 * right), (2, 3)))


def test_a_blend_has_the_coarse_image_below_and_the_fine_one_above() -> None:
    coarse = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = blend(IMAGES, coarse, wraps=False)
    down = shrink(IMAGES, (6, 5))
    expected = enlarge(coarse, (12, 10), wraps=False) + IMAGES - enlarge(down, (12, 10), wraps=False)
    torch.testing.assert_close(found, expected)
    # An image is a blend of itself; a flat coarse image moves the mean.
    torch.testing.assert_close(blend(IMAGES, down, wraps=True), IMAGES)
    assert float(blend(IMAGES, coarse * 0 + 5, wraps=False).mean()) == pytest.approx(5, abs=0.02)
