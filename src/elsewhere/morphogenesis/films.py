"""Coloured patterns and animated GIFs of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from elsewhere.files import save_bytes
from elsewhere.pictures import film_gif, font, grid

RAMP = ((12, 32, 44), (24, 94, 100), (110, 170, 146), (250, 240, 214))
"""Colours from -1 to 1, evenly spaced."""


def coloured(images: Tensor) -> Tensor:
    """Gray images (B, 1, H, W) in [-1, 1] in the colours of `RAMP`, (B, 3, H, W) in [-1, 1]."""
    ramp = torch.tensor(RAMP, dtype=images.dtype, device=images.device) / 127.5 - 1
    place = (images[:, 0].clamp(-1, 1) + 1) / 2 * (len(ramp) - 1)
    below = place.floor().long().clamp(max=len(ramp) - 2)
    share = (place - below)[..., None]
    return (ramp[below] * (1 - share) + ramp[below + 1] * share).permute(0, 3, 1, 2)


def save_film(path: str | Path, frames: Sequence[Image.Image], *, milliseconds: int = 90, last: int = 2500) -> None:
    """Write a looping GIF that pauses on its last frame. The file is written completely or not at all.

    Args:
        path: ends in .gif.
        frames: pictures of the same size.
        milliseconds: duration of each frame; GIF rounds it to multiples of 10.
        last: duration of the last frame.

    Raises:
        ValueError: no frames.
        OSError: the file cannot be written.
    """
    save_bytes(path, film_gif(frames, milliseconds, last))


def side_by_side(
    images: Sequence[Tensor], titles: Sequence[str], captions: Sequence[str], scale: int = 2, gap: int = 12
) -> Image.Image:
    """Images (1, H, W) of the same size in a row, coloured, with a title above and a caption below each."""
    cells = [grid(coloured(image[None]), 1, scale, gap=0) for image in images]
    width, height = cells[0].size
    title, text = font(max(11, width // 14), bold=True), font(max(10, width // 16))
    line = round(title.size * 1.6)
    canvas = Image.new("RGB", (gap + len(cells) * (width + gap), height + 2 * line + gap // 2), "white")
    draw = ImageDraw.Draw(canvas)
    for i, cell in enumerate(cells):
        left = gap + i * (width + gap)
        canvas.paste(cell, (left, line))
        draw.text((left + width // 2, line * 0.7), titles[i], "#111111", title, anchor="ms")
        draw.text((left + width // 2, line + height + line * 0.75), captions[i], "#444444", text, anchor="ms")
    return canvas
