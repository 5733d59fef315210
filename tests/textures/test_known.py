"""Crops of an image in which nothing is missing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.textures.known import LEAST_KEYS, clear_crops, clear_windows

HEIGHT, WIDTH = 30, 34
# Every pixel is another number, so that a window tells where it comes from.
IMAGE = torch.arange(HEIGHT * WIDTH, dtype=torch.float64).view(1, HEIGHT, WIDTH)


def windows_of(images: torch.Tensor, window: int) -> set[float]:
    """The upper left numbers of all windows of images."""
    side = [images.shape[axis] - window + 1 for axis in (2, 3)]
    return set(images[:, 0, : side[0], : side[1]].flatten().tolist())


@given(st.integers(0, 24), st.integers(0, 28), st.integers(1, 6), st.integers(1, 6), st.sampled_from([3, 5]))
@settings(max_examples=40, deadline=None)
def test_crops_hold_only_clear_windows_and_most_of_them(
    top: int, left: int, height: int, width: int, window: int
) -> None:
    missing = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    missing[top : top + height, left : left + width] = True
    crops = clear_crops(IMAGE, missing, window)
    lost = set(IMAGE[0][missing].tolist())
    assert not lost & set(crops.flatten().tolist())
    clear = clear_windows(missing, window)
    expected = set(IMAGE[0, : clear.shape[0], : clear.shape[1]][clear].tolist())
    found = windows_of(crops, window)
    assert found <= expected
    assert len(found) > 0.7 * len(expected)


def test_clear_windows_are_those_without_a_missing_pixel() -> None:
    missing = torch.zeros(5, 6, dtype=torch.bool)
    missing[2, 3] = True
    found = clear_windows(missing, 3)
    expected = [[not missing[i : i + 3, j : j + 3].any() for j in range(4)] for i in range(3)]
    assert found.tolist() == expected


def test_what_is_left_of_an_extension_is_the_image_itself() -> None:
    missing = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    missing[4:20, 5:30] = False
    assert torch.equal(clear_crops(IMAGE, missing, 5), IMAGE[None, :, 4:20, 5:30])


def test_too_few_windows_are_refused() -> None:
    missing = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    missing[:5, :5] = False
    assert int(clear_windows(missing, 3).sum()) == 9 < LEAST_KEYS
    for window in (3, 31):
        with pytest.raises(ValueError, match=f"fewer than {LEAST_KEYS} windows of {window}x{window} pixels"):
            clear_crops(IMAGE, missing, window)


def test_a_hole_and_a_scratch_leave_out_few_windows() -> None:
    """Seen in a photograph of a cup: the only large clear crops lay in a corner, and everything was filled with it."""
    missing = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    missing[:, 8] = missing[14, :] = missing[:, 22] = True
    clear = clear_windows(missing, 5)
    found = windows_of(clear_crops(IMAGE, missing, 5), 5)
    assert len(found) > 0.9 * int(clear.sum())
