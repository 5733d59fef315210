"""Classifier-free guidance: of a denoiser that knows classes, or between two denoisers."""

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
    """What `guided` returns: D_away + scale (D_towards - D_away), each of both with a label that is fixed.

    Attributes:
        denoiser, scale: as given.
        away: the denoiser to move away from, the same one unless given.
        label, negative: of `denoiser` and of `away`, int64 (1,) or (B,), or None for no label.
        channels, size, data, window, spec: those of the denoiser, None where it says nothing.
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        scale: float,
        label: Tensor | None,
        negative: Tensor | None,
        away: DenoiserLike | None = None,
    ) -> None:
        self.denoiser, self.scale, self.label, self.negative = denoiser, scale, label, negative
        self.away = denoiser if away is None else away
        self.channels = getattr(denoiser, "channels", None)
        self.size = getattr(denoiser, "size", None)
        self.data: Any = getattr(denoiser, "data", None)
        self.window: Any = getattr(denoiser, "window", None)
        self.spec: Any = getattr(denoiser, "spec", None)

    def __repr__(self) -> str:
        settings = [f"scale={self.scale:g}"]
        settings += [f"label={_shown(self.label)}"] if self.label is not None else []
        settings += [f"away={_name(self.away)}"] if self.away is not self.denoiser else []
        settings += [f"negative={_shown(self.negative)}"] if self.negative is not None else []
        return f"Guided({_name(self.denoiser)}, {', '.join(settings)})"

    @checked
    def to(self, device: str | torch.device) -> Guided:
        """The same guidance of the denoiser on another device; one without a `to` stays where it is.

        Raises:
            TypeError: not a device.
            ValueError: no such device here, or one that the denoiser cannot use.
        """
        check_device("device", device)
        away = None if self.away is self.denoiser else moved(self.away, device)
        return Guided(moved(self.denoiser, device), self.scale, self.label, self.negative, away)

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        # A number where it does: denoisers of users need not take a level for each image.
        level: Any = float(sigma[0]) if bool((sigma == sigma[0]).all()) else sigma

        def posterior(denoiser: DenoiserLike, chosen: Tensor | None) -> Tensor:
            if chosen is not None and len(chosen) not in (1, len(x)):
                raise ValueError(f"x has {count(len(x), 'image')}, {self!r} has a label for each of {len(chosen)}")
            return ask(denoiser, x, level, None if chosen is None else chosen.expand(len(x)).to(x.device))

        # The answers of a scale of 0 or 1 need one call.
        if self.scale == 1:
            return posterior(self.denoiser, self.label)
        away = posterior(self.away, self.negative)
        return away if self.scale == 0 else away + self.scale * (posterior(self.denoiser, self.label) - away)


@checked
def guided(
    denoiser: DenoiserLike,
    scale: float,
    label: Label = None,
    negative: Label = None,
    *,
    away: DenoiserLike | None = None,
) -> Guided:
    """A denoiser pushed towards a class, or away from another denoiser: D(away) + scale (D(towards) - D(away)) (Ho &
    Salimans 2022, "Classifier-free diffusion guidance", arXiv 2207.12598, eq. 6; its w is scale - 1).

    D(towards) is the denoiser with the label. D(away) is its answer without a label: a machine then averages over the
    images of all classes, and a network uses its null class. With `away`, it is the answer of that denoiser: for a
    prompt (see `els.prompted`), of the same machine without one or with a negative one. Each call asks twice, once
    where the scale is 0 or 1.

    Args:
        denoiser: a machine, a network, or anything callable as D(x, sigma, label=None).
        scale: 0 to 1000. 0 is D(away), 1 is D(towards); larger ones move away from what both have in common, and x0hat
            may leave [-1, 1].
        label: class of every image or (B,); None only with `away`.
        negative: class to move away from in place of no label, one or (B,); with `away`, a class of that denoiser.
        away: denoiser to move away from; None: the same one.

    Returns:
        A denoiser D(x, sigma), without classes of its own: sample it without a label.

    Raises:
        TypeError, ValueError: no denoiser, or a `Decoded` one, a scale out of range, classes that the denoiser does not
            have, a network without a null class where `negative` is left out, or denoisers of images of different
            sizes.

    Example:
        >>> import elsewhere as els
        >>> machine = els.LocalScore(els.load_images("fashion-mini", limit=100), window=9)
        >>> more_trouser = els.guided(machine, 3.0, label=1)
        >>> els.sample(more_trouser, els.make_noise(1, (1, 28, 28)), els.schedules.cosine(3)).images.shape
        torch.Size([1, 1, 28, 28])
    """
    scale = check_number("scale", scale, 0, LARGEST_SCALE)
    if label is None and away is None:
        raise ValueError("label=None: guidance needs a class to move towards, or away, a denoiser to move away from")
    other = denoiser if away is None else away
    for one in (denoiser, other):
        if hasattr(one, "decode_run"):
            raise ValueError(
                f"{one!r} has a decoder, which a difference has not: els.Decoded(els.guided(machine, ...))"
            )
    for name in ("channels", "size"):
        ours, theirs = getattr(denoiser, name, None), getattr(other, name, None)
        if ours is not None and theirs is not None and ours != theirs:
            raise ValueError(f"away must have the {name} of denoiser, {ours}, got {theirs}")
    if negative is None and scale != 1 and not getattr(other, "has_null_class", True):
        raise ValueError(f"{other!r} has no null class, so it has no answer to move away from: give negative, a class")
    return Guided(
        denoiser, scale, check_fixed_label(label, denoiser), check_fixed_label(negative, other, "negative"), away
    )


def moved(denoiser: Any, device: str | torch.device) -> Any:
    """A denoiser on another device; itself where it has no `to`."""
    return denoiser.to(device) if hasattr(denoiser, "to") else denoiser


def _name(denoiser: DenoiserLike) -> str:
    return repr(denoiser) if isinstance(denoiser, Denoiser) else type(denoiser).__name__


def _shown(labels: Tensor) -> str:
    """One number where all are the same, else the list."""
    numbers = labels.tolist()
    return str(numbers[0]) if len(set(numbers)) == 1 else str(numbers)
