"""What every denoiser shares: the call `D(x, sigma, label=None)` and the checks of its arguments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_dense, check_type, checked, remedy_for, seen, seen_text
from elsewhere.layout import plain
from elsewhere.notices import warn
from elsewhere.phrases import count
from elsewhere.schedules import check_level

Array = TypeVar("Array", Tensor, np.ndarray)
Label = int | Tensor | np.ndarray | Sequence[int] | None
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

LARGEST = 1e10
"""Largest absolute value of a pixel: 100 standard deviations of noise at the largest noise level. Sums of the squares
of larger ones leave the range of float32."""
LARGEST_DEVIATION = 3.0
"""Standard deviation of noise beyond which it is scaled already: of `ENOUGH` standard normal numbers it is larger once
in 10^21 draws."""
ENOUGH = 16
"""Numbers of which a standard deviation is judged."""


@runtime_checkable
class DenoiserLike(Protocol):
    """Anything callable as `D(x, sigma, label=None)`: users bring their own."""

    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any: ...


def check_images(x: object, argument: str = "x") -> Tensor:
    """A contiguous (B, C, H, W) floating tensor of finite values; copied only where memory is laid out otherwise.

    Raises:
        TypeError: not an array, not dense, or not in 16 to 64-bit floating point.
        ValueError: not four axes, an empty axis, NaN, infinity or values beyond `LARGEST`.
    """
    if isinstance(x, np.ndarray):
        if x.dtype.newbyteorder("=") not in (np.float32, np.float64, np.float16):
            raise TypeError(f"{argument} must be floating point, got {x.dtype}: images are floats in [-1, 1]")
        check_dense(argument, x)
        x = plain(x)
    if not isinstance(x, Tensor):
        raise TypeError(f"{argument} must be a torch tensor or NumPy array, got {seen(x)}")
    check_dense(argument, x)
    if x.dtype not in FLOATS:
        raise TypeError(f"{argument} must be floating point, got {x.dtype}: images are floats in [-1, 1]")
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"{argument} must be (B, C, H, W) with no empty axis, got shape {tuple(x.shape)}")
    x = plain(x)
    lowest, highest = torch.stack(x.detach().aminmax()).tolist()
    if not math.isfinite(lowest) or not math.isfinite(highest):
        raise ValueError(f"{argument} has NaN or infinite values: check the step that made it")
    if max(-lowest, highest) > LARGEST:
        raise ValueError(
            f"{argument} has values from {lowest:.3g} to {highest:.3g}: expected -{LARGEST:g} to {LARGEST:g}, "
            "as images are in [-1, 1] and noise is added to them"
        )
    return x


def check_sigma(sigma: object, batch: int, like: Tensor) -> Tensor:
    """Noise levels as a float64 (B,) tensor on the device of `like`.

    Raises:
        TypeError: not a number or array of numbers.
        ValueError: wrong length, zero, negative, NaN, infinite, or outside `schedules.SIGMAS`.
    """
    sigma = _plain("sigma", sigma)
    try:
        # Float64: sigma^2 at 1e-3 still has all the digits that the softmax multiplies by 1e6.
        given = _tensor(sigma)
        if given.dtype == torch.bool or given.dtype.is_complex:
            raise TypeError(f"dtype {given.dtype}")
        # From the number itself: a tensor made of it has lost digits to torch's default dtype.
        exact = given if isinstance(sigma, Tensor | np.ndarray) else sigma
        levels = torch.as_tensor(exact, dtype=torch.float64, device=like.device)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(f"sigma must be a number or a ({batch},) array, got {seen(sigma)}") from error
    if levels.ndim > 1 or (levels.ndim == 1 and len(levels) not in (1, batch)):
        raise ValueError(
            f"sigma must be a number or have one value for each of {count(batch, 'image')}, got {tuple(levels.shape)}"
        )
    for level in levels.flatten().tolist():
        check_level(level)
    return levels.expand(batch).contiguous() if levels.ndim < 2 else levels


def check_label(label: Label, batch: int, num_classes: int, owner: str, argument: str = "label") -> Tensor | None:
    """Class labels as an int64 (B,) tensor, or None; `argument` is what errors call them.

    Raises:
        TypeError: not integers.
        ValueError: the owner has no classes, wrong length, or a label out of range.
    """
    if label is None:
        return None
    if not num_classes:
        raise ValueError(f"{argument}={seen_text(label)} was given but {owner} has no classes: leave {argument} out")
    given = _plain(argument, label)
    try:
        values = _tensor(given)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TypeError(
            f"{argument} must be an integer or an integer array, got {seen(label)}{remedy_for('label', label)}"
        ) from error
    if values.dtype.is_floating_point or values.dtype == torch.bool or values.dtype.is_complex:
        raise TypeError(f"{argument} must be an integer or an integer array, got {seen(label)}")
    if values.ndim > 1 or (values.ndim == 1 and len(values) not in (1, batch)):
        raise ValueError(
            f"{argument} must be an integer or have one value for each of {count(batch, 'image')}, "
            f"got {tuple(values.shape)}"
        )
    for number in values.flatten().tolist():  # torch cannot compare all unsigned types
        if not 0 <= number < num_classes:
            raise ValueError(f"{argument} must be in 0..{num_classes - 1}, got {number}")
    return values.to(torch.int64).expand(batch).contiguous()


def check_fixed_label(label: Label, denoiser: object, argument: str = "label") -> Tensor | None:
    """Labels that a denoiser is to be asked with from now on, int64 (1,) for all images or (B,) for as many; or None.

    Raises:
        TypeError, ValueError: see `check_label`.
    """
    if label is None:
        return None
    try:
        batch = max(1, len(label))  # type: ignore[arg-type]
    except TypeError:  # a number, or an array without axes
        batch = 1
    classes = getattr(denoiser, "num_classes", None)
    # A denoiser that does not say how many classes it has judges the label itself.
    largest = torch.iinfo(torch.int64).max if classes is None else classes
    found = check_label(label, batch, largest, "the denoiser", argument)
    if found is not None and not len(found):
        raise ValueError(f"{argument} must be an integer or have one value for each image, got none")
    return found


def _plain(name: str, value: object) -> object:
    """The value, arrays and tensors contiguous."""
    if not isinstance(value, Tensor | np.ndarray):
        return value
    check_dense(name, value)
    try:
        return plain(value)
    except TypeError as error:
        raise TypeError(f"{name} must hold numbers, got {seen(value)}") from error


def _tensor(value: Any) -> Tensor:
    """As a tensor: of numbers on the processor, whatever torch's default device is."""
    return value if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")


def check_request(
    denoisers: Mapping[str, DenoiserLike], images: object, label: Label, argument: str = "noise"
) -> tuple[Tensor, Tensor | None]:
    """Images (B, C, H, W) and labels, int64 (B,) or None, fit for every denoiser.

    Args:
        denoisers: name -> denoiser.
        images: noise, or other images that the denoisers are to be asked about.
        label: class of every image or (B,), or None.
        argument: what errors call the images.

    Raises:
        TypeError: a denoiser that cannot be called, images or a label of the wrong kind.
        ValueError: images of a shape that a denoiser was not made for, NaN, label out of range.
    """
    checked_images = check_images(images, argument)
    labels = None
    for name, denoiser in denoisers.items():
        check_type(name, denoiser, DenoiserLike)
        _check_shape(name, denoiser, checked_images, argument)
        classes = getattr(denoiser, "num_classes", None)
        if label is not None:
            # A denoiser that does not say how many classes it has judges the label itself.
            largest = torch.iinfo(torch.int64).max if classes is None else classes
            labels = check_label(label, len(checked_images), largest, name)
    return checked_images, labels


def check_noise(
    denoisers: Mapping[str, DenoiserLike], noise: object, label: Label, first: float
) -> tuple[Tensor, Tensor | None]:
    """Standard normal noise and labels for a run of every denoiser; warns of noise that is scaled already.

    Args:
        denoisers, label: see `check_request`.
        noise: standard normal (B, C, H, W).
        first: the first noise level, by which the run multiplies the noise.

    Raises:
        TypeError, ValueError: see `check_request`.
    """
    images, labels = check_request(denoisers, noise, label)
    if images.numel() >= ENOUGH:
        deviation = float(images.detach().double().std())
        if deviation > LARGEST_DEVIATION:
            warn(
                f"noise has standard deviation {deviation:.3g}, expected 1: the run itself multiplies it by the first "
                f"noise level, {first:.4g}; give standard normal noise, as from make_noise"
            )
    return images, labels


def _check_shape(name: str, denoiser: DenoiserLike, images: Tensor, argument: str) -> None:
    _, channels, height, width = images.shape
    wanted = getattr(denoiser, "channels", None)
    if wanted is not None and channels != wanted:
        raise ValueError(f"{argument} {_other_channels(images, wanted, name)}")
    size = getattr(denoiser, "size", None)
    if size is not None and (height, width) != tuple(size):
        raise ValueError(f"{argument} is {height}x{width} pixels, {name} was made for {size[0]}x{size[1]}")


def _other_channels(images: Tensor, wanted: int, owner: str) -> str:
    text = f"has {count(images.shape[1], 'channel')}, {owner} was made for {wanted}"
    if images.shape[3] != wanted:
        return text
    return f"{text}: the shape {tuple(images.shape)} looks like (B, H, W, C), give (B, C, H, W)"


def check_prediction(name: str, images: object, like: Tensor) -> Tensor:
    """What a denoiser returned, if it is finite images of the shape it was given.

    Raises:
        TypeError, ValueError: it is not; the message names the denoiser.
    """
    found = check_images(images, f"the output of {name}")
    if found.shape != like.shape:
        raise ValueError(f"{name} returned shape {tuple(found.shape)} for images of shape {tuple(like.shape)}")
    return found


def ask(denoiser: DenoiserLike, x: Tensor, sigma: float, label: Label = None, name: str = "denoiser") -> Tensor:
    """The posterior mean of any denoiser, checked, contiguous, in memory of its own.

    Without a label a denoiser need not know of labels.

    Raises:
        TypeError, ValueError: what the denoiser raises, or its answer is not finite images of the shape of x.
    """
    answer = denoiser(x, sigma) if label is None else denoiser(x, sigma, label)
    # A copy: some denoisers write every answer to the same memory.
    return check_prediction(name, answer, x).clone()


class Denoiser(ABC):
    """A posterior mean `x0hat = D(x, sigma)` of images in [-1, 1], where x = x0 + sigma * noise.

    Subclasses say which images they know (`channels`, `num_classes`, optionally `size`; None for any) and fill in
    `predict`; the call itself, its checks and the conversions are the same for all. One that has classes but no answer
    without a label sets `has_null_class` to False.
    """

    channels: int | None
    num_classes: int = 0
    size: tuple[int, int] | None = None
    has_null_class: bool = True

    def __call__(self, x: Array, sigma: float | Tensor | np.ndarray, label: Label = None) -> Array:
        """Posterior mean of x0.

        Args:
            x: noisy images (B, C, H, W), torch or NumPy, floating point.
            sigma: noise level, one number or (B,), within `schedules.SIGMAS`.
            label: class for all images or (B,), or None for every class together.

        Returns:
            x0hat, contiguous, same type, dtype (with its byte order), shape and device as x. Where x requires
            gradients, so does x0hat.

        Raises:
            TypeError: x, sigma or label of the wrong kind.
            ValueError: wrong shape, NaN, values or sigma out of range, label out of range; sigma requires gradients.
        """
        images, levels, labels = self.check(x, sigma, label)
        x0 = self.predict(images, levels, labels).to(images.dtype)
        if isinstance(x, Tensor):
            return x0.to(x.device)
        return x0.cpu().numpy().astype(x.dtype, copy=False)

    def check(
        self, x: Tensor | np.ndarray, sigma: float | Tensor | np.ndarray, label: Label = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The arguments of a call as `predict` takes them; raises what the call raises."""
        images = check_images(x)
        batch, channels, height, width = images.shape
        if self.channels is not None and channels != self.channels:
            raise ValueError(f"x {_other_channels(images, self.channels, repr(self))}")
        if self.size is not None and (height, width) != self.size:
            raise ValueError(
                f"x is {height}x{width} pixels, {self!r} was made for {self.size[0]}x{self.size[1]}: resize first"
            )
        levels = check_sigma(sigma, batch, images)
        return images, levels, check_label(label, batch, self.num_classes, repr(self))

    @abstractmethod
    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        """x0hat for checked arguments: x (B, C, H, W), sigma float64 (B,), label int64 (B,) or None."""


@checked
def score(denoiser: DenoiserLike, x: Array, sigma: float, label: Label = None) -> Array:
    """Score of the noisy density, (D(x, sigma) - x) / sigma^2 (Tweedie); differentiable in x where the denoiser is.

    Args:
        denoiser: D(x, sigma, label=None).
        x: noisy images (B, C, H, W), torch or NumPy, floating point.
        sigma: noise level, within `schedules.SIGMAS`.
        label: passed to the denoiser.

    Returns:
        The score, same type, dtype and shape as x.

    Raises:
        TypeError, ValueError: arguments that the denoiser cannot take, or a score too large for the dtype of x.
    """
    check_level(sigma)
    images, _ = check_request({"denoiser": denoiser}, x, label, "x")
    x0 = ask(denoiser, images, sigma, label)
    wide = torch.promote_types(images.dtype, torch.float32)
    values = ((x0.to(wide) - images.to(wide)) / sigma**2).to(images.dtype)
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"the score at sigma={sigma:g} is too large for {images.dtype}: give x in a wider dtype")
    return values if isinstance(x, Tensor) else values.cpu().numpy().astype(x.dtype, copy=False)
