"""Noise schedules: decreasing sigma grids that end at zero.

A variance-preserving state `x_vp = a x0 + s n`, a^2 + s^2 = 1, is the state `x = x_vp / a` at `sigma = s / a`;
every schedule here is given by its sigmas alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from elsewhere.checks import check_choice, check_levels, check_number, check_type, check_whole, checked, seen_text
from elsewhere.notices import warn

SIGMAS = (1e-8, 1e8)
"""Least and largest noise level, in units of pixels in [-1, 1]. Half a gray level is 4e-3: far above the least noise
level the average is already the nearest key, and far below the largest one the mean of all keys, to float32. Beyond
them sigma^2 and its inverse, times squared pixels, leave the range of float32."""


def check_level(sigma: float, argument: str = "sigma") -> float:
    """A noise level within `SIGMAS`.

    Raises:
        TypeError: not a number.
        ValueError: zero, negative, NaN, infinite, or outside the range.
    """
    check_type(argument, sigma, float, nan=True)
    if not math.isfinite(sigma) or sigma <= 0:
        raise ValueError(f"{argument} must be positive and finite, got {sigma}")
    if not SIGMAS[0] <= sigma <= SIGMAS[1]:
        raise ValueError(f"{argument} must be between {SIGMAS[0]:g} and {SIGMAS[1]:g}, got {sigma!r}")
    return sigma


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a reverse process.

    Attributes:
        sigmas: strictly decreasing noise levels within `SIGMAS`, and a final 0. A run with n + 1 levels calls
            the denoiser n times.
        name: what reports call it.

    Raises:
        TypeError: levels that are no numbers, a name that is no string.
        ValueError: fewer than two levels, not decreasing, not ending at zero, or out of range.
    """

    sigmas: tuple[float, ...]
    name: str = "custom"

    def __post_init__(self) -> None:
        levels = check_levels("sigmas", self.sigmas)
        check_type("name", self.name, str)
        object.__setattr__(self, "sigmas", levels)
        if len(levels) < 2 or not all(math.isfinite(level) for level in levels):
            raise ValueError(f"sigmas must be at least one finite noise level and a final 0, got {seen_text(levels)}")
        for level in levels[:-1]:
            # A level that does not decrease is named below, with all the others.
            if level > 0:
                check_level(level, "every one of sigmas but the last")
        if levels[-1] != 0 or any(a <= b for a, b in pairwise(levels)):
            raise ValueError(f"sigmas must decrease strictly and end at 0, got {seen_text(levels)}")

    @property
    def steps(self) -> int:
        """Number of denoiser calls."""
        return len(self.sigmas) - 1


def _check_steps(steps: int) -> int:
    return check_whole("steps", steps, 1, 10_000)


@checked
def cosine(steps: int = 20) -> Schedule:
    """The schedule of Kamb & Ganguli (2025): s^2(t) = 1 - cos^2(pi/2 t/1.008) at t = 1, ..., 2/steps, 1/steps."""
    count = _check_steps(steps)
    levels = [math.tan(math.pi / 2 * i / count / 1.008) for i in range(count, 0, -1)]
    return Schedule((*levels, 0.0), f"cosine({count})")


Spacing = Literal["linspace", "leading", "trailing"]
"""How steps are spread over the times of a training, in the words of diffusers."""


@checked
def linear(
    steps: int = 20,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    train_steps: int = 1000,
    *,
    spacing: Spacing = "linspace",
) -> Schedule:
    """The DDPM schedule (Ho et al. 2020): betas linear in time, and `steps` of its `train_steps` levels.

    Args:
        steps: denoiser calls, 1 to `train_steps`.
        beta_start, beta_end: the first and the last beta, in (0, 1).
        train_steps: times of the schedule, 0 to `train_steps` - 1.
        spacing: which times (Lin et al. 2023, table 2), as diffusers' DDIM takes them. "linspace": evenly spaced from
            the last to 0. "leading": 0, n, 2n, ... with n = train_steps // steps, from the greatest: ten steps are
            900, 800, ..., 0, that is, a run begins at sigma 60.8. "trailing": from the last in steps of
            train_steps / steps: 999, 899, ..., 99.

    Raises:
        ValueError: steps, betas or train_steps out of range, or another spacing.

    Example:
        >>> [round(sigma, 1) for sigma in linear(10, spacing="leading").sigmas[:3]]
        [60.8, 25.7, 12.0]
    """
    levels = _ddpm_levels(steps, beta_start, beta_end, train_steps)
    if spacing == "linspace":
        index = np.linspace(train_steps - 1, 0, steps).round().astype(int)
    elif spacing == "leading":
        index = np.arange(steps)[::-1] * (train_steps // steps)
    else:
        index = np.round(np.arange(train_steps, 0, -train_steps / steps)).astype(int)[:steps] - 1
    name = "linear" if spacing == "linspace" else spacing
    return Schedule((*levels[index].tolist(), 0.0), f"{name}({int(steps)})")


@checked
def leading(steps: int = 10, beta_start: float = 1e-4, beta_end: float = 0.02, train_steps: int = 1000) -> Schedule:
    """`linear` with the spacing "leading": times 0, n, 2n, ... of `train_steps`, n = train_steps // steps.

    Ten steps (times 900, 800, ..., 0) are those of Lukoianov et al. (2025) and Shang et al. (2026). The last level is
    that of time 0, .01 by default: a run ends with the prediction there.
    """
    return linear(steps, beta_start, beta_end, train_steps, spacing="leading")


@checked
def trailing(steps: int = 10, beta_start: float = 1e-4, beta_end: float = 0.02, train_steps: int = 1000) -> Schedule:
    """`linear` with the spacing "trailing": the last of `train_steps` times, and each train_steps / steps before it."""
    return linear(steps, beta_start, beta_end, train_steps, spacing="trailing")


def _ddpm_levels(steps: int, beta_start: float, beta_end: float, train_steps: int) -> np.ndarray:
    """The noise level of each of `train_steps` times."""
    count = _check_steps(steps)
    if not 0 < beta_start <= beta_end < 1:
        raise ValueError(f"betas must satisfy 0 < beta_start <= beta_end < 1, got {beta_start} and {beta_end}")
    if count > check_whole("train_steps", train_steps, 1, 10**6):
        raise ValueError(f"steps must be at most train_steps = {train_steps}, got {count}")
    kept = np.cumprod(1 - np.linspace(beta_start, beta_end, train_steps))
    levels: np.ndarray = np.sqrt((1 - kept) / kept)
    return levels


@checked
def karras(steps: int = 20, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Schedule:
    """The schedule of Karras et al. (2022, EDM, eq. 5): sigma^(1/rho) evenly spaced."""
    count = _check_steps(steps)
    check_level(sigma_min, "sigma_min")
    check_level(sigma_max, "sigma_max")
    if sigma_min >= sigma_max:
        raise ValueError(f"sigma_min must be below sigma_max, got {sigma_min:g} and {sigma_max:g}")
    check_number("rho", rho, 1e-3, 1e3)
    ramp = np.linspace(0, 1, count) if count > 1 else np.zeros(1)
    levels = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    # Rounding must not lead beyond the ends.
    levels = np.clip(levels, sigma_min, sigma_max)
    return Schedule((*levels.tolist(), 0.0), f"karras({count})")


@checked
def from_scheduler(scheduler: Any, steps: int) -> Schedule:
    """The noise levels at which a scheduler of diffusers asks its network, and a final 0.

    The levels are those of `scheduler.set_timesteps(steps)`, in the convention x = x0 + sigma n: its spacing
    ("leading", "trailing", "linspace"), Karras sigmas and shifts count. The scheduler itself is left as it is. With
    this schedule `sample` takes the steps of DDIMScheduler (eta = 0), EulerDiscreteScheduler, EDMEulerScheduler and
    FlowMatchEulerDiscreteScheduler. A level without any image left (flow matching at its time 1, zero terminal SNR)
    is replaced by the greatest one, 1e8. DDIMScheduler and DDPMScheduler step from a time t to t - T // steps (of T
    training timesteps), which with the spacing "linspace" is not the time at which they ask next: their runs are then
    others.

    Args:
        scheduler: a variance-preserving, flow-matching or EDM scheduler: see `schedulers.SCHEDULERS`.
        steps: as for `set_timesteps`, 1 to 10,000. Samplers of higher order ask more often, at levels in between;
            only those from which they step are taken.

    Raises:
        TypeError: not a scheduler.
        ValueError: a scheduler that is not understood, steps that it cannot take, or levels that do not decrease.

    Warns:
        UserWarning: the scheduler ends at some noise (`final_sigmas_type="sigma_min"`, `set_alpha_to_one=False`), where
            this schedule ends with the prediction.

    Example:
        >>> from diffusers import DDIMScheduler  # doctest: +SKIP
        >>> from_scheduler(DDIMScheduler(timestep_spacing="leading"), 10).sigmas[0]  # doctest: +SKIP
        60.82230638777079
    """
    from elsewhere.schedulers import sampling_levels

    levels, last = sampling_levels(scheduler, _check_steps(steps))
    name = type(scheduler).__name__
    if last > 0:
        warn(
            f"{name} ends its runs at sigma {last:.3g}, this schedule ends with the prediction at sigma "
            f"{levels[-1]:.3g}: their images differ by that noise"
        )
    return Schedule((*(min(level, SIGMAS[1]) for level in levels), 0.0), f"{name}({int(steps)})")


NAMED = {"cosine": cosine, "linear": linear, "leading": leading, "trailing": trailing, "karras": karras}
"""The schedules by the names that the command line uses for them."""


@checked
def named(name: str, steps: int) -> Schedule:
    """The schedule of that name with its default settings.

    Raises:
        ValueError: no such name.
    """
    return NAMED[check_choice("name", name, NAMED)](steps)
