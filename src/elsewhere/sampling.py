"""The deterministic reverse process, from noise to images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import MOST_IMAGES, check_fields, check_number, check_room, check_seed, check_whole, checked
from elsewhere.denoiser import DenoiserLike, Label, ask, check_images, check_request
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

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        levels = (
            f", {len(self.sigmas)} noise levels from {self.sigmas[0]:.4g} to {self.sigmas[-1]:.4g}"
            if self.sigmas
            else ""
        )
        kept = ", states and predictions kept" if self.states else ""
        return f"Run(images of shape {tuple(self.images.shape)}{levels}{kept})"


@dataclass(frozen=True)
class Step:
    """One step of a reverse process: the state before it, the posterior mean there, and the state after it."""

    index: int
    sigma: float
    x: Tensor
    x0: Tensor
    next_x: Tensor


@checked
def reverse_process(
    denoiser: DenoiserLike, x: Tensor, schedule: Schedule, label: Label = None, name: str = "denoiser"
) -> Iterator[Step]:
    """Euler steps of the probability-flow ODE (Song et al. 2021; DDIM with eta = 0), one at a time.

    x0 = D(x, sigma_i);  x <- x0 + sigma_{i+1} / sigma_i * (x - x0). Where the denoiser is differentiable in x, so is
    every step.

    Args:
        denoiser: D(x, sigma, label=None).
        x: state at the schedule's first sigma, (B, C, H, W).
        schedule: noise levels ending at 0.
        label: passed to the denoiser.
        name: what errors call the denoiser.

    Raises:
        TypeError, ValueError: arguments of another kind; answers that are not finite images of the shape of x.
    """
    for index, (sigma, after) in enumerate(pairwise(schedule.sigmas)):
        x0 = ask(denoiser, x, sigma, label, name)
        next_x = x0 + (after / sigma) * (x - x0)
        yield Step(index, sigma, x, x0, next_x)
        x = next_x


@checked
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
        A Run; `run.images` is (B, C, H, W), differentiable in the noise where the denoiser is in x.

    Raises:
        TypeError, ValueError: noise, schedule or label that the denoiser cannot take; answers of the denoiser that
            are not finite images of the shape of the noise.
    """
    schedule = cosine() if schedule is None else schedule
    return draw(
        denoiser, check_request({"denoiser": denoiser}, noise, label)[0], schedule, label, keep=keep, progress=progress
    )


def draw(
    denoiser: DenoiserLike,
    noise: Tensor,
    schedule: Schedule,
    label: Label,
    *,
    keep: bool,
    progress: bool,
    name: str = "denoiser",
) -> Run:
    """`sample` for checked arguments; `name` is what errors call the denoiser."""
    first = schedule.sigmas[0]
    x = check_images(noise * first, f"noise times the first noise level, {first:g},")
    states, predictions = [x] if keep else [], []
    for step in track(reverse_process(denoiser, x, schedule, label, name), schedule.steps, "sampling", progress):
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

    def __repr__(self) -> str:
        share = f"{float(self.share.detach().double().mean()):.1%} of the pixels"
        return f"Settled(images of shape {tuple(self.images.shape)}, {share} at rest, rounds={self.rounds})"


@checked
def settle(
    denoiser: DenoiserLike,
    images: Tensor | np.ndarray,
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
        Settled; `share` says how far it got. Images are differentiable where the denoiser is.

    Raises:
        TypeError, ValueError: arguments that the denoiser cannot take, `sigma` not positive, `tolerance` below 0, or
            `most` below 1.
    """
    check_number("sigma", sigma, above=0)
    check_number("tolerance", tolerance, 0)
    check_whole("most", most, 1)
    x, best, since, rounds = check_request({"denoiser": denoiser}, images, label, "images")[0], -1.0, 0, 0
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


@checked
def make_noise(count: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Standard normal noise (count, C, H, W), float32 on the processor, the same for a seed and an index.

    Image i is drawn by its own generator, so that it changes neither with the number drawn beside it nor with torch's
    default dtype and device.

    Raises:
        ValueError: count outside 1..2^20, a side below 1, or seed outside 0..2^31.
        MemoryError: more noise than the machine has memory for.
    """
    check_whole("count", count, 1, limit=MOST_IMAGES)
    for axis, side in enumerate(shape):
        check_whole(f"shape[{axis}]", side, 1)
    check_room("count and shape", (count, *shape), 4 * count * math.prod(map(int, shape)))
    return torch.stack(
        [torch.randn(shape, generator=g, dtype=torch.float32, device="cpu") for g in generators(count, seed)]
    )


@checked
def generators(count: int, seed: int) -> list[torch.Generator]:
    """A generator for each of `count` images; number i is the same for a seed whatever the count.

    Raises:
        ValueError: count outside 1..2^20 or seed outside 0..2^31.
    """
    count, seed = check_whole("count", count, 1, limit=MOST_IMAGES), check_seed(seed)
    return [torch.Generator().manual_seed((seed << 20) + i) for i in range(count)]
