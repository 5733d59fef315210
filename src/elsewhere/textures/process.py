"""Textures and missing parts of photographs, drawn coarse to fine from the patches of one image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import MOST_IMAGES, check_fields, check_memory, check_seed, check_sides, check_whole, checked
from elsewhere.data import ImageSet
from elsewhere.denoiser import check_images
from elsewhere.display import Pictures
from elsewhere.engine import watched
from elsewhere.inpainting import check_mask
from elsewhere.limits import require_memory
from elsewhere.machines.machine import DEFAULT_MEMORY
from elsewhere.phrases import count
from elsewhere.pixel_values import RANGE_KEY
from elsewhere.sampling import generators
from elsewhere.textures.plan import Scale, TexturePlan, TextureSettings, plan_filling, plan_texture
from elsewhere.textures.pyramid import blend
from elsewhere.textures.seams import close_seams
from elsewhere.workload import Advance, track_work

FLAT = 1e6
"""Noise level at which the weights of all patches are equal, to float32: for the answer at time 1, where a = 0."""

BYTES_PER_NUMBER = 64
"""Peak memory for every number of a canvas, beside that of the engine: states, predictions and float64 sums."""

Source = ImageSet | Tensor | np.ndarray


@dataclass(frozen=True, eq=False)
class Texture(Pictures):
    """What was drawn.

    Notebooks show its images; `grid`, `show`, `save`, `pil` and `numpy` are explained at `display.Pictures`.

    Attributes:
        images: (B, C, H, W), about [-1, 1].
        pyramid: the images at every scale, the coarsest first; the last is `images`.
        settings: how they were drawn; `scales` is the number that was used.
        seed: of the noise.
    """

    images: Tensor
    pyramid: tuple[Tensor, ...]
    settings: TextureSettings
    seed: int

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{image.shape[2]}x{image.shape[3]}" for image in self.pyramid)
        return f"Texture(images of shape {tuple(self.images.shape)}, scales {sizes}, seed={self.seed})"

    def _repr_html_(self) -> str | None:
        sides = "x".join(str(side) for side in self.images.shape[2:])
        return self._card("Texture", [count(len(self.images), "image"), f"{sides} pixels", f"seed {self.seed}"])

    def _number(self) -> int:
        return len(self.images)

    def _floats(self, number: int) -> Tensor:
        return self.images[:number].detach().to("cpu", torch.float32)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"images": self._floats(len(self.images)).clamp(-1, 1).numpy(), RANGE_KEY: np.array([-1.0, 1.0])}


@dataclass(frozen=True, eq=False)
class TextureState:
    """Where a run stands: before step `index` of scale `scale`, 0 being the coarsest.

    Attributes:
        scale, index: the next step.
        x: the state, (B, C, h, w); None where the scale has not begun.
        finished: the images of the scales before, the coarsest first.
    """

    scale: int = 0
    index: int = 0
    x: Tensor | None = None
    finished: tuple[Tensor, ...] = ()


@dataclass(frozen=True, eq=False)
class TextureStep:
    """One step of a run.

    Attributes:
        scale, index: which; scale 0 is the coarsest.
        time: t, from 1 down.
        x0: the prediction, blended with the scale below, (B, C, h, w).
        state: where the run stands after it.
        work: pairs of windows that it took, for one image.
    """

    scale: int
    index: int
    time: float
    x0: Tensor
    state: TextureState
    work: int


def texture_process(
    plan: TexturePlan, count: int, seed: int, start: TextureState | None = None
) -> Iterator[TextureStep]:
    """The steps of `texture` and `fill`, one at a time (Single-image diffusion, arXiv 2606.04299).

    x_t = a x0 + s n with s = t and a = 1 - t. At each step x0hat = D(x_t / a, s / a) and nhat = (x_t - a x0hat) / s;
    then, from the second scale and the second step on, x0hat <- up(coarse) + x0hat - up(down(x0hat)); then
    x <- a' x0hat + s' nhat. The answer at t = 1 is the same whatever x is, so it costs nothing.

    Args:
        plan: all scales.
        count: number of images.
        seed: of all noise; image i is the same whatever the number of images beside it.
        start: where to go on; None from the beginning.
    """
    state = start or TextureState()
    wraps = plan.settings.tileable
    for number in range(state.scale, len(plan.scales)):
        scale = plan.scales[number]
        draws = [_generator(one, number) for one in generators(count, seed)]
        shape = (plan.channels, *scale.size)
        # The noise of a scale does not depend on where a run goes on.
        noise = _noise(draws, shape)
        x = noise if state.x is None else state.x
        coarse = state.finished[-1] if state.finished else None
        times = plan.settings.times
        for index in range(state.index, len(times) - 1):
            t, after = times[index : index + 2]
            again = [_generator(one, number, index) for one in generators(count, seed)]
            calls = plan.calls(number, index)
            for turn in range(max(1, calls)):
                if turn:
                    # Back from t' to t, in units in which the image counts once.
                    sigma, less = t / (1 - t), after / (1 - after)
                    x = (1 - t) * (x / (1 - after) + math.sqrt(sigma**2 - less**2) * _noise(again, shape))
                    x = _hold(x, scale, noise, t)
                x, x0 = _step(scale, x, t, after, coarse, wraps)
                x = _hold(x, scale, noise, after) if after else _finish(x, scale)
            if index + 2 == len(times):
                state = TextureState(number + 1, 0, None, (*state.finished, x))
            else:
                state = TextureState(number, index + 1, x, state.finished)
            yield TextureStep(number, index, t, x0, state, calls * scale.pairs)


def _step(scale: Scale, x: Tensor, t: float, after: float, coarse: Tensor | None, wraps: bool) -> tuple[Tensor, Tensor]:
    """The state at time `after`, and the prediction at time t."""
    a = 1 - t
    if a == 0:
        x0 = mean_image(scale, x.shape[1]).expand_as(x)
        noise = x
    else:
        x0 = scale.machine(x / a, t / a)
        noise = (x - a * x0) / t
        if coarse is not None:
            x0 = blend(x0, coarse, wraps=wraps)
    return (1 - after) * x0 + after * noise, x0


def mean_image(scale: Scale, channels: int) -> Tensor:
    """The prediction at time 1, (1, C, H, W): the mean patch, folded.

    A pixel of it depends only on its distance to the edges, where that is less than a window: it is computed on a small
    canvas, whose central row and column are repeated.
    """
    window, wraps = scale.machine.window_at(1.0), scale.machine.settings_at(1.0).keys == "wrap"
    sides = [side if side < 2 * window else 2 * window - 1 for side in scale.size]
    if wraps:
        sides = [window, window]
    with watched(lambda pairs: None):  # not part of the work of a plan
        small = scale.machine(torch.zeros(1, channels, *sides, device="cpu", dtype=torch.float32), FLAT)
    for axis, (side, few) in enumerate(zip(scale.size, sides, strict=True), 2):
        if side != few:
            index = torch.arange(side, device="cpu")
            middle = few // 2
            beyond = index - (side - few)
            small = small.index_select(axis, torch.where(index < middle, index, beyond.clamp(min=middle)))
    return small


def _hold(x: Tensor, scale: Scale, noise: Tensor, t: float) -> Tensor:
    """A state at time t, with what is there already in its place."""
    if scale.held is None or scale.missing is None:
        return x
    return torch.where(scale.missing, x, (1 - t) * scale.held + t * noise)


def _finish(x0: Tensor, scale: Scale) -> Tensor:
    """The last prediction of a scale, with what is there already in its place."""
    if scale.held is None or scale.missing is None:
        return x0
    return close_seams(x0, scale.held, scale.missing)


def _generator(origin: torch.Generator, *place: int) -> torch.Generator:
    """A generator of its own for every image, scale and step."""
    seed = origin.initial_seed()
    for number in place:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    return torch.Generator().manual_seed(seed)


def _noise(draws: list[torch.Generator], shape: tuple[int, ...]) -> Tensor:
    return torch.stack([torch.randn(shape, generator=g, dtype=torch.float32, device="cpu") for g in draws])


@checked
def texture(
    image: Source,
    size: tuple[int, int],
    settings: TextureSettings | None = None,
    *,
    count: int = 1,
    seed: int = 0,
    memory: int = DEFAULT_MEMORY,
    progress: bool = False,
) -> Texture:
    """Draw textures of any size from one image, coarse to fine (Single-image diffusion, arXiv 2606.04299).

    At every scale the denoiser is a `PatchScore` that knows the image at this scale: every patch of the canvas meets
    all patches of the image, and means of whole patches are averaged where they overlap. The coarse structure of each
    scale is that of the scale before.

    Args:
        image: an ImageSet of one image, or floats in [-1, 1], (C, H, W) or (1, C, H, W).
        size: height and width of the textures in pixels.
        settings: see `TextureSettings`; its defaults when None.
        count: number of textures.
        seed: of all noise; texture i is the same whatever the number of textures beside it.
        memory: bytes that the engine may use beside the images, 64 MiB or more.
        progress: show a bar with the time left or, where there is no terminal, a line from time to time.

    Returns:
        A Texture; `texture.images` is (count, C, *size).

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: more than one image, or an image or size too small for the window and the scales.
        MemoryError: a canvas that the machine has no memory for.

    Example:
        >>> import elsewhere as els
        >>> shirt = els.load_images("fashion-mini", limit=1)
        >>> els.texture(shirt, (32, 48), els.TextureSettings(window=7, scales=2, steps=3)).images.shape
        torch.Size([1, 1, 32, 48])
    """
    size = check_sides("size", size)
    settings = settings or TextureSettings()
    pixels = one_image(image)
    check_run(count, seed, memory, (pixels.shape[1], *size))
    return run_texture(plan_texture(pixels, size, settings, memory), count, seed, progress=progress)


@checked
def fill(
    image: Source,
    mask: Tensor | np.ndarray,
    settings: TextureSettings | None = None,
    *,
    count: int = 1,
    rounds: int = 4,
    seed: int = 0,
    memory: int = DEFAULT_MEMORY,
    progress: bool = False,
) -> Texture:
    """Draw the missing part of one image from the patches of the image itself, coarse to fine.

    As `texture`, with what is there held at every noise level (RePaint, Lugmayr et al. 2022). To fill with the help of
    other images, see `inpaint`.

    Args:
        image: as for `texture`; what it holds where the mask is true plays no part, but must be in [-1, 1] as well.
        mask: bool (H, W), true where the image is to be drawn.
        settings, count, seed, memory, progress: see `texture`; a filling is not tileable.
        rounds: how often each step of the coarsest scale is made, 1 or more: see `inpaint`. The other scales follow it.

    Returns:
        A Texture; outside the mask `texture.images` are the image, bit for bit.

    Raises:
        TypeError, ValueError: see `texture`; a mask of another size, or that is true nowhere or leaves too few whole
            patches; settings that are tileable.

    Example:
        >>> import elsewhere as els
        >>> shirt = els.load_images("fashion-mini", limit=1)
        >>> mask = torch.zeros(28, 28, dtype=torch.bool)
        >>> mask[10:14, 8:14] = True
        >>> filled = els.fill(shirt, mask, els.TextureSettings(window=5, scales=1, steps=3), rounds=1).images
        >>> bool((filled == shirt.scaled())[..., ~mask].all())
        True
    """
    pixels = one_image(image)
    missing = check_mask(mask, pixels)[0, 0]
    settings = settings or TextureSettings()
    if settings.tileable:
        raise ValueError("settings must not be tileable: a filling keeps the edges of the image")
    if not bool(missing.any()):
        raise ValueError("mask is true nowhere, so nothing is to be drawn: mark the missing pixels")
    rounds = check_whole("rounds", rounds, 1)
    check_run(count, seed, memory, tuple(pixels.shape[1:]))
    plan = plan_filling(pixels, missing, settings, memory, rounds)
    return run_filling(plan, pixels, missing, count, seed, progress=progress)


def run_texture(plan: TexturePlan, count: int, seed: int, *, progress: bool = False) -> Texture:
    """All steps of a plan, for checked arguments."""
    state = TextureState()
    for step in tracked(plan, count, seed, state, progress):
        state = step.state
    return finished(plan, state, seed)


def run_filling(
    plan: TexturePlan, image: Tensor, missing: Tensor, count: int, seed: int, *, progress: bool = False
) -> Texture:
    """All steps of a plan of a filling; what is not missing is the image, bit for bit."""
    found = run_texture(plan, count, seed, progress=progress)
    images = torch.where(missing, found.images, image)
    return Texture(images, (*found.pyramid[:-1], images), found.settings, seed)


def tracked(plan: TexturePlan, count: int, seed: int, start: TextureState, progress: bool) -> Iterator[TextureStep]:
    """`texture_process` with progress, for checked arguments."""
    steps = ((step.work, step) for step in texture_process(plan, count, seed, start))
    done = plan.work_before(start.scale, start.index)

    def inside(report: Advance) -> AbstractContextManager[None]:
        # Large images are weighed, then pasted; for small ones, done at once, the other half is added after the step.
        # The work of a plan is that for one image.
        return watched(lambda pairs: report(pairs / (2 * count)))

    yield from track_work(steps, plan.work, "texture", progress, done, inside)


def finished(plan: TexturePlan, state: TextureState, seed: int) -> Texture:
    """The result of a run in its last state."""
    settings = replace(plan.settings, scales=len(plan.scales))
    return Texture(state.finished[-1], state.finished, settings, seed)


def one_image(image: Source) -> Tensor:
    """The pixels of the one image, float (1, C, H, W) in [-1, 1].

    Raises:
        TypeError, ValueError: not an image, or more than one.
    """
    if isinstance(image, ImageSet):
        pixels = image.scaled()
    else:
        batch = image[None] if image.ndim == 3 else image
        pixels = check_images(batch, "image").float().cpu()
        if pixels.requires_grad:
            raise ValueError("image requires gradients, but a texture is not differentiable: pass image.detach()")
    if len(pixels) != 1:
        raise ValueError(f"image must be one image, got {len(pixels)}: give one of them")
    if pixels.shape[1] not in (1, 3):
        raise ValueError(f"image must have 1 or 3 channels, got {pixels.shape[1]}: give (C, H, W) or (1, C, H, W)")
    if float(pixels.abs().max()) > 1 + 1e-3:
        raise ValueError(f"image must be in [-1, 1], got values up to {float(pixels.abs().max()):.4g}: scale it")
    return pixels.clamp(-1, 1)


def check_run(count: int, seed: int, memory: int, shape: tuple[int, ...]) -> None:
    """Check how much is drawn, (C, H, W) each, and with what memory, before any work.

    Raises:
        ValueError: out of range.
        MemoryError: more than the machine has.
    """
    check_whole("count", count, 1, limit=MOST_IMAGES)
    check_seed(seed)
    check_memory(memory)
    require_memory(BYTES_PER_NUMBER * count * math.prod(shape), f"count={count} of {shape[1]}x{shape[2]} pixels")
