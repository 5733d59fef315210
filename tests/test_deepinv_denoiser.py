"""Machines as deepinv's denoisers; with deepinv itself where it is installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import elsewhere as els


@pytest.fixture(scope="module")
def machine() -> els.LocalScore:
    return els.LocalScore(els.load_images("fashion-mini", 40), 7)


def noisy(sigma: float) -> torch.Tensor:
    clean = (els.load_images("fashion-mini", 44).scaled()[40:] + 1) / 2
    return clean + sigma * els.make_noise(4, (1, 28, 28))


@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1, 1, 1)])
def test_images_in_0_1_are_those_in_minus_1_1(machine: els.LocalScore, shape: tuple[int, ...]) -> None:
    u = noisy(0.2)
    expected = (machine(2 * u - 1, 0.4) + 1) / 2
    assert torch.allclose(els.as_deepinv(machine)(u, torch.full(shape, 0.2)), expected, atol=1e-5)
    assert torch.allclose(els.as_deepinv(machine)(u, 0.2, physics=None), expected, atol=1e-6)


def test_levels_and_labels_of_their_own_are_passed_on(machine: els.LocalScore) -> None:
    u, sigma = noisy(0.2), torch.tensor([0.1, 0.2, 0.3, 0.4])
    found = els.as_deepinv(machine, [0, 1, 2, 3])(u, sigma[:, None, None, None])
    assert torch.allclose(found, (machine(2 * u - 1, 2 * sigma, [0, 1, 2, 3]) + 1) / 2, atol=1e-6)


def test_gradients_go_through(machine: els.LocalScore) -> None:
    u = noisy(0.2).requires_grad_()
    els.as_deepinv(machine)(u, 0.2).sum().backward()
    assert u.grad is not None
    assert bool(u.grad.any())


def test_what_is_no_denoiser_is_refused() -> None:
    with pytest.raises(TypeError, match="denoiser"):
        els.as_deepinv(3)  # type: ignore[arg-type]


def test_deepinv_restores_with_a_machine_and_a_machine_with_its_operators(machine: els.LocalScore) -> None:
    deepinv: Any = pytest.importorskip("deepinv", reason="deepinv is not installed")
    # Training images, which are what a machine of few images restores.
    x = (els.load_images("fashion-mini", 4).scaled() + 1) / 2
    blur = torch.full((1, 1, 3, 3), 1 / 9)
    physics = deepinv.physics.Blur(blur, padding="circular", noise_model=deepinv.physics.GaussianNoise(0.05))
    torch.manual_seed(0)
    y = physics(x)
    # Plug-and-play: proximal gradient descent with the machine in place of a proximal operator.
    model = deepinv.optim.optim_builder(
        iteration="PGD", prior=deepinv.optim.PnP(els.as_deepinv(machine)), data_fidelity=deepinv.optim.L2(),
        max_iter=10, params_algo={"stepsize": 1.0, "g_param": 0.1},
    )  # fmt: skip
    with torch.no_grad():
        found = model(y, physics)
    assert float((found - x).square().mean()) < 0.3 * float((y - x).square().mean())
    # The same operator and ours are the same problem.
    ours = els.operators.blur(blur[0, 0], "wrap")
    theirs = [els.restore(machine, 2 * y - 1, operator, 0.1, inverse="none") for operator in (physics.A, ours)]
    assert torch.allclose(*theirs, atol=1e-4)
