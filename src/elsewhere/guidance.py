"""Classifier-free guidance of any denoiser that knows classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elsewhere.checks import check_device, check_number, checked
from elsewhere.denoiser import Denoiser, DenoiserLike, Label, ask, check_fixed_label
from elsewhere.phrases import count

LARGEST_SCALE = 1000.0
"""Largest scale. Published ones are 1 to 20; beyond this one x0hat nears the largest values that denoisers take."""


class Guided(Denoiser):
    """What `guided` returns: a denoiser whose label is fixed.

    Attributes:
        denoiser, scale: as given.
        label, negative: int64 (1,) or (B,); `negative` is None where no label is moved away from.
        channels, size, data, window, spec: those of the denoiser, None where it says nothing.
    """

    def __init__(self, denoiser: DenoiserLike, scale: float, label: Tensor, negative: Tensor | None) -> None:
        self.denoiser, self.scale, self.label, self.negative = denoiser, scale, label, negative
        self.channels = getattr(denoiser, "channels", None)
        self.size = getattr(denoiser, "size", None)
        self.data: Any = getattr(denoiser, "data", None)
        self.window: Any = getattr(denoiser, "window", None)
        self.spec: Any = getattr(denoiser, "spec", None)

    def __repr__(self) -> str:
        negative = "" if self.negative is None else f", negative={_shown(self.negative)}"
        inner = repr(self.denoiser) if isinstance(self.denoiser, Denoiser) else type(self.denoiser).__name__
        return f"Guided({inner}, scale={self.scale:g}, label={_shown(self.label)}{negative})"

    @checked
    def to(self, device: str | torch.device) -> Guided:
        """The same guidance of the denoiser on another device; one without a `to` stays where it is.

        Raises:
            TypeError: not a device.
            ValueError: no such device here, or one that the denoiser cannot use.
        """
        check_device("device", device)
        moved: Any = self.denoiser.to(device) if hasattr(self.denoiser, "to") else self.denoiser
        return Guided(moved, self.scale, self.label, self.negative)

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        # A number where it does: denoisers of users need not take a level for each image.
        level: Any = float(sigma[0]) if bool((sigma == sigma[0]).all()) else sigma

        def posterior(chosen: Tensor | None) -> Tensor:
            if chosen is not None and len(chosen) not in (1, len(x)):
                raise ValueError(f"x has {count(len(x), 'image')}, {self!r} has a label for each of {len(chosen)}")
            return ask(self.denoiser, x, level, None if chosen is None else chosen.expand(len(x)).to(x.device))

        # The answers of a scale of 0 or 1 need one call.
        if self.scale == 1:
            return posterior(self.label)
        away = posterior(self.negative)
        return away if self.scale == 0 else away + self.scale * (posterior(self.label) - away)


@checked
def guided(denoiser: DenoiserLike, scale: float, label: Label, negative: Label = None) -> Guided:
    """A denoiser pushed towards a class: D(null) + scale (D(label) - D(null)) (Ho & Salimans 2022, "Classifier-free
    diffusion guidance", arXiv 2207.12598, eq. 6; its w is scale - 1).

    D(null) is the answer without a label: a machine then averages over the images of all classes, and a network uses
    its null class. Each call asks twice, once where the scale is 0 or 1.

    Args:
        denoiser: a machine, a network, or anything callable as D(x, sigma, label=None).
        scale: 0 to 1000. 0 is D(null), 1 is D(label); larger ones move away from what other classes have, and x0hat
            may leave [-1, 1].
        label: class of every image or (B,).
        negative: class to move away from in place of D(null), one or (B,).

    Returns:
        A denoiser D(x, sigma), without classes of its own: sample it without a label.

    Raises:
        TypeError, ValueError: no denoiser, a scale out of range, classes that the denoiser does not have, or a network
            without a null class where `negative` is left out.

    Example:
        >>> import elsewhere as els
        >>> machine = els.LocalScore(els.load_images("fashion-mini", limit=100), window=9)
        >>> more_trouser = els.guided(machine, 3.0, label=1)
        >>> els.sample(more_trouser, els.make_noise(1, (1, 28, 28)), els.schedules.cosine(3)).images.shape
        torch.Size([1, 1, 28, 28])
    """
    scale = check_number("scale", scale, 0, LARGEST_SCALE)
    if label is None:
        raise ValueError("label=None: guidance needs a class to move towards")
    if negative is None and scale != 1 and not getattr(denoiser, "has_null_class", True):
        raise ValueError(
            f"{denoiser!r} has no null class, so it has no answer to move away from: give negative, a class"
        )
    towards = check_fixed_label(label, denoiser)
    assert towards is not None
    return Guided(denoiser, scale, towards, check_fixed_label(negative, denoiser, "negative"))


def _shown(labels: Tensor) -> str:
    """One number where all are the same, else the list."""
    numbers = labels.tolist()
    return str(numbers[0]) if len(set(numbers)) == 1 else str(numbers)
