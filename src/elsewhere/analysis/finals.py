"""Whether the images that a network ends on can be images at all."""

from __future__ import annotations

from torch import Tensor

from elsewhere.phrases import count

FAR = 0.1
"""Rms distance of an image from the nearest image in [-1, 1] beyond which it is far outside: 13 gray levels of 255.

The networks that come with the package stay below 0.01; one that is read with the wrong prediction type is above 1.
"""

QUESTION = "is the network undertrained, or is its prediction_type wrong?"


def far_outside(images: Tensor) -> Tensor:
    """Which images are far outside [-1, 1], bool (B,).

    Args:
        images: final images of a reverse process, (B, C, H, W).
    """
    beyond: Tensor = (images.detach().double().abs() - 1).clamp(min=0)
    return beyond.square().mean((1, 2, 3)).sqrt() > FAR


def judge_finals(images: Tensor) -> list[str]:
    """What is wrong with the images that a network drew: one sentence, or none.

    Args:
        images: final images of a reverse process, (B, C, H, W).

    Example:
        >>> import torch
        >>> judge_finals(torch.zeros(2, 1, 4, 4))
        []
    """
    far = far_outside(images)
    return [] if not far.any() else [_sentence(int(far.sum()), images)]


def _sentence(far: int, images: Tensor) -> str:
    values = images.detach().double()
    if far == len(images):
        which = "The network's picture is" if far == 1 else "The network's pictures are"
    else:
        which = f"{far} of the network's {count(len(images), 'picture')} {'is' if far == 1 else 'are'}"
    rms, low, high = float(values.square().mean().sqrt()), float(values.min()), float(values.max())
    return f"{which} far outside -1..1 (rms {rms:.3g}, pixels from {low:.3g} to {high:.3g}): {QUESTION}"
