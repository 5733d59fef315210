"""Patches that overlap: every pixel is the weighted mean of all that is pasted on it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine.keys.metric import Metric


@dataclass(frozen=True)
class Patches:
    """The patches that some queries return, without their values.

    Attributes:
        targets: flat positions of the pixels that they are pasted on, -1 outside the image, int64 (P, V).
        counts: how much each of their pixels counts, float64 (V,).
    """

    targets: Tensor
    counts: Tensor

    @classmethod
    def around(
        cls, pixels: Tensor, offsets: Tensor, response: Metric, size: tuple[int, int], *, wraps: bool
    ) -> Patches:
        """Those around some pixels.

        Args:
            pixels: flat positions of the centres, int64 (P,).
            offsets: steps down and right to the pixels of a patch, int64 (V, 2).
            response: how much each pixel of a whole patch counts.
            size: height and width of the image.
            wraps: whether patches go on at the opposite edge.
        """
        offsets = offsets.to(pixels.device)
        side = response.side
        weights = response.weights
        if weights is None:
            weights = torch.ones(side, side, dtype=torch.float64, device="cpu")
        counts = weights.to(pixels.device, torch.float64)[tuple((offsets + response.radius).unbind(1))]
        height, width = size
        row, column = pixels[:, None] // width + offsets[:, 0], pixels[:, None] % width + offsets[:, 1]
        if wraps:
            return cls(row % height * width + column % width, counts)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return cls((row * width + column).masked_fill(~inside, -1), counts)


class Canvas:
    """Sums of what is pasted on the pixels of images.

    Args:
        x: images (B, C, H, W) of the same shape.
    """

    def __init__(self, x: Tensor) -> None:
        batch, channels, height, width = x.shape
        self.shape, self.dtype = x.shape, x.dtype
        self.weighted = torch.zeros(batch, channels, height * width, dtype=torch.float64, device=x.device)
        self.total = torch.zeros(batch, height * width, dtype=torch.float64, device=x.device)

    def paste(self, patches: Patches, values: Tensor) -> None:
        """Paste patches with their values (B, P, C, V)."""
        for number, count in enumerate(patches.counts.tolist()):
            target = patches.targets[:, number]
            inside = target >= 0
            some = values[:, inside, :, number].transpose(1, 2).to(torch.float64)
            self.weighted.index_add_(2, target[inside], some, alpha=count)
            ones = self.total.new_ones(len(self.total), int(inside.sum()))
            self.total.index_add_(1, target[inside], ones, alpha=count)

    def add(self, targets: Tensor, total: Tensor, weighted: Tensor) -> None:
        """Add sums (B, P) and (B, P, C) of what was pasted on the pixels at flat positions `targets`, int64 (P,)."""
        self.total.index_add_(1, targets, total)
        self.weighted.index_add_(2, targets, weighted.transpose(1, 2))

    def image(self) -> Tensor:
        """The means (B, C, H, W).

        Raises:
            ValueError: a pixel on which nothing was pasted.
        """
        if not bool((self.total > 0).all()):
            raise ValueError("the patches of this layout leave pixels out: add regions")
        return (self.weighted / self.total[:, None]).view(self.shape).to(self.dtype)
