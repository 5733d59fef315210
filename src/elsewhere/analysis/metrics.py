"""How alike two images are, one number an image, computed in float64.

All take a prediction and a target of one shape (B, C, H, W), treat an image as one vector of all its pixels and
channels, and return float64 (B,). Where a ratio would be x/0 the number is undefined: it is NaN, and a warning says for
how many images and why.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from elsewhere.denoiser import check_images
from elsewhere.notices import warn
from elsewhere.phrases import count

ROUNDING = 4
"""Images whose values differ by no more than this many last digits of their dtype are constant."""


def pearson_r(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> Tensor:
    """Pearson's r of the pixels: cosine of the mean-removed images, in [-1, 1].

    This is the number that Kamb & Ganguli (2025) print as "r^2". NaN where either image is constant, but for rounding.

    Raises:
        TypeError, ValueError: not images (B, C, H, W) of one shape, NaN or infinite.
    """
    predicted, true = (_centred(v) for v in _vectors(prediction, target))
    return _defined("Pearson r", _cosine(predicted, true), "an image is constant")


def cosine_similarity(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> Tensor:
    """Cosine of the angle between the images, in [-1, 1]. NaN where either image is all zero.

    Raises:
        TypeError, ValueError: not images (B, C, H, W) of one shape, NaN or infinite.
    """
    return _defined("the cosine", _cosine(*_vectors(prediction, target)), "an image is all zero")


def r_squared(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> Tensor:
    """Coefficient of determination: the share of the target's variance that the prediction explains, at most 1.

    1 - sum (target - prediction)^2 / sum (target - mean of target)^2. Below 0 where the target's own mean would
    have been the better prediction; NaN where the target is constant.

    Raises:
        TypeError, ValueError: not images (B, C, H, W) of one shape, NaN or infinite.
    """
    predicted, true = _vectors(prediction, target)
    left_over = (true - predicted).square().sum(1)
    total = _centred(true).square().sum(1)
    return _defined("R^2", (1 - left_over / total).where(total > 0, torch.nan), "the target is constant")


def mse(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> Tensor:
    """Mean squared difference over pixels and channels, 0 or more.

    Raises:
        TypeError, ValueError: not images (B, C, H, W) of one shape, NaN or infinite.
    """
    predicted, true = _vectors(prediction, target)
    return (true - predicted).square().mean(1)


def _vectors(prediction: Tensor | np.ndarray, target: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    predicted, true = check_images(prediction, "prediction"), check_images(target, "target")
    if predicted.shape != true.shape:
        raise ValueError(
            f"prediction and target must have one shape, got {tuple(predicted.shape)} and {tuple(true.shape)}"
        )
    return _vector(predicted), _vector(true)


def _vector(images: Tensor) -> Tensor:
    """Float64 (B, C * H * W); images that are constant but for rounding are made exactly constant."""
    vectors = images.detach().double().flatten(1)
    low, high = vectors.aminmax(dim=1, keepdim=True)
    rounding = ROUNDING * torch.finfo(images.dtype).eps * torch.maximum(low.abs(), high.abs())
    return torch.where(high - low <= rounding, vectors[:, :1], vectors)


def _centred(vectors: Tensor) -> Tensor:
    """Each vector less its mean; exactly zero where it is constant, which the mean's rounding would hide."""
    constant = vectors.amax(1, keepdim=True) == vectors.amin(1, keepdim=True)
    return (vectors - vectors.mean(1, keepdim=True)).masked_fill(constant, 0.0)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    lengths = a.square().sum(1).sqrt() * b.square().sum(1).sqrt()
    cosine: Tensor = (a * b).sum(1) / lengths
    return cosine.where(lengths > 0, torch.nan).clamp(-1, 1)


def _defined(name: str, values: Tensor, why: str) -> Tensor:
    """The values; a warning where some are undefined."""
    undefined = int(values.isnan().sum())
    if undefined:
        warn(f"{name} is undefined (NaN) for {undefined} of {count(len(values), 'image')}: {why}")
    return values
