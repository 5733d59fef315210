"""Explanations: read out which training patches made each pixel, and with which weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_files import save_json, save_parquet
from elsewhere.analysis.mosaic_plots import mosaic_figure
from elsewhere.checks import check_whole, checked
from elsewhere.denoiser import DenoiserLike, Label, check_request
from elsewhere.gradients import check_constant
from elsewhere.machines.base import SoftmaxMachine, Traced
from elsewhere.progress import track
from elsewhere.sampling import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 1024
"""Largest number of sources per pixel that can be asked for."""


class Mosaic(MosaicResult):
    """A `MosaicResult` that can be plotted and written to files."""

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
        return mosaic_figure(self, index, pixel)


def explain(
    machine: DenoiserLike,
    x: Tensor | np.ndarray,
    sigma: float | Tensor | np.ndarray,
    top: int | None = 8,
    label: Label = None,
) -> Mosaic:
    """Which training patches made each pixel of D(x, sigma), and with which weights (Kamb & Ganguli 2025, eq. 7).

    The exact engine goes over the keys twice: the first time for the totals, the second time for the weights. It
    takes two to four times as long as the call itself.

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
    depth = top or max(part.trace.top.keys.shape[1] for part in found)
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
    windows = [0] * batch
    for part in found:
        pixels = _pixels(part, height * width)
        entry = part.images[:, None], pixels[None], slice(0, part.trace.top.keys.shape[1])
        ids[entry], positions[entry], counts[entry] = _places(part, pixels, width)
        weights[entry] = _by_pixel(part, part.trace.top.logs.exp())
        # A question that asks for whole images has one query where others have one for each pixel.
        asked = 1 if part.question.pixels is None else height * width
        shares[part.images[:, None], part.training] += part.trace.shares / asked
        answer = x0[part.images]
        part.question.answer(part.state, answer)
        x0[part.images] = answer
        for image in part.images.tolist():
            windows[image] = part.window
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


def _pixels(part: Traced, count: int) -> Tensor:
    """Flat positions of the pixels that a question asks for."""
    if part.question.pixels is not None:
        return part.question.pixels
    return torch.arange(count, device=part.images.device)


def _by_pixel(part: Traced, values: Tensor) -> Tensor:
    """What was found for the queries (Q, k), as (B, pixels, k); one query may have asked for all pixels."""
    return values.view(len(part.images), -1, values.shape[1])


def _places(part: Traced, pixels: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Training images (B, P, k), places (B, P, k, 2) and counts (B, P, k) of the top keys; -1, -1 and 0 for none."""
    keys = _by_pixel(part, part.trace.top.keys)
    keys = keys.expand(-1, len(pixels), -1)
    row, column = (pixels // width)[None, :, None], (pixels % width)[None, :, None]
    there = keys >= 0
    known = keys.clamp(min=0)
    image, row, column = part.look.locate(known, row, column)
    places = torch.stack([row, column], -1) - part.question.padding
    counts = part.look.counts(known) * there
    return part.training[image].where(there, -1), places.where(there[..., None], -1), counts
