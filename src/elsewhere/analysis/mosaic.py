"""Mosaics: the training patches that made each pixel of an image, and their weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_fields
from elsewhere.engine import PixelStore, Wraps
from elsewhere.entropy import WeightEntropy, entropy_of


@dataclass(frozen=True)
class MosaicResult:
    """The training patches that made each pixel of a prediction x0hat = D(x, sigma): data only. `explain` returns a
    `Mosaic`, which can also be plotted and written to files.

    A pixel is a weighted mean of centre pixels of training windows: sum_j w_j v_j, with sum_j w_j = 1. A mosaic has the
    `top` windows with the largest weights, in decreasing order. Of a mix, weights are multiplied by the shares of its
    parts, and equal sources of several parts are one entry. Identical windows that the engine has merged are one
    entry with their total weight and their count; its position is that of the first of them in the order of training
    images, rows, columns. Identical windows that were not merged (few repeats, edges, LS, IS) are separate entries,
    whose weights are equal up to rounding.

    Attributes:
        image_ids: index of the training image, int64 (B, H, W, top); -1 if there are fewer than `top` sources.
        positions: row and column of the window's centre in that image, int64 (B, H, W, top, 2).
        weights: weight in the mean, 0 to 1, decreasing, float64 (B, H, W, top).
        counts: number of identical windows that an entry stands for, int64 (B, H, W, top); 0 for no source.
        x, x0: the noisy images and the prediction, (B, C, H, W), on the machine's device like all tensors here.
        sigmas: noise level of each image.
        windows: side of the window of each image, in pixels; it may exceed the image.
        wraps: for each image, whether windows of x and of the training images are periodic.
        store: the training images.
        shares: see `credits`, float64 (B, N).
        unread: share of each pixel's weight whose windows were not read one by one, float64 (B, H, W): zero unless the
            fast engine searched. Weights of the sources do not depend on it; credits of this share are estimates.
        error: estimated error of x0 at each pixel, (B, H, W), as `estimate` gives it; the weights have about the same
            relative error. Zero where every window was weighed in full precision.
        step: index of the step of a run, 0 for the first (noisiest) one and for a single call.
        compared: number of training images that each image was compared with: those of its class, where it has a label.
        weightless: of a mix, the share of each image's x0 that comes from parts without weights on training images,
            such as `Wiener`, 0 to 1; empty for 0. No source explains it.
        nats: entropy of each pixel's weights, those of all windows, float64 (B, H, W): NaN where an index was searched;
            None for mixes of several parts.
        met: number of windows that each pixel meets, int64 (B, H, W); None where `nats` is.
        missed: of patches that are pasted from other places, by how much a source that is not here may weigh more than
            the last one here, at most, float64 (B, H, W); None where the largest are here for certain. Of a mix of
            several machines, the sum of theirs times their shares, which is no bound.
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
    unread: Tensor
    error: Tensor
    step: int = 0
    compared: tuple[int, ...] = ()
    weightless: tuple[float, ...] = ()
    nats: Tensor | None = None
    met: Tensor | None = None
    missed: Tensor | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        batch, height, width, top = self.image_ids.shape
        unexplained = f"{float(self.unexplained.mean()):.1%} unexplained"
        without = f", {sum(self.weightless) / batch:.1%} of it without weights" if any(self.weightless) else ""
        return f"{type(self).__name__}({batch} of {height}x{width} pixels, top {top}, {unexplained}{without})"

    @property
    def unexplained(self) -> Tensor:
        """Total weight of what is not among the top, 0 to 1, float64 (B, H, W).

        It is that of further sources, and that of the parts of a mix that have no weights (`weightless`).
        """
        return (1 - self.weights.sum(-1)).clamp(min=0)

    @property
    def entropy(self) -> WeightEntropy | None:
        """The entropy of each pixel's weights and of each image's credits; None for mixes of several parts."""
        if self.nats is None or self.met is None:
            return None
        compared = torch.tensor(self.compared, dtype=torch.int64, device=self.nats.device)
        return WeightEntropy(self.nats, self.met, entropy_of(self.shares), compared)

    def credits(self) -> Tensor:
        """Contribution of each training image to each image, float64 (B, N); every row sums to 1, less `weightless`.

        It is the total weight of all windows of that training image, not only of the top ones, averaged over pixels.
        Identical windows have equal weights, so a duplicate of a training image gets as much as the original. Where the
        fast engine searched, windows with large weights are credited one by one, and the rest of the weight is spread
        over groups of similar windows.
        """
        return self.shares

    def pasted(self) -> Tensor:
        """Each pixel replaced by the centre of its window with the largest weight, (B, C, H, W) in [-1, 1]."""
        row, column = self.positions[..., 0, :].unbind(-1)
        return self.store.floats(self.store.pixels[self.image_ids[..., 0], :, row, column]).permute(0, 3, 1, 2)

    def table(self) -> dict[str, np.ndarray]:
        """One row for each pixel and source: column name -> values (rows,).

        Columns: step (of the run), sigma, image (in the batch), row, column, rank (0: largest weight), source (training
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
    """Windows of images around given places.

    Args:
        pixels: images (N, C, H, W).
        window: odd side in pixels.
        image, row, column: int64 (M,): the image and the centre of each window.
        wraps: whether windows are periodic; positions then count modulo the sides of the image.

    Returns:
        The windows and which of their pixels lie inside the image, both (M, C, h, w). h and w are `window`, or less if
        even the widest window of the image is smaller. Periodic windows always have the full size.
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
