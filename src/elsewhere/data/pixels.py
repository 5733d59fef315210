"""From one picture of any kind to gray or colour bytes, and from many pictures to one array."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from elsewhere.data.request import Request
from elsewhere.data.streams import naming

Bytes = NDArray[np.uint8]

# Only these decoders are ever tried: some of the others start outside programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")


def read_picture(file: Path | bytes, name: str) -> Image.Image:
    """Decode an image file: upright, opaque, of mode L (gray) or RGB (colour).

    Transparent pixels are laid on white. 16-bit gray is scaled to 8 bits. The camera's rotation is applied.
    An animation gives its first frame. A palette counts as colour.

    Raises:
        ValueError: not an image, damaged, too many pixels (Pillow's MAX_IMAGE_PIXELS), or pixels that are not bytes.
    """
    with naming(name, "an image"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS) as picture:
            upright = ImageOps.exif_transpose(picture)
    return opaque(upright, name)


def opaque(picture: Image.Image, name: str) -> Image.Image:
    """The picture as mode L or RGB; see `read_picture`."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _from_wide(picture, name)
    plain = "L" if picture.mode in ("1", "L", "LA", "La") else "RGB"
    with naming(name, "an image"):
        # Palettes carry transparency in several ways; the way through RGBA knows them all.
        if not ("transparency" in picture.info or picture.mode[-1] in "aA" or picture.mode == "P"):
            return picture.convert(plain)
        layered = picture.convert(plain + "A")
        white = Image.new(plain, picture.size, "white")
        white.paste(layered.convert(plain), mask=layered.getchannel("A"))
    return white


def stack(pictures: Iterable[tuple[str, Image.Image]], count: int, request: Request) -> Bytes:
    """Bring pictures to the size and colours asked for and put them together.

    Args:
        pictures: `count` pairs of a name for messages and a picture of mode L or RGB.
        count: 1 or more.
        request: its size, fit and gray.

    Returns:
        uint8 (count, C, H, W); colour if any picture is, unless the request says otherwise.

    Raises:
        ValueError: pictures of several sizes, and no size was asked for.
    """
    store = None
    first = ""
    for index, (name, picture) in enumerate(pictures):
        planes = _planes(picture, request)
        if store is None:
            store, first = np.empty((count, *planes.shape), np.uint8), name
        if planes.shape[1:] != store.shape[2:]:
            sizes = "x".join(map(str, planes.shape[1:])), "x".join(map(str, store.shape[2:]))
            raise ValueError(
                f"{name} is {sizes[0]} pixels (height x width) but {first} is {sizes[1]}: "
                "give size= to bring all images to one size"
            )
        if len(planes) > store.shape[1]:
            store = np.repeat(store, 3, axis=1)
        store[index] = planes  # gray spreads over three channels
    assert store is not None
    return store


def conform(images: Bytes, request: Request, name: str) -> Bytes:
    """Bring uint8 images (N, C, H, W), C = 1, 3 or 4 (with alpha), to the size and colours asked for."""
    channels, *size = images.shape[1:]
    keeps_colours = channels == 1 if request.gray else channels == 3 or (channels == 1 and request.gray is None)
    if keeps_colours and request.size in (None, tuple(size)):
        return np.ascontiguousarray(images)
    rows = np.ascontiguousarray(images[:, 0] if channels == 1 else images.transpose(0, 2, 3, 1))
    pictures = map(Image.fromarray, rows)
    return stack(((name, opaque(picture, name)) for picture in pictures), len(images), request)


def _planes(picture: Image.Image, request: Request) -> Bytes:
    if request.gray is not None:
        picture = picture.convert("L" if request.gray else "RGB")
    if request.size is not None:
        height, width = request.size
        if request.fit == "crop":
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
        else:
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    values = np.asarray(picture, np.uint8)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _from_wide(picture: Image.Image, name: str) -> Image.Image:
    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"{name} has 32-bit pixels, whose black and white are unknown: convert it to 8 or 16 bits")
    # 65535 = 255 * 257
    scaled = np.rint(values / 257).astype(np.uint8)
    # The one gray value that a file may declare transparent; no value is -1.
    scaled[values == picture.info.get("transparency", -1)] = 255
    return Image.fromarray(scaled)
