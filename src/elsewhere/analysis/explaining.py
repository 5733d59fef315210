"""Explanations: read out which training patches made each pixel, and with which weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_files import save_json, save_parquet
from elsewhere.analysis.mosaic_message import TOP
from elsewhere.analysis.mosaic_plots import mosaic_figure
from elsewhere.analysis.mosaics_of_latents import decoded_mosaic
from elsewhere.analysis.mosaics_of_mixes import MOST, has_weights, mixed_mosaic
from elsewhere.analysis.notebook import mosaic_html
from elsewhere.checks import check_whole, checked
from elsewhere.cluster import Distributed
from elsewhere.denoiser import DenoiserLike, Label, check_request
from elsewhere.engine import NO_WRAPS
from elsewhere.gradients import check_constant
from elsewhere.guidance import Guided
from elsewhere.latents import Decoded, DecodedRun
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.mixing import Mix
from elsewhere.progress import track
from elsewhere.prompts import Prompted
from elsewhere.sampling import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Mosaic(MosaicResult):
    """A `MosaicResult` that can be plotted and written to files."""

    def _repr_html_(self) -> str | None:
        return mosaic_html(self)

    @checked
    def save_parquet(self, path: str | Path) -> None:
        """Write `table` as a Parquet file. `analysis.save_parquet` writes the mosaics of a whole run.

        Raises:
            ImportError: pyarrow is not installed (extra `explain`).
            OSError: the file cannot be written.
        """
        save_parquet([self], path)

    @checked
    def save_json(self, path: str | Path) -> None:
        """Write `table` as JSON. `analysis.save_json` writes the mosaics of a whole run.

        Raises:
            OSError: the file cannot be written.
        """
        save_json([self], path)

    @checked
    def widget(self, index: int = 0) -> Any:
        """The explanation view of one image, for Jupyter and other notebooks that show widgets.

        Args:
            index: image of the batch.

        Raises:
            ImportError: anywidget is not installed (extra `notebook`).
            TypeError, ValueError: no such image.
        """
        from elsewhere.analysis.mosaic_widget import step_title, widget

        index = check_whole("index", index, 0, len(self.x) - 1)
        return widget([step_title(self.step, self.sigmas[index])], lambda _: self, index, TOP)

    @checked
    def plot(self, index: int | None = None, pixel: tuple[int, int] | None = None) -> Figure:
        """Plot one row per image: prediction, sources in colours, pasted sources, largest credits, patches of a pixel.

        Args:
            index: image of the batch; None: all images.
            pixel: row and column of the pixel whose patches are shown; None: one in a varied region.

        Raises:
            TypeError, ValueError: no such image or pixel.
        """
        return mosaic_figure(self, index, pixel)


def explain(
    machine: DenoiserLike,
    x: Tensor | np.ndarray,
    sigma: float | Tensor | np.ndarray,
    top: int | None = 8,
    label: Label = None,
) -> Mosaic:
    """Find the training patches that made each pixel of D(x, sigma), and their weights (Kamb & Ganguli 2025, eq. 7).

    An attribution pass over all keys follows the usual pass of the exact engine: the first computes the normalisation
    of each pixel, the second the weights. It takes two to four times as long as the call itself. The fast engine
    reads the windows with the largest weights again, and takes about one and a half times as long as the call; weights
    are relative to the total that the search found, and credits are partly estimated: see `Mosaic.unread` and
    `Mosaic.error`. With top=None or more than 64, every window is weighed, whatever the engine.

    Args:
        machine: any that is a softmax average over the training set, such as IdealScore, LocalScore or
            EquivariantLocalScore. For the ideal machine every pixel has the same sources, whole training images. For
            the ideal, the local and the PCA-local machine the position is the pixel's own. Or a `Mix` of such machines:
            weights are multiplied by the shares and add up. Parts without weights, such as `Wiener` or a network, count
            as unexplained: see `Mosaic.weightless`. Not a guided machine, whose answer moves away from an average: the
            two averages that it subtracts can be explained, `guided.denoiser` with a label and without. Or a machine
            under a prompt, without guidance: see `els.prompted`. Of a `Decoded` machine the mosaic has pixels: the
            weights of every latent count as much as the decoder lets it change the pixel, see
            `analysis.mosaics_of_latents`.
        x: noisy images (B, C, H, W); noisy latents for a `Decoded` machine.
        sigma: noise level, a number or (B,).
        top: number of sources to return for each pixel, 1 to 1024; None: all, for small data.
        label: class of every image or (B,). `image_ids` always count all training images.

    Returns:
        A Mosaic.

    Raises:
        TypeError: the machine is not an average over training windows, for example a trained network.
        ValueError: `top` is out of range, or None for more data than the machine's `memory` holds; x requires a
            gradient, which weights do not have; x, sigma or label that the machine cannot take; a mix whose parts have
            different training images, or none with weights at this noise level.

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
    return _explained(known, *known.check(x, sigma, label), top)


def _explained(
    known: SoftmaxMachine | Mix | Decoded, x: Tensor, sigma: Tensor, label: Tensor | None, top: int | None
) -> Mosaic:
    """`explain` of checked arguments."""
    if isinstance(known, Decoded):
        return Mosaic(**vars(decoded_mosaic(known, x, sigma, label, top, _explained)))
    if isinstance(known, SoftmaxMachine):
        return _of_average(known, x, sigma, label, top)
    return Mosaic(**vars(mixed_mosaic(known, x, sigma, label, top, _explained)))


def _of_average(
    known: SoftmaxMachine, images: Tensor, levels: Tensor, labels: Tensor | None, top: int | None
) -> Mosaic:
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
    nats, met = torch.full_like(unread, torch.nan), torch.zeros_like(unread, dtype=torch.int64)
    missed: Tensor | None = None
    seen = [(0, NO_WRAPS, 0)] * batch
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
        if attribution.entropy is not None:
            of_pixels = attribution.entropy.view(len(members), -1)
            nats[members[:, None], pixels] = of_pixels.expand(-1, len(pixels))
        met[members] = traced.met.flatten().to(device)
        if attribution.missed is not None:
            missed = torch.zeros_like(unread) if missed is None else missed
            missed[members[:, None], pixels] = attribution.missed.view(len(members), -1)
        answer, off_by = x0[members], error[members]
        step.write(part.state, answer, off_by)
        x0[members], error[members] = answer, off_by
        for number in members.tolist():
            seen[number] = traced.window, traced.wraps, len(traced.training)
    grid = (batch, height, width, depth)
    return Mosaic(
        ids.view(grid),
        positions.view(*grid, 2),
        weights.view(grid),
        counts.view(grid),
        images.to(device),
        (x0 + known.store.offset).to(images.dtype),
        tuple(levels.tolist()),
        tuple(window for window, _, _ in seen),
        tuple(wraps for _, wraps, _ in seen),
        known.store,
        shares,
        unread.view(batch, height, width),
        error,
        compared=tuple(compared for _, _, compared in seen),
        nats=nats.view(batch, height, width),
        met=met.view(batch, height, width),
        missed=None if missed is None else missed.view(batch, height, width),
    )


@checked
def explain_run(
    machine: DenoiserLike, run: Run, top: int | None = 8, label: Label = None, *, progress: bool = False
) -> Iterator[Mosaic]:
    """Explain every step of a run, from noise to image, one at a time, so that only one Mosaic is in memory.

    Args:
        machine, top, label: see `explain`; use the label that the run was drawn with.
        run: from `sample(..., keep=True)`. It may be the run of another denoiser, for example of a trained network:
            then the result explains what the machine predicts from the network's states.
        progress: show a progress bar with the time left.

    Yields:
        A Mosaic for each step.

    Raises:
        TypeError, ValueError: a run without states; see `explain`.

    Example:
        >>> import elsewhere as els
        >>> machine = els.IdealScore(els.load_images("fashion-mini", limit=20))
        >>> run = els.sample(machine, els.make_noise(1, (1, 28, 28)), els.schedules.cosine(3), keep=True)
        >>> [mosaic.step for mosaic in els.explain_run(machine, run)]
        [0, 1, 2]
    """
    known = check_run(machine, run, top, label)
    run = _asked(known, run)
    steps = list(zip(run.states, run.sigmas[:-1], strict=False))
    watched = enumerate(track(steps, len(steps), "explaining", progress))
    return (replace(explain(known, x.detach(), sigma, top, label), step=step) for step, (x, sigma) in watched)


def check_run(machine: DenoiserLike, run: Run, top: int | None, label: Label) -> SoftmaxMachine | Mix | Decoded:
    """The machine, if `explain_run` can take it with the run.

    Raises:
        TypeError, ValueError: see `explain_run`.
    """
    known = check_explained(machine, top)
    if not run.states:
        raise ValueError("run has no states: draw it with sample(..., keep=True)")
    check_request({"machine": known}, _asked(known, run).states[0], label, "run")
    return known


def _asked(known: SoftmaxMachine | Mix | Decoded, run: Run) -> Run:
    """The run whose states the machine was asked about: that of the latents where it is decoded."""
    if isinstance(known, Decoded) and isinstance(run, DecodedRun) and run.latents is not None:
        return run.latents
    return run


def check_explained(machine: DenoiserLike, top: int | None) -> SoftmaxMachine | Mix | Decoded:
    """The machine, if `explain` can take it and `top`.

    Raises:
        TypeError, ValueError: see `explain`.
    """
    if isinstance(machine, Prompted):
        if machine.guidance != 1:
            raise ValueError(
                f"machine has guidance {machine.guidance:g}: what it draws is no average of training images; explain "
                "its .towards, which has none"
            )
        machine = machine.towards
    if isinstance(machine, Decoded):
        # What is explained may be inside of it: a machine under a prompt.
        inner = check_explained(machine.machine, top)
        machine = machine if inner is machine.machine else Decoded(inner, machine.autoencoder)
    if isinstance(machine, Distributed):
        raise TypeError(
            f"machine is split into shards, which have no weights to show: explain its .machine, {machine.machine!r}"
        )
    if not has_weights(machine):
        if isinstance(machine, Guided):
            raise TypeError(
                "machine is guided, and a difference of averages has no weights of training images: explain "
                f"guided.denoiser, here {machine.denoiser!r}, with label= and without it"
            )
        who = "a Mix of parts without weights" if isinstance(machine, Mix) else type(machine).__name__
        raise TypeError(
            f"machine must be a softmax average, such as an IdealScore, LocalScore or EquivariantLocalScore, or a mix "
            f"with one, got {who}: to explain a trained network, use the machine that was calibrated for it"
        )
    assert isinstance(machine, SoftmaxMachine | Mix | Decoded)
    if top is not None:
        check_whole("top", top, 1, MOST)
    return machine
