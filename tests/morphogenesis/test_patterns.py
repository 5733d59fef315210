"""Wavelengths and kinds of patterns that are known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from elsewhere.morphogenesis import PATTERNS, measure, simulate
from elsewhere.morphogenesis.patterns import anisotropy, euler_number, wavelength

few = settings(max_examples=25, deadline=None)

SPOTS = simulate(PATTERNS["spots"], (48, 64), 1, steps=6000).images()[0, 0]


def wave(size: int, down: int, across: int) -> torch.Tensor:
    place = torch.arange(size, dtype=torch.float64) * 2 * math.pi / size
    return torch.cos(down * place[:, None] + across * place)


@given(st.integers(0, 12), st.integers(1, 12), st.floats(0.1, 50), st.floats(-9, 9))
@few
def test_the_wavelength_of_a_wave_is_found_whatever_its_contrast(
    down: int, across: int, gain: float, level: float
) -> None:
    found = wavelength(gain * wave(48, down, across) + level)
    # Frequencies are tried 0.2 % apart.
    assert found == pytest.approx(48 / math.hypot(down, across), rel=0.002)


def test_the_wavelength_between_two_waves_lies_between_theirs() -> None:
    both = wavelength(wave(64, 0, 9) + wave(64, 10, 0))
    assert 64 / 10 < both < 64 / 9


def test_the_wavelength_does_not_depend_on_the_canvas() -> None:
    assert wavelength(SPOTS.repeat(2, 3)) == pytest.approx(wavelength(SPOTS), rel=0.005)


def slow_euler_number(mask: np.ndarray) -> int:
    """Regions less holes of a mask that does not touch the edges, by filling them one after the other."""
    # Pixels touch along edges: then the dark ones touch at corners as well.
    bright = ndimage.label(mask)[1]
    dark = ndimage.label(~mask, np.ones((3, 3)))[1]
    return bright - (dark - 1)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
@few
def test_the_euler_number_is_regions_less_holes(seed: int, share: float) -> None:
    mask = np.zeros((14, 11), dtype=bool)
    mask[1:-1, 1:-1] = np.random.default_rng(seed).random((12, 9)) < share
    assert euler_number(torch.from_numpy(mask)) == slow_euler_number(mask)


def test_the_euler_number_knows_that_the_image_wraps_round() -> None:
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    assert euler_number(mask) == 1, "four corners are one square"
    mask[:] = False
    mask[4] = True
    assert euler_number(mask) == 0, "a band round the torus has no ends"
    assert euler_number(~torch.zeros(5, 6, dtype=torch.bool)) == 0


def test_anisotropy_of_one_direction_and_of_all() -> None:
    assert anisotropy(wave(32, 3, 5)) == pytest.approx(1)
    assert anisotropy(wave(32, 4, 0) + wave(32, 0, 4)) == pytest.approx(0, abs=1e-12)
    assert math.isnan(anisotropy(torch.zeros(5, 5)))


@pytest.mark.parametrize("name", PATTERNS)
def test_simulated_patterns_are_of_the_kind_they_were_made_to_be(name: str) -> None:
    images = simulate(PATTERNS[name], (64, 64), 4, seed=11, steps=6000).images()
    found = [measure(image[0]) for image in images]
    assert [pattern.kind for pattern in found] == [name] * 4
    # Not by a hair: half-way to the border of the kind at most.
    for pattern in found:
        assert abs(pattern.density) > 0.6 if name in ("spots", "holes") else abs(pattern.density) < 0.3
        if name == "stripes":
            assert pattern.anisotropy > 0.75


@given(st.integers(-99, 99), st.integers(-99, 99))
@few
def test_what_is_measured_does_not_depend_on_where_the_image_begins(down: int, across: int) -> None:
    image = SPOTS
    one, other = measure(image), measure(image.roll((down, across), (0, 1)))
    assert one.euler == other.euler
    assert one.bright == other.bright
    assert one.wavelength == pytest.approx(other.wavelength, rel=1e-9)
    assert one.anisotropy == pytest.approx(other.anisotropy, abs=1e-5)


def test_turning_bright_to_dark_turns_spots_to_holes() -> None:
    assert measure(SPOTS).kind == "spots"
    assert measure(-SPOTS).kind == "holes"


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.ones(8, 8), ValueError, "must have contrast"),
        (torch.rand(1, 8, 8), ValueError, r"\(H, W\) with sides of 4 or more"),
        (torch.rand(3, 8), ValueError, "sides of 4"),
        (torch.ones(8, 8, dtype=torch.uint8), TypeError, "floating-point"),
        (np.ones((8, 8)), TypeError, "ndarray"),
        (torch.full((8, 8), math.nan), ValueError, "NaN"),
    ],
)
def test_what_cannot_be_measured_is_refused(image: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        measure(image)  # type: ignore[arg-type]
