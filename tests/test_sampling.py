from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere import sampling
from elsewhere.sampling import reverse_process


class Blend:
    """A toy denoiser with a closed-form trajectory: D(x, sigma) = target + sigma * slope * (x - target)."""

    def __init__(self, target: float = 0.5, slope: float = 0.0) -> None:
        self.target, self.slope = target, slope

    def __call__(self, x: torch.Tensor, sigma: float, label: object = None) -> torch.Tensor:
        return self.target + sigma * self.slope * (x - self.target)


def test_a_constant_denoiser_is_reached_in_one_straight_line() -> None:
    noise = els.make_noise(2, (1, 4, 4))
    run = els.sample(Blend(), noise, els.schedules.karras(7), keep=True)
    assert torch.allclose(run.images, torch.full_like(noise, 0.5), atol=1e-6)
    for state, sigma in zip(run.states, run.sigmas, strict=True):
        start = run.sigmas[0] * noise - 0.5
        assert torch.allclose(state, 0.5 + sigma / run.sigmas[0] * start, atol=1e-4)


def test_steps_converge_at_first_order_to_the_exact_flow() -> None:
    # dx/dsigma = (x - D)/sigma with D = s * k * (x - t) + t:  x(s) - t = C * s * exp(-k s).
    slope, first, last = 0.3, 2.0, 0.05

    def error(steps: int) -> float:
        levels = np.linspace(first, last, steps + 1)
        x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        *_, step = reverse_process(Blend(0.0, slope), x, els.schedules.Schedule((*levels, 0.0)))
        exact = last / first * math.exp(-slope * (last - first))
        return abs(float(step.x) - exact)

    order = math.log2(error(200) / error(400))
    assert 0.95 < order < 1.05


def test_the_trajectory_is_kept_only_on_request() -> None:
    noise = els.make_noise(1, (1, 4, 4))
    assert els.sample(Blend(), noise).states == []
    run = els.sample(Blend(), noise, els.schedules.cosine(5), keep=True)
    assert (len(run.states), len(run.predictions), len(run.sigmas)) == (6, 5, 6)
    assert torch.equal(run.states[-1], run.images)


def test_what_a_run_says_of_itself_is_short() -> None:
    noise = els.make_noise(2, (3, 4, 5))
    run = els.sample(lambda x, sigma, label=None: 0 * x, noise, els.schedules.karras(3, 0.1, 10.0), keep=True)
    assert repr(run) == ("Run(images of shape (2, 3, 4, 5), 4 noise levels from 10 to 0, states and predictions kept)")
    end = els.fixed_point(lambda x, sigma, label=None: x, run.images)
    assert repr(end) == "FixedPoint(images of shape (2, 3, 4, 5), 100.0% of the pixels converged, iterations=1)"


def test_a_seed_gives_the_same_images_bit_for_bit() -> None:
    data = els.load_images("fashion-mini", 20)
    machine = els.EquivariantLocalScore(data, 5)
    runs = [els.sample(machine, els.make_noise(2, data.shape, seed=3)).images for _ in range(2)]
    assert torch.equal(*runs)


def test_an_image_does_not_depend_on_the_batch_it_is_drawn_in() -> None:
    data = els.load_images("fashion-mini", 20)
    machine = els.EquivariantLocalScore(data, 5)
    many = els.sample(machine, els.make_noise(3, data.shape)).images
    one = els.sample(machine, els.make_noise(1, data.shape)).images
    assert torch.allclose(many[:1], one, atol=1e-4)


def test_the_number_of_cores_does_not_change_a_bit() -> None:
    import subprocess
    import sys

    code = (
        "import sys, torch, hashlib; torch.set_num_threads(int(sys.argv[1])); import elsewhere as els\n"
        "data = els.load_images('fashion-mini', 60)\n"
        "x0 = els.EquivariantLocalScore(data, 5)(els.make_noise(1, data.shape), 1.0)\n"
        "print(hashlib.sha256(x0.numpy().tobytes()).hexdigest())\n"
    )
    prints = [
        subprocess.run([sys.executable, "-c", code, cores], capture_output=True, text=True, check=True).stdout
        for cores in ("1", "2")
    ]
    assert prints[0] == prints[1] != ""


def test_noise_of_a_seed_does_not_depend_on_how_much_is_drawn() -> None:
    assert torch.equal(els.make_noise(5, (1, 4, 4), seed=7)[:2], els.make_noise(2, (1, 4, 4), seed=7))


def test_large_seeds_are_not_those_of_small_ones() -> None:
    seeds = (0, 1, 4095, 4096, 4097, 2**20, 2**31 - 1)
    noises = [els.make_noise(2, (1, 3, 3), seed=seed) for seed in seeds]
    images = {tuple(image.flatten().tolist()) for noise in noises for image in noise}
    assert len(images) == 2 * len(seeds)


def test_noise_differs_between_seeds_and_is_standard_normal() -> None:
    one, other = els.make_noise(50, (1, 28, 28), seed=1), els.make_noise(50, (1, 28, 28), seed=2)
    assert not torch.equal(one, other)
    assert abs(float(one.mean())) < 0.02
    assert abs(float(one.std()) - 1) < 0.02


def test_numpy_noise_is_taken() -> None:
    noise = els.make_noise(1, (1, 4, 4))
    assert torch.equal(els.sample(Blend(), noise.numpy()).images, els.sample(Blend(), noise).images)


def test_the_iteration_stops_at_a_fixed_point() -> None:
    end = els.fixed_point(Blend(0.5), torch.zeros(2, 1, 4, 4))
    assert end.iterations == 2
    assert torch.equal(end.converged_fraction, torch.ones(2, dtype=torch.float64))
    assert torch.equal(end.images, torch.full((2, 1, 4, 4), 0.5))


def test_the_converged_fraction_counts_the_pixels_that_stay() -> None:
    class Restless:
        def __call__(self, x: torch.Tensor, sigma: float, label: object = None) -> torch.Tensor:
            x = x.clone()
            x[:, :, 0] += 1
            return x

    end = els.fixed_point(Restless(), torch.zeros(1, 1, 4, 4), max_iters=20)
    assert end.iterations == 20
    assert float(end.converged_fraction[0]) == 0.75


def test_the_names_of_version_0_1_still_work_and_warn() -> None:
    with pytest.warns(DeprecationWarning, match=r"use fixed_point\(max_iters=\.\.\.\)") as seen:
        end = els.settle(Blend(0.5), torch.zeros(2, 1, 4, 4), most=20)
    assert seen[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="use converged_fraction"):
        assert torch.equal(end.share, end.converged_fraction)
    with pytest.warns(DeprecationWarning, match="use iterations"):
        assert end.rounds == end.iterations
    with pytest.warns(DeprecationWarning, match="use FixedPoint"):
        assert isinstance(end, sampling.Settled)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"noise": torch.zeros(4, 4)}, ValueError, "noise must be"),
        ({"noise": "noise"}, TypeError, "noise must be"),
        ({"noise": torch.full((1, 1, 4, 4), math.nan)}, ValueError, "noise has NaN"),
        ({"schedule": 20}, TypeError, "Schedule"),
        ({"schedule": [1.0, 0.0]}, TypeError, "schedules.cosine"),
    ],
)
def test_bad_arguments_say_what_is_wrong(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        els.sample(Blend(), **{"noise": torch.zeros(1, 1, 4, 4), **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (1, -1), (1, 2**31)])
def test_bad_noise_is_refused(count: int, seed: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        els.make_noise(count, (1, 4, 4), seed)


def test_no_iterations_are_refused() -> None:
    with pytest.raises(ValueError, match="max_iters must be 1"):
        els.fixed_point(Blend(), torch.zeros(1, 1, 4, 4), max_iters=0)


def test_noise_that_is_scaled_already_is_warned_of() -> None:
    noise, schedule = els.make_noise(2, (1, 8, 8)), els.schedules.karras(3)
    with pytest.warns(
        UserWarning, match=r"noise has standard deviation \d+(\.\d)?, expected 1: .* level, 80;"
    ) as found:
        els.sample(Blend(), schedule.sigmas[0] * noise, schedule)
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        els.sample(Blend(), noise, schedule)
        els.sample(Blend(), 2 * noise, schedule)
        # Of few numbers no deviation is judged.
        els.sample(Blend(), 80 * noise[:1, :, :1, :3], schedule)
