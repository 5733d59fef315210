from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.testing import PROPERTIES, BrokenProperty, check_denoiser

SIZE = (4, 6)


class Gaussian:
    """The exact denoiser of N(0, 1) pixels, D = x / (1 + sigma^2), moved towards a gray of each class."""

    def __init__(self, num_classes: int = 0) -> None:
        self.num_classes = num_classes

    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        if isinstance(x, np.ndarray):
            return self(torch.from_numpy(x), sigma, label).numpy()
        sigma = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1, 1, 1)
        gray = 0 if label is None else 0.1 * torch.as_tensor(label).reshape(-1, 1, 1, 1)
        return (x / (1 + sigma**2) + gray).to(x.dtype)


class OneSigma(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return super().__call__(x, torch.as_tensor(sigma).flatten()[0], label)


class OneLabel(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return super().__call__(x, sigma, None if label is None else torch.as_tensor(label).flatten()[0])


class NoLabel(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return super().__call__(x, sigma)


class Flat(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return super().__call__(x, sigma, label).flatten(1)


class Float32(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return super().__call__(x, sigma, label).to(torch.float32)


class Overflowing(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        huge = torch.as_tensor(sigma).float().exp().reshape(-1, 1, 1, 1)
        return super().__call__(x, sigma, label) * (huge / huge)


class InPlace(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return x.mul_(0.5)


class LabelInPlace(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        out = super().__call__(x, sigma, label)
        if isinstance(label, torch.Tensor):
            label += 1
        return out


class Noisy(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return super().__call__(x, sigma, label) + 1e-3 * torch.randn(x.shape)


class Remembering(Gaussian):
    last: Any = 0

    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        out = super().__call__(x, sigma, label) + 1e-3 * self.last
        self.last = float(x.mean())
        return out


class Normalising(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return super().__call__(x - x.mean(), sigma, label)


class Placed(Gaussian):
    """The first of several images is treated differently from the others, and from one alone."""

    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        out = super().__call__(x, sigma, label)
        if len(x) > 1:
            out[0] += 0.01
        return out


class TorchOnly(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return super().__call__(torch.as_tensor(x), sigma, label)


class OtherNumpy(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return (
            0.9 * super().__call__(x, sigma, label) if isinstance(x, np.ndarray) else super().__call__(x, sigma, label)
        )


class Detached(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        return super().__call__(x.detach() if isinstance(x, torch.Tensor) else x, sigma, label)


class HalfDetached(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        kept = x.detach() if isinstance(x, torch.Tensor) else x
        return (super().__call__(x, sigma, label) + super().__call__(kept, sigma, label)) / 2


class WithoutGradients(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        if isinstance(x, torch.Tensor) and x.requires_grad:
            raise ValueError("no gradients here")
        return super().__call__(x, sigma, label)


class Raising(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        raise RuntimeError("out of paper")


class NeedsLabel(Gaussian):
    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any:
        if label is None:
            raise ValueError("which class?")
        return super().__call__(x, sigma, label)


@pytest.mark.parametrize(("num_classes", "channels"), [(0, 1), (3, 1), (1, 3)])
def test_a_sound_denoiser_has_every_property(num_classes: int, channels: int) -> None:
    assert check_denoiser(Gaussian(num_classes), channels, SIZE, num_classes) == tuple(PROPERTIES)


def test_our_machines_have_every_property() -> None:
    data = torch.rand(6, 1, 7, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for machine in (els.IdealScore(data), els.LocalScore(data, 5), els.EquivariantLocalScore(data, 5)):
        check_denoiser(machine, 1, (7, 8))


@pytest.mark.parametrize(
    ("broken", "name", "message"),
    [
        (Flat(), "shape", r"gave \(1, 24\), expected the same shape"),
        (Float32(), "dtype", r"float64 on cpu gave torch.float32"),
        (Overflowing(), "finite", "NaN or infinite at sigma = 100"),
        (InPlace(), "input", "x was changed in place"),
        (LabelInPlace(3), "input", "label was changed in place"),
        (Noisy(), "determinism", "generator with a fixed seed"),
        (Remembering(), "determinism", "another answer"),
        (Normalising(), "batch", "each alone, sigma = 0.2: they differ"),
        (Placed(), "batch", "differ by up to 0.01, allowed is 0.0001"),
        (OneSigma(), "sigma", r"in one batch and each alone"),
        (TorchOnly(), "numpy", "gave a Tensor, expected a NumPy array"),
        (OtherNumpy(), "numpy", "NumPy and torch: they differ"),
        (OneLabel(3), "label", r"labels \[0, 1, 2\] in one batch"),
        (NoLabel(3), "label", "all 3 classes gave the same images"),
        (Detached(), "gradient", "x requires gradients, x0hat does not"),
        (HalfDetached(), "gradient", r"at sigma = 0.2 a derivative is 0.481 by autograd and 0.962 by finite"),
        (Raising(), "shape", "the denoiser raised RuntimeError: out of paper"),
        (NeedsLabel(3), "shape", "which class"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Gaussian) else None,
)
def test_a_broken_denoiser_is_told_which_property_it_lacks(broken: Gaussian, name: str, message: str) -> None:
    with pytest.raises(BrokenProperty, match=f"^{name}: .*{message}") as caught:
        check_denoiser(broken, 1, SIZE, broken.num_classes)
    assert caught.value.name == name
    assert isinstance(caught.value, AssertionError)


def test_a_denoiser_that_needs_a_label_is_asked_with_one() -> None:
    check_denoiser(NeedsLabel(3), 1, SIZE, 3, unconditional=False)


def test_a_denoiser_without_gradients_is_sound_if_it_says_so() -> None:
    check_denoiser(WithoutGradients(), 1, SIZE)


def test_properties_can_be_skipped() -> None:
    assert "numpy" not in check_denoiser(TorchOnly(), 1, SIZE, skip=["numpy"])


def test_a_wider_tolerance_lets_small_differences_pass() -> None:
    check_denoiser(Placed(), 1, SIZE, tolerance=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"skip": ["speed"]}, "unknown property 'speed'"),
        ({"num_classes": -1}, "num_classes must be"),
        ({"unconditional": False}, "1 or more where labels are needed"),
        ({"size": (0, 4)}, "channels and size"),
        ({"tolerance": float("nan")}, "tolerance must be"),
    ],
)
def test_arguments_without_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_denoiser(Gaussian(), **arguments)
