"""Image grids and plots. Files are written completely or not at all."""

from __future__ import annotations

import base64
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

from elsewhere.files import atomic_path, save_bytes
from elsewhere.pixel_values import to_uint8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


SIDE = 128
"""Approximate side in pixels of an image in a grid; smaller images are enlarged by an integer factor."""

LONGEST_SIDES = {"WEBP": 16_383, "JPEG": 65_500, "GIF": 65_535}
"""Largest sides in pixels that the writers of picture formats take."""

COLOURS = 64
"""Size of the palette of films."""


def enlargement(height: int, width: int, side: int = SIDE) -> int:
    """The integer factor, 1 or more, that brings the longer side of an image nearest to `side` pixels."""
    return max(1, round(side / max(height, width)))


def grid(images: Tensor, columns: int, scale: int = 3, gap: int = 2) -> Image.Image:
    """Images (B, C, H, W) in [-1, 1] as one picture, row by row.

    Args:
        images: 1 or 3 channels.
        columns: images in a row.
        scale: side in pixels of each pixel of an image.
        gap: white pixels between images and around them.

    Raises:
        ValueError: images with another number of channels.
    """
    pixels = drawable(images)
    batch, _, height, width = pixels.shape
    rows = -(-batch // columns)
    cell_h, cell_w = height * scale + gap, width * scale + gap
    canvas = torch.full((rows * cell_h + gap, columns * cell_w + gap, 3), 255, dtype=torch.uint8, device="cpu")
    enlarged = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3).expand(batch, 3, -1, -1)
    for i, image in enumerate(enlarged):
        top, left = gap + (i // columns) * cell_h, gap + (i % columns) * cell_w
        canvas[top : top + height * scale, left : left + width * scale] = image.permute(1, 2, 0)
    return Image.fromarray(canvas.numpy())


def drawable(images: Tensor) -> Tensor:
    """Images (B, C, H, W) in [-1, 1] as bytes; C must be 1 or 3."""
    channels = images.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, got images of {channels}: give some of them, images[:, :1]")
    return to_uint8(images.detach().cpu().float())


def show_image(axes: Axes, image: Tensor, title: str) -> None:
    """Fill a panel of a figure with one image (C, H, W) in [-1, 1], without interpolation."""
    axes.imshow(np.asarray(grid(image[None], 1, 1, gap=0)), interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("0.7")


def save_grid(path: str | Path, images: Tensor, columns: int, scale: int | None = None) -> None:
    """Write `grid` as a PNG file. `scale` None: that of `enlargement`."""
    scale = enlargement(*images.shape[2:]) if scale is None else scale
    with atomic_path(path) as beside:
        grid(images, columns, scale).save(beside, format="PNG")


def literal(text: str, most: int = 60) -> str:
    """Text of a user, such as a name, escaped for a figure: one line, no mathematics, at most `most` characters.

    Example:
        >>> literal("cost in $", 20), literal("a very long name", 9)
        ('cost in \\\\$', 'a ve…name')
    """
    line = " ".join(text.encode("utf-8", "backslashreplace").decode("utf-8").split())
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
    shown = shorten(line, lambda some: len(some) <= most).replace("$", r"\$")
    # matplotlib omits labels that begin with an underscore from legends.
    return f" {shown}" if shown.startswith("_") else shown


def shorten(text: str, fits: Callable[[str], bool]) -> str:
    """The text, or as much of its beginning and end as fits, with an ellipsis between.

    Args:
        text: the text.
        fits: whether a text is short enough.
    """
    if fits(text):
        return text
    for left_out in range(1, len(text)):
        kept = len(text) - left_out
        shown = f"{text[: (kept + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - kept // 2 :]}"
        if fits(shown):
            return shown
    return "\N{HORIZONTAL ELLIPSIS}"


def new_figure(width: float, height: float) -> Figure:
    """A matplotlib figure of a size in inches, without a display and without global state; notebooks show it."""
    return _shown_figure()(figsize=(width, height), layout="constrained")


@cache
def _shown_figure() -> type[Figure]:
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure that notebooks show also where nobody has imported pyplot."""

        def _repr_png_(self) -> bytes:
            return figure_png(self, 90)

    return ShownFigure


def save_figure(path: str | Path, figure: Any, dpi: int = 120) -> None:
    """Write a matplotlib figure as a PNG file."""
    save_bytes(path, figure_png(figure, dpi))


def save_loss_plot(path: str | Path, lines: list[dict[str, float]]) -> None:
    """Plot the loss against the step, with a running median, and write it as a PNG file."""
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
    with warnings.catch_warnings():
        # A character that the font lacks is drawn as a box; a warning for each adds nothing.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(buffer, dpi=dpi, format="png")
    return buffer.getvalue()


def check_format(picture: Image.Image, kind: str) -> None:
    """Refuse a picture that is too large for a format.

    Raises:
        ValueError: a side beyond `LONGEST_SIDES`.
    """
    longest = LONGEST_SIDES.get(kind)
    if longest is not None and max(picture.size) > longest:
        width, height = picture.size
        raise ValueError(
            f"a {kind} has at most {longest} pixels a side, this picture of all images has {width}x{height}: choose "
            f"fewer images, other columns, or .png"
        )


def picture_png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def image_png(image: Tensor) -> bytes:
    """One image (C, H, W) in [-1, 1] as the bytes of a PNG of H x W pixels.

    Raises:
        ValueError: an image with another number of channels than 1 or 3.
    """
    pixels = drawable(image[None])[0]
    array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy()
    return picture_png(Image.fromarray(array))


def data_uri(content: bytes, kind: str = "png") -> str:
    """The bytes of a picture (of a kind such as "png" or "gif") as a data URI, for self-contained pages."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")


def shrunk(images: Tensor, side: int) -> Tensor:
    """Images (B, C, H, W) whose longer side is `side` at most: means of the pixels that come together."""
    height, width = images.shape[2:]
    share = side / max(height, width)
    if share >= 1:
        return images
    sides = (max(1, round(height * share)), max(1, round(width * share)))
    # One at a time, because floats take four times the memory of bytes.
    small = torch.cat([interpolate(image[None].float(), sides, mode="area") for image in images])
    return small if images.dtype.is_floating_point else small.round().to(images.dtype)


def film_gif(frames: Sequence[Image.Image], milliseconds: int = 90, last: int = 2500) -> bytes:
    """A looping GIF that pauses on its last frame.

    Args:
        frames: pictures of the same size.
        milliseconds: duration of each frame; GIF rounds it to multiples of 10.
        last: duration of the last frame.

    Raises:
        ValueError: no frames, or frames too large for a GIF.
    """
    if not frames:
        raise ValueError("frames is empty: give one or more")
    check_format(frames[0], "GIF")
    # A common palette: separate palettes flicker and take more space.
    width, height = frames[0].size
    several = Image.new("RGB", (3 * width, height))
    for i, frame in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
        several.paste(frame, (i * width, 0))
    palette = several.quantize(COLOURS)
    reduced = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [milliseconds] * (len(frames) - 1) + [last]
    buffer = BytesIO()
    reduced[0].save(buffer, format="GIF", save_all=True, append_images=reduced[1:], duration=times, loop=0)
    return buffer.getvalue()


@dataclass(frozen=True)
class Column:
    """One column of a labelled grid.

    Attributes:
        title, subtitle: printed above the column.
        images: one image per row, (B, C, H, W) in [-1, 1].
        captions: B texts, printed under the images.
    """

    title: str
    subtitle: str
    images: Tensor
    captions: Sequence[str]


def labelled_grid(columns: Sequence[Column], width: int = 128, gap: int = 12, rows: Sequence[str] = ()) -> Image.Image:
    """Columns of captioned images, each image enlarged by an integer factor to about `width` pixels.

    Titles and captions wider than their column are shortened.

    Args:
        columns: from left to right.
        width: of an image.
        gap: white pixels between images and around them.
        rows: names of the rows, written to the left of them; none where it is empty.
    """
    high, wide = columns[0].images.shape[-2:]
    scale = enlargement(high, wide, width)
    # Columns of narrow images are wider, so that captions fit.
    image_w, cell_w, cell_h = wide * scale, max(wide * scale, width // 2), high * scale
    title, text = font(max(11, min(cell_w, width) // 7), bold=True), font(max(9, min(cell_w, width) // 9))
    line = round(text.size * 1.5)
    header, count = 3 * line + gap // 2, len(columns[0].images)
    margin = gap + max((math.ceil(title.getlength(name)) + gap for name in rows), default=0)
    size = (margin + len(columns) * (cell_w + gap), header + count * (cell_h + line + gap) + gap // 2)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)

    def write(place: tuple[float, float], words: str, colour: str, typeface: ImageFont.FreeTypeFont) -> None:
        line = " ".join(words.encode("utf-8", "backslashreplace").decode("utf-8").split())
        shown = shorten(line[:300], lambda some: draw.textlength(some, typeface) <= cell_w + gap - 2)
        draw.text(place, shown, colour, typeface, anchor="ms")

    for i, name in enumerate(rows):
        draw.text((gap, header + i * (cell_h + line + gap) + cell_h / 2), name, "#111111", title, anchor="lm")
    for j, column in enumerate(columns):
        left = margin + j * (cell_w + gap)
        middle = left + cell_w // 2
        write((middle, 1.2 * line), column.title, "#111111", title)
        write((middle, 2.3 * line), column.subtitle, "#666666", text)
        for i, (image, caption) in enumerate(zip(column.images, column.captions, strict=True)):
            top = header + i * (cell_h + line + gap)
            canvas.paste(grid(image[None], 1, scale, gap=0), (middle - image_w // 2, top))
            write((middle, top + cell_h + line * 0.85), caption, "#333333", text)
    return canvas


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the plots, which is part of matplotlib."""
    from matplotlib.font_manager import FontProperties, findfont

    return ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")), size)
