"""Editing an image: what is drawn anew, from which training images, and the files of the result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.data import ImageSet, load_images, load_picture, to_unit
from elsewhere.files import json_text, save_bytes, write_text
from elsewhere.limits import LARGEST_SIDE
from elsewhere.phrases import count, listed
from elsewhere.pictures import Column, image_png, labelled_grid, picture_png

FORMAT = "elsewhere.inpaint/1"
HALF = 128
"""Gray level from which a pixel of a mask is white."""
WIDTH = 128
"""Pixels of an image in inpaint.png, about."""
BLANK = 1.0
"""What missing pixels look like in inpaint.png: white."""

Size = tuple[int, int]
_NUMBERED = re.compile(r"(.+):(\d{1,9})", re.ASCII)


@dataclass(frozen=True, eq=False)
class Edit:
    """An image, and which part of it is drawn anew.

    Attributes:
        image: (1, C, H, W) in [-1, 1].
        missing: bool (H, W), true where it is drawn.
        original: whether the missing part of `image` is known, so that there is something to compare with.
    """

    image: Tensor
    missing: Tensor
    original: bool = True

    @property
    def size(self) -> Size:
        return (self.image.shape[2], self.image.shape[3])

    def held(self) -> Tensor:
        """The image, white where it is missing."""
        return torch.where(self.missing, torch.full_like(self.image, BLANK), self.image)

    def errors(self, images: Tensor) -> list[float]:
        """For each of some images the rms difference to the original over the missing pixels, in units of [-1, 1]."""
        differences = (images - self.image)[..., self.missing]
        return [float(one.square().mean().sqrt()) for one in differences]


def choose_edit(image: Tensor, mask: Path | None, box: str | None, extend: str | None, keep: bool = False) -> Edit:
    """What is drawn anew: the white part of a mask, a rectangle, all but these, or what an extension adds.

    Args:
        image: (1, C, H, W) in [-1, 1].
        mask: an image file of the same size.
        box: TOP,LEFT,HEIGHTxWIDTH, counted from 0.
        extend: pixels on every side, or HEIGHTxWIDTH of the whole with the image in its middle.
        keep: mask or box mark what is kept instead.

    Raises:
        FileNotFoundError, ValueError: no such mask, or not exactly one of the three; a mask of another size; nothing is
            missing, or everything.
    """
    given = [name for name, value in (("--mask", mask), ("--box", box), ("--extend", extend)) if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"give one of --mask, --box and --extend, got {' and '.join(given) or 'none'}, to say what is drawn"
        )
    if extend is not None:
        if keep:
            raise ValueError("--keep goes with --mask or --box: an extension keeps the whole image")
        return _extended(image, extend)
    size = (image.shape[2], image.shape[3])
    marked = read_mask(mask, size) if mask is not None else parse_box(str(box), size)
    missing = ~marked if keep else marked
    if not bool(missing.any()):
        raise ValueError(f"{given[0]} leaves nothing to draw: mark a part of the image{' to be left out' * keep}")
    if bool(missing.all()):
        raise ValueError(
            f"{given[0]} leaves nothing of the image: keep a part of it, or draw whole images with `elsewhere sample`"
        )
    return Edit(image, missing)


def read_mask(path: Path, size: Size) -> Tensor:
    """The white pixels of an image file, bool (H, W); gray counts as the nearer of black and white.

    Raises:
        FileNotFoundError, ValueError: no such image, or one of another size.
    """
    try:
        pixels = load_picture(path, gray=True).images[0, 0]
    except FileNotFoundError:
        raise FileNotFoundError(f"--mask {path}: no such file") from None
    if tuple(pixels.shape) != size:
        raise ValueError(
            f"--mask {path} is {pixels.shape[0]}x{pixels.shape[1]} pixels, the image is {size[0]}x{size[1]}: "
            "give a mask of the same size"
        )
    return pixels >= HALF


def parse_box(text: str, size: Size) -> Tensor:
    """The pixels of a rectangle TOP,LEFT,HEIGHTxWIDTH, bool (H, W).

    Raises:
        ValueError: no rectangle, or one that is not inside the image.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*x\s*(\d{1,6})\s*", text, re.ASCII)
    if match is None:
        raise ValueError(f"--box must be TOP,LEFT,HEIGHTxWIDTH such as 10,8,12x16, got {text[:60]!r}")
    top, left, height, width = (int(part) for part in match.groups())
    if not height or not width or top + height > size[0] or left + width > size[1]:
        raise ValueError(f"--box {text.strip()} is not inside the image of {size[0]}x{size[1]} pixels")
    marked = torch.zeros(size, dtype=torch.bool, device="cpu")
    marked[top : top + height, left : left + width] = True
    return marked


def _extended(image: Tensor, text: str) -> Edit:
    height, width = image.shape[2:]
    match = re.fullmatch(r"\s*(\d{1,5})(?:\s*x\s*(\d{1,5}))?\s*", text, re.ASCII)
    if match is None:
        raise ValueError(f"--extend must be pixels on every side such as 16, or HEIGHTxWIDTH, got {text[:60]!r}")
    first, second = (None if part is None else int(part) for part in match.groups())
    assert first is not None
    rows, columns = (height + 2 * first, width + 2 * first) if second is None else (first, second)
    if rows < height or columns < width or (rows, columns) == (height, width):
        raise ValueError(f"--extend {text.strip()} does not make the image of {height}x{width} pixels larger")
    if max(rows, columns) > LARGEST_SIDE:
        raise ValueError(f"--extend {text.strip()} makes {rows}x{columns} pixels: sides are at most {LARGEST_SIDE}")
    top, left = (rows - height) // 2, (columns - width) // 2
    canvas = image.new_zeros(1, image.shape[1], rows, columns)
    canvas[:, :, top : top + height, left : left + width] = image
    missing = torch.ones(rows, columns, dtype=torch.bool, device="cpu")
    missing[top : top + height, left : left + width] = False
    return Edit(canvas, missing, original=False)


def load_subject(source: str, data: ImageSet | None, **reading: Any) -> tuple[Tensor, str]:
    """The image that is edited, and its name.

    Args:
        source: an image file, or SET:NUMBER for an image of a set that `load_images` reads, counted from 0.
        data: the training images, of whose colours the image must be; None for any.
        reading: of `load_picture`; a set takes its `size` and `gray`.

    Returns:
        Float (1, C, H, W) in [-1, 1], and the name.

    Raises:
        FileNotFoundError, ValueError: no such image; a colour image for gray training images.
    """
    found = _NUMBERED.fullmatch(source)
    if found is not None and not _exists(source):
        images = load_images(found[1], size=reading.get("size"), gray=reading.get("gray"), labels=False)
        number = int(found[2])
        if number >= len(images):
            raise ValueError(f"IMAGE {source}: {found[1]} has {count(len(images), 'image')}, numbered from 0")
        pixels, name = images.images[number : number + 1], source
    else:
        one = load_picture(source, **reading)
        pixels, name = one.images, one.name
    if data is not None and pixels.shape[1] != data.shape[0]:
        if pixels.shape[1] == 3:
            raise ValueError(f"IMAGE {source} is in colour, {data.name} is gray: give --gray, or --colour")
        pixels = pixels.expand(-1, 3, -1, -1)
    return to_unit(pixels.contiguous()), name


def set_of(source: str) -> str | None:
    """The set of SET:NUMBER; None for an image file."""
    found = _NUMBERED.fullmatch(source)
    return found[1] if found is not None and not _exists(source) else None


def refuse_without_data(given: Mapping[str, object]) -> None:
    """Refuse options that need training images.

    Args:
        given: option -> its value, None where it was left out.

    Raises:
        ValueError: a value is not None.
    """
    options = [name for name, value in given.items() if value is not None]
    if options:
        raise ValueError(
            f"{listed(options)} must come with --data: without it, IMAGE is completed from its own patches"
        )


def without(data: ImageSet, image: Tensor) -> tuple[ImageSet, int]:
    """The training images that differ from an image (1, C, H, W), and the number of those left out.

    Raises:
        ValueError: none differs.
    """
    if tuple(image.shape[1:]) != data.shape:
        return data, 0
    same = (data.scaled() == image).flatten(1).all(1)
    if not bool(same.any()):
        return data, 0
    if bool(same.all()):
        raise ValueError(f"all images of {data.name} are equal to IMAGE: give other training images")
    return data.rows(~same), int(same.sum())


def edit_picture(edit: Edit, drawn: Mapping[str, Tensor]) -> bytes:
    """A PNG with a row for each method: the image, what is held, and the variants with their errors."""
    names = list(drawn)
    rows = len(names)
    columns = []
    if edit.original:
        columns.append(Column("image", "", edit.image.expand(rows, -1, -1, -1), names))
    columns.append(Column("held", "", edit.held().expand(rows, -1, -1, -1), [""] * rows if edit.original else names))
    for number in range(len(drawn[names[0]])):
        images = torch.stack([drawn[name][number] for name in names])
        captions = [f"error {error:.2f}" for error in edit.errors(images)] if edit.original else [""] * rows
        columns.append(Column(f"variant {number + 1}", "", images, captions))
    return picture_png(labelled_grid(columns, WIDTH))


def save_edit(folder: Path, edit: Edit, drawn: Mapping[str, Tensor], about: Mapping[str, Any]) -> list[Path]:
    """Write inpaint.png, the variants of the first method as variant-1.png, ..., and inpaint.json.

    Args:
        folder: made if it is missing. Files are replaced, each completely or not at all.
        edit: what was asked for.
        drawn: name of a method -> its variants (B, C, H, W).
        about: settings for inpaint.json.

    Raises:
        OSError: the folder cannot be written.
    """
    paths = [folder / "inpaint.png"]
    save_bytes(paths[0], edit_picture(edit, drawn))
    for number, image in enumerate(next(iter(drawn.values())), 1):
        paths.append(folder / f"variant-{number}.png")
        save_bytes(paths[-1], image_png(image))
    errors = {name: edit.errors(images) if edit.original else None for name, images in drawn.items()}
    settings = {
        "format": FORMAT,
        **about,
        "size": list(edit.size),
        "missing_pixels": int(edit.missing.sum()),
        "errors": errors,
        "version": __version__,
        "torch": torch.__version__,
    }
    paths.append(folder / "inpaint.json")
    write_text(paths[-1], json_text(settings) + "\n")
    return paths


def edit_rows(edit: Edit, drawn: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Sequence[tuple[str, ...]]]:
    """Header and rows of a table: error of every variant, the smallest first line; no rows without an original."""
    if not edit.original:
        return ("",), []
    rows = [(name, *(f"{error:.3f}" for error in edit.errors(images))) for name, images in drawn.items()]
    return ("rms error in the mask", *(f"variant {number + 1}" for number in range(len(rows[0]) - 1))), rows


def _exists(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # a name too long for a file, or with a NUL
        return False
