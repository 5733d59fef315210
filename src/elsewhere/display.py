"""How images and results show themselves in notebooks: one kind of markup, bounded in size, without scripts or files.

A class with a `_repr_html_` method is shown by it in Jupyter and every other notebook. `card` makes that markup.
`Pictures` adds pictures, files and arrays to a class that has images.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageShow
from torch import Tensor

from elsewhere.checks import check_path, check_room, check_whole, checked
from elsewhere.files import save_bytes
from elsewhere.phrases import count, listed
from elsewhere.pictures import check_format, data_uri, drawable, enlargement, grid, picture_png, shrunk
from elsewhere.pixel_values import save_arrays
from elsewhere.progress import in_notebook

COLUMNS = 8
"""Images in a row."""
MOST_SHOWN, FEWER_SHOWN = 24, 8
"""Images that a notebook shows: three rows of small ones, or one of those that need to be shrunk."""
MOST_PIXELS = 2**17
"""Pixels of all images that a notebook shows, before they are enlarged: below 0.4 MB as PNG even for noise."""
SIDE = 88
"""Approximate side in pixels of an image in a notebook: eight fit into a page of 750."""
MOST_DRAWN = 4096
"""Images in one picture; a PNG of more takes minutes."""
SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}


@dataclass(frozen=True)
class Film:
    """An animated picture: notebooks play it.

    Attributes:
        content: the bytes of a GIF.
        frames: how many pictures.
    """

    content: bytes
    frames: int

    def __repr__(self) -> str:
        return f"Film({count(self.frames, 'frame')}, {len(self.content) / 1e6:.2f} MB)"

    def _repr_html_(self) -> str:
        return card("", [], [_img(self.content, f"film of {count(self.frames, 'frame')}", "gif")])

    @checked
    def save(self, path: str | Path) -> None:
        """Write a .gif file, whole or not at all.

        Raises:
            TypeError, ValueError: not a path, or one that does not end in .gif.
            OSError: the file cannot be written.
        """
        where = check_path("path", path)
        if where.suffix.lower() != ".gif":
            raise ValueError(f"path must end in .gif, which is what a film is, got {str(where)!r}")
        save_bytes(where, self.content)


class Pictures(ABC):
    """What has images: they can be shown, drawn as one picture, written to files, and taken to PIL and NumPy."""

    @abstractmethod
    def _number(self) -> int:
        """How many images there are."""

    @abstractmethod
    def _floats(self, number: int) -> Tensor:
        """The first images as floats in about [-1, 1], (number, C, H, W), without gradients, on the processor."""

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]:
        """What `save` writes as .npz; images are (N, C, H, W)."""

    @checked
    def grid(self, columns: int | None = None, *, scale: int | None = None) -> Image.Image:
        """All images as one picture, row by row.

        Args:
            columns: images in a row; None: 8, or fewer where images are few or large.
            scale: side of each pixel of an image in the picture; None: a whole number that makes small images about
                128 pixels wide.

        Raises:
            TypeError, ValueError: no whole numbers of 1 and more; no images, or more than 4,096; images with another
                number of channels than 1 and 3.
            MemoryError: a picture that does not fit in memory.
        """
        number = self._number()
        if not 1 <= number <= MOST_DRAWN:
            raise ValueError(f"one picture holds 1 to {MOST_DRAWN} images, got {number}: choose some, as in data[:64]")
        images = self._floats(number)
        height, width = images.shape[2:]
        columns = check_whole("columns", _columns(number, width) if columns is None else columns, 1)
        scale = check_whole("scale", enlargement(height, width) if scale is None else scale, 1)
        columns = min(columns, number)
        check_room("scale", scale, 9 * number * height * width * scale**2)
        return grid(images, columns, scale)

    @checked
    def pil(self) -> list[Image.Image]:
        """The images as PIL images of their own size, gray or RGB; values outside [-1, 1] are clipped.

        Raises:
            ValueError: images with another number of channels than 1 and 3, or NaN.
        """
        return [Image.fromarray(pixels) for pixels in self.numpy()]

    @checked
    def numpy(self) -> np.ndarray:
        """The images as bytes, uint8 (N, H, W) for gray and (N, H, W, 3) for colour, 0 black and 255 white, as PIL and
        matplotlib take them; values outside [-1, 1] are clipped.

        Raises:
            ValueError: images with another number of channels than 1 and 3, or NaN.
        """
        pixels = drawable(self._floats(self._number()))
        return (pixels[:, 0] if pixels.shape[1] == 1 else pixels.permute(0, 2, 3, 1)).contiguous().numpy()

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """What `numpy` returns, for functions of NumPy and libraries built on it."""
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    @checked
    def show(self, columns: int | None = None) -> None:
        """Show all images: in a notebook below the cell, elsewhere in the system's viewer of pictures.

        Args:
            columns: see `grid`.

        Raises:
            OSError: there is no viewer.
            TypeError, ValueError, MemoryError: see `grid`.
        """
        picture = self.grid(columns)
        if in_notebook():
            import_module("IPython.display").display(picture)  # not typed
        elif not ImageShow.show(picture):
            raise OSError("there is no viewer of pictures here: write a file, as in .save('images.png')")

    @checked
    def save(self, path: str | Path, columns: int | None = None) -> None:
        """Write the images; each file is written completely or not at all.

        Args:
            path: the suffix says as what. .png, .jpg and .webp: one picture of all images, see `grid`. .npz: arrays
                that `load_images` reads again. No suffix: a folder, made if it is missing, with one PNG of its own
                size for each image, 00000.png, 00001.png, ...
            columns: see `grid`.

        Raises:
            OSError: a file cannot be written.
            TypeError, ValueError, MemoryError: another suffix; see `grid`.
        """
        where = check_path("path", path)
        if columns is not None:
            check_whole("columns", columns, 1)
        suffix = where.suffix.lower()
        if suffix in SUFFIXES:
            picture, buffer = self.grid(columns), BytesIO()
            check_format(picture, SUFFIXES[suffix])
            picture.save(buffer, format=SUFFIXES[suffix])
            save_bytes(where, buffer.getvalue())
        elif suffix == ".npz":
            save_arrays(where, self._arrays())
        elif not suffix:
            for number, picture in enumerate(self.pil()):
                save_bytes(where / f"{number:05}.png", picture_png(picture))
        else:
            raise ValueError(
                f"path must end in {listed([*SUFFIXES, '.npz'], 'or')}, or in nothing for a folder, got {where.name!r}"
            )

    def _first_ones(self) -> tuple[Image.Image, int]:
        """A picture of the first images, small enough for a notebook, and how many it shows."""
        number = self._number()
        height, width = self._floats(1).shape[2:]
        shown = min(number, MOST_SHOWN)
        if shown * height * width > MOST_PIXELS:
            shown = min(number, FEWER_SHOWN)
        images = shrunk(self._floats(shown), math.isqrt(MOST_PIXELS // shown))
        height, width = images.shape[2:]
        columns = min(shown, COLUMNS) if width <= 4 * SIDE else 1
        return grid(images, columns, enlargement(height, width, SIDE if shown > 1 else 2 * SIDE)), shown

    def _card(self, title: str, facts: Sequence[str]) -> str | None:
        """Markup of the first images; None for images that no picture can show."""
        if not self._number() or self._floats(1).shape[1] not in (1, 3):
            return None
        try:
            picture, shown = self._first_ones()
        except ValueError:  # NaN
            return None
        number = self._number()
        note = f"the first {shown} of {number} are shown" if shown < number else ""
        return card(title, facts, [image_tag(picture, f"{count(shown, 'image')} of {title}")], note=note)


def card(
    title: str,
    facts: Sequence[str],
    pictures: Sequence[str] = (),
    *,
    table: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None,
    note: str = "",
) -> str:
    """Markup of a result: a line of facts, pictures, a table and a note, with all texts escaped.

    Args:
        title: printed bold.
        facts: printed after it.
        pictures: what `image_tag` made.
        table: header and rows.
        note: printed small at the end.
    """
    parts = []
    line = " &middot; ".join([f"<b>{escape(title)}</b>"] * bool(title) + [escape(fact) for fact in facts])
    if line:
        parts.append(f'<p style="margin:0 0 .4em">{line}</p>')
    parts += pictures
    if table is not None:
        header, rows = table
        cells = ["<tr>" + "".join(f"<th>{escape(text)}</th>" for text in header) + "</tr>"]
        cells += ["<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows]
        parts.append(f"<table>{''.join(cells)}</table>")
    if note:
        parts.append(f'<p style="margin:.2em 0 0;opacity:.7"><small>{escape(note)}</small></p>')
    return f"<div>{''.join(parts)}</div>"


def image_tag(picture: Image.Image | bytes, alt: str) -> str:
    """An <img> tag that holds a picture, or the bytes of a PNG, as a data URI."""
    return _img(picture if isinstance(picture, bytes) else picture_png(picture), alt, "png")


def _img(content: bytes, alt: str, kind: str) -> str:
    source = data_uri(content, kind)
    return f'<img src="{source}" alt="{escape(alt)}" style="max-width:100%;height:auto;background:#fff">'


def _columns(number: int, width: int) -> int:
    """Images in a row where nobody says: as many as fit into about 1,024 pixels, 8 at most."""
    return min(max(1, COLUMNS * 128 // max(128, width)), COLUMNS, number)
