"""Conversion of pictures of any format to gray or colour bytes, and of many pictures to one array."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from elsewhere.data.request import Request
from elsewhere.data.streams import REMEDY, naming
from elsewhere.progress import track

Bytes = NDArray[np.uint8]

# Only these decoders are tried: some of the others start other programs, or accept any bytes as an image.
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "WEBP", "AVIF", "TIFF", "PPM", "JPEG2000", "QOI")
DARKEST = 16
"""Sets whose largest value is at most this, of 255, probably use another value for white."""
ROUNDING = 2e-6
"""How far 32-bit floats may lie outside a range by rounding, as a share of the range."""

BRIGHTEST = "brightest"
"""Key of `Image.info`: the largest value of a picture and the value of white, both less black, before both were scaled
to bytes: values far below white are rounded to zero."""

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
WHITE_IS_ZERO, UNSIGNED, SIGNED = 0, 1, 2
TRANSPARENCY = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}
"""Packing of the pixels in a PNG to the factor by which Pillow scales the pixels, but not the transparent value."""


@cache
def decoders() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow can open; an MPO is opened as a JPEG."""
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of the files that are read, with the dot, as this Pillow knows them."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)


def is_picture(path: Path) -> bool:
    """Whether a file is an image by its suffix."""
    return path.suffix.lower() in suffixes()


def read_picture(file: Path | bytes, name: str, request: Request | None = None) -> Image.Image:
    """Decode an image file: upright, opaque, of mode L (gray) or RGB (colour).

    Transparent pixels are blended with white. Gray of 12 and 16 bits is scaled to 8 bits. The EXIF rotation is applied.
    An animation, or a file of several pages, gives its first frame. A palette counts as colour.

    Raises:
        ValueError: not an image, damaged, too many pixels (Pillow's MAX_IMAGE_PIXELS), pixels whose black and white
            are unknown, or that lie outside the request's value_range.
    """
    request = request or Request()
    with naming(name, "an image"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=decoders()) as picture:
            declared, gray = _declared_range(picture), _is_wide_gray(picture)
            signed, reversed_ = _tag(picture, SAMPLE_FORMAT) == SIGNED, _tag(picture, PHOTOMETRIC) == WHITE_IS_ZERO
            _scale_transparency(picture)
            upright = ImageOps.exif_transpose(picture)
            # The further images of an MPO are previews.
            if picture.format != "MPO" and getattr(picture, "is_animated", False):
                request.left_out["files with further frames"] += 1
    if upright.mode == "L" and signed:
        upright = Image.fromarray(np.asarray(upright).view(np.int8).astype(np.int32))
    if upright.mode == "F" or upright.mode.startswith("I"):
        return _from_wide(upright, request.value_range or declared, name)
    result = opaque(upright, name)
    if gray:
        result = result.convert("L")
    # Files of black and white declare both, as arrays of bool do.
    if request.value_range is not None and upright.mode != "1":
        result = ImageOps.invert(result) if reversed_ and result.mode == "L" else result
        result = Image.fromarray(rescale(np.asarray(result), request.value_range, name))
    return result


def is_transparent(path: Path) -> bool:
    """Whether an image file that `read_picture` reads has pixels that are not opaque, which it lays on white."""
    with Image.open(path, formats=decoders()) as picture:
        if not ("transparency" in picture.info or picture.mode[-1] in "aA"):
            return False
        return bool(picture.convert("RGBA").getchannel("A").getextrema()[0] < 255)  # type: ignore[operator]


def opaque(picture: Image.Image, name: str) -> Image.Image:
    """A picture of 8 bits as mode L or RGB, transparent pixels blended with white."""
    plain = "L" if picture.mode in ("1", "L", "LA", "La") else "RGB"
    with naming(name, "an image"):
        # Palettes store transparency in several ways; converting to RGBA handles all of them.
        if not ("transparency" in picture.info or picture.mode[-1] in "aA" or picture.mode == "P"):
            return picture.convert(plain)
        layered = picture.convert(plain + "A")
        white = Image.new(plain, picture.size, "white")
        white.paste(layered.convert(plain), mask=layered.getchannel("A"))
    return white


def rescale(values: NDArray[Any], value_range: tuple[float, float], name: str) -> Bytes:
    """Numbers to bytes: black to 0, white to 255, rounded.

    Args:
        values: any real dtype, one axis or more.
        value_range: (black, white); black may be the larger one.
        name: what messages call the values.

    Raises:
        ValueError: NaN, infinite, or outside the range by more than rounding.
    """
    black, white = value_range
    low, high = float(values.min()), float(values.max())
    check_finite(low, high, name)
    slack = rounding(values.dtype) * abs(white - black)
    if low < min(black, white) - slack or high > max(black, white) + slack:
        raise ValueError(
            f"{name} has values from {low:.9g} to {high:.9g}, outside value_range=({black:g}, {white:g}): "
            "give the values of black and white in the source"
        )
    result = np.empty(values.shape, np.uint8)
    exact: type[np.floating[Any]] = np.float32
    if values.dtype.kind in "iu" and values.dtype.itemsize > 2:
        exact = np.float64
    rows = max(1, 2**22 // max(1, math.prod(values.shape[1:])))  # in parts, to bound the memory of the floats
    for start in range(0, len(values), rows):
        part: NDArray[Any] = values[start : start + rows].astype(exact)
        part -= black
        part *= 255 / (white - black)
        result[start : start + rows] = np.rint(part).clip(0, 255)
    return result


def rounding(dtype: np.dtype[Any]) -> float:
    """How far floats may lie outside [0, 1] by rounding; 0 for integers."""
    return 0.0 if dtype.kind != "f" else max(ROUNDING, 2 * float(np.finfo(dtype).eps))


def check_finite(low: float, high: float, name: str) -> None:
    """Refuse NaN and infinity, which show in the lowest or highest value.

    Raises:
        ValueError: one of them is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} has NaN or infinite values: repair or remove those images")


def stack(pictures: Iterable[tuple[str, Image.Image]], count: int, request: Request) -> Bytes:
    """Bring pictures to the size and colours asked for and put them together.

    Args:
        pictures: `count` pairs of a name for messages and a picture of mode L or RGB.
        count: 1 or more.
        request: its size, fit, gray and progress.

    Returns:
        uint8 (count, C, H, W); colour if any picture is, unless the request says otherwise.

    Raises:
        ValueError: pictures of several sizes, and no size was asked for; a set that is nearly black.
        MemoryError: more than the machine has.
    """
    store = None
    first = ""
    brightest = 0.0, 255.0
    for index, (name, picture) in enumerate(track(pictures, count, "reading images", request.progress)):
        if not _is_bright(brightest):
            found = picture.info.get(BRIGHTEST) or (float(np.max(picture.getextrema())), 255.0)
            brightest = max(brightest, found, key=lambda pair: pair[0] / pair[1])
        if store is None:
            height, width = request.size or (picture.height, picture.width)
            gray = picture.mode == "L" if request.gray is None else request.gray
            shape, what = (count, 1 if gray else 3, height, width), f"{count} images of {height}x{width} pixels"
            store, first = request.place_for(shape, what, REMEDY), name
        planes = _planes(picture, request)
        if planes.shape[1:] != store.shape[2:]:
            sizes = "x".join(map(str, planes.shape[1:])), "x".join(map(str, store.shape[2:]))
            raise ValueError(
                f"{name} is {sizes[0]} pixels (height x width) but {first} is {sizes[1]}: "
                "give size= to bring all images to one size"
            )
        if len(planes) > store.shape[1]:
            what = f"{count} images of {store.shape[2]}x{store.shape[3]} pixels in colour"
            gray_ones, store = store, request.place_for((count, 3, *store.shape[2:]), what, REMEDY, copies=2)
            store[:] = gray_ones
            del gray_ones
        store[index] = planes  # gray spreads over three channels
    assert store is not None
    check_brightness(brightest, request.value_range, first if count == 1 else f"{first} and {count - 1} more")
    return store


def conform(images: Bytes, request: Request, name: str) -> Bytes:
    """Bring uint8 images (N, C, H, W), C = 1, 3 or 4 (with alpha), to the size and colours asked for.

    Raises:
        ValueError: the set is nearly black.
        MemoryError: more than the machine has.
    """
    check_brightness((float(images[:, :3].max()), 255.0), request.value_range, name)
    request = replace(request, value_range=(0, 255))
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
        kernel = Image.Resampling[request.resample.upper()]
        if request.fit == "crop":
            picture = ImageOps.fit(picture, (width, height), kernel)
        else:
            picture = picture.resize((width, height), kernel)
    values = np.asarray(picture, np.uint8)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def check_brightness(brightest: tuple[float, float], value_range: tuple[float, float] | None, name: str) -> None:
    """Refuse a set that is nearly black, but neither black throughout nor given with a value_range.

    Args:
        brightest: the largest value and that of white, both less black, before they are rounded to bytes.
        value_range: of the request, or None.
        name: of the set, for the message.

    Raises:
        ValueError: the largest value is above 0 and at most DARKEST / 255 of white.
    """
    value, white = brightest
    if value > 0 and not _is_bright(brightest) and value_range is None:
        raise ValueError(
            f"{name}: the largest value is {value:.6g} of {white:g}, so that all images would be nearly black. "
            f"If another value is white, give value_range=(0, WHITE), such as value_range=(0, {value:.6g}), or "
            "save 0 and 1 as bool, or multiply by 255; if the images are this dark, give value_range=(0, 255) for "
            "bytes or value_range=(0, 1) for floats "
            "(in the command line: elsewhere data SOURCE --value-range 0,1 --save images.npz)"
        )


def _is_bright(brightest: tuple[float, float]) -> bool:
    return brightest[0] * 255 > DARKEST * brightest[1]


def _tag(picture: Image.Image, tag: int) -> int | None:
    """The first value of a tag of a TIFF file, or None."""
    values = getattr(picture, "tag_v2", {}).get(tag)
    return values[0] if isinstance(values, tuple) else values


def _scale_transparency(picture: ImageFile.ImageFile) -> None:
    factor = TRANSPARENCY.get(str(picture.tile[0][3])) if picture.tile else None
    value = picture.info.get("transparency")
    if factor is not None and isinstance(value, int):
        picture.info["transparency"] = int(value * factor)
    elif factor is not None and isinstance(value, tuple):
        picture.info["transparency"] = tuple(int(each * factor) for each in value)


def _declared_range(picture: Image.Image) -> tuple[float, float] | None:
    """The values of black and white that a gray file of more than 8 bits declares, or None."""
    if picture.mode == "F":
        return None
    tags = getattr(picture, "tag_v2", None)
    if tags is None:
        return 0, 65535
    (bits, *_), (sample_format, *_) = tags.get(BITS_PER_SAMPLE, (1,)), tags.get(SAMPLE_FORMAT, (UNSIGNED,))
    if sample_format != UNSIGNED or bits > 16:
        return None
    white = 2**bits - 1
    return (white, 0) if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else (0, white)


def _is_wide_gray(picture: ImageFile.ImageFile) -> bool:
    """Whether the file is gray with alpha of 16 bits, which Pillow opens as colour."""
    return any(str(tile[3]).startswith("LA;16") for tile in picture.tile)


def _from_wide(picture: Image.Image, value_range: tuple[float, float] | None, name: str) -> Image.Image:
    if value_range is None:
        raise ValueError(
            f"{name} has pixels of 32 bits, or with signs, whose black and white are unknown: "
            "convert it to 8 or 16 bits, or give value_range=(black, white)"
        )
    values = np.asarray(picture)
    scaled = rescale(values, value_range, name)
    # The one gray value that a file may declare transparent; no value is -1.
    scaled[values == picture.info.get("transparency", -1)] = 255
    result = Image.fromarray(scaled)
    black, white = value_range
    result.info[BRIGHTEST] = float(np.abs(values.astype(np.float64) - black).max()), abs(white - black)
    return result
