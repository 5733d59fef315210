"""Detect networks whose final images are far outside the range of images."""

from __future__ import annotations

from torch import Tensor

from elsewhere.guidance import Guided
from elsewhere.phrases import count

FAR = 0.1
"""Rms distance to the nearest image in [-1, 1] above which an image is far outside: 13 gray levels of 255.

The shipped networks stay below 0.01; a network that is read with the wrong prediction type is above 1.
"""

QUESTION = "is the network undertrained, or is its prediction_type wrong?"


def far_outside(images: Tensor, largest: float = 1.0) -> Tensor:
    """Which images are far outside the range of the training images, bool (B,): by more than FAR times it, rms.

    Args:
        images: final images of a reverse process, (B, C, H, W).
        largest: largest absolute value of the training images: 1 for images, `LatentSet.largest` for latents.
    """
    beyond: Tensor = (images.detach().double().abs() - largest).clamp(min=0)
    return beyond.square().mean((1, 2, 3)).sqrt() > FAR * largest


def judge_finals(images: Tensor, denoiser: object = None, largest: float = 1.0) -> list[str]:
    """A warning if final images of a network are far outside the range of images: one sentence, or none.

    Args:
        images, largest: see `far_outside`.
        denoiser: what drew them; guided ones leave the range for a reason of their own.

    Example:
        >>> import torch
        >>> judge_finals(torch.zeros(2, 1, 4, 4))
        []
    """
    far = far_outside(images, largest)
    return [] if not far.any() else [_sentence(int(far.sum()), images, denoiser, largest)]


def _sentence(far: int, images: Tensor, denoiser: object, largest: float) -> str:
    values, verb = images.detach().double(), "is" if far == 1 else "are"
    rms, low, high = float(values.square().mean().sqrt()), float(values.min()), float(values.max())
    which, why = f"{far} of the network's {count(len(images), 'image')}", QUESTION
    if far == len(images):
        which = "The network's image" if far == 1 else "The network's images"
    # A prompted denoiser draws with its `drawer`, a decoded one with its `machine`.
    drawer = getattr(getattr(denoiser, "machine", denoiser), "drawer", getattr(denoiser, "machine", denoiser))
    if isinstance(drawer, Guided):
        which = f"{far} of {count(len(images), 'guided image')}"
        why = f"guidance of scale {drawer.scale:g} does that, choose a smaller one"
    seen = f"rms {rms:.3g}, pixels from {low:.3g} to {high:.3g}"
    return f"{which} {verb} far outside -{largest:.3g}..{largest:.3g} ({seen}): {why}"
