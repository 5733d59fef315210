"""What a texture is drawn with: a machine, a size and an amount of work for each scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from elsewhere.checks import check_number, check_type, check_whole
from elsewhere.machines.locality import check_window
from elsewhere.machines.patch import LEAST_FOLD, MOST_FOLD, Keys, PatchScore, PatchSettings
from elsewhere.textures.known import clear_crops
from elsewhere.textures.pyramid import Size, halved, shrink

MOST_SCALES = 4
"""Scales where none are named: published."""
ROOM = 1.5
"""Sides of the coarsest training image, in windows, at least, where the number of scales is not given: below, all
windows of it overlap and every texture is a copy of the whole."""
LARGEST_WINDOW = 63
MOST_STEPS = 1000


@dataclass(frozen=True)
class TextureSettings:
    """How a texture is drawn. `published()` has the settings of the paper, the defaults draw sharper textures.

    Attributes:
        window: odd side of the patches in pixels, 3 to 63, at every scale.
        scales: number of sizes, each half of the next, 1 or more; None for 4, or as many as leave the coarsest training
            image and canvas at least 1.5 windows a side.
        steps: steps at each scale, at times 1, ..., 2/steps, 1/steps; 2 to 1000.
        finish: further steps at each scale after these, at times that halve: at little noise patches that overlap
            come to agree, which makes the texture sharper. 0 to 20.
        fold: width of the Gaussian weights with which overlapping patches are averaged, in half sides of a patch,
            0.12 to 10; the narrower, the sharper.
        tileable: whether the texture goes on at its opposite edge. Its patches wrap round the edges then.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or out of range.
    """

    window: int = 15
    scales: int | None = None
    steps: int = 10
    finish: int = 2
    fold: float = 0.12
    tileable: bool = False

    def __post_init__(self) -> None:
        window = check_window(self.window)
        check_whole("window", window, 3, LARGEST_WINDOW)
        object.__setattr__(self, "window", window)
        if self.scales is not None:
            object.__setattr__(self, "scales", check_whole("scales", self.scales, 1, 16))
        object.__setattr__(self, "steps", check_whole("steps", self.steps, 2, MOST_STEPS))
        object.__setattr__(self, "finish", check_whole("finish", self.finish, 0, 20))
        check_type("tileable", self.tileable, bool)
        object.__setattr__(self, "fold", check_number("fold", self.fold, LEAST_FOLD, MOST_FOLD))

    @classmethod
    def published(cls, **changes: Any) -> TextureSettings:
        """The settings of arXiv 2606.04299: 4 scales, no steps to finish, overlaps of width 0.2.

        Args:
            changes: other values, such as scales=3.

        Example:
            >>> TextureSettings.published(scales=3).fold
            0.2
        """
        return cls(**{"scales": MOST_SCALES, "finish": 0, "fold": 0.2, **changes})

    @property
    def times(self) -> tuple[float, ...]:
        """The times of all steps of a scale, from 1, and a final 0."""
        shares = [i / self.steps for i in range(self.steps, 0, -1)]
        return (*shares, *(shares[-1] / 2**i for i in range(1, self.finish + 1)), 0.0)

    def patches(self) -> PatchSettings:
        """The settings of the machine of every scale."""
        keys: Keys = "wrap" if self.tileable else "inside"
        return PatchSettings(self.window, keys=keys, response=self.window, fold=self.fold)

    def choose_scales(self, *sizes: Size) -> int:
        """The number of scales for images of these sizes.

        Raises:
            ValueError: an image is smaller than the window at one of the scales asked for.
        """
        smallest = min(min(size) for size in sizes)
        if self.scales is None:
            fit = [n for n in range(1, MOST_SCALES + 1) if round(smallest / 2 ** (n - 1)) >= ROOM * self.window]
            scales = max(fit, default=1)
        else:
            scales = self.scales
        coarsest = round(smallest / 2 ** (scales - 1))
        if coarsest < self.window:
            fit = [n for n in range(1, 17) if round(smallest / 2 ** (n - 1)) >= self.window]
            if not fit:
                raise ValueError(
                    f"window must be at most {smallest} pixels, the shortest side of both images, got {self.window}"
                )
            raise ValueError(
                f"scales must be at most {max(fit)} for a shortest side of {smallest} pixels and a window of "
                f"{self.window}, got {scales}"
            )
        return scales


@dataclass(frozen=True, eq=False)
class Scale:
    """One size of a texture.

    Attributes:
        machine: the denoiser, which knows the training image at this scale.
        size: height and width of the canvas.
        held: what is there already, (1, C, H, W), 0 where it is missing; None where everything is drawn.
        missing: bool (H, W), where the canvas is drawn; None as `held`.
    """

    machine: PatchScore
    size: Size
    held: Tensor | None = None
    missing: Tensor | None = None

    @property
    def pairs(self) -> int:
        """Pairs of a window of the canvas and one of the training image, in one call for one image."""
        layout = self.machine.layout_at(*self.size, 1.0)
        images = len(self.machine.store)
        return sum(len(region) * len(region.places or ()) for region in layout.regions) * images

    @property
    def training_pixels(self) -> int:
        height, width = self.machine.image_size
        return len(self.machine.store) * height * width


@dataclass(frozen=True, eq=False)
class TexturePlan:
    """All scales of a texture, the coarsest first.

    Attributes:
        settings: how it is drawn.
        scales: one for each size.
        channels: of the image.
        repeats: how often each step of the coarsest scale is made (RePaint); 1 where nothing is held.
    """

    settings: TextureSettings
    scales: tuple[Scale, ...]
    channels: int
    repeats: int = 1

    @property
    def size(self) -> Size:
        return self.scales[-1].size

    def calls(self, scale: int, index: int) -> int:
        """Calls of the machine of a scale at a step. The answer at time 1 needs none; the last step is not repeated."""
        if index == 0:
            return 0
        last = index + 2 == len(self.settings.times)
        return self.repeats if scale == 0 and not last else 1

    def work_before(self, number: int, index: int) -> int:
        """Pairs of windows in all calls for one image before a step of a scale."""
        steps = len(self.settings.times) - 1
        return sum(
            self.calls(scale, step) * self.scales[scale].pairs
            for scale in range(min(number + 1, len(self.scales)))
            for step in range(index if scale == number else steps)
        )

    @property
    def work(self) -> int:
        """Pairs of windows in all calls for one image."""
        return self.work_before(len(self.scales), 0)


def plan_texture(image: Tensor, size: Size, settings: TextureSettings, memory: int) -> TexturePlan:
    """A texture of any size from an image.

    Args:
        image: (1, C, h, w) in [-1, 1].
        size: height and width of the texture.
        settings: how it is drawn.
        memory: see `SoftmaxMachine`.

    Raises:
        ValueError: an image or a size that is too small for the window and the scales.
    """
    training = (image.shape[2], image.shape[3])
    count = settings.choose_scales(training, size)
    scales = []
    for times in range(count - 1, -1, -1):
        small = shrink(image, halved(training, times)) if times else image
        scales.append(Scale(PatchScore(small, settings.patches(), memory=memory), halved(size, times)))
    return TexturePlan(settings, tuple(scales), image.shape[1])


def plan_filling(image: Tensor, missing: Tensor, settings: TextureSettings, memory: int, repeats: int) -> TexturePlan:
    """The missing part of an image from the windows of the image in which nothing is missing.

    Args:
        image: (1, C, H, W) in [-1, 1]; what it holds where it is missing plays no part.
        missing: bool (H, W).
        settings, memory: see `plan_texture`.
        repeats: see `TexturePlan`.

    Raises:
        ValueError: see `plan_texture`; too few windows in which nothing is missing, at every number of scales.
    """
    size = (image.shape[2], image.shape[3])
    count = settings.choose_scales(size)
    held = image.masked_fill(missing, 0)
    scales: list[Scale] = []
    for times in range(count):
        here = halved(size, times)
        # A pixel of a coarse scale is missing where any part of it is.
        gone = shrink(missing[None, None].to(image), here)[0, 0] > 1e-6 if times else missing
        small = shrink(held, here) if times else held
        try:
            crops = clear_crops(small[0], gone, settings.window)
        except ValueError:
            if not times or settings.scales is not None:
                raise
            break
        machine = PatchScore(crops, settings.patches(), memory=memory)
        scales.append(Scale(machine, here, small.masked_fill(gone, 0), gone))
    return TexturePlan(settings, tuple(reversed(scales)), image.shape[1], repeats)


def describe_scales(plan: TexturePlan) -> Sequence[tuple[str, ...]]:
    """Rows of a table: size of the canvas and of the training image, and windows of each."""
    rows = []
    for scale in plan.scales:
        height, width = scale.machine.image_size
        layout = scale.machine.layout_at(*scale.size, 1.0)
        places = sum(len(region.places or ()) for region in layout.regions) * len(scale.machine.store)
        several = f"{len(scale.machine.store)} of " if len(scale.machine.store) > 1 else ""
        rows.append((f"{scale.size[0]} x {scale.size[1]}", f"{several}{height} x {width}", f"{places}"))
    return rows
