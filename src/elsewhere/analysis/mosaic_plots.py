"""Plots of explanations: mosaics coloured by source, and the size of copied patches along a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from elsewhere.analysis.checks import check_pixel
from elsewhere.analysis.coherence import coherence_length, plain
from elsewhere.analysis.figures import COLOURS
from elsewhere.analysis.mosaic import MosaicResult, read_windows
from elsewhere.entropy import WeightEntropy
from elsewhere.phrases import count
from elsewhere.pictures import Column, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CREDITED = 6
"""Training images shown, those with the largest credits."""
PATCHES = 8
"""Patches shown for the chosen pixel."""
ACROSS = 4
"""Patches in a row."""
STEPS = 7
"""Steps of a run shown."""


def source_colours(mosaic: MosaicResult) -> Tensor:
    """Each pixel in the colour of the training image of its top window, (B, 3, H, W) in [-1, 1].

    The colour of a training image is the same in all figures; it is shaded by the brightness of the pixel. Pixels made
    by constant windows, which many images have, are gray.
    """
    light = (mosaic.x0.mean(1).clamp(-1, 1) + 1) / 2
    sources, place = torch.unique(mosaic.image_ids[..., 0], return_inverse=True)
    each = torch.tensor(np.array([_colour(i) for i in sources.tolist()]), dtype=torch.float64, device="cpu")
    colours = each.to(light)[place].permute(0, 3, 1, 2)
    colours = torch.where(plain(mosaic)[:, None], colours.new_tensor(0.8), colours)
    return 2 * colours * (0.4 + 0.6 * light[:, None]) - 1


def mosaic_figure(
    mosaic: MosaicResult, index: int | None = None, pixel: tuple[int, int] | None = None, network: Column | None = None
) -> Figure:
    """See `Mosaic.plot`; `network` is a further column on the left, with one image for each image of the mosaic."""
    batch, height, width = mosaic.image_ids.shape[:3]
    if index is not None and not 0 <= index < batch:
        raise ValueError(f"index must be between 0 and {batch - 1}, or None for all, got {index}")
    if pixel is not None:
        check_pixel(pixel, height, width)
    chosen = range(batch) if index is None else [index]
    entropy = mosaic.entropy
    known = entropy is not None and not bool(entropy.pixels.isnan().any())
    columns = 3 + (network is not None) + known
    figure = new_figure(2.0 * columns + 7.0, 2.4 * len(chosen) + 0.3)
    # Room between the images, not within the groups of small pictures.
    figure.set_layout_engine("constrained", hspace=0, h_pad=0.05)
    parts = figure.add_gridspec(len(chosen), columns + 2, width_ratios=[2.0] * columns + [3.3, 3.7])
    pictures = {"prediction": mosaic.x0, "by source": source_colours(mosaic), "top windows": mosaic.pasted()}
    for line, image in enumerate(chosen):
        at = pixel or varied_pixel(mosaic.x0[image])
        cells = [figure.add_subplot(parts[line, j]) for j in range(columns)]
        titles = [name if line == 0 else "" for name in pictures]
        if network is not None:
            show_image(cells[0], network.images[image], network.title if line == 0 else "")
            cells[0].set_xlabel(network.captions[image], fontsize=8)
        if known and entropy is not None:
            _show_entropy(cells.pop(), entropy, image, "entropy" if line == 0 else "")
        for axes, title, images in zip(cells[-3:], titles, pictures.values(), strict=True):
            show_image(axes, images[image], title)
            _frame(axes, at, mosaic.windows[image], (height, width) if mosaic.wraps[image].x else None)
        cells[-3].set_xlabel(f"sigma {mosaic.sigmas[image]:.3g}, window {mosaic.windows[image]}", fontsize=8)
        cells[-2].set_xlabel(
            count(len(set(mosaic.image_ids[image, ..., 0].flatten().tolist())), "training image"), fontsize=8
        )
        left_over = float(mosaic.unexplained[image].mean())
        label = f"{left_over:.0%} of weight not in top {mosaic.image_ids.shape[3]}"
        if any(mosaic.weightless):
            label += f",\n{mosaic.weightless[image]:.0%} without weights"
        cells[-1].set_xlabel(label, fontsize=8)
        _show_credited(figure, parts[line, columns], mosaic, image, "largest credits" if line == 0 else "")
        _show_patches(figure, parts[line, columns + 1], mosaic, image, at)
    return figure


def run_figure(mosaics: Sequence[MosaicResult], index: int = 0) -> Figure:
    """A run from noise to image: predictions, their sources, the side of the copied patches, and entropies.

    Args:
        mosaics: one for each step, see `explain_run`.
        index: image of the batch to show. The curve is the median of all images, the band their quartiles.
    """
    from matplotlib.ticker import ScalarFormatter

    count = min(STEPS, len(mosaics))
    shown = [round(i * (len(mosaics) - 1) / max(1, count - 1)) for i in range(count)]
    figure = new_figure(1.5 * count + 1, 9.2)
    above, below, last = figure.subfigures(3, 1, height_ratios=[3.4, 3.2, 2.6], squeeze=False)[:, 0]
    _entropy_curves(last.subplots(), mosaics)
    cells = above.subplots(2, count, squeeze=False)
    for j, step in enumerate(shown):
        mosaic = mosaics[step]
        show_image(cells[0, j], mosaic.x0[index], f"sigma {mosaic.sigmas[index]:.3g}")
        show_image(cells[1, j], source_colours(mosaic)[index], "")
        cells[1, j].set_xlabel(_window_name(mosaic, index), fontsize=8)
    for axes, name in zip(cells[:, 0], ("prediction", "by source"), strict=True):
        axes.set_ylabel(name, fontsize=9)
    axes = below.subplots()
    sigmas = [mosaic.sigmas[index] for mosaic in mosaics]
    lengths = torch.stack([coherence_length(mosaic) for mosaic in mosaics]).cpu().numpy()
    # The length is NaN if all top windows are constant; a step without other images is a gap in the curve.
    rows = [row[~np.isnan(row)] for row in lengths]
    parts = [np.quantile(row, [0.25, 0.5, 0.75]) if len(row) else np.full(3, np.nan) for row in rows]
    low, middle, high = np.array(parts).T
    axes.fill_between(sigmas, low, high, color=COLOURS[0], alpha=0.15, linewidth=0)
    axes.plot(sigmas, middle, "o-", color=COLOURS[0], markersize=4, label="side of copied patches")
    windows = [mosaic.windows[index] for mosaic in mosaics]
    if not _sees_all(mosaics[-1], index):
        axes.plot(sigmas, windows, color="0.6", label="window side")
    axes.set(xscale="log", yscale="log", xlabel="noise level sigma (the run goes from left to right)")
    axes.set_ylabel("side (pixels)")
    axes.invert_xaxis()
    axes.set_yticks([1, 2, 3, 5, 9, 17], minor=False)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    return figure


def _show_entropy(axes: Axes, entropy: WeightEntropy, index: int, title: str) -> None:
    """The map of H / ln n: dark where few windows decide."""
    shares = entropy.pixel_shares[index].cpu().numpy()
    axes.imshow(shares, cmap="viridis", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(
        f"pixels {shares.mean():.2f} of ln n,\nimages {float(entropy.image_shares[index]):.2f} of ln N", fontsize=8
    )


def _entropy_curves(axes: Axes, mosaics: Sequence[MosaicResult]) -> None:
    """Entropy of pixels and of images at every step, medians of all images."""
    found = [mosaic.entropy for mosaic in mosaics]
    sigmas = [mosaic.sigmas[0] for mosaic in mosaics]
    pixels = [np.nan if one is None else float(one.pixel_shares.mean((1, 2)).median()) for one in found]
    images = [np.nan if one is None else float(one.image_shares.median()) for one in found]
    axes.plot(sigmas, pixels, "o-", color=COLOURS[0], markersize=3, label="pixels: H / ln n, n windows")
    axes.plot(sigmas, images, "s-", color=COLOURS[1], markersize=3, label="images: H / ln N, N training images")
    axes.set(xscale="log", ylim=(-0.03, 1.03), ylabel="entropy of weights")
    axes.set_xlabel("noise level sigma (both at 0: a training image is copied)")
    axes.invert_xaxis()
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.legend(frameon=False)


def _colour(source: int) -> tuple[float, float, float]:
    from matplotlib.colors import hsv_to_rgb

    # Steps of the golden ratio around the colour circle: consecutive images differ in hue.
    red, green, blue = hsv_to_rgb((source * 0.618034 % 1, 0.35 + 0.4 * (source * 0.754878 % 1), 0.95))
    return float(red), float(green), float(blue)


def _frame(axes: Axes, pixel: tuple[int, int], window: int, period: tuple[int, int] | None) -> None:
    """Mark a pixel and its window; with a `period` (height, width), also their periodic images."""
    from matplotlib.patches import Rectangle

    row, column = pixel
    again = [(0, 0)] if period is None else list(product(*((-side, 0, side) for side in period)))
    for side, width in ((window, 1.0), (1, 0.8)):
        for down, across in again:
            corner = column + across - side / 2, row + down - side / 2
            axes.add_patch(Rectangle(corner, side, side, fill=False, color="#e8442e", linewidth=width))


def _show_credited(figure: Figure, part: object, mosaic: MosaicResult, index: int, title: str) -> None:
    """The training images with the largest credits, framed in their colours."""
    credit, order = mosaic.credits()[index].sort(descending=True)
    cells = part.subgridspec(2, CREDITED // 2, hspace=0, wspace=0.02)  # type: ignore[attr-defined]
    # Images of other classes have no credit.
    count = min(CREDITED, int((credit > 0).sum()))
    for j, (share, source) in enumerate(zip(credit[:count].tolist(), order[:count].tolist(), strict=True)):
        axes = figure.add_subplot(cells[j // (CREDITED // 2), j % (CREDITED // 2)])
        show_image(axes, mosaic.store.floats(mosaic.store.pixels[source]), title if j == min(1, count - 1) else "")
        axes.spines[:].set(color=_colour(source), linewidth=2.5)
        axes.set_xlabel(f"#{source}  {_percent(share)}", fontsize=6.5, labelpad=2)


def _show_patches(figure: Figure, part: object, mosaic: MosaicResult, index: int, pixel: tuple[int, int]) -> None:
    """The query window of a pixel and its top training windows."""
    rows = math.ceil((PATCHES + 2) / ACROSS)
    cells = part.subgridspec(rows, ACROSS, hspace=0, wspace=0)  # type: ignore[attr-defined]
    here = (
        torch.tensor([index], dtype=torch.int64, device="cpu"),
        torch.tensor([pixel[0]], dtype=torch.int64, device="cpu"),
        torch.tensor([pixel[1]], dtype=torch.int64, device="cpu"),
    )
    window, wraps = mosaic.windows[index], mosaic.wraps[index]
    asked = read_windows(mosaic.x.cpu().float(), window, *here, wraps=wraps.x)
    _show_window(figure.add_subplot(cells[0, 0]), *asked, "query", f"pixel {pixel[0]}, {pixel[1]}")
    at = (index, *pixel)
    there = [rank for rank in range(min(PATCHES, mosaic.image_ids.shape[3])) if mosaic.image_ids[(*at, rank)] >= 0]
    for j, rank in enumerate(there, start=1):
        source, place = mosaic.image_ids[(*at, rank)][None], mosaic.positions[(*at, rank)][:, None]
        found, inside = read_windows(mosaic.store.pixels, window, source, *place, wraps=wraps.training)
        axes = figure.add_subplot(cells[j // ACROSS, j % ACROSS])
        text = f"#{int(source)}" + (f" and {count - 1} equal" if (count := int(mosaic.counts[(*at, rank)])) > 1 else "")
        _show_window(axes, mosaic.store.floats(found), inside, _percent(float(mosaic.weights[(*at, rank)])), text)
    axes = figure.add_subplot(cells[(len(there) + 1) // ACROSS, (len(there) + 1) % ACROSS])
    axes.axis("off")
    left_over = _percent(float(mosaic.unexplained[at]))
    others = "other\nwindows,\nno weights" if any(mosaic.weightless) else "other\nwindows"
    axes.text(0.5, 0.5, f"{others}\n{left_over}", ha="center", va="center", fontsize=7.5, transform=axes.transAxes)


def _show_window(axes: Axes, window: Tensor, inside: Tensor, title: str, label: str) -> None:
    """One window (1, C, h, w), as far as it lies inside the image."""
    rows, columns = inside[0, 0].any(1).cpu(), inside[0, 0].any(0).cpu()
    show_image(axes, window[0].cpu().float()[:, rows][:, :, columns], "")
    axes.set_title(title, fontsize=7.5, pad=2)
    axes.set_xlabel(label, fontsize=6.5, labelpad=2)


def _window_name(mosaic: MosaicResult, index: int) -> str:
    return "whole image" if _sees_all(mosaic, index) else f"window {mosaic.windows[index]}"


def _sees_all(mosaic: MosaicResult, index: int) -> bool:
    """Whether every pixel sees the whole image."""
    side = max(mosaic.image_ids.shape[1:3])
    return mosaic.windows[index] >= (side if mosaic.wraps[index].x else 2 * side - 1)


def _percent(share: float) -> str:
    if share < 0.0005:
        return "< 0.1%"
    return f"{share:.0%}" if share >= 0.095 else f"{share:.1%}"


def varied_pixel(image: Tensor) -> tuple[int, int]:
    """Row and column of the pixel with the largest local variance in an image (C, H, W), away from the border."""
    wide = image.double().mean(0)[None, None]
    spread = avg_pool2d(wide.square(), 5, 1, 2, count_include_pad=False)
    spread -= avg_pool2d(wide, 5, 1, 2, count_include_pad=False).square()
    top, left = image.shape[1] // 5, image.shape[2] // 5
    inner = spread[0, 0, top : image.shape[1] - top, left : image.shape[2] - left]
    flat = int(inner.flatten().argmax())
    return top + flat // inner.shape[1], left + flat % inner.shape[1]
