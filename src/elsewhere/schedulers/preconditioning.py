"""How a network is asked for x0hat, and what its answer means.

All parametrisations of the field are one formula (Karras et al. 2022, EDM, eq. 7):

    D(x, sigma) = c_skip x + c_out F(c_in x, t)

They differ in the scale of the input c_in, in what the network predicts (c_skip and c_out), and in the number t that
tells it the noise level.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import seen

Scale = Literal["vp", "flow", "edm"]
Prediction = Literal["epsilon", "v", "sample", "flow"]

PURE_NOISE = math.inf
"""The level of a timestep at which no image is left."""


class Times(Protocol):
    """The number t that stands for a noise level. Levels and times are float64 and rise together."""

    @property
    def least(self) -> float:
        """The least level that the network knows, 0 or more."""

    @property
    def greatest(self) -> float:
        """The greatest level that the network knows; infinite where it knows all."""

    def time(self, sigma: Tensor) -> Tensor:
        """The times of levels (B,); those of levels out of range are the first and the last."""

    def level(self, time: Tensor) -> Tensor:
        """The levels of times (B,).

        Raises:
            ValueError: a time that no level has.
        """


@dataclass(frozen=True, eq=False)
class TableTimes:
    """A level for each of several times; between two times the logarithm of the level is linear in time.

    Attributes:
        times, log_sigmas: float64, both rising strictly.
        noise: the time, one after the last of the table, at which no image is left, or None.
    """

    times: np.ndarray
    log_sigmas: np.ndarray
    noise: float | None = None

    @property
    def least(self) -> float:
        return float(np.exp(self.log_sigmas[0]))

    @property
    def greatest(self) -> float:
        return float(np.exp(self.log_sigmas[-1]))

    def time(self, sigma: Tensor) -> Tensor:
        times = np.interp(sigma.double().log().cpu().numpy(), self.log_sigmas, self.times)
        return torch.from_numpy(times).to(sigma.device)

    def level(self, time: Tensor) -> Tensor:
        given = time.double().cpu().numpy()
        first, last = float(self.times[0]), float(self.times[-1] if self.noise is None else self.noise)
        # Schedulers hold their times in float32, so that the ends may be off by its rounding.
        slack = 1e-6 * max(abs(first), abs(last))
        # NaN is in no range.
        outside = ~((given >= first - slack) & (given <= last + slack))
        if outside.any():
            wrong = given[outside][0]
            raise ValueError(f"timestep {wrong:g} has no noise level: expected {first:g} to {last:g}")
        levels = np.exp(np.interp(given, self.times, self.log_sigmas))
        if self.noise is not None:
            levels[given > self.times[-1] + slack] = PURE_NOISE
        return torch.from_numpy(levels).to(time.device)


@dataclass(frozen=True)
class FlowTimes:
    """t = count u with u = sigma / (1 + sigma), the share of noise in (1 - u) x0 + u n; 0 < u <= 1."""

    count: float = 1.0

    @property
    def least(self) -> float:
        return 0.0

    @property
    def greatest(self) -> float:
        return math.inf

    def time(self, sigma: Tensor) -> Tensor:
        return self.count * (sigma / (1 + sigma))

    def level(self, time: Tensor) -> Tensor:
        share = time.double() / self.count
        outside = ~((share > 0) & (share <= 1 + 1e-6))
        if bool(outside.any()):
            wrong = float(time[outside][0])
            raise ValueError(f"timestep {wrong:g} has no noise level: expected above 0, at most {self.count:g}")
        return share / (1 - share).clamp_min(0)


@dataclass(frozen=True)
class LogTimes:
    """t = ln(sigma) / 4 (EDM, table 1), of levels from `least` to `greatest`."""

    least: float = 0.0
    greatest: float = math.inf

    def time(self, sigma: Tensor) -> Tensor:
        return sigma.clamp(self.least, self.greatest).log() / 4

    def level(self, time: Tensor) -> Tensor:
        # ln(1e-8) / 4 to ln(1e8) / 4, the noise levels of this library: the timesteps of other conventions are beyond.
        outside = ~(time.abs() <= 4.61)
        if bool(outside.any()):
            wrong = float(time[outside][0])
            raise ValueError(f"timestep {wrong:g} has no noise level: expected ln(sigma) / 4, between -4.6 and 4.6")
        return (4 * time.double()).exp()


@dataclass(frozen=True)
class FunctionTimes:
    """A function of the level; the way back is not known. What is no finite time for each level is refused."""

    function: Callable[[Tensor], Tensor]
    least: float = 0.0
    greatest: float = math.inf

    def time(self, sigma: Tensor) -> Tensor:
        times = self.function(sigma.clamp(self.least, self.greatest))
        if not isinstance(times, Tensor) or times.shape != sigma.shape or not bool(times.isfinite().all()):
            raise ValueError(
                f"the function of noise levels to times returned {seen(times)} for {len(sigma)} levels: expected a "
                "tensor of as many finite numbers"
            )
        return times

    def level(self, time: Tensor) -> Tensor:
        raise ValueError("the noise level of a timestep is not known here")


@dataclass(frozen=True)
class Coefficients:
    """c_in, c_skip and c_out of each level, float64, of one shape."""

    c_in: Tensor
    c_skip: Tensor
    c_out: Tensor


@dataclass(frozen=True)
class Preconditioning:
    """D(x, sigma) = c_skip x + c_out F(c_in x, t) with x = x0 + sigma n, for a network F.

    Attributes:
        scale: what the network is given. "vp": a x0 + s n with a^2 + s^2 = 1, c_in = a = 1 / sqrt(1 + sigma^2).
            "flow": (1 - u) x0 + u n with u = sigma / (1 + sigma), c_in = 1 - u. "edm": x / sqrt(sigma^2 +
            sigma_data^2).
        prediction: what it answers with the scales "vp" and "flow". "epsilon": n. "sample": x0. "v": a n - s x0, with
            "vp" only. "flow": n - x0, with "flow" only. With "edm" the answer is the F of EDM's table 1 for "epsilon",
            and its negative for "v".
        times: which number tells the network the level.
        sigma_data: standard deviation of the images, for "edm".
    """

    scale: Scale
    prediction: Prediction
    times: Times
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        allowed = {"vp": ("epsilon", "v", "sample"), "flow": ("epsilon", "sample", "flow"), "edm": ("epsilon", "v")}
        if self.prediction not in allowed[self.scale]:
            raise ValueError(
                f"the prediction {self.prediction!r} is not defined for the scale {self.scale!r}: expected "
                f"{', '.join(map(repr, allowed[self.scale]))}"
            )

    def same(self, other: Preconditioning) -> bool:
        """Whether another one asks a network the same and reads its answer alike, up to the rounding of float32."""
        if (self.scale, self.prediction, self.sigma_data) != (other.scale, other.prediction, other.sigma_data):
            return False
        mine, theirs = self.times, other.times
        if isinstance(mine, TableTimes) and isinstance(theirs, TableTimes):
            alike = len(mine.times) == len(theirs.times) and mine.noise == theirs.noise
            return alike and bool(np.allclose(mine.log_sigmas, theirs.log_sigmas, atol=1e-5))
        # Where levels between its ends have the same times, the ends say where runs begin and end.
        return (isinstance(mine, LogTimes) and isinstance(theirs, LogTimes)) or mine == theirs

    def __call__(self, sigma: Tensor) -> Coefficients:
        """The coefficients of levels, float64 of any shape; infinite levels are pure noise."""
        if self.scale == "edm":
            total = (sigma**2 + self.sigma_data**2).sqrt()
            c_out = sigma * self.sigma_data / total
            return Coefficients(
                1 / total, (self.sigma_data / total) ** 2, c_out if self.prediction == "epsilon" else -c_out
            )
        # The network is given c_in x = a x0 + s n.
        a = 1 / (1 + sigma**2).sqrt() if self.scale == "vp" else 1 / (1 + sigma)
        s = torch.where(sigma.isinf(), 1.0, sigma * a)
        one, zero = torch.ones_like(sigma), torch.zeros_like(sigma)
        c_skip, c_out = {
            "epsilon": (one, -sigma),
            "sample": (zero, one),
            # (a n - s x0) and a x0 + s n give x0 = a (a x) - s v.
            "v": (a * a, -s),
            # n - x0 and (1 - u) x0 + u n give x0 = (1 - u) x - u F.
            "flow": (a, -s),
        }[self.prediction]
        return Coefficients(a, c_skip, c_out)
