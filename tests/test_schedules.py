from __future__ import annotations

import math

import numpy as np
import pytest

from elsewhere import schedules


@pytest.mark.parametrize("name", schedules.NAMED)
@pytest.mark.parametrize("steps", [1, 2, 20, 150])
def test_every_schedule_decreases_to_zero_in_as_many_steps_as_asked(name: str, steps: int) -> None:
    schedule = schedules.named(name, steps)
    assert schedule.steps == steps
    assert schedule.sigmas[-1] == 0
    assert all(a > b for a, b in zip(schedule.sigmas, schedule.sigmas[1:], strict=False))


def test_cosine_is_the_published_one() -> None:
    # s^2(t) = 1 - cos^2(pi/2 t/1.008), sigma = s / sqrt(1 - s^2), at t = 1, 0.95, ..., 0.05
    t = np.arange(20, 0, -1) / 20
    s2 = 1 - np.cos(np.pi / 2 * t / 1.008) ** 2
    assert np.allclose(schedules.cosine(20).sigmas[:-1], np.sqrt(s2 / (1 - s2)), rtol=1e-9)


def test_linear_is_the_one_of_ddpm() -> None:
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    schedule = schedules.linear(1000)
    assert np.allclose(schedule.sigmas[:-1], np.sqrt(1 / kept[::-1] - 1), rtol=1e-9)
    assert math.isclose(schedules.linear(10).sigmas[0], math.sqrt(1 / kept[-1] - 1))


def test_leading_has_the_published_levels() -> None:
    # Times 900, 800, ..., 0 of DDPM; three digits as Analytic Diffusion Studio's scheduler returns them.
    published = [60.82, 25.74, 12.02, 6.17, 3.44, 2.04, 1.24, 0.724, 0.342, 0.01]
    assert np.allclose(schedules.leading().sigmas[:-1], published, rtol=2e-3)
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    assert np.allclose(schedules.leading(4).sigmas[:-1], np.sqrt(1 / kept[[750, 500, 250, 0]] - 1), rtol=1e-9)


def test_karras_has_its_ends_and_even_roots() -> None:
    levels = np.array(schedules.karras(12, sigma_min=0.01, sigma_max=50, rho=5).sigmas[:-1])
    assert np.allclose([levels[0], levels[-1]], [50, 0.01])
    assert np.allclose(np.diff(levels ** (1 / 5)), np.diff(levels ** (1 / 5))[0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: schedules.cosine(0), ValueError, "steps must be"),
        (lambda: schedules.cosine(-3), ValueError, "-3"),
        (lambda: schedules.cosine(2.5), TypeError, "integer"),
        (lambda: schedules.cosine(True), TypeError, "integer"),
        (lambda: schedules.linear(2000), ValueError, "train_steps"),
        (lambda: schedules.leading(2000), ValueError, "train_steps"),
        (lambda: schedules.linear(5, beta_start=0.5, beta_end=0.1), ValueError, "betas"),
        (lambda: schedules.karras(5, sigma_min=3, sigma_max=2), ValueError, "sigma_min"),
        (lambda: schedules.karras(5, rho=0), ValueError, "rho"),
        (lambda: schedules.named("kosine", 5), ValueError, "kosine"),
        (lambda: schedules.Schedule((1.0,)), ValueError, "final 0"),
        (lambda: schedules.Schedule((1.0, 2.0, 0.0)), ValueError, "decrease"),
        (lambda: schedules.Schedule((2.0, 1.0)), ValueError, "end at 0"),
        (lambda: schedules.Schedule((math.nan, 0.0)), ValueError, "finite"),
    ],
)
def test_bad_settings_say_what_is_wrong(make, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        make()


def test_karras_takes_the_least_and_the_greatest_level() -> None:
    levels = schedules.karras(3, *schedules.SIGMAS).sigmas
    assert (levels[0], levels[2]) == pytest.approx(schedules.SIGMAS[::-1], rel=1e-12)
