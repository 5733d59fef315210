"""Growing from one original, and telling copies from what only looks alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import elsewhere as els
from elsewhere.morphogenesis import (
    PATTERNS,
    copying,
    growth_locality,
    growth_schedule,
    measure,
    pattern_machine,
    simulate,
)
from elsewhere.morphogenesis.growth import find_sources

SPOTS, OTHER = simulate(PATTERNS["spots"], (48, 48), 2, steps=5000).images()[:, 0]


def slow_sources(image: np.ndarray, original: np.ndarray, window: int) -> np.ndarray:
    """Distances to the nearest window, one pixel and one window at a time."""
    r = window // 2
    pictures = [np.pad(some, r, mode="wrap") for some in (image, original)]
    out = np.empty(image.shape)
    for i, j in np.ndindex(*image.shape):
        query = pictures[0][i : i + window, j : j + window]
        out[i, j] = min(
            ((query - pictures[1][k : k + window, m : m + window]) ** 2).mean() ** 0.5
            for k, m in np.ndindex(*original.shape)
        )
    return out


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 5]))
@settings(max_examples=5, deadline=None)
def test_sources_are_the_nearest_windows(seed: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    image, original = rng.random((7, 5)), rng.random((6, 8))
    found = find_sources(torch.from_numpy(image), torch.from_numpy(original), window)
    np.testing.assert_allclose(found.distances.numpy(), slow_sources(image, original, window), atol=1e-9)
    wrapped = np.pad(original, window // 2, mode="wrap")
    around = np.pad(image, window // 2, mode="wrap")
    i, j = 4, 0
    k, m = int(found.rows[i, j]), int(found.columns[i, j])
    difference = around[i : i + window, j : j + window] - wrapped[k : k + window, m : m + window]
    assert (difference**2).mean() ** 0.5 == pytest.approx(float(found.distances[i, j]), abs=1e-9)


@given(st.integers(-99, 99), st.integers(-99, 99))
@settings(max_examples=5, deadline=None)
def test_a_shifted_copy_is_found_out(down: int, across: int) -> None:
    found = copying(SPOTS.roll((down, across), (0, 1)), SPOTS, 9)
    assert found.distance < 1e-6
    # Windows of bare ground are alike wherever they are: some of them come from elsewhere.
    assert found.coherence > 0.95
    assert found.largest > 0.95
    assert found.window_distance == pytest.approx(0, abs=1e-6)


def test_a_copy_with_a_wound_is_still_a_copy_and_another_pattern_is_none() -> None:
    wounded = SPOTS.clone()
    wounded[:16] = OTHER[:16]
    half, other = copying(wounded, SPOTS, 9), copying(OTHER, SPOTS, 9)
    assert 0.4 < half.largest < 0.9
    assert other.largest < 0.2
    assert other.distance > 0.4
    assert half.distance < other.distance


def test_the_distance_to_all_shifts_is_the_smallest_of_them() -> None:
    a, b = torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slow = min(float((a - b.roll((i, j), (0, 1))).square().mean().sqrt()) for i in range(6) for j in range(7))
    assert copying(a, b, 3).distance == pytest.approx(slow, abs=1e-12)


def test_windows_are_in_proportion_to_the_wavelength() -> None:
    narrow, wide = growth_locality(8.0), growth_locality(16.0)
    assert narrow.windows[0] == 17
    assert narrow.windows[-1] == 3
    for a, b in zip(narrow.windows, wide.windows, strict=True):
        assert abs(b - 2 * a) <= 2
    assert narrow.sigmas == growth_schedule().sigmas[:-1]
    assert list(narrow.windows) == sorted(narrow.windows, reverse=True)
    with pytest.raises(ValueError, match="wavelength must be positive"):
        growth_locality(0.0)


def test_from_noise_and_one_small_original_grows_its_kind_on_a_larger_canvas() -> None:
    stripes = simulate(PATTERNS["stripes"], (32, 36), steps=4000).images()
    machine = pattern_machine(stripes)
    assert machine.borders == "torus"
    grown = els.sample(machine, els.make_noise(1, (1, 32, 72), 1), growth_schedule()).images[0, 0]
    original = measure(stripes[0, 0])
    assert measure(grown).kind == original.kind == "stripes"
    assert measure(grown).wavelength == pytest.approx(original.wavelength, rel=0.1)


def test_bad_originals_are_refused() -> None:
    with pytest.raises(ValueError, match="originals must be gray"):
        pattern_machine(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="must have contrast"):
        pattern_machine(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="must have the size of image"):
        copying(SPOTS, SPOTS[:24], 5)
