"""What `attention_report` measured, and the numbers derived from it: data only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from elsewhere.checks import check_choice, check_fields, check_levels
from elsewhere.phrases import count

Kind = Literal["image", "noise", "masked"]
KINDS: tuple[Kind, ...] = ("image", "noise", "masked")
TITLES = {
    "image": "another image outside the window",
    "noise": "fresh noise outside the window",
    "masked": "attention held to the window",
}


@dataclass(frozen=True)
class LayerAttention:
    """Where one self-attention layer looked: means over the images.

    Attributes:
        name: of the layer.
        grid: rows and columns of its places.
        distance: (S, heads), mean distance between query and key in pixels under the weights.
        beyond: (S, W, heads), share of the weights outside each window.
        where: (S, W, rows, columns), the same share for every query place, mean over heads.
        uniform_distance, uniform_beyond: distance, and shares (W,), of weights that are all equal.
    """

    name: str
    grid: tuple[int, int]
    distance: np.ndarray
    beyond: np.ndarray
    where: np.ndarray
    uniform_distance: float
    uniform_beyond: np.ndarray

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class NetworkAttention:
    """What was measured on one denoiser; S noise levels, W windows, B images.

    Attributes:
        name: in tables.
        about: the denoiser on one line.
        gaps: "image", "noise" and, with self-attention, "masked" -> (S, W, B), mean squared change of x0hat in units of
            [-1, 1]: see `attention_report`.
        spread: (S,), root mean square over pixels of the standard deviation of x0hat over the images: the gap of a
            denoiser whose answer for a pixel is chosen from the answers for other images is about sqrt(2) times that.
        layers: its self-attention layers; empty without.
    """

    name: str
    about: str
    gaps: dict[str, np.ndarray]
    spread: np.ndarray
    layers: tuple[LayerAttention, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)

    def rms(self, kind: str) -> np.ndarray:
        """Root mean square gap, (S, W); NaN where it was not measured.

        Raises:
            TypeError, ValueError: no such kind of gap.
        """
        check_choice("kind", kind, KINDS)
        known = next(iter(self.gaps.values()))
        gap = self.gaps.get(kind)
        return np.full(known.shape[:2], math.nan) if gap is None else np.sqrt(gap.mean(2))

    def error(self, kind: str) -> np.ndarray:
        """Standard error of `rms` over the images, (S, W); NaN for one image.

        Raises:
            TypeError, ValueError: no such kind of gap.
        """
        rms, gap = self.rms(kind), self.gaps.get(kind)
        if gap is None or gap.shape[2] < 2:
            return np.full(rms.shape, math.nan)
        # The error of a square root: that of the mean square, divided by twice the root.
        spread = gap.std(2, ddof=1) / math.sqrt(gap.shape[2])
        error: np.ndarray = np.divide(spread, 2 * rms, out=np.zeros_like(rms), where=rms > 0)
        return error

    @property
    def distance(self) -> np.ndarray:
        """Mean attention distance over layers and heads in pixels, (S,); NaN without attention."""
        if not self.layers:
            return np.full(self.spread.shape, math.nan)
        mean: np.ndarray = np.mean([layer.distance.mean(1) for layer in self.layers], 0)
        return mean

    @property
    def beyond(self) -> np.ndarray:
        """Mean share of attention outside each window over layers and heads, (S, W); NaN without attention."""
        if not self.layers:
            return np.full(next(iter(self.gaps.values())).shape[:2], math.nan)
        mean: np.ndarray = np.mean([layer.beyond.mean(2) for layer in self.layers], 0)
        return mean


@dataclass(frozen=True)
class AttentionResult:
    """How local denoisers are, and where their attention looks. `attention_report` returns an `AttentionReport`, which
    can also be written to files.

    Attributes:
        sigmas: noise levels, decreasing.
        windows: odd sides in pixels, rising.
        networks: what was measured, in the order given.
        settings: everything needed to repeat it.
    """

    sigmas: tuple[float, ...]
    windows: tuple[int, ...]
    networks: tuple[NetworkAttention, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        check_levels("sigmas", self.sigmas)
        for name in ("sigmas", "windows", "networks"):
            if not getattr(self, name):
                raise ValueError(f"{name} must have one or more, got none")

    def __repr__(self) -> str:
        sizes = f"{count(len(self.sigmas), 'noise level')}, windows {', '.join(map(str, self.windows))}"
        return f"{type(self).__name__}({', '.join(network.name for network in self.networks)}; {sizes})"

    def network(self, name: str) -> NetworkAttention:
        """What was measured on one denoiser.

        Raises:
            TypeError, ValueError: no denoiser of that name.
        """
        check_choice("name", name, [network.name for network in self.networks])
        return next(network for network in self.networks if network.name == name)

    @property
    def middle(self) -> int:
        """The window that figures show first, as an index: the second smallest, or the only one."""
        return min(1, len(self.windows) - 1)

    def table(self) -> list[dict[str, Any]]:
        """One row for each denoiser, noise level and window; None for what was not measured."""
        rows = []
        for network in self.networks:
            values = {kind: (network.rms(kind), network.error(kind)) for kind in KINDS}
            for s, sigma in enumerate(self.sigmas):
                for w, window in enumerate(self.windows):
                    gaps: dict[str, float | None] = {}
                    for kind, (rms, error) in values.items():
                        gaps |= {f"gap_{kind}": _number(rms[s, w]), f"gap_{kind}_error": _number(error[s, w])}
                    rows.append(
                        {
                            "network": network.name,
                            "sigma": sigma,
                            "window": window,
                            **gaps,
                            "spread": _number(network.spread[s]),
                            "attention_beyond": _number(network.beyond[s, w]),
                            "attention_distance": _number(network.distance[s]),
                        }
                    )
        return rows

    def summary(self) -> list[dict[str, Any]]:
        """One row for each denoiser and window: gaps in root mean square over the noise levels, the largest level of
        each, mean share of attention beyond the window; None for what was not measured."""
        rows = []
        for network in self.networks:
            for w, window in enumerate(self.windows):
                curves = {kind: network.rms(kind)[:, w] for kind in KINDS}
                rows.append(
                    {
                        "network": network.name,
                        "window": window,
                        **{f"gap_{kind}": _number(np.sqrt((gap**2).mean())) for kind, gap in curves.items()},
                        "sigma_of_largest": self.sigmas[int(curves["image"].argmax())],
                        "attention_beyond": _number(network.beyond[:, w].mean()),
                        "attention_distance": _number(network.distance.mean()),
                    }
                )
        return rows


def _number(value: Any) -> float | None:
    number = float(value)
    return None if math.isnan(number) else number
