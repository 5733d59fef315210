"""Images drawn in part, the rest held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import elsewhere as els

LEVELS = els.schedules.karras(6, sigma_min=0.05, sigma_max=4.0)


def half(height: int = 6, width: int = 5) -> Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[:, width // 2 :] = True
    return mask


def gaussian(covariance: Tensor) -> Callable[[Tensor, float], Tensor]:
    """The exact denoiser of centred Gaussian images of one row, (B, 1, 1, W)."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(len(covariance), dtype=x.dtype))
        return x @ gain

    return denoise


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31 - 1), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_outside_the_mask_nothing_changes_by_a_bit(height: int, width: int, seed: int, rounds: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, height, width, generator=generator) * 2 - 1
    mask = torch.rand(height, width, generator=generator) < 0.5
    run = els.inpaint(lambda x, sigma: x * 0.5, images, mask, LEVELS, seed=seed, rounds=rounds)
    assert torch.equal(run.images[..., ~mask], images[..., ~mask])
    assert not (run.images == images)[..., mask].any()


def test_the_missing_part_plays_no_part() -> None:
    generator = torch.Generator().manual_seed(1)
    data = torch.rand(5, 1, 6, 5, generator=generator) * 2 - 1
    machine = els.EquivariantLocalScore(data, 3)
    mask = half()
    first = els.inpaint(machine, data[:1], mask, LEVELS)
    other = torch.where(mask, torch.full_like(data[:1], 0.7), data[:1])
    assert torch.equal(els.inpaint(machine, other, mask, LEVELS).images, first.images)


def test_the_ideal_machine_finds_the_image_that_fits_what_is_held() -> None:
    data = torch.rand(6, 1, 6, 5, generator=torch.Generator().manual_seed(2)) * 2 - 1
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:, 3] = True
    run = els.inpaint(els.IdealScore(data), data, mask, LEVELS, seed=3)
    torch.testing.assert_close(run.images, data, rtol=0, atol=1e-4)


def test_more_rounds_come_nearer_to_the_conditional_distribution_of_a_gaussian() -> None:
    # Two correlated pixels, the first held at 1.2: the second then has mean rho * 1.2 and variance 1 - rho^2.
    rho = 0.8
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    images = torch.tensor([[1.2, 0.0]], dtype=torch.float64).expand(300, 1, 1, 2).contiguous()
    mask = torch.tensor([[False, True]])
    levels = els.schedules.karras(20, sigma_min=0.05, sigma_max=10.0)
    off = {}
    for rounds in (1, 4, 16):
        drawn = els.inpaint(gaussian(covariance), images, mask, levels, rounds=rounds).images[:, 0, 0, 1]
        off[rounds] = abs(float(drawn.mean()) - rho * 1.2)
    assert off[1] > 1.5 * off[4]
    assert off[4] > 1.5 * off[16]
    # 300 draws: a standard error of 0.035.
    assert off[16] < 0.1


def test_everything_missing_and_one_round_is_a_plain_run() -> None:
    data = torch.rand(4, 1, 6, 5, generator=torch.Generator().manual_seed(4)) * 2 - 1
    machine, everywhere = els.EquivariantLocalScore(data, 3), torch.ones(6, 5, dtype=torch.bool)
    run = els.inpaint(machine, data[:2], everywhere, LEVELS, seed=7, rounds=1)
    expected = els.sample(machine, els.make_noise(2, (1, 6, 5), 7), LEVELS)
    assert torch.equal(run.images, expected.images)


def test_seeds_reproduce_whatever_the_number_beside_them_and_whatever_is_kept() -> None:
    data = torch.rand(4, 1, 6, 5, generator=torch.Generator().manual_seed(5)) * 2 - 1
    machine = els.LocalScore(data, 3)
    many = els.inpaint(machine, data[:3], half(), LEVELS, seed=5, keep=True)
    alone = els.inpaint(machine, data[:1], half(), LEVELS, seed=5)
    torch.testing.assert_close(alone.images, many.images[:1], rtol=0, atol=1e-5)
    assert not torch.allclose(els.inpaint(machine, data[:1], half(), LEVELS, seed=6).images, alone.images)
    assert len(many.states) == len(many.sigmas) == LEVELS.steps + 1
    assert len(many.predictions) == LEVELS.steps
    assert torch.equal(many.states[-1], many.images)


def test_masks_of_each_image_numpy_and_float64() -> None:
    data = np.random.default_rng(0).random((4, 1, 6, 5)) * 2 - 1
    mask = np.stack([half().numpy(), ~half().numpy()])[:, None]
    run = els.inpaint(els.LocalScore(data, 3), data[:2], mask, LEVELS)
    assert run.images.dtype == torch.float64
    assert np.array_equal(run.images.numpy()[~mask], data[:2][~mask])


def test_classes_reach_the_denoiser() -> None:
    seen = []

    def denoise(x: Tensor, sigma: float, label: Any = None) -> Tensor:
        seen.append(label)
        return x * 0

    els.inpaint(denoise, torch.zeros(1, 1, 6, 5), half(), LEVELS, 2, rounds=1)
    assert seen == [2] * LEVELS.steps


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"mask": half().float()}, TypeError, "mask must be a bool array"),
        ({"mask": [[True]]}, TypeError, "got list"),
        ({"mask": half(5, 5)}, ValueError, r"mask must be \(6, 5\) or \(2, 1, 6, 5\)"),
        ({"mask": half()[None]}, ValueError, r"got \(1, 6, 5\)"),
        ({"images": torch.zeros(2, 6, 5)}, ValueError, "images must be"),
        ({"images": torch.zeros(2, 1, 6, 5, dtype=torch.uint8)}, TypeError, "floating point"),
        ({"rounds": 0}, ValueError, "rounds must be 1 or more, got 0"),
        ({"rounds": 1.5}, TypeError, "rounds"),
        ({"seed": -1}, ValueError, "seed must be"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"images": torch.zeros(2, 1, 6, 5), "mask": half(), "rounds": 2, "seed": 0, **change}
    with pytest.raises(error, match=message):
        els.inpaint(lambda x, sigma: x, schedule=LEVELS, **arguments)
