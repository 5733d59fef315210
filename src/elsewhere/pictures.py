"""Pictures: image grids and plots, written whole or not at all."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from elsewhere.data.images import to_uint8
from elsewhere.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def grid(images: Tensor, columns: int, scale: int = 3, gap: int = 2) -> Image.Image:
    """Images (B, C, H, W) in [-1, 1] as one picture, row by row, each pixel `scale` pixels wide."""
    pixels = to_uint8(images.detach().cpu().float())
    batch, _, height, width = pixels.shape
    rows = -(-batch // columns)
    cell_h, cell_w = height * scale + gap, width * scale + gap
    canvas = torch.full((rows * cell_h + gap, columns * cell_w + gap, 3), 255, dtype=torch.uint8, device="cpu")
    enlarged = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3).expand(batch, 3, -1, -1)
    for i, image in enumerate(enlarged):
        top, left = gap + (i // columns) * cell_h, gap + (i % columns) * cell_w
        canvas[top : top + height * scale, left : left + width * scale] = image.permute(1, 2, 0)
    return Image.fromarray(canvas.numpy())


def show_image(axes: Axes, image: Tensor, title: str) -> None:
    """Fill a panel of a figure with one image (C, H, W) in [-1, 1], every pixel a square."""
    axes.imshow(np.asarray(grid(image[None], 1, 1, gap=0)), interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("0.7")


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


def figure_png(figure: Any, dpi: int = 150) -> bytes:
    """A matplotlib figure as the bytes of a PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    return buffer.getvalue()


def picture_png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def image_png(image: Tensor) -> bytes:
    """One image (C, H, W) in [-1, 1] as the bytes of a PNG, pixel for pixel."""
    pixels = to_uint8(image.detach().cpu().float())
    array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy()
    return picture_png(Image.fromarray(array))


def data_uri(png: bytes) -> str:
    """PNG bytes as an address that carries them, for pages that must stand alone."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def save_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""
    with atomic_path(path) as beside:
        beside.write_bytes(content)


@dataclass(frozen=True)
class Column:
    """One column of a labelled grid.

    Attributes:
        title, subtitle: printed above the column.
        images: one image a row, (B, C, H, W) in [-1, 1].
        captions: printed under each image, B of them.
    """

    title: str
    subtitle: str
    images: Tensor
    captions: Sequence[str]


def labelled_grid(columns: Sequence[Column], width: int = 128, gap: int = 12) -> Image.Image:
    """Columns of captioned images side by side, every image enlarged by a whole number to about `width` pixels."""
    side = columns[0].images.shape[-1]
    scale = max(1, round(width / side))
    cell_w, cell_h = side * scale, columns[0].images.shape[-2] * scale
    title, text = font(max(11, cell_w // 7), bold=True), font(max(9, cell_w // 9))
    line = round(text.size * 1.5)
    header, rows = 3 * line + gap // 2, len(columns[0].images)
    size = (gap + len(columns) * (cell_w + gap), header + rows * (cell_h + line + gap) + gap // 2)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for j, column in enumerate(columns):
        left = gap + j * (cell_w + gap)
        middle = left + cell_w // 2
        draw.text((middle, 1.2 * line), column.title, "#111111", title, anchor="ms")
        draw.text((middle, 2.3 * line), column.subtitle, "#666666", text, anchor="ms")
        for i, (image, caption) in enumerate(zip(column.images, column.captions, strict=True)):
            top = header + i * (cell_h + line + gap)
            canvas.paste(grid(image[None], 1, scale, gap=0), (left, top))
            draw.text((middle, top + cell_h + line * 0.85), caption, "#333333", text, anchor="ms")
    return canvas


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The typeface that the plots use, which comes with matplotlib."""
    from matplotlib.font_manager import FontProperties, findfont

    return ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")), size)
