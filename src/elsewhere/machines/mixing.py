"""Mixing: a convex combination of denoisers, with shares that depend on the noise level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_number, check_path, check_type, checked
from elsewhere.data import ImageSet
from elsewhere.denoiser import Denoiser, DenoiserLike, ask
from elsewhere.files import details, entries, json_object, json_text, write_text
from elsewhere.machines.levels import check_decreasing, nearest_level
from elsewhere.phrases import count, listed

FORMAT = "elsewhere.mix/1"
WRITTEN = "MixSchedule.save writes one"
SUM_TOLERANCE = 1e-6
"""How far the sum of shares may be from 1: shares are often rounded to six decimals."""


@dataclass(frozen=True)
class MixSchedule:
    """Shares of denoisers for each noise level; those of the nearest level in log sigma are used.

    Attributes:
        sigmas: noise levels, strictly decreasing, within `schedules.SIGMAS`.
        shares: one mapping a level, name of a denoiser -> its share, 0 to 1; each sums to 1 within 1e-6. A name that is
            left out has the share 0. Shares of 0 and 1 choose one denoiser for each level.
        details: how they were found, kept in the file.

    Raises:
        TypeError, ValueError: lengths differ, sigmas not decreasing or out of range, shares negative or with another
            sum, names that are empty.

    Example:
        >>> schedule = MixSchedule((10.0, 0.1), ({"ELS": 0.8, "Wiener": 0.2}, {"ELS": 1.0}))
        >>> schedule(5.0)
        {'ELS': 0.8, 'Wiener': 0.2}
    """

    sigmas: tuple[float, ...]
    shares: tuple[Mapping[str, float], ...]
    details: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_type("shares", self.shares, Sequence[Mapping[str, float]])
        check_type("details", self.details, dict)
        rows = tuple(check_shares(row, f"shares[{level}]") for level, row in enumerate(self.shares))
        object.__setattr__(self, "sigmas", check_decreasing(self.sigmas, len(rows), "shares"))
        object.__setattr__(self, "shares", rows)

    def __call__(self, sigma: float) -> dict[str, float]:
        """Name -> share at a noise level.

        Raises:
            TypeError: sigma is no number.
            ValueError: sigma outside `schedules.SIGMAS`.
        """
        return dict(self.shares[nearest_level(self.sigmas, sigma)])

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order in which they first occur."""
        return tuple(dict.fromkeys(name for row in self.shares for name in row))

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            OSError: the file cannot be written.
            TypeError, ValueError: not a path, or details that JSON cannot hold.
        """
        path = check_path("path", path)
        content = {"format": FORMAT, "sigmas": self.sigmas, "shares": self.shares, "details": self.details}
        write_text(path, json_text(content) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> MixSchedule:
        """Read a file written by `save`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file.
        """
        path = check_path("path", path)
        if not path.is_file():
            raise FileNotFoundError(f"no mix schedule at {path}: {WRITTEN}")
        try:
            content = json_object(path.read_bytes(), FORMAT)
            return cls(tuple(entries(content, "sigmas")), tuple(entries(content, "shares")), details(content))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a mix schedule: {error}; {WRITTEN}") from error


class Mix(Denoiser):
    """x0hat = sum_k w_k(sigma) D_k(x, sigma): a convex mix of denoisers, with shares w_k for each noise level.

    A denoiser whose share is 0 at a noise level is not asked there. Denoisers are asked with one noise level at a time,
    a float. The mix is differentiable in x where the denoisers that are asked are. A mix of posterior means under
    different models is itself no posterior mean; it is the stacking of Wolpert (1992), "Stacked generalization", with
    weights that depend on the noise.

    Args:
        denoisers: name -> D(x, sigma, label=None).
        shares: name -> share, the same at every noise level, or a `MixSchedule`.

    Attributes:
        channels, size: of the denoisers that state them, else None: any.
        num_classes: of the denoisers that state it; 0 if one of these has no classes, or none states it.
        data: the training images, if all denoisers that have `data` have the same ones, else None.

    Raises:
        TypeError: a denoiser that cannot be called, names that are no strings, shares that are no numbers.
        ValueError: no denoisers; names of shares and denoisers differ; shares negative or with another sum than 1;
            denoisers for images of other channels, sizes or classes.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=20)
        >>> parts = {"IS": els.IdealScore(data), "LS": els.LocalScore(data, 5)}
        >>> schedule = els.MixSchedule((10.0, 0.1), ({"IS": 1.0}, {"IS": 0.25, "LS": 0.75}))
        >>> els.Mix(parts, schedule)(els.make_noise(2, data.shape), 0.5).shape
        torch.Size([2, 1, 28, 28])
    """

    @checked
    def __init__(self, denoisers: Mapping[str, DenoiserLike], shares: Mapping[str, float] | MixSchedule) -> None:
        if not denoisers:
            raise ValueError('denoisers is empty: give one or more, such as {"ELS": EquivariantLocalScore(data)}')
        self.denoisers = dict(denoisers)
        self.shares = shares if isinstance(shares, MixSchedule) else check_shares(shares, "shares")
        names = self.shares.names if isinstance(self.shares, MixSchedule) else tuple(self.shares)
        _check_names(tuple(self.denoisers), names)
        self.channels = self._common("channels")
        self.size = self._common("size")
        classes = [
            stated for part in self.denoisers.values() if (stated := getattr(part, "num_classes", None)) is not None
        ]
        self.num_classes = 0 if 0 in classes else self._common("num_classes") or 0

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={part!r}" for name, part in self.denoisers.items())
        if isinstance(self.shares, MixSchedule):
            return f"Mix({parts}; shares for {count(len(self.shares.sigmas), 'noise level')})"
        return f"Mix({parts}; {', '.join(f'{share:g} {name}' for name, share in self.shares.items())})"

    @property
    def data(self) -> ImageSet | None:
        """The training images of the denoisers, None if none has any or they have different ones."""
        sets = [images for part in self.denoisers.values() if (images := getattr(part, "data", None)) is not None]
        return sets[0] if sets and all(images is sets[0] for images in sets) else None

    @checked
    def to(self, device: str | torch.device) -> Mix:
        """The same mix with every denoiser that has a `to` on another device; the others stay where they are.

        Raises:
            TypeError: not a device.
            ValueError: no such device here, or one that a denoiser cannot use.
        """
        moved = {name: part.to(device) if hasattr(part, "to") else part for name, part in self.denoisers.items()}
        return Mix(moved, self.shares)

    @checked
    def with_weights(self, weights: Tensor | np.ndarray | Sequence[float] | None) -> Mix:
        """The same mix with weights of the training images in every denoiser that takes them (see
        `SoftmaxMachine.with_weights`); the others, such as `Wiener` and networks, stay as they are.

        Raises:
            TypeError, ValueError: no denoiser of the mix takes weights; see `SoftmaxMachine`.
        """
        if not any(hasattr(part, "with_weights") for part in self.denoisers.values()):
            raise TypeError(
                f"weights need a machine that is a softmax average, the mix has {listed([*self.denoisers])}"
            )
        parts = {
            name: part.with_weights(weights) if hasattr(part, "with_weights") else part
            for name, part in self.denoisers.items()
        }
        return Mix(parts, self.shares)

    def shares_at(self, sigma: float) -> dict[str, float]:
        """Name -> share at a noise level, without the denoisers whose share is 0.

        Raises:
            TypeError, ValueError: not a noise level.
        """
        row = self.shares(sigma) if isinstance(self.shares, MixSchedule) else self.shares
        return {name: share for name, share in row.items() if share}

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        levels = sorted(set(sigma.tolist()))
        if len(levels) == 1:
            return self._at(x, levels[0], label)
        out: Tensor | None = None
        for level in levels:
            index = (sigma == level).nonzero()[:, 0].to(x.device)
            part = self._at(x[index], level, None if label is None else label[index.to(label.device)])
            # Not in place: autograd follows the parts.
            out = (x.new_zeros(x.shape, dtype=part.dtype) if out is None else out).index_copy(0, index, part)
        assert out is not None
        return out

    def _at(self, x: Tensor, sigma: float, label: Tensor | None) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        total: Tensor | None = None
        for name, share in self.shares_at(sigma).items():
            x0 = share * ask(self.denoisers[name], x, sigma, label, name).to(x.device, wide)
            total = x0 if total is None else total + x0
        assert total is not None
        return total

    def _common(self, attribute: str) -> Any:
        """What the denoisers that state an attribute state; None where none does."""
        every = {name: getattr(part, attribute, None) for name, part in self.denoisers.items()}
        stated = [(name, value) for name, value in every.items() if value is not None]
        for name, value in stated:
            if value != stated[0][1]:
                raise ValueError(
                    f"denoisers must have the same {attribute}, got {stated[0][1]} of {stated[0][0]} and {value} of "
                    f"{name}: mix denoisers of the same images"
                )
        return stated[0][1] if stated else None


@checked
def mix(denoisers: Mapping[str, DenoiserLike], shares: Mapping[str, float] | MixSchedule) -> Mix:
    """A convex mix of denoisers, which is a denoiser itself: see `Mix`.

    Args:
        denoisers: name -> D(x, sigma, label=None): machines, networks or functions.
        shares: name -> share, 0 to 1, with sum 1; or a `MixSchedule` with shares for each noise level.

    Raises:
        TypeError, ValueError: as `Mix`.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=20)
        >>> parts = {"LS": els.LocalScore(data, 5), "zero": lambda x, sigma, label=None: 0 * x}
        >>> els.mix(parts, {"LS": 0.9, "zero": 0.1}).shares_at(1.0)
        {'LS': 0.9, 'zero': 0.1}
    """
    return Mix(denoisers, shares)


def check_shares(shares: Mapping[str, float], argument: str) -> dict[str, float]:
    """Name -> share: 0 or more, with sum 1 within SUM_TOLERANCE.

    Raises:
        TypeError: names that are no strings, shares that are no numbers.
        ValueError: none, an empty name, a negative share, another sum.
    """
    check_type(argument, shares, Mapping[str, float])
    if not shares:
        raise ValueError(f'{argument} is empty: give every denoiser its share, such as {{"ELS": 0.8, "Wiener": 0.2}}')
    found = {}
    for name, share in shares.items():
        if not name.strip():
            raise ValueError(f"{argument} needs names other than '', got {name!r}")
        found[name] = check_number(f"{argument}[{name!r}]", share, 0)
    # Rounded, because 1 - 0.999999 exceeds 1e-6 in float64.
    if round(abs(sum(found.values()) - 1), 9) > SUM_TOLERANCE:
        given = " + ".join(f"{share:.8g}" for share in found.values())
        raise ValueError(
            f"{argument} must sum to 1 within {SUM_TOLERANCE:g}, got {given} = {sum(found.values()):.8g}: "
            "divide by the sum"
        )
    return found


def _check_names(denoisers: tuple[str, ...], shares: tuple[str, ...]) -> None:
    if unknown := [name for name in shares if name not in denoisers]:
        raise ValueError(
            f"shares are given for {listed(unknown)}, but denoisers has only {listed(denoisers)}: name one of them"
        )
    if missing := [name for name in denoisers if name not in shares]:
        raise ValueError(
            f"shares has none for {listed(missing)}: give a share, or leave {listed(missing)} out of denoisers"
        )
