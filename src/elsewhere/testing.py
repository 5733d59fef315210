"""Checks that any denoiser should pass, ours or a user's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_number, check_room, check_seed, check_whole, checked
from elsewhere.denoiser import DenoiserLike
from elsewhere.limits import MOST_CLASSES

LIMITS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3)
"""Noise levels at which a denoiser must answer with finite numbers."""

LEVELS = (0.2, 1.0, 5.0)
"""Noise levels, one an image, at which answers to the same question are compared."""

STEP = 3e-3
"""Half the distance of finite differences, in units of sigma."""

GRADIENT_TOLERANCE = 0.05
"""Largest difference of a derivative of length 1 from the one by finite differences."""


class BrokenProperty(AssertionError):
    """A denoiser lacks a property.

    Attributes:
        name: the property, a key of `PROPERTIES`.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


@checked
def check_denoiser(
    denoiser: DenoiserLike,
    channels: int = 1,
    size: tuple[int, int] = (28, 28),
    num_classes: int = 0,
    *,
    unconditional: bool = True,
    tolerance: float = 1e-4,
    skip: Collection[str] = (),
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> tuple[str, ...]:
    """Check that a denoiser D(x, sigma, label=None) does what machines, samplers and comparisons rely on.

    The properties, in the order in which they are checked:

        shape         x0hat has the shape of x, for one image and for several
        dtype         x0hat has the dtype (float32, float64) and device of x
        finite        x0hat is finite at every noise level from 0.001 to 1000
        input         x, and arrays of sigma and label, are left as they were
        determinism   the same question has the same answer, whatever was asked in between
        batch         an image alone has the answer that it has in a batch, at any place in it
        sigma         one number for all images, or one value for each: the answers agree
        numpy         NumPy arrays give NumPy arrays with the numbers that torch tensors give
        label         one label for all images, or one for each: the answers agree, and classes differ;
                      no label is the same as label=None
        gradient      where x requires gradients, so does x0hat, and they are those of finite differences; or the
                      denoiser raises a TypeError, ValueError or NotImplementedError that says "gradient"

    Args:
        denoiser: what to check.
        channels, size: images that it takes, C and (H, W).
        num_classes: classes that it knows; 0 for none.
        unconditional: whether it can be asked without a label; if not, classes are needed.
        tolerance: largest difference of answers that should agree. "determinism" and "input" allow none.
        skip: names of properties to leave out.
        device: where to put the torch tensors that it is given.
        seed: of the noisy images that it is given.

    Returns:
        Names of the properties that were checked; it has them all.

    Raises:
        BrokenProperty: an AssertionError; the message begins with the property and says what was seen.
        TypeError, ValueError: arguments of this function that make no sense.

    Example:
        >>> check_denoiser(lambda x, sigma, label=None: 0 * x, size=(8, 8), skip=["numpy"])[0]
        'shape'
    """
    unknown = sorted(set(skip) - PROPERTIES.keys())
    if unknown:
        raise ValueError(f"unknown property {unknown[0]!r} in skip: choose from {', '.join(PROPERTIES)}")
    check_whole("num_classes", num_classes, 0, limit=MOST_CLASSES)
    if num_classes == 0 and not unconditional:
        raise ValueError(f"num_classes must be 0 or more, and 1 or more where labels are needed, got {num_classes}")
    if channels < 1 or min(size) < 1:
        raise ValueError(f"channels and size must be 1 or more, got {channels} and {size}")
    check_number("tolerance", tolerance, 0)
    check_room("channels and size", (channels, *size), 4 * len(LEVELS) * channels * size[0] * size[1])
    generator = torch.Generator().manual_seed(check_seed(seed))
    shape = (len(LEVELS), channels, *size)
    sigma = torch.tensor(LEVELS, dtype=torch.float32, device="cpu")
    clean = torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu") * 2 - 1
    x = clean + sigma[:, None, None, None] * torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    case = _Case(denoiser, x.to(device), sigma.to(device), num_classes, unconditional, tolerance)
    checked = [name for name in PROPERTIES if name not in skip]
    for name in checked:
        with _about(name):
            PROPERTIES[name](case)
    return tuple(checked)


@dataclass(frozen=True)
class _Case:
    """A denoiser and noisy images for it: x (3, C, H, W) at sigma (3,)."""

    denoiser: DenoiserLike
    x: Tensor
    sigma: Tensor
    num_classes: int
    unconditional: bool
    tolerance: float

    def ask(self, x: Any, sigma: Any) -> Any:
        """The answer without a label, or where one is needed with the first; x is lent as a copy."""
        x = x.copy() if isinstance(x, np.ndarray) else x.clone()
        return self.denoiser(x, sigma) if self.unconditional else self.denoiser(x, sigma, 0)

    def singles(self) -> list[Tensor]:
        """Each image as a batch of one."""
        return [self.x[i : i + 1].clone() for i in range(len(self.x))]

    def ask_alone(self, label: int | None = None) -> Tensor:
        """The answer to each image by itself, together (3, C, H, W)."""
        pairs = zip(self.singles(), self.sigma.tolist(), strict=True)
        if label is None:
            return torch.cat([self.ask(image, sigma) for image, sigma in pairs])
        return torch.cat([self.denoiser(image, sigma, label) for image, sigma in pairs])

    def agree(self, seen: Tensor, expected: Tensor, what: str) -> None:
        """Fail unless the two differ by the tolerance at most."""
        if seen.shape != expected.shape:
            raise _Failure(f"{what}: shapes {tuple(seen.shape)} and {tuple(expected.shape)}")
        difference = float((seen.double() - expected.double()).abs().max())
        if not difference <= self.tolerance:  # NaN fails as well
            raise _Failure(f"{what}: they differ by up to {difference:.3g}, allowed is {self.tolerance:.3g}")


class _Failure(Exception):
    """What is wrong, to be reported under the name of the property."""


@contextmanager
def _about(name: str) -> Iterator[None]:
    try:
        yield
    except _Failure as failure:
        raise BrokenProperty(name, str(failure)) from None
    except Exception as error:
        raise BrokenProperty(name, f"the denoiser raised {type(error).__name__}: {error}") from error


def _shape(case: _Case) -> None:
    for count in (1, len(case.x)):
        x = case.x[:count]
        x0 = case.ask(x, 1.0)
        if not isinstance(x0, Tensor):
            raise _Failure(f"a torch tensor gave a {type(x0).__name__}, expected a torch tensor")
        if x0.shape != x.shape:
            raise _Failure(f"x of shape {tuple(x.shape)} gave {tuple(x0.shape)}, expected the same shape")


def _dtype(case: _Case) -> None:
    for dtype in (torch.float32, torch.float64):
        x0 = case.ask(case.x.to(dtype), 1.0)
        if x0.dtype != dtype or x0.device != case.x.device:
            raise _Failure(f"x in {dtype} on {case.x.device} gave {x0.dtype} on {x0.device}, expected the same")


def _finite(case: _Case) -> None:
    noise = (case.x - case.x.mean()) / case.x.std()
    for sigma in LIMITS:
        x0 = case.ask(noise.clamp(-1, 1) + sigma * noise, sigma)
        bad = int((~torch.isfinite(x0)).sum())
        if bad:
            raise _Failure(f"{bad} of {x0.numel()} values are NaN or infinite at sigma = {sigma:g}")


def _input(case: _Case) -> None:
    x, sigma = case.x.clone(), case.sigma.clone()
    _ = case.denoiser(x, sigma) if case.unconditional else case.denoiser(x, sigma, 0)
    given = {"x": (x, case.x), "sigma": (sigma, case.sigma)}
    if case.num_classes:
        label = torch.arange(len(x), device=x.device) % case.num_classes
        kept = label.clone()
        case.denoiser(x, sigma, label)
        given["label"] = (label, kept)
    for name, (after, before) in given.items():
        if not torch.equal(after, before):
            raise _Failure(f"{name} was changed in place: work on a copy")


def _determinism(case: _Case) -> None:
    # Kept as a copy: a denoiser that answers twice with one and the same tensor would else agree with itself.
    first = case.ask(case.x, 1.0).clone()
    case.ask(-case.x, 2.0)
    again = case.ask(case.x, 1.0)
    if not torch.equal(first, again):
        difference = float((first.double() - again.double()).abs().max())
        raise _Failure(
            f"the same question again gave another answer, differing by up to {difference:.3g}: draw random "
            "numbers from a generator with a fixed seed, and keep nothing from call to call that changes answers"
        )


def _batch(case: _Case) -> None:
    for sigma in LEVELS:
        together = case.ask(case.x, sigma)
        alone = torch.cat([case.ask(image, sigma) for image in case.singles()])
        case.agree(together, alone, f"images in a batch and each alone, sigma = {sigma:g}")
        turned = case.ask(case.x.flip(0), sigma).flip(0)
        case.agree(turned, together, f"the batch in another order, sigma = {sigma:g}")


def _sigma(case: _Case) -> None:
    same = torch.full_like(case.sigma, 1.0)
    case.agree(case.ask(case.x, same), case.ask(case.x, 1.0), "sigma = 1 for each image and once for all")
    case.agree(case.ask(case.x, case.sigma), case.ask_alone(), f"sigmas {LEVELS} in one batch and each alone")


def _numpy(case: _Case) -> None:
    expected = case.ask(case.x, 1.0)
    x0 = case.ask(case.x.cpu().numpy(), 1.0)
    if not isinstance(x0, np.ndarray):
        raise _Failure(f"a NumPy array gave a {type(x0).__name__}, expected a NumPy array")
    if x0.dtype != np.float32:
        raise _Failure(f"x in float32 gave {x0.dtype}, expected float32")
    case.agree(torch.from_numpy(x0), expected.cpu(), "NumPy and torch")


def _label(case: _Case) -> None:
    if case.unconditional:
        plain = case.denoiser(case.x, 1.0)
        case.agree(case.denoiser(case.x, 1.0, None), plain, "label=None by position and no label")
        case.agree(case.denoiser(case.x, 1.0, label=None), plain, "label=None by name and no label")
    if not case.num_classes:
        return
    labels = torch.arange(len(case.x), device=case.x.device) % case.num_classes
    last = case.num_classes - 1
    case.agree(
        case.denoiser(case.x, 1.0, torch.full_like(labels, last)),
        case.denoiser(case.x, 1.0, last),
        f"label {last} for each image and once for all",
    )
    alone = [case.denoiser(image, 1.0, label) for image, label in zip(case.singles(), labels.tolist(), strict=True)]
    case.agree(
        case.denoiser(case.x, 1.0, labels), torch.cat(alone), f"labels {labels.tolist()} in one batch and each alone"
    )
    first = case.ask_alone(0)
    if case.num_classes > 1 and all(torch.equal(first, case.ask_alone(label)) for label in range(1, case.num_classes)):
        raise _Failure(f"all {case.num_classes} classes gave the same images: is the label used?")


@torch.inference_mode(False)
@torch.enable_grad()
def _gradient(case: _Case) -> None:
    """One derivative of each image at its noise level: along a random direction, in the direction of the change."""
    # Copies: tensors made in inference mode take no part in gradients.
    sigma = case.sigma.double().clone()
    x = case.x.double().clone().requires_grad_()
    try:
        x0 = case.ask(x, sigma)
    except (TypeError, ValueError, NotImplementedError) as error:
        if "gradient" not in str(error).lower():
            raise
        return
    if not x0.requires_grad:
        raise _Failure(
            "x requires gradients, x0hat does not: compute it in a way that autograd follows, or raise a ValueError "
            "that says there are no gradients"
        )
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64, device="cpu").to(x.device)
    direction /= direction.flatten(1).norm(dim=1)[:, None, None, None]
    # Far enough for float32 inside a network, near enough for a softmax.
    step = STEP * sigma[:, None, None, None]
    with torch.no_grad():
        change = (case.ask(x + step * direction, sigma) - case.ask(x - step * direction, sigma)) / (2 * step)
    size = change.flatten(1).norm(dim=1)
    along = change / size.clamp(min=1e-30)[:, None, None, None]
    (found,) = torch.autograd.grad(x0, x, along.to(x0.dtype))
    seen = (found * direction).flatten(1).sum(1)
    for level, mine, true in zip(sigma.tolist(), seen.tolist(), size.tolist(), strict=True):
        if not abs(mine - true) <= GRADIENT_TOLERANCE * max(1.0, true):  # NaN fails as well
            raise _Failure(
                f"at sigma = {level:g} a derivative is {mine:.3g} by autograd and {true:.3g} by finite differences"
            )


PROPERTIES: dict[str, Callable[[_Case], None]] = {
    "shape": _shape,
    "dtype": _dtype,
    "finite": _finite,
    "input": _input,
    "determinism": _determinism,
    "batch": _batch,
    "sigma": _sigma,
    "numpy": _numpy,
    "label": _label,
    "gradient": _gradient,
}
"""What `check_denoiser` checks, by name."""
