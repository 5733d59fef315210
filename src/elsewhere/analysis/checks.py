"""Checks that calibration and comparison make before the first long computation."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.denoiser import DenoiserLike, Label, check_images, check_label
from elsewhere.phrases import count
from elsewhere.schedules import Schedule, cosine


def check_schedule(schedule: Schedule | None) -> Schedule:
    """The schedule, `cosine(20)` when None.

    Raises:
        TypeError: not a Schedule.
    """
    if schedule is None:
        return cosine()
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a Schedule, such as schedules.cosine(20), got {type(schedule).__name__}")
    return schedule


def check_request(
    denoisers: Mapping[str, DenoiserLike], noise: Tensor | np.ndarray, label: Label
) -> tuple[Tensor, Tensor | None]:
    """Noise as a (B, C, H, W) tensor and labels as int64 (B,) or None, fit for every denoiser.

    Raises:
        TypeError: a denoiser that cannot be called, noise or label of the wrong kind.
        ValueError: noise of a shape that a denoiser was not made for, NaN, label out of range.
    """
    images = check_images(noise, "noise")
    labels = None
    for name, denoiser in denoisers.items():
        if not callable(denoiser):
            raise TypeError(f"{name} must be callable as D(x, sigma, label=None), got {type(denoiser).__name__}")
        _check_shape(name, denoiser, images)
        classes = getattr(denoiser, "num_classes", None)
        if label is not None:
            # A denoiser that does not say how many classes it has judges the label itself.
            largest = torch.iinfo(torch.int64).max if classes is None else classes
            labels = check_label(label, len(images), largest, name)
    return images, labels


def _check_shape(name: str, denoiser: DenoiserLike, noise: Tensor) -> None:
    _, channels, height, width = noise.shape
    wanted = getattr(denoiser, "channels", None)
    if wanted is not None and channels != wanted:
        raise ValueError(f"noise has {channels} channels, {name} was made for {wanted}")
    size = getattr(denoiser, "size", None)
    if size is not None and (height, width) != tuple(size):
        raise ValueError(f"noise is {height}x{width} pixels, {name} was made for {size[0]}x{size[1]}")


def check_prediction(name: str, images: object, like: Tensor) -> Tensor:
    """What a denoiser returned, if it is finite images of the shape it was given.

    Raises:
        TypeError, ValueError: it is not; the message names the denoiser.
    """
    found = check_images(images, f"the output of {name}")
    if found.shape != like.shape:
        raise ValueError(f"{name} returned shape {tuple(found.shape)} for noise of shape {tuple(like.shape)}")
    return found


def check_pixel(pixel: tuple[int, int], height: int, width: int) -> None:
    """Make sure that a row and a column lie in an image.

    Raises:
        ValueError: they do not.
    """
    if not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
        raise ValueError(f"pixel must be a row and a column of {height}x{width} pixels, counted from 0, got {pixel}")


def describe(denoiser: object) -> str:
    """The repr on one line, without the memory address that differs in every run."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(repr(denoiser).split()))


def same_data(network: object, data: Any) -> bool | None:
    """Whether the network was trained on exactly these images; None where either does not say."""
    theirs = getattr(getattr(network, "spec", None), "fingerprint", "")
    if not theirs or not hasattr(data, "fingerprint"):
        return None
    return bool(theirs == data.fingerprint())


def training_note(network: object, data: Any) -> list[str]:
    """What a reader must know of the network's training images: one sentence, or none where they are `data`."""
    known = same_data(network, data)
    if known or not hasattr(data, "fingerprint"):
        return []
    if known is None:
        return ["The network does not say on which images it was trained."]
    trained = getattr(getattr(network, "spec", None), "data", "") or "unknown"
    return [
        f"The network was trained on other images ({trained}) than the machines use ({data.name}, "
        f"{getattr(data, 'amount', count(len(data.images), 'image'))}): expect less agreement, as the theory speaks of one training set."
    ]


def give_warnings(sentences: Sequence[str]) -> None:
    """Issue each sentence as a Python warning that points to the caller of the public function."""
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=3)
