"""Order of convergence and exactness of the samplers, on data whose reverse process has a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere import samplers
from elsewhere.sampling import reverse_process
from elsewhere.schedules import Schedule

DETERMINISTIC = ("euler", "heun", "dpmpp-2m")
SPREAD = 0.5
"""Standard deviation of the data of `Gaussian`."""


class Gaussian:
    """Data N(0, SPREAD^2): D(x, sigma) = x SPREAD^2 / (SPREAD^2 + sigma^2), and the ODE keeps x / sqrt(SPREAD^2 +
    sigma^2)."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: torch.Tensor, sigma: float, label: object = None) -> torch.Tensor:
        self.calls += 1
        return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def levels(steps: int, last: float = 0.05, first: float = 10.0) -> Schedule:
    """Levels whose steps in log sigma are short and long in turn, and the final 0."""
    lengths = np.resize([1.0, 2.0], steps)
    way = np.concatenate([[0.0], lengths.cumsum() / lengths.sum()])
    return Schedule((*(first * (last / first) ** way).tolist(), 0.0))


def error(sampler: str, steps: int) -> float:
    """Distance from the exact ODE at the last level above 0, where every sampler has made `steps` steps."""
    schedule = levels(steps)
    first, last = schedule.sigmas[0], schedule.sigmas[-2]
    x = torch.full((1, 1, 1, 1), first, dtype=torch.float64)
    *_, step = reverse_process(Gaussian(), x, schedule, sampler=sampler)  # type: ignore[arg-type]
    exact = first * math.sqrt((SPREAD**2 + last**2) / (SPREAD**2 + first**2))
    return abs(float(step.x) - exact)


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2), ("dpmpp-2m", 2)])
def test_the_error_falls_with_the_order_of_the_sampler(sampler: str, order: int) -> None:
    steps = np.array([80, 160, 320])
    errors = np.array([error(sampler, int(n)) for n in steps])
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope + order) < 0.1


def test_ancestral_noise_approaches_the_spread_of_the_data_at_first_order() -> None:
    x = els.make_noise(4, (1, 256, 256)).double() * levels(1).sigmas[0]
    slopes = []
    steps = np.array([32, 64, 128])
    for n in steps:
        *_, step = reverse_process(Gaussian(), x, levels(int(n)), sampler="ancestral")
        exact = SPREAD**2 + step.sigma**2
        slopes.append(abs(float(step.x.square().mean()) - exact))
    # 262,144 pixels: the standard error of the variance is 0.3 %, and the bias at 128 steps is 4 %.
    assert abs(np.polyfit(np.log(steps), np.log(slopes), 1)[0] + 1) < 0.15


def test_ancestral_states_have_the_noise_of_their_level() -> None:
    # One training image: x - x0 is N(0, sigma^2) at every level, however few the steps.
    schedule = levels(4, last=0.5)
    x = els.make_noise(4, (1, 128, 128)) * schedule.sigmas[0]
    steps = list(
        reverse_process(lambda x, sigma, label=None: torch.full_like(x, 0.25), x, schedule, sampler="ancestral")
    )
    for step in steps:
        assert abs(float((step.x - 0.25).std()) / step.sigma - 1) < 0.02  # six standard errors
    # The noise that is added has nothing to do with the noise before.
    left = steps[1].x - 0.25 - (steps[1].sigma / steps[0].sigma) ** 2 * (steps[0].x - 0.25)
    assert abs(float((left * steps[0].x).mean())) < 0.02 * float(left.std() * steps[0].x.std())
    assert torch.equal(steps[-1].next_x, torch.full_like(x, 0.25))


@pytest.mark.parametrize(("sampler", "calls"), [("euler", 5), ("heun", 9), ("dpmpp-2m", 5), ("ancestral", 5)])
def test_how_often_a_sampler_asks(sampler: str, calls: int) -> None:
    denoiser = Gaussian()
    els.sample(denoiser, els.make_noise(1, (1, 4, 4)), els.schedules.cosine(5), sampler=sampler)  # type: ignore[arg-type]
    assert denoiser.calls == calls


@pytest.mark.parametrize("sampler", samplers.NAMES)
def test_every_sampler_ends_on_the_only_training_image(sampler: str) -> None:
    data = els.load_images("fashion-mini", 1)
    run = els.sample(els.IdealScore(data), els.make_noise(2, data.shape), sampler=sampler, keep=True)  # type: ignore[arg-type]
    assert torch.allclose(run.images, data.scaled().expand_as(run.images), atol=1e-5)
    assert (run.sampler, len(run.states), len(run.predictions)) == (sampler, 21, 20)


def test_a_seed_repeats_ancestral_images_and_another_does_not() -> None:
    data = els.load_images("fashion-mini", 20)
    machine, noise = els.LocalScore(data, 5), els.make_noise(3, data.shape, seed=3)

    def drawn(noise: torch.Tensor, seed: int) -> torch.Tensor:
        return els.sample(machine, noise, els.schedules.cosine(4), sampler="ancestral", seed=seed).images

    assert torch.equal(drawn(noise, 3), drawn(noise, 3))
    assert not torch.allclose(drawn(noise, 3), drawn(noise, 4), atol=0.1)
    # An image does not depend on those beside it; 1e-4: sums of other lengths in float32.
    assert torch.allclose(drawn(noise, 3)[:1], drawn(noise[:1], 3), atol=1e-4)


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_gradients_go_through_every_step(sampler: str) -> None:
    noise = els.make_noise(1, (1, 2, 2)).double().requires_grad_()
    end = els.sample(Gaussian(), noise, levels(6), sampler=sampler).images  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(end.sum(), noise)
    # The sampler is linear here: every pixel is a multiple of its noise.
    assert torch.allclose(gradient, (end / noise).detach())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sampler": "ddim"}, ValueError, "sampler must be .*euler"),
        ({"sampler": 1}, TypeError, "sampler"),
        ({"sampler": "ancestral", "seed": -1}, ValueError, "seed must be"),
    ],
)
def test_what_is_no_sampler_is_refused(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        els.sample(Gaussian(), els.make_noise(1, (1, 4, 4)), **arguments)  # type: ignore[arg-type]
