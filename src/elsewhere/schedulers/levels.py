"""The noise levels of diffusers' schedulers: of each timestep, and of the steps that one takes."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from elsewhere.checks import seen
from elsewhere.schedulers.preconditioning import FlowTimes, LogTimes, Preconditioning, TableTimes
from elsewhere.schedulers.settings import brief, check_settings


def preconditioning_of(scheduler: Any) -> Preconditioning:
    """How the networks of a scheduler are asked.

    Args:
        scheduler: a scheduler of diffusers, see `settings.SCHEDULERS`.

    Raises:
        TypeError: no scheduler.
        ValueError: a scheduler, or a setting of it, that is not understood.
    """
    if isinstance(scheduler, type) or not hasattr(scheduler, "config"):
        raise TypeError(f"scheduler must be a diffusers scheduler, got {seen(scheduler)}")
    kind, settings = type(scheduler), scheduler.config
    scale, prediction = check_settings({**settings, "_class_name": kind.__name__}, kind)
    if scale == "flow":
        return Preconditioning(scale, prediction, FlowTimes(float(settings.num_train_timesteps)))
    if scale == "edm":
        least, greatest = _ends(settings, 0.002, 80.0)
        return Preconditioning(scale, prediction, LogTimes(least, greatest), float(settings.sigma_data))
    table = _table(scheduler)
    if settings.get("timestep_type") == "continuous":
        # diffusers asks with log(sigma) / 4 at every sigma, from sigma_min to sigma_max where these are given.
        return Preconditioning(scale, prediction, LogTimes(*_ends(settings, table.least, table.greatest)))
    return Preconditioning(scale, prediction, table)


def _table(scheduler: Any) -> TableTimes:
    """The level of every timestep of a variance-preserving scheduler; levels without noise or image are left out.

    Raises:
        ValueError: noise that does not grow with the timestep, or of no range.
    """
    kept = torch.as_tensor(scheduler.alphas_cumprod, device="cpu").double().numpy()
    inside = (kept > 0) & (kept < 1)
    if scheduler.config.get("rescale_betas_zero_snr"):
        # The last level has no image. Some schedulers write 2^-24 in place of the 0, which can be above its neighbour.
        inside[-1:] = False
    timesteps = np.arange(len(kept), dtype=np.float64)[inside]
    logs = 0.5 * np.log((1 - kept[inside]) / kept[inside])
    if len(logs) < 2 or (np.diff(logs) <= 0).any():
        raise ValueError(f"the noise of {type(scheduler).__name__} does not grow with the timestep: check its betas")
    last = len(kept) - 1.0
    return TableTimes(timesteps, logs, last if timesteps[-1] == last - 1 else None)


def _ends(settings: Any, least: float, greatest: float) -> tuple[float, float]:
    """`sigma_min` and `sigma_max`, or these levels where they are not given."""
    ends = []
    for name, level in (("sigma_min", least), ("sigma_max", greatest)):
        value = settings.get(name)
        if value is not None and not (isinstance(value, (int, float)) and 0 < value < math.inf):
            raise ValueError(f"{name}={brief(value)} of the scheduler: expected a positive number")
        ends.append(float(level) if value is None else float(value))
    if ends[0] >= ends[1]:
        raise ValueError("sigma_max of the scheduler must be greater than sigma_min")
    return ends[0], ends[1]


def sampling_levels(scheduler: Any, steps: int) -> tuple[list[float], float]:
    """The levels at which a scheduler asks its network in a run, and the one at which it ends.

    The scheduler itself is left as it is. A level that is asked several times in a row is listed once.

    Returns:
        Levels from the noisiest, infinite for pure noise; the final level, 0 for most settings.

    Raises:
        TypeError, ValueError: see `preconditioning_of`; or the scheduler cannot take so many steps.
    """
    preconditioning = preconditioning_of(scheduler)
    kind, settings = type(scheduler).__name__, scheduler.config
    made = copy.deepcopy(scheduler)
    try:
        made.set_timesteps(steps)
        times = torch.as_tensor(made.timesteps, device="cpu").double().flatten()
        levels = preconditioning.times.level(times).tolist()
        last = 0.0
        if hasattr(made, "sigmas"):
            # Some schedulers round their timesteps, and all keep the levels from which they make their steps.
            sigmas = torch.as_tensor(made.sigmas, device="cpu").double().flatten()
            ratios = sigmas / (1 - sigmas) if preconditioning.scale == "flow" else sigmas
            levels, last = ratios[:-1].tolist(), float(ratios[-1])
        elif settings.get("set_alpha_to_one") is False:
            last = preconditioning.times.least
    # Schedulers fail in any way on steps that they cannot take.
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"{kind} cannot take steps={steps}: {text}") from error
    found = [level for index, level in enumerate(levels) if index == 0 or level != levels[index - 1]]
    while found and found[-1] == 0:
        found.pop()
    if not found or any(after >= before for before, after in pairwise(found)):
        raise ValueError(
            f"the noise levels of {kind} do not decrease with steps={steps}: expected a sampler without jumps back, "
            "such as DDIMScheduler"
        )
    return found, last
