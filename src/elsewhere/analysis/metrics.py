"""Metrics of the agreement of two images, computed in float64.

All take a prediction and a target of the same shape (B, C, H, W), treat an image as one vector of all its pixels and
channels, and return float64 (B,). If a ratio would be divided by 0 the value is NaN, and a warning gives the number of
such images and the reason.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_type
from elsewhere.denoiser import check_images
from elsewhere.notices import warn
from elsewhere.phrases import count

ROUNDING = 4
"""Images whose range is at most this many units of rounding (eps times the largest value) count as constant."""


def pearson_r(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> Tensor:
    """Pearson's r of the pixels, that is, the cosine of the mean-removed images, in [-1, 1].

    This is the number that Kamb & Ganguli (2025) print as "r^2". NaN if either image is constant up to rounding.

    Args:
        prediction, target: images (B, C, H, W).

    Returns:
        float64 (B,).

    Raises:
        TypeError, ValueError: not images of the same shape, or values that are not finite.
    """
    predicted, true = (_centred(v) for v in _vectors(prediction, target))
    return _defined("Pearson r", _cosine(predicted, true), "an image is constant")


def cosine_similarity(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> Tensor:
    """Cosine of the angle between the images, in [-1, 1]. NaN if either image is all zero.

    Args:
        prediction, target: images (B, C, H, W).

    Returns:
        float64 (B,).

    Raises:
        TypeError, ValueError: not images of the same shape, or values that are not finite.
    """
    return _defined("the cosine", _cosine(*_vectors(prediction, target)), "an image is all zero")


def r_squared(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray, *, unbiased: bool = False) -> Tensor:
    """Coefficient of determination R^2: the share of the target's variance that the prediction explains, at most 1.

    1 - sum (target - prediction)^2 / sum (target - mean of target)^2. Below 0 if the target's mean would have been a
    better prediction; NaN if the target is constant.

    Args:
        prediction, target: images (B, C, H, W).
        unbiased: take d / (d - 1) times the variance of the d numbers of an image, as the code published with
            Lukoianov et al. (2025) does: R^2 is higher by (1 - R^2) / d.

    Returns:
        float64 (B,).

    Raises:
        TypeError, ValueError: not images of the same shape, or values that are not finite.
    """
    check_type("unbiased", unbiased, bool)
    predicted, true = _vectors(prediction, target)
    left_over = (true - predicted).square().sum(1)
    total = _centred(true).square().sum(1)
    if unbiased:
        total = total * true.shape[1] / (true.shape[1] - 1) if true.shape[1] > 1 else torch.zeros_like(total)
    return _defined("R^2", (1 - left_over / total).where(total > 0, torch.nan), "the target is constant")


def mse(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> Tensor:
    """Mean squared difference over pixels and channels, 0 or more.

    Args:
        prediction, target: images (B, C, H, W).

    Returns:
        float64 (B,).

    Example:
        >>> mse(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
        tensor([1., 1.], dtype=torch.float64)

    Raises:
        TypeError, ValueError: not images of the same shape, or values that are not finite.
    """
    predicted, true = _vectors(prediction, target)
    return (true - predicted).square().mean(1)


def _vectors(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    predicted, true = check_images(prediction, "prediction"), check_images(target, "target")
    if predicted.shape != true.shape:
        raise ValueError(
            f"prediction and target must have the same shape, got {tuple(predicted.shape)} and {tuple(true.shape)}"
        )
    return _vector(predicted), _vector(true)


def _vector(images: Tensor) -> Tensor:
    """Float64 (B, C * H * W); images that are constant up to rounding become exactly constant."""
    vectors = images.detach().double().flatten(1)
    low, high = vectors.aminmax(dim=1, keepdim=True)
    rounding = ROUNDING * torch.finfo(images.dtype).eps * torch.maximum(low.abs(), high.abs())
    return torch.where(high - low <= rounding, vectors[:, :1], vectors)


def _centred(vectors: Tensor) -> Tensor:
    """Each vector minus its mean; exactly zero for a constant vector, in spite of the rounding of the mean."""
    constant = vectors.amax(1, keepdim=True) == vectors.amin(1, keepdim=True)
    return (vectors - vectors.mean(1, keepdim=True)).masked_fill(constant, 0.0)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    lengths = a.square().sum(1).sqrt() * b.square().sum(1).sqrt()
    cosine: Tensor = (a * b).sum(1) / lengths
    return cosine.where(lengths > 0, torch.nan).clamp(-1, 1)


def _defined(name: str, values: Tensor, why: str) -> Tensor:
    """The values, with a warning if some are NaN."""
    undefined = int(values.isnan().sum())
    if undefined:
        warn(f"{name} is undefined (NaN) for {undefined} of {count(len(values), 'image')}: {why}")
    return values
