"""The general patch machine: every term of the formula is a setting, for each noise level."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch

from elsewhere.checks import (
    check_choice,
    check_number,
    check_path,
    check_type,
    checked,
    seen,
)
from elsewhere.engine import Layout, Metric, Wraps
from elsewhere.files import details, json_object, json_text, rows, write_text
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.borders import Borders, inside_places, own_places, shared_places
from elsewhere.machines.levels import check_decreasing, nearest_level
from elsewhere.machines.locality import check_window
from elsewhere.machines.machine import Data

FORMAT = "elsewhere.patches/1"
WRITTEN = "PatchSchedule.save writes one"

Keys = Literal["same place", "aware", "wrap", "torus", "inside"]
KEYS: tuple[Keys, ...] = ("same place", "aware", "wrap", "torus")
INSIDE: Keys = "inside"
# Beyond this the nearest training image decides alone.
MOST_PEDESTAL = 1e3
LEAST_TEMPERATURE, MOST_TEMPERATURE = 1e-3, 1e3
LEAST_SHIFT_WIDTH, MOST_SHIFT_WIDTH = 0.1, 1e4
# In half sides of a patch. A corner counts exp(-1 / fold^2). With less, that times a softmax weight of 1e-7 leaves the
# range of float32, and what is pasted there is wrong. With more, all pixels count alike.
LEAST_FOLD, MOST_FOLD = 0.12, 10.0


@dataclass(frozen=True)
class PatchSettings:
    """The terms of the formula at one noise level: see `PatchScore`.

    Attributes:
        window: odd side of the query's window in pixels.
        taper: whether pixels of the window count the less the farther they are from its centre.
        pedestal: beta, 0 to 1000: how much each pixel of the whole image counts beside those of the window.
        keys: which windows of the training images a pixel meets: "same place", or those of `EquivariantLocalScore` with
            borders "aware", "wrap" or "torus". With "inside", queries and keys are the windows that lie wholly inside
            their images; it needs patches as large as the window, which cover the pixels near the edges.
        response: odd side of the patch that is pasted, at most the window; 1 for the centre pixel alone.
        temperature: by which log-weights are divided, 0.001 to 1000.
        shift_width: standard deviation in pixels of a normal prior over the shift between a pixel and the window that
            it meets, along either axis, 0.1 to 10000: pixels then know roughly where they are. None for no such prior.
        fold: rho, 0.12 to 10: pixels of a pasted patch count exp(-(u^2 + v^2) / (2 rho^2)) where patches overlap, u and
            v running from -1 to 1 over the patch. None where all of its pixels count alike.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or out of range.
    """

    window: int
    taper: bool = False
    pedestal: float = 0.0
    keys: Keys = "aware"
    response: int = 1
    temperature: float = 1.0
    shift_width: float | None = None
    fold: float | None = None

    def __post_init__(self) -> None:
        for name in ("window", "response"):
            object.__setattr__(self, name, check_window(getattr(self, name), name))
        check_type("taper", self.taper, bool)
        check_choice("keys", self.keys, (*KEYS, INSIDE))
        pedestal = check_number("pedestal", self.pedestal, 0.0, MOST_PEDESTAL)
        object.__setattr__(self, "pedestal", pedestal)
        temperature = check_number("temperature", self.temperature, LEAST_TEMPERATURE, MOST_TEMPERATURE)
        object.__setattr__(self, "temperature", temperature)
        if self.shift_width is not None:
            width = check_number("shift_width", self.shift_width, LEAST_SHIFT_WIDTH, MOST_SHIFT_WIDTH)
            object.__setattr__(self, "shift_width", width)
        if self.response > self.window:
            raise ValueError(f"response must be at most the window ({self.window}), got {self.response}")
        if self.keys == INSIDE and self.response != self.window:
            raise ValueError(
                f"response must be the window ({self.window}) with keys={INSIDE!r}, whose patches cover the edges, "
                f"got {self.response}"
            )
        if self.fold is not None:
            object.__setattr__(self, "fold", check_number("fold", self.fold, LEAST_FOLD, MOST_FOLD))
            if self.response == 1:
                raise ValueError("fold weighs the pixels of pasted patches, and here response=1: leave fold out")

    def pasted(self) -> Metric | None:
        """How much each pixel of a pasted patch counts; None where the centre pixel alone is the answer."""
        if self.response == 1:
            return None
        if self.fold is None:
            return Metric.square(self.response)
        u = torch.linspace(-1, 1, self.response, dtype=torch.float64, device="cpu")
        profile = torch.exp(-u.square() / (2 * self.fold**2))
        return Metric(self.response, profile[:, None] * profile, profile)


@dataclass(frozen=True)
class PatchSchedule:
    """Settings for each noise level; the machine uses those of the nearest level in log sigma.

    Attributes:
        sigmas: noise levels, strictly decreasing, within `schedules.SIGMAS`.
        settings: one `PatchSettings` a level.
        details: how it was found, kept in the file.

    Raises:
        TypeError, ValueError: lengths differ, sigmas not decreasing or out of range.
    """

    sigmas: tuple[float, ...]
    settings: tuple[PatchSettings, ...]
    details: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_type("settings", self.settings, Sequence[PatchSettings])
        check_type("details", self.details, dict)
        object.__setattr__(self, "settings", tuple(self.settings))
        object.__setattr__(self, "sigmas", check_decreasing(self.sigmas, len(self.settings), "settings"))

    def __call__(self, sigma: float) -> PatchSettings:
        """Settings at a noise level.

        Raises:
            TypeError, ValueError: sigma is no number, or outside `schedules.SIGMAS`.
        """
        return self.settings[nearest_level(self.sigmas, sigma)]

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            OSError: the file cannot be written.
            TypeError, ValueError: not a path, or details that JSON cannot hold.
        """
        path = check_path("path", path)
        levels = [{"sigma": sigma, **asdict(one)} for sigma, one in zip(self.sigmas, self.settings, strict=True)]
        write_text(path, json_text({"format": FORMAT, "levels": levels, "details": self.details}) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> PatchSchedule:
        """Read a file written by `save`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file.
        """
        path = check_path("path", path)
        if not path.is_file():
            raise FileNotFoundError(f"no patch schedule at {path}: {WRITTEN}")
        try:
            content = json_object(path.read_bytes(), FORMAT)
            sigmas, settings, _ = read_levels(content)
            return cls(sigmas, settings, details(content))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a patch schedule: {error}; {WRITTEN}") from error


def read_levels(
    content: Mapping[str, Any], needed: Sequence[str] = ()
) -> tuple[tuple[float, ...], tuple[PatchSettings, ...], list[dict[str, Any]]]:
    """The noise levels of an object of a file, the settings at each, and all that is said of it.

    Args:
        content: the object; its "levels" hold one object for each noise level.
        needed: further names that every level must have.

    Raises:
        TypeError, ValueError: something else, an unknown name, a value that cannot be.
    """
    names = [field.name for field in fields(PatchSettings)]
    levels = rows(content, "levels", ("sigma", "window", *needed), names[1:])
    sigmas = tuple(level["sigma"] for level in levels)
    return sigmas, tuple(PatchSettings(**{n: level[n] for n in names if n in level}) for level in levels), levels


class PatchScore(SoftmaxMachine):
    """The general machine, of which the others of square and tapered windows are settings.

        D_u = sum_i r_iu m_iu / sum_i r_iu,   m_i = sum_y softmax_y(-(x - y)^T Q_i (x - y) / (2 T sigma^2)) y

    For each pixel i, y runs over training images moved so that one of their windows (`keys`) lies on that of the pixel.
    The diagonal of Q_i holds the weights of the window, square or tapered. `pedestal` is added for all pixels of the
    image, compared with those of the training image before it was moved. r_i is the patch around pixel i that is pasted
    (`response`, square; its weights are equal or, with `fold`, Gaussian), T is the `temperature`. Cf. "FPMC", arXiv
    2605.24192.

    With `shift_width` the softmax has a normal prior over the shifts between pixel i and the places of its keys.

    LocalScore has keys="same place", EquivariantLocalScore keys="aware", "wrap" or "torus".

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        settings: `PatchSettings`, or a `PatchSchedule` that gives them for each noise level.
        weights, engine, tolerance, memory, cache, device: see `SoftmaxMachine`. Patches and pedestals weigh
            all keys; of the weights of a query at most 1e-5 in all is not pasted.

    Raises:
        TypeError: settings of another kind.
        ValueError: see `SoftmaxMachine`.

    Example:
        >>> import elsewhere as els
        >>> settings = els.PatchSettings(window=7, taper=True, pedestal=0.1, keys="same place", response=3)
        >>> machine = els.PatchScore(els.load_images("fashion-mini", limit=50), settings)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    @checked
    def __init__(self, data: Data, settings: PatchSettings | PatchSchedule, **engine: Any) -> None:
        if not isinstance(settings, PatchSettings | PatchSchedule):
            raise TypeError(f"settings must be PatchSettings or a PatchSchedule, got {seen(settings)}")
        super().__init__(data, **engine)
        self._set(settings)

    def __repr__(self) -> str:
        one = self.settings
        return self._describe(repr(one) if isinstance(one, PatchSettings) else f"{len(one.sigmas)} levels")

    @checked
    def with_settings(self, settings: PatchSettings | PatchSchedule) -> PatchScore:
        """The same machine with other settings; data and caches are shared.

        Raises:
            TypeError: settings of another kind.
        """
        other = copy.copy(self)
        other.__dict__.pop("_all_settings", None)
        other._set(settings)
        return other

    def _set(self, settings: PatchSettings | PatchSchedule) -> None:
        self.settings = settings
        tied = [one.keys == "same place" or one.pedestal or one.shift_width is not None for one in self._all_settings]
        moves = not any(tied)
        self.size = None if moves else self.image_size

    @cached_property
    def _all_settings(self) -> list[PatchSettings]:
        one = self.settings
        return [one] if isinstance(one, PatchSettings) else list(dict.fromkeys(one.settings))

    def settings_at(self, sigma: float) -> PatchSettings:
        """The settings at a noise level."""
        return self.settings if isinstance(self.settings, PatchSettings) else self.settings(sigma)

    def window_at(self, sigma: float) -> int:
        return self.settings_at(sigma).window

    def layout(self, height: int, width: int, window: int) -> Layout:
        one = next(one for one in self._all_settings if one.window == window)
        return self._layout(height, width, one)

    def layout_at(self, height: int, width: int, sigma: float) -> Layout:
        return self._layout(height, width, self.settings_at(sigma))

    def _layouts(self) -> list[Layout]:
        return [self._layout(*self.image_size, one) for one in self._all_settings]

    def _layout(self, height: int, width: int, one: PatchSettings) -> Layout:
        regions, wraps = own_places((height, width)), Wraps(False, False)
        if one.keys == INSIDE:
            regions = inside_places(self.image_size, (height, width), one.window)
        elif one.keys != "same place":
            borders = cast(Borders, one.keys)
            regions, wraps = shared_places(borders, self.image_size, (height, width), one.window)
        return Layout(
            regions,
            Metric.tapered(one.window) if one.taper else Metric.square(one.window),
            wraps,
            response=one.pasted(),
            pedestal=one.pedestal,
            temperature=one.temperature,
            shift_width=None if one.keys == "same place" else one.shift_width,
        )
