"""Reaction and diffusion against what is known of them exactly."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.morphogenesis import PATTERNS, GrayScott, State, evolve, measure, scattered, simulate

few = settings(max_examples=20, deadline=None)

TURING = GrayScott(0.06, 0.062)
"""A steady state that is stable until diffusion comes in."""


def uniform(u: float, v: float, side: int = 6, dtype: torch.dtype = torch.float64) -> State:
    return State(torch.full((1, side, side), u, dtype=dtype), torch.full((1, side, side), v, dtype=dtype))


def wave(height: int, width: int, down: int, across: int) -> tuple[torch.Tensor, float, float]:
    """A cosine with whole numbers of waves, (1, H, W) float64, and its wave numbers in radians a cell."""
    numbers = 2 * math.pi * down / height, 2 * math.pi * across / width
    rows, columns = torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    return torch.cos(numbers[0] * rows[:, None] + numbers[1] * columns)[None], *numbers


@given(st.integers(4, 17), st.integers(4, 17), st.integers(0, 8), st.integers(0, 8), st.integers(0, 1))
@few
def test_without_v_a_wave_of_u_decays_at_its_own_rate(
    height: int, width: int, down: int, across: int, way: int
) -> None:
    system = GrayScott(0.03, 0.06, diffusion_u=((0.2, 0.05), (0.11, 0.13))[way])
    field, *numbers = wave(height, width, down % (height // 2 + 1), across % (width // 2 + 1))
    steps, step = 7, 0.8
    # One Euler step multiplies a mode of the 5-point stencil by this, exactly.
    lap = [2 - 2 * math.cos(number) for number in numbers]
    decay = 1 - step * (system.feed + sum(d * n for d, n in zip(system.diffusion_u, lap, strict=True)))
    after = evolve(system, State(1 + 0.3 * field, torch.zeros_like(field)), steps, step)
    torch.testing.assert_close(after.u, 1 + 0.3 * decay**steps * field, rtol=0, atol=1e-12)
    assert not after.v.any()


def test_short_steps_follow_the_continuous_decay_of_v_with_an_error_of_first_order() -> None:
    system = GrayScott(0.04, 0.06, (0.0, 0.0), (0.07, 0.03))
    field, down, across = wave(32, 32, 2, 3)
    rate = system.feed + system.kill + 0.07 * (2 - 2 * math.cos(down)) + 0.03 * (2 - 2 * math.cos(across))
    # With u = 0 nothing is eaten but what the feed brings: keep it at 0 by taking so little v that v^2 vanishes.
    start = State(torch.ones_like(field), 1e-9 * field)
    errors = []
    for count in (50, 100, 200):
        after = evolve(system, start, count, 10 / count)
        errors.append(float((after.v - 1e-9 * math.exp(-10 * rate) * field).abs().max()))
    for coarse, fine in pairwise(errors):
        assert 1.8 < coarse / fine < 2.2


def test_without_diffusion_every_cell_is_the_ordinary_differential_equation() -> None:
    system = GrayScott(0.04, 0.06, (0.0, 0.0), (0.0, 0.0))
    generator = torch.Generator().manual_seed(0)
    start = State(*torch.rand(2, 1, 5, 4, generator=generator, dtype=torch.float64))
    after = evolve(system, start, 30, 0.5)
    for i in range(5):
        for j in range(4):
            u, v = float(start.u[0, i, j]), float(start.v[0, i, j])
            for _ in range(30):
                u, v = (
                    u + 0.5 * (-u * v * v + system.feed * (1 - u)),
                    v + 0.5 * (u * v * v - (system.feed + system.kill) * v),
                )
            assert float(after.u[0, i, j]) == pytest.approx(u, abs=1e-12)
            assert float(after.v[0, i, j]) == pytest.approx(v, abs=1e-12)


def test_without_kill_the_total_of_both_approaches_one_at_the_rate_of_the_feed() -> None:
    # d(u + v)/dt = feed (1 - u - v) + diffusion, which only moves things about: an exact law of the mean.
    system = GrayScott(0.05, 0.0, (0.1, 0.2), (0.05, 0.03))
    start = scattered(2, (12, 9), seed=3, dtype=torch.float64)
    after = evolve(system, start, 40, 0.7)
    totals = [1 - (state.u + state.v).mean((1, 2)) for state in (start, after)]
    torch.testing.assert_close(totals[1], totals[0] * (1 - 0.7 * 0.05) ** 40, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PATTERNS)
def test_steady_states_stay(name: str) -> None:
    system = PATTERNS[name]
    for u, v in ((1.0, 0.0), system.steady_state()):
        after = evolve(system, uniform(u, v), 20)
        torch.testing.assert_close(after.u, uniform(u, v).u, rtol=0, atol=1e-12)
        torch.testing.assert_close(after.v, uniform(u, v).v, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("down", "across"), [(0, 0), (2, 3), (5, 0), (0, 5), (16, 16)])
def test_a_small_wave_on_the_steady_state_grows_at_the_rate_of_the_dispersion_relation(down: int, across: int) -> None:
    field, *numbers = wave(32, 32, down, across)
    u, v = TURING.steady_state()
    size, step, columns = 1e-6, 0.5, []
    for pushed in (0, 1):
        start = State(u + size * (1 - pushed) * field, v + size * pushed * field)
        after = evolve(TURING, start, 1, step)
        answers = [((now - was) * field).mean() for now, was in ((after.u, u), (after.v, v))]
        columns.append(torch.stack(answers) / (size * field.square().mean()))
    # A step of Euler multiplies an eigenvector by 1 + step * rate.
    rates = (torch.linalg.eigvals(torch.stack(columns, dim=1)) - 1) / step
    expected = TURING.growth_rate(*numbers)
    assert float(rates.real.max()) == pytest.approx(expected.real, abs=1e-5)
    assert float(rates.imag.abs().max()) == pytest.approx(abs(expected.imag), abs=1e-5)


def test_a_growing_wave_outgrows_the_others_from_noise() -> None:
    u, v = TURING.steady_state()
    noise = torch.randn(1, 48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    after = evolve(TURING, State(u + 1e-6 * noise, torch.full_like(noise, v)), 4000)
    rates = {length: TURING.growth_rate(2 * math.pi / length, 0.0).real for length in range(3, 49)}
    assert measure(after.images()[0, 0]).wavelength == pytest.approx(max(rates, key=lambda n: rates[n]), rel=0.1)


def test_diffusion_makes_a_stable_state_unstable() -> None:
    system = TURING
    rates = {k: system.growth_rate(2 * math.pi * k / 64, 0.0).real for k in range(33)}
    assert rates[0] < 0, "stable without diffusion"
    fastest = max(rates, key=lambda k: rates[k])
    assert rates[fastest] > 0
    # Linear theory gives the wavelength of what grows, if not exactly that of what is left.
    grown = measure(simulate(system, (64, 64)).images()[0, 0]).wavelength
    assert 64 / fastest == pytest.approx(grown, rel=0.25)


def test_the_bare_state_is_the_only_one_where_the_feed_is_small() -> None:
    assert PATTERNS["spots"].steady_state() == (1.0, 0.0)


@given(st.integers(-40, 40), st.integers(-40, 40), st.integers(0, 2**31 - 1))
@few
def test_rolling_the_start_rolls_the_pattern(down: int, across: int, seed: int) -> None:
    start = scattered(1, (11, 8), seed)
    rolled = State(*(field.roll((down, across), (1, 2)) for field in (start.u, start.v)))
    expected, found = evolve(PATTERNS["spots"], start, 15), evolve(PATTERNS["spots"], rolled, 15)
    # The same sums at other places: the same bits.
    assert torch.equal(found.v, expected.v.roll((down, across), (1, 2)))


@pytest.mark.parametrize("name", PATTERNS)
def test_steps_up_to_the_largest_are_stable_and_longer_ones_refused(name: str) -> None:
    system = PATTERNS[name]
    start = scattered(1, (32, 32))
    assert float(evolve(system, start, 1500, 0.98 * system.largest_step).v.max()) < 1
    with pytest.raises(ValueError, match=f"at most {system.largest_step:.4g}, the largest stable step"):
        evolve(system, start, 1, 1.01 * system.largest_step)


def test_the_largest_step_is_where_the_chequerboard_begins_to_grow() -> None:
    system = GrayScott(1e-9, 10.0, diffusion_v=(0.0, 0.0))
    slow = GrayScott(1e-9, 0.0, (0.1, 0.1), (0.2, 0.3))
    assert system.largest_step == pytest.approx(2 / 10)
    assert slow.largest_step == pytest.approx(2 / (4 * 0.5))
    field = wave(8, 8, 4, 4)[0]
    after = evolve(slow, State(torch.zeros_like(field), field * 1e-12), 10, slow.largest_step)
    torch.testing.assert_close(after.v.abs(), field.abs() * 1e-12, rtol=1e-6, atol=0)


def test_seeds_reproduce_whatever_the_number_beside_them() -> None:
    alone, many = scattered(1, (9, 10), seed=4), scattered(3, (9, 10), seed=4)
    assert torch.equal(alone.u[0], many.u[0])
    assert not torch.equal(many.u[0], many.u[1])
    assert not torch.equal(alone.u, scattered(1, (9, 10), seed=5).u)


def test_the_start_is_left_as_it_was_and_types_are_kept() -> None:
    for dtype in (torch.float32, torch.float64):
        start = scattered(1, (8, 8), dtype=dtype)
        before = start.u.clone()
        after = evolve(PATTERNS["spots"], start, 5)
        assert torch.equal(start.u, before)
        assert after.u.dtype == after.v.dtype == after.images().dtype == dtype


def test_images_run_from_the_least_to_the_most_v() -> None:
    images = scattered(2, (8, 8)).images()
    assert images.shape == (2, 1, 8, 8)
    assert images.amin((1, 2, 3)).tolist() == [-1, -1]
    assert images.amax((1, 2, 3)).tolist() == [1, 1]
    fixed = uniform(0.5, 0.2).images(low=0.0, high=0.1)
    assert fixed.unique().tolist() == [1.0]
    assert torch.isfinite(uniform(0.5, 0.2).images()).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GrayScott(0.0, 0.06), "feed must be positive"),
        (lambda: GrayScott(0.03, -0.1), "kill must be 0 or more"),
        (lambda: GrayScott(0.03, math.nan), "kill must be"),
        (lambda: GrayScott(0.03, 0.06, (0.1, -0.1)), "diffusion_u must be two rates"),
        (lambda: evolve(PATTERNS["spots"], scattered(1, (4, 4)), -1), "steps must be 0 or more, got -1"),
        (lambda: evolve(PATTERNS["spots"], scattered(1, (4, 4)), 1, 0.0), "step must be above 0"),
        (
            lambda: evolve(PATTERNS["spots"], State(torch.ones(1, 4, 4), torch.ones(1, 4, 5)), 1),
            "must have the same shape",
        ),
        (lambda: scattered(0, (4, 4)), "must be 1 or more, got 0"),
        (lambda: scattered(1, (4, 0)), "both sides of size"),
        (lambda: scattered(1, (4, 4), seed=-1), "seed must be"),
    ],
)
def test_bad_arguments_are_named(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
