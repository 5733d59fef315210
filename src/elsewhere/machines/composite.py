"""Patch composites: whole patches are denoised at their own places, and averaged where they overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_levels, checked, seen
from elsewhere.engine import Layout, Metric, Region
from elsewhere.machines.levels import check_decreasing, nearest_level
from elsewhere.machines.machine import Data
from elsewhere.machines.windowed import Window, WindowedMachine

Masks = Tensor | np.ndarray | Mapping[float, Tensor | np.ndarray]


class PatchComposite(WindowedMachine):
    """PSPC: patch set posterior composites (Niedoba et al. 2024, arXiv 2411.19339).

    Query: the patch at every place at which it lies wholly inside the image. Keys: the patches at the same place in
    every training image. Value: the whole patch; patches that overlap are averaged with equal weight. A patch that is
    larger than the image makes it the ideal machine. The published code adds mirrored training images; give them as
    data.

    With `masks`, every pixel has a patch of its own, of any shape ("flexible patches"): the pixels on which a network's
    answer for it depends, for example, as `els.analysis.sensitivity_masks` finds them. Such a machine has no gradient.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        window: side of square patches: see `WindowedMachine`. Published: 23, 15, 11, 7, 5, 3 for images of 32 pixels.
        taper: see `WindowedMachine`; not published.
        masks: instead of a window, bool (H, W, H, W): masks[i, j] is the patch of pixel (i, j). Or one such array for
            each of several noise levels, sigma -> masks; the nearest level in log sigma is used.
        engine, memory, device: see `SoftmaxMachine`.

    Raises:
        TypeError: masks that are not bool.
        ValueError: masks of another shape, or that leave a pixel of the image out; masks beside a window.

    Example:
        >>> import elsewhere as els
        >>> machine = els.PatchComposite(els.load_images("fashion-mini", limit=50), window=7)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    splits = False

    @checked
    def __init__(
        self, data: Data, window: Window | None = None, *, masks: Masks | None = None, **settings: Any
    ) -> None:
        if masks is not None and (window is not None or settings.get("taper")):
            raise ValueError("masks take the place of a window: leave window and taper out")
        super().__init__(data, window, **settings)
        self.masks: dict[float, Tensor] = {}
        if masks is not None:
            self.masks = _checked(masks, self.image_size)

    def __repr__(self) -> str:
        if not self.masks:
            return super().__repr__()
        share = float(torch.stack([mask.float().mean() for mask in self.masks.values()]).mean())
        return self._describe(f"masks of {share:.0%} of the image at {len(self.masks)} noise levels")

    def layout(self, height: int, width: int, window: int) -> Layout:
        if window > min(height, width):
            return Layout(value="image")
        radius = window // 2
        inside = Region(range(radius, height - radius), range(radius, width - radius), None)
        return Layout((inside,), self.metric(window), response=Metric.square(window) if window > 1 else None)

    def layout_at(self, height: int, width: int, sigma: float) -> Layout:
        if not self.masks:
            return super().layout_at(height, width, sigma)
        levels = list(self.masks)
        mask = self.masks[levels[nearest_level(levels, sigma)]].flatten(2).flatten(0, 1)
        # Row n, column m: whether the patch of pixel m has pixel n, for all pairs of channels.
        metric = Metric.each(mask.T.repeat(self.store.channels, self.store.channels), (height, width))
        whole = Region(range(height), range(width), None)
        # The channels of a pixel ask for the same patch: each is pasted, and the mean is that of one.
        return Layout((whole,), metric, response=metric)


def _checked(masks: Masks, size: tuple[int, int]) -> dict[float, Tensor]:
    """Masks by noise level, from the largest down; one array is for all levels."""
    given = masks if isinstance(masks, Mapping) else {1.0: masks}
    levels = check_decreasing(sorted(check_levels("masks", list(given)), reverse=True), len(given), "masks")
    found = {}
    for sigma in levels:
        mask = torch.as_tensor(given[sigma], device="cpu")
        if mask.dtype != torch.bool:
            raise TypeError(f"masks must be bool, got {seen(given[sigma])}")
        if tuple(mask.shape) != (*size, *size):
            raise ValueError(f"masks must be of shape {(*size, *size)} for these images, got {tuple(mask.shape)}")
        if not bool(mask.flatten(0, 1).any(0).all()) or not bool(mask.flatten(2).any(2).all()):
            raise ValueError("masks must have a pixel each, and every pixel of the image must be in one of them")
        found[sigma] = mask
    return found
