"""Noise levels of runs: our sampler on them takes the library's own steps."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from elsewhere import schedules
from elsewhere.sampling import sample
from elsewhere.schedulers import SCHEDULERS, sampling_levels

SPACINGS = ("leading", "trailing", "linspace")


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 7, 10, 50, 1000])
def test_our_spacings_are_the_library_s(spacing: Any, steps: int) -> None:
    if spacing == "linspace" and steps == 1:
        pytest.skip("the library takes time 0 alone, which is no run from noise")
    theirs = schedules.from_scheduler(diffusers.DDIMScheduler(timestep_spacing=spacing), steps)
    ours = schedules.linear(steps, spacing=spacing)
    # The library sums logarithms in float32.
    np.testing.assert_allclose(theirs.sigmas, ours.sigmas, rtol=2e-3)


def test_published_ten_steps_begin_at_time_900() -> None:
    sigmas = schedules.from_scheduler(diffusers.DDIMScheduler(), 10).sigmas
    assert sigmas[0] == pytest.approx(60.82, abs=0.01)
    assert len(sigmas) == 11


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if "FlowMatch" not in name])
def test_every_scheduler_has_levels_and_is_left_as_it_was(name: str) -> None:
    scheduler = getattr(diffusers, name)()
    before = copy.deepcopy(scheduler.timesteps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some end at noise
        schedule = schedules.from_scheduler(scheduler, 10)
    np.testing.assert_array_equal(scheduler.timesteps, before)
    assert schedule.name == f"{name}(10)"
    assert schedule.steps == 10 or name == "PNDMScheduler"  # which asks at times in between as it begins
    made = getattr(diffusers, name)()
    made.set_timesteps(10)
    if hasattr(made, "sigmas"):
        known = set(torch.as_tensor(made.sigmas).double().tolist())
        assert all(sigma in known for sigma in schedule.sigmas[:-1])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("DDIMScheduler", {"clip_sample": False, "timestep_spacing": "leading"}),
        ("DDIMScheduler", {"clip_sample": False, "timestep_spacing": "trailing"}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("EDMEulerScheduler", {"sigma_schedule": "exponential"}),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 2.0}),
    ],
)
def test_our_sampler_takes_the_steps_of_the_library(name: str, settings: dict[str, Any]) -> None:
    """Of a network that knows normal images: what is held is the run, not the reading of the network."""
    scheduler = getattr(diffusers, name)(**settings)
    schedule = schedules.from_scheduler(scheduler, 5)

    def denoiser(x: torch.Tensor, sigma: float, label: None = None) -> torch.Tensor:
        return 0.49 * x / (0.49 + sigma**2)

    noise = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = sample(denoiser, noise, schedule).images
    flow, euler = name.startswith("Flow"), name.startswith("E")
    first = schedule.sigmas[0]
    state = noise if flow else first * noise * (1 if euler else (1 + first**2) ** -0.5)
    scheduler.set_timesteps(5)
    for index, time in enumerate(scheduler.timesteps):
        sigma = schedule.sigmas[index]
        a = 1 / (1 + sigma) if flow else 1.0 if euler else (1 + sigma**2) ** -0.5
        x = state / a
        x0 = denoiser(x, sigma)
        if name.startswith("EDM"):
            scheduler.scale_model_input(state, time)
            q = (sigma**2 + 0.25) ** 0.5
            answer = (x0 - 0.25 / q**2 * x) / (sigma * 0.5 / q)
        else:
            noise_hat = (x - x0) / sigma
            answer = noise_hat - x0 if flow else noise_hat
        if name.startswith("EulerD"):
            scheduler.scale_model_input(state, time)
        state = scheduler.step(answer, time, state).prev_sample.double()
    # Schedulers hold their levels in float32, some step in it.
    assert torch.allclose(state, ours, atol=1e-4)


def test_pure_noise_is_the_greatest_level() -> None:
    assert schedules.from_scheduler(diffusers.FlowMatchEulerDiscreteScheduler(), 4).sigmas[0] == 1e8
    zero = diffusers.DDIMScheduler(
        rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
    )
    assert sampling_levels(zero, 4)[0][0] == float("inf")


@pytest.mark.parametrize(
    ("name", "settings"),
    [("DDIMScheduler", {"set_alpha_to_one": False}), ("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min"})],
)
def test_a_run_that_ends_at_noise_is_said(name: str, settings: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match=rf"{name} ends its runs at sigma 0\.0"):
        schedule = schedules.from_scheduler(getattr(diffusers, name)(**settings), 5)
    assert schedule.sigmas[-1] == 0


@pytest.mark.parametrize(
    ("make", "steps", "error", "words"),
    [
        (lambda: diffusers.DDIMScheduler(), 2000, ValueError, "DDIMScheduler cannot take steps=2000"),
        (lambda: diffusers.DDIMScheduler(), 0, ValueError, "steps must be"),
        (lambda: diffusers.DDIMScheduler(), 2.5, TypeError, "steps must be"),
        (lambda: diffusers.LCMScheduler(), 5, ValueError, "LCMScheduler.*cannot be read"),
        (lambda: diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), 5, ValueError, "`mu` must be"),
        (lambda: diffusers.DDIMScheduler, 5, TypeError, "scheduler must be a diffusers scheduler"),
        (lambda: None, 5, TypeError, "scheduler must be a diffusers scheduler, got None"),
        (lambda: diffusers.RePaintScheduler(), 100, ValueError, "do not decrease"),
    ],
)
def test_what_cannot_be_taken_is_named(make: Any, steps: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        schedules.from_scheduler(make(), steps)
