"""Noise levels and pixels up to the ends of the ranges that are taken: right answers; beyond them an error."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.denoiser import LARGEST
from elsewhere.engine import planner
from elsewhere.schedules import SIGMAS
from tests.public_calls import network, numbers, training

SIZE = 5
DATA = training(20, (1, SIZE, SIZE))
NOISE = numbers(2, (1, SIZE, SIZE), 3)
MAKERS: dict[str, Callable[..., Any]] = {
    "IS": lambda data, **_: els.IdealScore(data),
    "LS": lambda data, window, **_: els.LocalScore(data, window),
    "ELS": lambda data, window, **_: els.EquivariantLocalScore(data, window, engine="exact"),
    "ELS fast": lambda data, window, cache: els.EquivariantLocalScore(data, window, engine="fast", cache=cache),
}


def expected(name: str, x: Tensor, sigma: float, window: int) -> Tensor:
    """By the formula in float64, without |q|^2, which cancels and would swallow the rest where x is large."""
    size, radius = SIZE, window // 2
    images, queries = DATA.scaled(torch.float64), x.double()
    if name == "IS":
        return mean(queries.flatten(1), images.flatten(1), images.flatten(1), sigma).view(x.shape)

    def windows(of: Tensor) -> Tensor:
        return torch.nn.functional.unfold(torch.nn.functional.pad(of, (radius,) * 4), window).mT

    def kind(place: int) -> tuple[int, ...]:
        row, column = divmod(place, size)
        return tuple(min(far, radius) for far in (row, size - 1 - row, column, size - 1 - column))

    keys, values, asked = windows(images), images.flatten(2).mT, windows(queries)
    out = torch.empty(len(x), 1, size * size, dtype=torch.float64)
    for place in range(size * size):
        meets = [other for other in range(size * size) if (name == "LS" and other == place) or name != "LS"]
        meets = [other for other in meets if kind(other) == kind(place)]
        some = keys[:, meets].flatten(0, 1), values[:, meets].flatten(0, 1)
        out[:, 0, place] = mean(asked[:, place], *some, sigma)[:, 0]
    return out.view(x.shape)


def mean(queries: Tensor, keys: Tensor, values: Tensor, sigma: float) -> Tensor:
    logs = (queries @ keys.T - keys.square().sum(1) / 2) / sigma / sigma
    return (logs - logs.amax(1, keepdim=True)).softmax(1) @ values


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SEARCH_PLACES", 100)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("window", [3, 9])
def test_answers_are_right_up_to_the_ends_of_the_ranges(
    low: None, loop: None, tmp_path: Path, name: str, window: int
) -> None:
    machine = MAKERS[name](DATA, window=window, cache=tmp_path)
    for sigma in (SIGMAS[0], 1.0, SIGMAS[1]):
        for largest in (1e5, LARGEST):
            x = NOISE / NOISE.abs().max() * largest
            right = expected(name, x, sigma, window)
            for dtype in (torch.float32, torch.float64):
                found = machine(x.to(dtype), sigma)
                # The fast engine aims for 1e-3.
                assert float((found.double() - right).abs().max()) < 2e-3, (sigma, largest, dtype)


@pytest.mark.parametrize("name", [*MAKERS, "network"])
def test_answers_in_half_precision_are_finite(low: None, tmp_path: Path, name: str) -> None:
    if name == "network":
        machine, x = network(), numbers(2, (3, 8, 9), 2)
    else:
        machine, x = MAKERS[name](DATA, window=3, cache=tmp_path), NOISE
    for dtype in (torch.float16, torch.bfloat16):
        for sigma in (SIGMAS[0], 1.0, SIGMAS[1]):
            found = machine((x * min(1e3 * sigma, 6e4)).to(dtype), sigma)
            assert found.dtype == dtype
            assert bool(found.isfinite().all())


@pytest.mark.parametrize("name", [*MAKERS, "network"])
@pytest.mark.parametrize("sigma", [1e-320, 1e-156, 1e-30, 9e-9, 1.1e8, 1e30, 1e156, 1e300])
def test_noise_levels_out_of_range_are_refused(name: str, sigma: float, tmp_path: Path) -> None:
    machine = network() if name == "network" else MAKERS[name](DATA, window=3, cache=tmp_path)
    x = numbers(2, (3, 8, 9), 2) if name == "network" else NOISE
    with pytest.raises(ValueError, match=r"sigma must be between 1e-08 and 1e\+08, got"):
        machine(x, sigma)
    with pytest.raises(ValueError, match=r"sigma must be between 1e-08 and 1e\+08, got"):
        els.score(machine, x, sigma)
    with pytest.raises(ValueError, match=r"between 1e-08 and 1e\+08, got"):
        els.schedules.Schedule((sigma, 0.0))
    with pytest.raises(ValueError, match=r"sigma must be between 1e-08 and 1e\+08, got"):
        els.fixed_point(machine, x, sigma=sigma)


@pytest.mark.parametrize("far", [1.1e10, 1e36, -1e36])
def test_pixels_out_of_range_are_refused(far: float) -> None:
    x = torch.full((1, 1, SIZE, SIZE), far)
    for machine in (els.IdealScore(DATA), els.LocalScore(DATA, 3), els.EquivariantLocalScore(DATA, 3)):
        for call in (machine, lambda x, sigma, on=machine: els.sample(on, x), els.explain):
            arguments = (machine, x, 1.0) if call is els.explain else (x, 1.0)
            with pytest.raises(ValueError, match=r"has values from .*: expected -1e\+10 to 1e\+10"):
                call(*arguments)


def test_a_score_that_its_dtype_cannot_hold_is_refused() -> None:
    machine = els.LocalScore(DATA, 3)
    assert bool(els.score(machine, NOISE, SIGMAS[0]).isfinite().all())
    with pytest.raises(ValueError, match=r"too large for torch.float16: give x in a wider dtype"):
        els.score(machine, NOISE.half(), 1e-4)


def test_runs_over_the_whole_range_of_noise_are_finite() -> None:
    schedule = els.schedules.karras(5, sigma_min=2 * SIGMAS[0], sigma_max=SIGMAS[1] / 2)
    run = els.sample(els.LocalScore(DATA, 3), NOISE, schedule)
    assert float(run.images.abs().max()) <= 1.1
    with pytest.raises(ValueError, match=r"noise times the first noise level, 5e\+07, has NaN or infinite values"):
        els.sample(els.LocalScore(DATA, 3), NOISE.half(), schedule)


def test_scores_and_images_agree_with_numpy() -> None:
    machine = els.LocalScore(DATA, 3)
    found = els.score(machine, NOISE.numpy().astype(">f4"), 0.5)
    assert found.dtype == np.dtype(">f4")
    assert np.allclose(found, els.score(machine, NOISE, 0.5).numpy(), rtol=1e-6, atol=0)
    assert math.isclose(float(found[0, 0, 0, 0]), float((machine(NOISE, 0.5) - NOISE)[0, 0, 0, 0] / 0.25), rel_tol=1e-5)
