"""Mosaics: the training patches that made each pixel of an image, and their weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_fields
from elsewhere.engine import PixelStore
from elsewhere.machines.borders import Wraps


@dataclass(frozen=True)
class MosaicResult:
    """The training patches that made each pixel of a prediction x0hat = D(x, sigma).

    A pixel is a weighted mean of centre pixels of training windows: sum_j w_j v_j, with sum_j w_j = 1. Here are the
    windows with the largest weights, the heaviest first. Windows that are equal bit for bit, where the engine has
    merged them, are one entry: its weight is that of all of them, its count says how many they are, and the one that
    is named is the first in the order of the training images, then of rows, then of columns. Equal windows that are
    not merged (few repeats, edges, LS, IS) are entries of their own; their weights are equal up to rounding.

    Attributes:
        image_ids: index into the machine's training images, int64 (B, H, W, top); -1 where there are fewer sources.
        positions: row and column of the window's centre in that image, int64 (B, H, W, top, 2).
        weights: float64 (B, H, W, top), each 0 to 1, decreasing.
        counts: how many equal windows an entry stands for, int64 (B, H, W, top); 0 where there is none.
        x, x0: the noisy images and the prediction, (B, C, H, W).
        sigmas: noise level of each image.
        windows: side of the window of each image, in pixels; it may exceed the image.
        wraps: where these windows wrap round the edges, for each image.
        store: the training images.
        shares: see `credits`.
        step: which step of a run this is, counted from the noise; 0 for a call on its own.
    """

    image_ids: Tensor
    positions: Tensor
    weights: Tensor
    counts: Tensor
    x: Tensor
    x0: Tensor
    sigmas: tuple[float, ...]
    windows: tuple[int, ...]
    wraps: tuple[Wraps, ...]
    store: PixelStore
    shares: Tensor
    step: int = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        batch, height, width, top = self.image_ids.shape
        unexplained = f"{float(self.unexplained.mean()):.1%} unexplained"
        return f"{type(self).__name__}({batch} of {height}x{width} pixels, top {top}, {unexplained})"

    @property
    def unexplained(self) -> Tensor:
        """Weight of all sources that are not among the top, float64 (B, H, W)."""
        return (1 - self.weights.sum(-1)).clamp(min=0)

    def credits(self) -> Tensor:
        """Share of each image that is owed to each training image, float64 (B, N); every row sums to 1.

        The mean over the pixels of all the weight that windows of that training image have, not of the top alone.
        Equal windows have equal weights, so that a copy of a training image gets as much as the original.
        """
        return self.shares

    def pasted(self) -> Tensor:
        """Every pixel replaced by the centre of the window with the largest weight, (B, C, H, W) in [-1, 1]."""
        row, column = self.positions[..., 0, :].unbind(-1)
        return self.store.floats(self.store.pixels[self.image_ids[..., 0], :, row, column]).permute(0, 3, 1, 2)

    def table(self) -> dict[str, np.ndarray]:
        """One row a pixel and source: column name -> values.

        Columns: step (of the run), sigma, image (in the batch), row, column, rank (0 the heaviest), source (training
        image), source_row, source_column, weight, count.
        """
        there = (self.image_ids >= 0).nonzero().unbind(1)
        image, row, column, rank = (axis.cpu().numpy() for axis in there)
        place = self.positions[there].cpu().numpy()
        return {
            "step": np.full_like(image, self.step),
            "sigma": np.array(self.sigmas)[image],
            "image": image,
            "row": row,
            "column": column,
            "rank": rank,
            "source": self.image_ids[there].cpu().numpy(),
            "source_row": place[:, 0],
            "source_column": place[:, 1],
            "weight": self.weights[there].cpu().numpy(),
            "count": self.counts[there].cpu().numpy(),
        }


def read_windows(
    pixels: Tensor, window: int, image: Tensor, row: Tensor, column: Tensor, *, wraps: bool = False
) -> tuple[Tensor, Tensor]:
    """Windows of images (N, C, H, W) centred on M places, and which of their pixels lie inside, both (M, C, h, w).

    Sides are those of the window, or less where it exceeds the image on both sides of every place. Where windows wrap
    round the edges, sides are those of the window whatever the image, places count modulo its sides, and all is inside.
    """
    height, width = pixels.shape[2:]
    reach = (window // 2 if wraps else min(window // 2, side - 1) for side in (height, width))
    rows, columns = (
        at[:, None] + torch.arange(-far, far + 1, device=at.device)
        for at, far in zip((row, column), reach, strict=True)
    )
    if wraps:
        rows, columns = rows % height, columns % width
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    rows, columns = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]
    found = pixels[image[:, None, None], :, rows, columns].permute(0, 3, 1, 2)
    return found, inside[:, None].expand_as(found)
