"""What every denoiser shares: the call `D(x, sigma, label=None)` and the checks of its arguments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from elsewhere.layout import plain

Array = TypeVar("Array", Tensor, np.ndarray)
Label = int | Tensor | np.ndarray | None

SIGMAS = (1e-8, 1e8)
"""Least and largest noise level, in units of pixels in [-1, 1]. Half a gray level is 4e-3: far above the least noise
level the average is already the nearest key, and far below the largest one the mean of all keys, to float32. Beyond
them sigma^2 and its inverse, times squared pixels, leave the range of float32."""

LARGEST = 1e10
"""Largest absolute value of a pixel: 100 standard deviations of noise at the largest noise level. Sums of the squares
of larger ones leave the range of float32."""


class DenoiserLike(Protocol):
    """Anything callable as `D(x, sigma, label=None)`: users bring their own."""

    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any: ...


def check_images(x: object, argument: str = "x") -> Tensor:
    """A contiguous (B, C, H, W) floating tensor of finite values; copied only where memory is laid out otherwise.

    Raises:
        TypeError: not an array, or not floating point.
        ValueError: not four axes, an empty axis, NaN, infinity or values beyond `LARGEST`.
    """
    if isinstance(x, np.ndarray):
        if x.dtype.newbyteorder("=") not in (np.float32, np.float64, np.float16):
            raise TypeError(f"{argument} must be floating point, got {x.dtype}: images are floats in [-1, 1]")
        x = plain(x)
    if not isinstance(x, Tensor):
        raise TypeError(f"{argument} must be a torch tensor or NumPy array, got {type(x).__name__}")
    if not x.is_floating_point():
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


def check_level(sigma: float, argument: str = "sigma") -> float:
    """A noise level within `SIGMAS`.

    Raises:
        ValueError: zero, negative, NaN, infinite, or outside the range.
    """
    if not math.isfinite(sigma) or sigma <= 0:
        raise ValueError(f"{argument} must be positive and finite, got {sigma}")
    if not SIGMAS[0] <= sigma <= SIGMAS[1]:
        raise ValueError(f"{argument} must be between {SIGMAS[0]:g} and {SIGMAS[1]:g}, got {sigma:g}")
    return sigma


def check_sigma(sigma: object, batch: int, like: Tensor) -> Tensor:
    """Noise levels as a float64 (B,) tensor on the device of `like`.

    Raises:
        TypeError: not a number or array of numbers.
        ValueError: wrong length, zero, negative, NaN, infinite, or outside `SIGMAS`.
    """
    try:
        # Float64: sigma^2 at 1e-3 still has all the digits that the softmax multiplies by 1e6.
        given = plain(sigma) if isinstance(sigma, Tensor | np.ndarray) else sigma
        levels = torch.as_tensor(given, dtype=torch.float64, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"sigma must be a number or a ({batch},) array, got {type(sigma).__name__}") from error
    if levels.ndim > 1 or (levels.ndim == 1 and len(levels) not in (1, batch)):
        raise ValueError(
            f"sigma must be a number or have one value for each of {batch} images, got {tuple(levels.shape)}"
        )
    for level in levels.flatten().tolist():
        check_level(level)
    return levels.expand(batch).contiguous() if levels.ndim < 2 else levels


def check_label(label: Label, batch: int, num_classes: int, owner: str) -> Tensor | None:
    """Class labels as an int64 (B,) tensor, or None.

    Raises:
        TypeError: not integers.
        ValueError: the owner has no classes, wrong length, or a label out of range.
    """
    if label is None:
        return None
    if not num_classes:
        raise ValueError(f"label={_brief(label)} was given but {owner} has no classes: leave label out")
    # Without a device, torch's default device would decide where a plain number goes.
    values = plain(label) if isinstance(label, Tensor | np.ndarray) else torch.as_tensor(label, device="cpu")
    if values.dtype.is_floating_point or values.dtype == torch.bool or values.dtype.is_complex:
        raise TypeError(f"label must be an integer or an integer array, got {_brief(label)}")
    if values.ndim > 1 or (values.ndim == 1 and len(values) not in (1, batch)):
        raise ValueError(
            f"label must be an integer or have one value for each of {batch} images, got {tuple(values.shape)}"
        )
    outside = values[(values < 0) | (values >= num_classes)]
    if outside.numel():
        raise ValueError(f"label must be in 0..{num_classes - 1}, got {int(outside.flatten()[0])}")
    return values.to(torch.int64).expand(batch).contiguous()


def _brief(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else text[:37] + "..."


class Denoiser(ABC):
    """A posterior mean `x0hat = D(x, sigma)` of images in [-1, 1], where x = x0 + sigma * noise.

    Subclasses say which images they know (`channels`, `num_classes`, optionally `size`) and fill in `predict`;
    the call itself, its checks and the conversions are the same for all.
    """

    channels: int
    num_classes: int = 0
    size: tuple[int, int] | None = None

    def __call__(self, x: Array, sigma: float | Tensor | np.ndarray, label: Label = None) -> Array:
        """Posterior mean of x0.

        Args:
            x: noisy images (B, C, H, W), torch or NumPy, floating point.
            sigma: noise level, one number or (B,), within `SIGMAS`.
            label: class for all images or (B,), or None for every class together.

        Returns:
            x0hat, contiguous, same type, dtype (with its byte order), shape and device as x.

        Raises:
            TypeError: x, sigma or label of the wrong kind.
            ValueError: wrong shape, NaN, values or sigma out of range, label out of range.
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
        if channels != self.channels:
            raise ValueError(f"x has {channels} channels, {self!r} was made for {self.channels}")
        if self.size is not None and (height, width) != self.size:
            raise ValueError(
                f"x is {height}x{width} pixels, {self!r} was made for {self.size[0]}x{self.size[1]}: resize first"
            )
        levels = check_sigma(sigma, batch, images)
        return images, levels, check_label(label, batch, self.num_classes, repr(self))

    @abstractmethod
    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        """x0hat for checked arguments: x (B, C, H, W), sigma float64 (B,), label int64 (B,) or None."""


def ask(denoiser: DenoiserLike, x: Tensor, sigma: float, label: Label = None) -> Tensor:
    """What a denoiser answers, contiguous, in memory of its own; without a label a denoiser need not know of labels."""
    answer = denoiser(x, sigma) if label is None else denoiser(x, sigma, label)
    # A copy: some denoisers write every answer to the same memory. What is no array is for the caller to complain of.
    return plain(answer).clone() if isinstance(answer, Tensor | np.ndarray) else answer


def score(denoiser: DenoiserLike, x: Array, sigma: float, label: Label = None) -> Array:
    """Score of the noisy density, (D(x, sigma) - x) / sigma^2 (Tweedie).

    Args:
        denoiser: D(x, sigma, label=None).
        x: noisy images (B, C, H, W), torch or NumPy, floating point.
        sigma: noise level, within `SIGMAS`.
        label: passed to the denoiser.

    Returns:
        The score, same type, dtype and shape as x.

    Raises:
        TypeError, ValueError: arguments that the denoiser cannot take, or a score too large for the dtype of x.
    """
    images = check_images(x)
    check_level(sigma)
    x0 = ask(denoiser, images, sigma, label)
    wide = torch.promote_types(images.dtype, torch.float32)
    values = ((x0.to(wide) - images.to(wide)) / sigma**2).to(images.dtype)
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"the score at sigma={sigma:g} is too large for {images.dtype}: give x in a wider dtype")
    return values if isinstance(x, Tensor) else values.cpu().numpy().astype(x.dtype, copy=False)
