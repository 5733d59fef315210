"""Denoising with part of the image held: what is missing is drawn so that it fits what is there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_dense, check_seed, check_whole, checked, seen
from elsewhere.denoiser import DenoiserLike, Label, ask, check_request
from elsewhere.layout import plain
from elsewhere.progress import track
from elsewhere.sampling import Run, Step, generators, standard_normal
from elsewhere.schedules import Schedule, cosine

LARGEST = 4.0
"""Largest absolute value of a pixel: what networks draw may lie a little beyond 1, and bytes reach 255."""


@checked
def inpaint(
    denoiser: DenoiserLike,
    images: Tensor | np.ndarray,
    mask: Tensor | np.ndarray,
    schedule: Schedule | None = None,
    label: Label = None,
    *,
    seed: int = 0,
    rounds: int = 4,
    keep: bool = False,
    progress: bool = False,
) -> Run:
    """Draw the missing part of images anew, the rest held as it is (RePaint, Lugmayr et al. 2022, algorithm 1).

    At every noise level the held part of the state is the image itself with noise of that level. A step is made, then
    undone by adding the noise it took away, and made again: so the missing part learns of the held part.
    The more rounds, the nearer is the result to a draw from what the denoiser thinks of images with this held part;
    one round leaves the held part half unheard.

    Args:
        denoiser: anything callable as D(x, sigma, label=None).
        images: (B, C, H, W) in [-1, 1]; what they hold where the mask is true plays no part, but must be finite.
        mask: bool (H, W) or (B, 1, H, W), true where the image is to be drawn.
        schedule: noise levels; `schedules.cosine(20)` when None.
        label: class of every image or (B,), None for none.
        seed: of all noise; image i is the same whatever the number of images beside it.
        rounds: how often each step is made, 1 or more. More fit better and take as much longer.
        keep: also keep the state and the prediction of the last round at every level.
        progress: show a bar with the time left.

    Returns:
        A Run; outside the mask `run.images` are the images given, bit for bit. It is differentiable in the images
        where the denoiser is in x.

    Raises:
        TypeError: images or mask of the wrong kind.
        ValueError: a mask of another size, rounds below 1, seed out of range, or what the denoiser cannot take.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=20)
        >>> mask = torch.zeros(28, 28, dtype=torch.bool)
        >>> mask[10:18, 8:20] = True
        >>> machine = els.EquivariantLocalScore(data, window=5)
        >>> run = els.inpaint(machine, data.scaled()[:1], mask, els.schedules.cosine(5), rounds=2)
        >>> bool((run.images == data.scaled()[:1])[..., ~mask].all())
        True
    """
    schedule = cosine() if schedule is None else schedule
    held, _ = check_request({"denoiser": denoiser}, images, label, "images")
    highest = float(held.detach().abs().max())
    if highest > LARGEST:
        raise ValueError(f"images must be in about [-1, 1], got values up to {highest:.4g}: scale them")
    missing = check_mask(mask, held)
    rounds = check_whole("rounds", rounds, 1)
    check_seed(seed)
    x = held
    states: list[Tensor] = []
    predictions: list[Tensor] = []
    process = inpainting_process(denoiser, held, missing, schedule, label, seed=seed, rounds=rounds)
    for step in track(process, schedule.steps, "inpainting", progress):
        x = step.next_x
        if keep:
            states.extend([step.x] if not states else [])
            states.append(x)
            predictions.append(step.x0)
    # The last state is free of noise: what was held is the images themselves.
    return Run(torch.where(missing, x, held), schedule.sigmas, states, predictions)


def inpainting_process(
    denoiser: DenoiserLike,
    held: Tensor,
    missing: Tensor,
    schedule: Schedule,
    label: Label,
    *,
    seed: int,
    rounds: int,
    start: tuple[int, Tensor] | None = None,
) -> Iterator[Step]:
    """The steps of `inpaint`, one at a time, for checked arguments.

    Args:
        denoiser, schedule, label, seed, rounds: see `inpaint`.
        held: the images, (B, C, H, W).
        missing: what is drawn anew, bool, as `check_mask` returns it.
        start: number of steps that were made, fewer than all, and the state behind them: the steps after these, to the
            bit those of the whole process.
    """
    # What is missing may hold anything: it must not reach the denoiser in any way.
    held = torch.where(missing, torch.zeros_like(held), held)
    draws = generators(len(held), seed)

    def noise() -> Tensor:
        return standard_normal(held, draws)

    x = schedule.sigmas[0] * noise()
    done = 0
    if start is not None:
        done, x = start
        # What these steps drew: each round its noise, and all but the first what undoes a step.
        for _ in range(done * (2 * rounds - 1)):
            noise()
    before = x
    for index, (sigma, after) in enumerate(pairwise(schedule.sigmas)):
        if index < done:
            continue
        # The last step leads to sigma = 0: undone, it would be a step from another noise level.
        for again in range(rounds if after > 0 else 1):
            if again:
                x = x + math.sqrt(sigma**2 - after**2) * noise()
            around = noise()
            x = torch.where(missing, x, held + sigma * around)
            x0 = ask(denoiser, x, sigma, label)
            x = x0 + (after / sigma) * (x - x0)
        then = torch.where(missing, x, held + after * around)
        yield Step(index, sigma, before, x0, then)
        before = then


def check_mask(mask: Tensor | np.ndarray, images: Tensor) -> Tensor:
    """The mask as bool (1 or B, 1, H, W) on the device of the images."""
    if not isinstance(mask, Tensor | np.ndarray) or mask.dtype not in (torch.bool, np.bool_):
        raise TypeError(f"mask must be a bool array, true where the image is to be drawn, got {seen(mask)}")
    check_dense("mask", mask)
    mask = plain(mask)
    batch, _, height, width = images.shape
    if tuple(mask.shape) not in ((height, width), (batch, 1, height, width)):
        raise ValueError(
            f"mask must be ({height}, {width}) or ({batch}, 1, {height}, {width}), as the images, "
            f"got {tuple(mask.shape)}"
        )
    return mask.to(images.device).view(-1, 1, height, width)
