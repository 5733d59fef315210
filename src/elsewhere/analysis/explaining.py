"""Which training patches made each pixel: the weights of a machine's average, read out key by key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from elsewhere.analysis.mosaic_files import save_json, save_parquet
from elsewhere.checks import check_fields, check_whole, checked
from elsewhere.denoiser import DenoiserLike, Label, check_request
from elsewhere.engine import PixelStore, Wraps
from elsewhere.gradients import check_constant
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.progress import track
from elsewhere.sampling import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 1024
"""Most sources that can be asked for at each pixel."""


@dataclass(frozen=True)
class Mosaic:
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
        unread: share of each pixel's weight that belongs to windows which were not read one by one, float64 (B, H, W):
            zero but where the fast engine searched. The weights of the sources named are not affected by it, but the
            credits that make up this share are estimates.
        error: estimated error of x0 at each pixel, (B, H, W), as `estimate` gives it; the weights have about the same
            relative error. Zero where every window was weighed in full precision.
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
    unread: Tensor
    error: Tensor
    step: int = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        batch, height, width, top = self.image_ids.shape
        return (
            f"Mosaic({batch} of {height}x{width} pixels, top {top}, {float(self.unexplained.mean()):.1%} unexplained)"
        )

    @property
    def unexplained(self) -> Tensor:
        """Weight of all sources that are not among the top, float64 (B, H, W)."""
        return (1 - self.weights.sum(-1)).clamp(min=0)

    def credits(self) -> Tensor:
        """Share of each image that is owed to each training image, float64 (B, N); every row sums to 1.

        The mean over the pixels of all the weight that windows of that training image have, not of the top alone.
        Equal windows have equal weights, so that a copy of a training image gets as much as the original.
        Where the fast engine searched, the windows that weigh most are credited one by one, and the rest of the weight
        is spread over groups of similar windows.
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

    @checked
    def save_parquet(self, path: str | Path) -> None:
        """Write `table` as a Parquet file: see `analysis.save_parquet`, which also takes the mosaics of a whole run.

        Raises:
            ImportError: pyarrow is missing.
        """
        save_parquet([self], path)

    @checked
    def save_json(self, path: str | Path) -> None:
        """Write `table` as JSON: see `analysis.save_json`, which also takes the mosaics of a whole run."""
        save_json([self], path)

    @checked
    def plot(self, index: int | None = None, pixel: tuple[int, int] | None = None) -> Figure:
        """For each image a row: the prediction, its sources in colours, the sources pasted, the patches of one pixel.

        Args:
            index: which image of the batch, None for all.
            pixel: row and column of the pixel whose patches are shown; None for one in varied surroundings.

        Raises:
            ValueError: no such image or pixel.
        """
        # Here, not above: the plots describe mosaics, and need this module.
        from elsewhere.analysis.mosaic_plots import mosaic_figure

        return mosaic_figure(self, index, pixel)


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


def explain(
    machine: DenoiserLike,
    x: Tensor | np.ndarray,
    sigma: float | Tensor | np.ndarray,
    top: int | None = 8,
    label: Label = None,
) -> Mosaic:
    """Which training patches made each pixel of D(x, sigma), and with which weights (Kamb & Ganguli 2025, eq. 7).

    The exact engine goes over the keys twice: the first time for the totals, the second time for the weights. It
    takes two to four times as long as the call itself. The fast engine reads the windows that weigh most again, and
    takes about one and a half times as long as the call; weights are relative to the total that the search found, and
    credits are partly estimated: see `Mosaic.unread` and `Mosaic.error`. With top=None, or more than 64, every window
    is weighed, whatever the engine.

    Args:
        machine: an IdealScore, LocalScore or EquivariantLocalScore. For the ideal machine every pixel has the same
            sources, whole training images; the position is then the pixel's own, as it is for the local machine.
        x, sigma, label: as for the machine's call. Training images keep their index whatever the label.
        top: how many sources to name at each pixel, 1 to 1024; None for every one, on small data.

    Raises:
        TypeError: the machine is no average over training windows, such as a trained network; see the machine's call.
        ValueError: top out of range, or None on more data than the machine's memory holds; x requires gradients, which
            weights do not have; see the machine's call.

    Example:
        >>> import elsewhere as els
        >>> machine = els.EquivariantLocalScore(els.load_images("fashion-mini", limit=20), window=5)
        >>> mosaic = els.explain(machine, els.make_noise(1, (1, 28, 28)), sigma=1.0, top=3)
        >>> mosaic.image_ids.shape, round(float(mosaic.credits().sum()), 4)
        (torch.Size([1, 28, 28, 3]), 1.0)
    """
    known = check_explained(machine, top)
    for argument, given in (("x", x), ("sigma", sigma)):
        check_constant(given, argument, "explain")
    images, levels, labels = known.check(x, sigma, label)
    found = list(known.trace(images, levels, labels, top))
    depth = top or max(traced.part.attribution.top.keys.shape[1] for traced in found)
    batch, _, height, width = images.shape
    shape, device = (batch, height * width, depth), known.store.pixels.device
    ids, counts = (
        torch.full(shape, -1, device=device, dtype=torch.int64),
        torch.zeros(shape, dtype=torch.int64, device=device),
    )
    positions, weights = (
        torch.full((*shape, 2), -1, device=device, dtype=torch.int64),
        torch.zeros(shape, dtype=torch.float64, device=device),
    )
    shares = weights.new_zeros((batch, len(known)))
    x0 = torch.empty(images.shape, dtype=torch.float64, device=device)
    unread, error = weights.new_zeros((batch, height * width)), weights.new_zeros((batch, height, width))
    windows = [0] * batch
    for traced in found:
        part, members = traced.part, traced.images
        step, attribution = part.step, part.attribution
        every = torch.arange(height * width, device=device)
        pixels, each = (every, 1) if step.pixels is None else (step.pixels, height * width)
        image, row, column = part.located
        there = part.counts > 0
        entry = members[:, None], pixels[None], slice(0, image.shape[2])
        ids[entry] = traced.training[image].where(there, -1)
        positions[entry] = torch.stack([row, column], -1).where(there[..., None], -1)
        counts[entry] = part.counts
        # One query may have asked for all pixels.
        weights[entry] = attribution.top.logs.exp().view(len(members), -1, image.shape[2])
        shares[members[:, None], traced.training] += attribution.shares / each
        unread[members[:, None], pixels] = attribution.unread.view(len(members), -1)
        answer, off_by = x0[members], error[members]
        step.write(part.state, answer, off_by)
        x0[members], error[members] = answer, off_by
        for number in members.tolist():
            windows[number] = traced.window
    grid = (batch, height, width, depth)
    return Mosaic(
        ids.view(grid),
        positions.view(*grid, 2),
        weights.view(grid),
        counts.view(grid),
        images,
        (x0 + known.store.offset).to(images),
        tuple(levels.tolist()),
        tuple(windows),
        tuple(known.wraps(window) for window in windows),
        known.store,
        shares,
        unread.view(batch, height, width),
        error,
    )


@checked
def explain_run(
    machine: DenoiserLike, run: Run, top: int | None = 8, label: Label = None, *, progress: bool = False
) -> Iterator[Mosaic]:
    """Explain every step of a run, from noise to image, one at a time: no more than one Mosaic need be held.

    Args:
        machine, top, label: see `explain`; the label is the one that the run was drawn with.
        run: from `sample(..., keep=True)`. It need not be the machine's own: the steps of a trained network say what
            the machine makes of the states that the network went through.
        progress: show a bar with the time left.

    Raises:
        TypeError, ValueError: a run without states; see `explain`.
    """
    known = check_explained(machine, top)
    if not run.states:
        raise ValueError("run has no states: draw it with sample(..., keep=True)")
    steps = list(zip(run.states, run.sigmas[:-1], strict=False))
    check_request({"machine": known}, steps[0][0], label, "run")
    watched = enumerate(track(steps, len(steps), "explaining", progress))
    return (replace(explain(known, x.detach(), sigma, top, label), step=step) for step, (x, sigma) in watched)


def check_explained(machine: DenoiserLike, top: int | None) -> SoftmaxMachine:
    """The machine, if it can be explained with that many sources.

    Raises:
        TypeError, ValueError: see `explain`.
    """
    if not isinstance(machine, SoftmaxMachine):
        raise TypeError(
            f"machine must be an IdealScore, LocalScore or EquivariantLocalScore, got {type(machine).__name__}: "
            "explain a trained network through the machine that was calibrated for it"
        )
    if top is not None:
        check_whole("top", top, 1, MOST)
    return machine
