"""Drawing images from noise: runs of the reverse process, their fixed points, and seeded noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import (
    MOST_IMAGES,
    check_choice,
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
from elsewhere.entropy import WeightEntropy
from elsewhere.notices import warn_deprecated
from elsewhere.phrases import count
from elsewhere.pictures import enlargement, film_gif
from elsewhere.pixel_values import RANGE_KEY
from elsewhere.progress import track
from elsewhere.samplers import NAMES, SAMPLERS, SamplerName
from elsewhere.samplers import Step as Step
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
        sampler: name of the sampler that made the steps.
        entropy: of the weights, at each sigma but the last, empty unless asked for: see `WeightEntropy`.
    """

    images: Tensor
    sigmas: tuple[float, ...]
    states: list[Tensor] = field(default_factory=list)
    predictions: list[Tensor] = field(default_factory=list)
    sampler: SamplerName = "euler"
    entropy: list[WeightEntropy] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        levels = (
            f", {len(self.sigmas)} noise levels from {self.sigmas[0]:.4g} to {self.sigmas[-1]:.4g}"
            if self.sigmas
            else ""
        )
        kept = ", states and predictions kept" if self.states else ""
        sampler = "" if self.sampler == "euler" else f", sampler {self.sampler}"
        return f"Run(images of shape {tuple(self.images.shape)}{levels}{sampler}{kept})"

    def _repr_html_(self) -> str | None:
        if not self._are_images:
            return None
        steps = [count(len(self.sigmas) - 1, "step"), f"sigma from {self.sigmas[0]:.3g}"] if self.sigmas else []
        return self._card("Run", [count(len(self.images), "image"), *steps])

    @property
    def _are_images(self) -> bool:
        return self.images.ndim == 4 and 0 not in self.images.shape[1:]

    def _number(self) -> int:
        return len(self.images) if self.images.ndim else 0

    def _floats(self, number: int) -> Tensor:
        if not self._are_images:
            raise ValueError(
                f"images must be (B, C, H, W) with C, H and W of 1 or more, got {tuple(self.images.shape)}"
            )
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

    @checked
    def widget(self, machine: DenoiserLike, index: int = 0, label: Label = None) -> Any:
        """The explanation view with a slider over the steps, for notebooks that show widgets.

        Args:
            machine: what drew this run, or another average over training windows; see `explain`.
            index: image of the batch.
            label: class that the run was drawn with.

        Raises:
            ImportError: anywidget is not installed (extra `notebook`).
            TypeError, ValueError: the run was drawn without keep=True; no such image; see `explain`.

        Example:
            >>> import elsewhere as els
            >>> machine = els.IdealScore(els.load_images("fashion-mini", limit=20))
            >>> run = els.sample(machine, els.make_noise(1, (1, 28, 28)), els.schedules.cosine(2), keep=True)
            >>> len(run.widget(machine).steps)
            2
        """
        import elsewhere

        return elsewhere.analysis.run_widget(machine, self, index, label)


@checked
def reverse_process(
    denoiser: DenoiserLike,
    x: Tensor,
    schedule: Schedule,
    label: Label = None,
    name: str = "denoiser",
    *,
    sampler: SamplerName = "euler",
    seed: int = 0,
) -> Iterator[Step]:
    """The steps of a sampler, one at a time. Where the denoiser is differentiable in x, so is every step.

    Args:
        denoiser: D(x, sigma, label=None).
        x: state at the schedule's first sigma, (B, C, H, W).
        schedule: noise levels ending at 0.
        label: passed to the denoiser.
        name: what errors call the denoiser.
        sampler, seed: see `sample`.

    Raises:
        TypeError, ValueError: arguments of another kind; answers that are not finite images of the shape of x.
    """
    check_choice("sampler", sampler, NAMES)
    draws = generators(len(x), seed) if sampler == "ancestral" else []
    for draw in draws:
        # `make_noise` of the same seed has drawn the first noise: go on behind it.
        standard_normal(x, [draw])

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return ask(denoiser, x, sigma, label, name)

    yield from SAMPLERS[sampler](denoise, x, schedule.sigmas, lambda: standard_normal(x, draws))


@checked
def sample(
    denoiser: DenoiserLike,
    noise: Tensor | np.ndarray,
    schedule: Schedule | None = None,
    label: Label = None,
    *,
    sampler: SamplerName = "euler",
    seed: int = 0,
    keep: bool = False,
    entropy: bool = False,
    progress: bool = False,
) -> Run:
    """Draw images from noise.

    Args:
        denoiser: anything callable as D(x, sigma, label=None).
        noise: standard normal (B, C, H, W); the run starts at schedule.sigmas[0] * noise.
        schedule: `schedules.cosine(20)` when None.
        label: class of every image or (B,), None for none.
        sampler: "euler" (DDIM), "heun" (EDM; calls the denoiser twice a step), "dpmpp-2m" (DPM-Solver++(2M)), or
            "ancestral", which adds noise at every step: see `samplers`.
        seed: of the noise that "ancestral" adds; the other samplers draw none. Image i is the same whatever the number
            of images. It may be the seed of `make_noise`: its noise of this shape is not used again.
        keep: also keep every state and every prediction.
        entropy: also find the entropy of all weights at every step, from noise to image, which says whether the machine
            copies: `run.entropy`. It takes two to four times as long as drawing, and machines that are softmax averages
            have it.
        progress: show a bar with the time left.

    Returns:
        A Run; `run.images` is (B, C, H, W), differentiable in the noise where the denoiser is in x.

    Raises:
        TypeError, ValueError: noise, schedule or label that the denoiser cannot take; an unknown sampler; answers of
            the denoiser that are not finite images of the shape of the noise; `entropy` of a denoiser without weights.

    Example:
        >>> import elsewhere as els
        >>> machine = els.LocalScore(els.load_images("fashion-mini", limit=20), window=5)
        >>> noise = els.make_noise(2, (1, 28, 28))
        >>> els.sample(machine, noise, els.schedules.karras(4), sampler="heun")
        Run(images of shape (2, 1, 28, 28), 5 noise levels from 80 to 0, sampler heun)
    """
    schedule = cosine() if schedule is None else schedule
    check_choice("sampler", sampler, NAMES)
    check_seed(seed)
    if entropy and not hasattr(denoiser, "entropy"):
        raise TypeError(
            f"entropy needs a machine that is a softmax average, such as LocalScore, got {type(denoiser).__name__}: "
            "leave entropy out"
        )
    x, _ = check_request({"denoiser": denoiser}, noise, label)
    return draw(denoiser, x, schedule, label, keep=keep, entropy=entropy, progress=progress, sampler=sampler, seed=seed)


def draw(
    denoiser: DenoiserLike,
    noise: Tensor,
    schedule: Schedule,
    label: Label,
    *,
    keep: bool,
    progress: bool,
    name: str = "denoiser",
    sampler: SamplerName = "euler",
    seed: int = 0,
    entropy: bool = False,
) -> Run:
    """`sample` for checked arguments; `name` is what errors call the denoiser."""
    first = schedule.sigmas[0]
    x = check_images(noise * first, f"noise times the first noise level, {first:g},")
    states, predictions = [x] if keep else [], []
    found: list[WeightEntropy] = []
    steps = reverse_process(denoiser, x, schedule, label, name, sampler=sampler, seed=seed)
    for step in track(steps, schedule.steps, "sampling" if name == "denoiser" else name, progress):
        if entropy:
            known: Any = denoiser
            found.append(known.entropy(step.x.detach(), step.sigma, label))
        x = step.next_x
        if keep:
            states.append(step.next_x)
            predictions.append(step.x0)
    return Run(x, schedule.sigmas, states, predictions, sampler, found)


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
    return [torch.Generator().manual_seed(_mixed((seed << 20) + i)) for i in range(count)]


def _mixed(number: int) -> int:
    """A seed of 32 bits, of which torch's generators use no more; larger numbers are hashed, smaller ones are kept."""
    return number if number < 2**32 else int(np.random.SeedSequence(number).generate_state(1)[0])


def standard_normal(like: Tensor, draws: list[torch.Generator]) -> Tensor:
    """Standard normal noise, one image (C, H, W) from each generator, float32 draws in dtype and device of `like`."""
    return torch.stack([torch.randn(like.shape[1:], generator=g, dtype=torch.float32, device="cpu") for g in draws]).to(
        like
    )


def __getattr__(name: str) -> object:
    if name == "Settled":
        warn_deprecated("Settled", "FixedPoint")
        return FixedPoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
