"""The deterministic reverse process, from noise to images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import (
    MOST_IMAGES,
    check_fields,
    check_number,
    check_path,
    check_room,
    check_seed,
    check_whole,
    checked,
)
from elsewhere.denoiser import DenoiserLike, Label, ask, check_images, check_request
from elsewhere.display import SIDE, Film, Pictures
from elsewhere.notices import warn_deprecated
from elsewhere.phrases import count
from elsewhere.pictures import enlargement, film_gif
from elsewhere.pixel_values import RANGE_KEY
from elsewhere.progress import track
from elsewhere.schedules import Schedule, cosine

PATIENCE = 100
"""Denoiser calls without a higher converged fraction after which `fixed_point` stops: cycling pixels never converge."""


@dataclass(frozen=True)
class Run(Pictures):
    """What a reverse process did.

    Notebooks show its images; `grid`, `show`, `save`, `pil` and `numpy` are explained at `display.Pictures`.

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

    def _repr_html_(self) -> str | None:
        if self.images.ndim != 4:
            return None
        steps = [count(len(self.sigmas) - 1, "step"), f"sigma from {self.sigmas[0]:.3g}"] if self.sigmas else []
        return self._card("Run", [count(len(self.images), "image"), *steps])

    def _number(self) -> int:
        return len(self.images)

    def _floats(self, number: int) -> Tensor:
        return self.images[:number].detach().to("cpu", torch.float32)

    def _arrays(self) -> dict[str, np.ndarray]:
        images = self._floats(len(self.images)).clamp(-1, 1)
        return {"images": images.numpy(), RANGE_KEY: np.array([-1.0, 1.0])}

    @checked
    def save(self, path: str | Path, columns: int | None = None) -> None:
        """Write the images: see `Pictures.save`; a path that ends in .gif gets the film, see `gif`.

        Raises:
            OSError, TypeError, ValueError, MemoryError: see `Pictures.save` and `gif`.
        """
        if check_path("path", path).suffix.lower() == ".gif":
            self.gif(columns).save(path)
        else:
            super().save(path, columns)

    @checked
    def gif(
        self,
        columns: int | None = None,
        *,
        of: Literal["states", "predictions"] = "states",
        scale: int | None = None,
        milliseconds: int = 90,
    ) -> Film:
        """The run as a film from noise to images.

        Args:
            columns, scale: see `grid`.
            of: "states", divided by sqrt(1 + sigma^2) so that noise and images have about the same range; or
                "predictions", the denoiser's answers, which begin as a blur.
            milliseconds: duration of each frame, 10 to 10,000; the last stays longer.

        Returns:
            A Film, which notebooks play; `.save(path)` writes it.

        Raises:
            TypeError, ValueError: the run was drawn without keep=True; see `grid`.
            MemoryError: see `grid`.

        Example:
            >>> import elsewhere as els
            >>> machine = els.IdealScore(els.load_images("fashion-mini", limit=20))
            >>> els.sample(machine, els.make_noise(2, (1, 28, 28)), els.schedules.cosine(3), keep=True).gif().frames
            4
        """
        milliseconds = check_whole("milliseconds", milliseconds, 10, 10_000)
        kept = self.states if of == "states" else self.predictions
        if not kept:
            raise ValueError(f"a film needs the {of} of the run: draw it with sample(..., keep=True)")
        steps = kept if of == "states" else [*kept, self.images]
        sigmas = self.sigmas if of == "states" else [0.0] * len(steps)
        shown = [state.detach().cpu() / (1 + sigma**2) ** 0.5 for state, sigma in zip(steps, sigmas, strict=True)]
        # Smaller than in a single picture: noise does not compress, and a film has many frames.
        scale = enlargement(self.images.shape[2], self.images.shape[3], SIDE) if scale is None else scale
        frames = [Run(state, ()).grid(columns, scale=scale) for state in shown]
        return Film(film_gif(frames, milliseconds), len(frames))


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
class FixedPoint:
    """The images at which repeated denoising at a tiny noise level ended.

    Attributes:
        images: (B, C, H, W).
        converged_fraction: fraction of the pixels of each image that the last call left unchanged, up to the
            tolerance, float64 (B,), 0 to 1.
        iterations: number of denoiser calls made.
    """

    images: Tensor
    converged_fraction: Tensor
    iterations: int

    def __repr__(self) -> str:
        fraction = f"{float(self.converged_fraction.detach().double().mean()):.1%} of the pixels"
        return (
            f"FixedPoint(images of shape {tuple(self.images.shape)}, {fraction} converged, "
            f"iterations={self.iterations})"
        )

    @property
    def share(self) -> Tensor:
        """Deprecated: use `converged_fraction`."""
        warn_deprecated("share", "converged_fraction")
        return self.converged_fraction

    @property
    def rounds(self) -> int:
        """Deprecated: use `iterations`."""
        warn_deprecated("rounds", "iterations")
        return self.iterations


@checked
def fixed_point(
    denoiser: DenoiserLike,
    images: Tensor | np.ndarray,
    label: Label = None,
    *,
    sigma: float = 1e-3,
    tolerance: float = 0.5 / 127.5,
    max_iters: int = 1000,
) -> FixedPoint:
    """Repeat x <- D(x, sigma) at a tiny noise level until the images stop changing: the limit sigma -> 0 of a run.

    A run ends at a finite sigma, where neighbouring pixels may still disagree on the patch that they belong to. In the
    limit, every pixel of a local machine equals the centre of the training window nearest to its own window: the image
    is locally consistent (Kamb & Ganguli 2025, section 4). A few pixels never converge (they cycle). Consistent areas
    grow slowly, so hundreds of iterations may be needed.

    Args:
        denoiser: D(x, sigma, label=None).
        images: final images of a run, (B, C, H, W) in about [-1, 1].
        label: class of every image or (B,), passed to the denoiser.
        sigma: the tiny noise level, above 0.
        tolerance: a pixel has converged if no channel changes by more than this, 0 or more; half a gray level by
            default.
        max_iters: largest number of denoiser calls, 1 or more. It also stops after PATIENCE calls that did not raise
            the converged fraction.

    Returns:
        A FixedPoint. Its images are differentiable if the denoiser is.

    Raises:
        TypeError, ValueError: an argument that the denoiser cannot take, or a number out of range.

    Example:
        >>> import elsewhere as els
        >>> half = lambda x, sigma, label=None: 0.5 * x
        >>> els.fixed_point(half, els.make_noise(2, (1, 8, 8))).converged_fraction
        tensor([1., 1.], dtype=torch.float64)
    """
    check_number("sigma", sigma, above=0)
    check_number("tolerance", tolerance, 0)
    check_whole("max_iters", max_iters, 1)
    x = check_request({"denoiser": denoiser}, images, label, "images")[0]
    best, without_progress, iterations = -1.0, 0, 0
    while True:
        x0 = ask(denoiser, x, sigma, label)
        converged = (x0 - x).abs().amax(1, keepdim=True) <= tolerance
        fraction = converged.double().mean((1, 2, 3))
        without_progress = 0 if float(fraction.mean()) > best else without_progress + 1
        best = max(best, float(fraction.mean()))
        iterations += 1
        if best == 1 or without_progress == PATIENCE or iterations == max_iters:
            return FixedPoint(x, fraction, iterations)
        x = x0


@checked
def settle(
    denoiser: DenoiserLike,
    images: Tensor | np.ndarray,
    label: Label = None,
    *,
    sigma: float = 1e-3,
    tolerance: float = 0.5 / 127.5,
    most: int = 1000,
) -> FixedPoint:
    """Deprecated: use `fixed_point`, in which `most` is called `max_iters`."""
    warn_deprecated("settle(most=...)", "fixed_point(max_iters=...)")
    check_whole("most", most, 1)
    return fixed_point(denoiser, images, label, sigma=sigma, tolerance=tolerance, max_iters=most)


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


def __getattr__(name: str) -> object:
    if name == "Settled":
        warn_deprecated("Settled", "FixedPoint")
        return FixedPoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
