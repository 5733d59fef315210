"""Pictures: image grids and plots, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from elsewhere.data.images import to_uint8
from elsewhere.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def grid(images: Tensor, columns: int, scale: int = 3, gap: int = 2) -> Image.Image:
    """Images (B, C, H, W) in [-1, 1] as one picture, row by row, each pixel `scale` pixels wide."""
    pixels = to_uint8(images.detach().cpu().float())
    batch, channels, height, width = pixels.shape
    rows = -(-batch // columns)
    cell_h, cell_w = height * scale + gap, width * scale + gap
    canvas = torch.full((rows * cell_h + gap, columns * cell_w + gap, 3), 255, dtype=torch.uint8)
    enlarged = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3).expand(batch, 3, -1, -1)
    for i, image in enumerate(enlarged):
        top, left = gap + (i // columns) * cell_h, gap + (i % columns) * cell_w
        canvas[top : top + height * scale, left : left + width * scale] = image.permute(1, 2, 0)
    return Image.fromarray(canvas.numpy())


def save_grid(path: str | Path, images: Tensor, columns: int, scale: int = 3) -> None:
    """Write `grid` as a PNG."""
    with atomic_path(path) as beside:
        grid(images, columns, scale).save(beside, format="PNG")


def new_figure(width: float, height: float) -> Figure:
    """A matplotlib figure that needs no screen and leaves no global state behind."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(path: str | Path, figure: Any, dpi: int = 120) -> None:
    """Write a matplotlib figure as a PNG."""
    with atomic_path(path) as beside:
        figure.savefig(beside, dpi=dpi, format="png")


def save_loss_plot(path: str | Path, lines: list[dict[str, float]]) -> None:
    """Loss against step, with a running median."""
    steps = np.array([line["step"] for line in lines])
    losses = np.array([line["loss"] for line in lines])
    figure = new_figure(7, 4)
    axes = figure.subplots()
    axes.plot(steps, losses, color="0.75", label="mean of each log interval")
    width = max(1, len(lines) // 20)
    smooth = [np.median(losses[max(0, i - width) : i + width + 1]) for i in range(len(losses))]
    axes.plot(steps, smooth, color="C0", label="running median")
    axes.set(xlabel="step", ylabel="loss (mean squared error of v)", yscale="log")
    axes.legend()
    save_figure(path, figure)
