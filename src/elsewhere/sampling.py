"""The deterministic reverse process, from noise to images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from elsewhere.denoiser import DenoiserLike, Label, ask, check_images
from elsewhere.progress import track
from elsewhere.schedules import Schedule, cosine

PATIENCE = 100


@dataclass(frozen=True)
class Run:
    """What a reverse process did.

    Attributes:
        images: final images (B, C, H, W), about [-1, 1].
        sigmas: the noise levels visited, ending at 0.
        states: noisy states x at each sigma, one (B, C, H, W) a level, empty unless asked for.
        predictions: posterior means x0hat at each sigma but the last, empty unless asked for.
    """

    images: Tensor
    sigmas: tuple[float, ...]
    states: list[Tensor] = field(default_factory=list)
    predictions: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One step of a reverse process: the state before it, the posterior mean there, and the state after it."""

    index: int
    sigma: float
    x: Tensor
    x0: Tensor
    next_x: Tensor


def reverse_process(denoiser: DenoiserLike, x: Tensor, schedule: Schedule, label: Label = None) -> Iterator[Step]:
    """Euler steps of the probability-flow ODE (Song et al. 2021; DDIM with eta = 0), one at a time.

    x0 = D(x, sigma_i);  x <- x0 + sigma_{i+1} / sigma_i * (x - x0).

    Args:
        denoiser: D(x, sigma, label=None).
        x: state at the schedule's first sigma, (B, C, H, W).
        schedule: noise levels ending at 0.
        label: passed to the denoiser.
    """
    for index, (sigma, after) in enumerate(pairwise(schedule.sigmas)):
        x0 = ask(denoiser, x, sigma, label)
        next_x = x0 + (after / sigma) * (x - x0)
        yield Step(index, sigma, x, x0, next_x)
        x = next_x


def sample(
    denoiser: DenoiserLike,
    noise: Tensor | np.ndarray,
    schedule: Schedule | None = None,
    label: Label = None,
    *,
    keep: bool = False,
    progress: bool = False,
) -> Run:
    """Draw images from noise.

    Args:
        denoiser: anything callable as D(x, sigma, label=None).
        noise: standard normal (B, C, H, W); the run starts at schedule.sigmas[0] * noise.
        schedule: `schedules.cosine(20)` when None.
        label: class of every image or (B,), None for none.
        keep: also keep every state and every prediction.
        progress: show a bar with the time left.

    Returns:
        A Run; `run.images` is (B, C, H, W).

    Raises:
        TypeError, ValueError: noise, schedule or label that the denoiser cannot take.
    """
    schedule = cosine() if schedule is None else schedule
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a Schedule, such as schedules.cosine(20), got {type(schedule).__name__}")
    first = schedule.sigmas[0]
    x = check_images(check_images(noise, "noise") * first, f"noise times the first noise level, {first:g},")
    states, predictions = [x] if keep else [], []
    for step in track(reverse_process(denoiser, x, schedule, label), schedule.steps, "sampling", progress):
        x = step.next_x
        if keep:
            states.append(step.next_x)
            predictions.append(step.x0)
    return Run(x, schedule.sigmas, states, predictions)


@dataclass(frozen=True)
class Settled:
    """The end of a reverse process at sigma -> 0.

    Attributes:
        images: (B, C, H, W).
        share: share of the pixels of each image that the denoiser leaves where they are, (B,).
        rounds: denoiser calls made.
    """

    images: Tensor
    share: Tensor
    rounds: int


def settle(
    denoiser: DenoiserLike,
    images: Tensor,
    label: Label = None,
    *,
    sigma: float = 1e-3,
    tolerance: float = 0.5 / 127.5,
    most: int = 1000,
) -> Settled:
    """Follow a reverse process to its limit: repeat x <- D(x, sigma) at tiny sigma until nothing moves.

    A schedule ends at a finite sigma, where neighbouring pixels may still disagree on the patch that they belong to.
    In the limit every pixel of a local machine is the centre of the training window nearest to its own: the image is
    locally consistent, but for the odd group of pixels that chase one another for ever. Consistent areas grow at the
    expense of others, slowly, so that hundreds of rounds may be needed.

    Args:
        denoiser: D(x, sigma, label=None).
        images: final images of a run, (B, C, H, W) in about [-1, 1].
        label: passed to the denoiser.
        sigma: the tiny noise level.
        tolerance: a pixel rests when no channel moves further; half a gray level by default.
        most: rounds after which to stop all the same; it also stops when PATIENCE rounds brought nothing.

    Returns:
        Settled; `share` says how far it got.

    Raises:
        TypeError, ValueError: arguments that the denoiser cannot take, or `most` below 1.
    """
    if most < 1:
        raise ValueError(f"most must be 1 or more, got {most}")
    x, best, since, rounds = check_images(images, "images"), -1.0, 0, 0
    while True:
        x0 = ask(denoiser, x, sigma, label)
        resting = (x0 - x).abs().amax(1, keepdim=True) <= tolerance
        share = resting.double().mean((1, 2, 3))
        since = 0 if float(share.mean()) > best else since + 1
        best = max(best, float(share.mean()))
        rounds += 1
        if best == 1 or since == PATIENCE or rounds == most:
            return Settled(x, share, rounds)
        x = x0


def make_noise(count: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Standard normal noise (count, C, H, W), float32 on the processor, the same for a seed and an index.

    Image i is drawn by its own generator, so that it changes neither with the number drawn beside it nor with torch's
    default dtype and device.

    Raises:
        ValueError: count below 1 or seed outside 0..2^31.
    """
    return torch.stack(
        [torch.randn(shape, generator=g, dtype=torch.float32, device="cpu") for g in generators(count, seed)]
    )


def generators(count: int, seed: int) -> list[torch.Generator]:
    """A generator for each of `count` images; number i is the same for a seed whatever the count.

    Raises:
        ValueError: count below 1 or seed outside 0..2^31.
    """
    if count < 1:
        raise ValueError(f"the number of images must be 1 or more, got {count}")
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed must be between 0 and {2**31 - 1}, got {seed}")
    return [torch.Generator().manual_seed((seed << 20) + i) for i in range(count)]
