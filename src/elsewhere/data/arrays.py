"""NumPy arrays on disk, .npy and .npz, read without ever unpickling."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elsewhere.data.images import ImageSet, check_labels
from elsewhere.data.pixels import Bytes, check_brightness, check_finite, conform, rescale, rounding
from elsewhere.data.request import IGNORE, Request
from elsewhere.data.splits import KIND, choose_split, of_split
from elsewhere.data.streams import check_declared, naming, read_exactly
from elsewhere.pixel_values import LAYOUT, LAYOUT_KEY, RANGE_KEY

IMAGE_KEYS = ("images", "image", "imgs", "x", "data")
LABEL_KEYS = ("labels", "label", "y", "targets", "target")
SPLITS = tuple(KIND)
MOST_HEADER = 10_000
"""Largest .npy header in bytes; NumPy checks the length only after reading it."""
OTHERS = "other arrays"
OVERSHOOT = -0.2
"""Interpolation can lower values of images in [0, 1] to about this; images in [-1, 1] have lower ones."""


def load_npy(path: Path, request: Request) -> ImageSet:
    """A .npy array of images, without labels.

    Raises:
        TypeError: neither bytes nor floats.
        ValueError: damaged, of a wrong shape, or floats outside [-1, 1].
    """
    request.refuse_split(str(path))
    with path.open("rb") as file:
        member = _Member.open(file, str(path), path.stat().st_size, compressed=False)
        images = _read_images(member, request)
    return ImageSet(torch.from_numpy(images), name=path.name)


def load_npz(path: Path, request: Request, name: str | None = None) -> ImageSet:
    """A .npz archive with an array of images and perhaps one of labels, known by their names.

    Where no name says which array holds the images, it is the only one with the axes of images. An array of strings
    called `classes` gives the names of the classes, one called `captions` words for each image, and one called
    `value_range` the values of black and white.

    Args:
        path: the archive.
        request: what to read; arrays that are not read are counted in its `left_out`.
        name: what the set and the messages are called; the name of the file, and its path, if None.

    Raises:
        TypeError: images that are neither bytes nor floats, labels that are not integers.
        ValueError: damaged, no array that is known to hold the images, or contents as `load_npy`.
    """
    shown = name or str(path)
    with naming(shown, "an .npz archive"):
        archive = zipfile.ZipFile(path)
    with archive:
        entries = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
        keys = _choose(archive, entries, request, shown)
        says_range = RANGE_KEY in entries and request.value_range is None
        if says_range:
            with _open_entry(archive, entries[RANGE_KEY], shown) as member:
                request = replace(request, value_range=_read_range(member))
        with _open_entry(archive, entries[keys.images], shown) as member:
            images = _read_images(member, request, _read_layout(archive, entries.get(LAYOUT_KEY), shown), says_range)
            total = member.shape[0]
        labels = None
        if keys.labels is not None:
            with _open_entry(archive, entries[keys.labels], shown) as member:
                labels = _read_labels(member, total, len(images))
        classes: tuple[str, ...] = ()
        if keys.classes is not None:
            with _open_entry(archive, entries[keys.classes], shown) as member:
                classes = _read_classes(member)
        captions = None
        if keys.captions is not None:
            with _open_entry(archive, entries[keys.captions], shown) as member:
                captions = _read_captions(member, total, len(images))
        _count_others(archive, entries, keys, request, shown)
    return ImageSet(torch.from_numpy(images), labels, name or path.name, classes, captions=captions)


def from_array(array: NDArray[Any], request: Request, name: str = "images") -> ImageSet:
    """Images in memory, of any layout that `channels_first` knows; the set has its own copy of them.

    Raises:
        TypeError, ValueError: as `load_npy`.
    """
    request.refuse_split(f"an array of shape {array.shape}")
    if array.dtype.hasobject:
        raise TypeError("source is an array of Python objects: stack images of one size, np.stack(list_of_images)")
    _check_shape(array.shape, "source")
    count = request.count(len(array), "source")
    images = conform(
        to_bytes(channels_first(array, "source"), "source", request.value_range)[:count], request, "source"
    )
    return ImageSet(torch.from_numpy(images.copy()), name=name)


def channels_first(array: NDArray[Any], name: str) -> NDArray[Any]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W), C = 1, 3 or 4 (with alpha), to (N, C, H, W).

    Raises:
        ValueError: another number of axes, no axis of channels, or two that could be.
    """
    shape = array.shape
    if len(shape) == 3:
        # Gray images of 3 or 4 columns are improbable: this is one colour image.
        if shape[2] in (3, 4) and shape[1] >= 8:
            raise ValueError(f"{name} has the shape of one colour image, {shape}: a set of images has a first axis N")
        return array[:, None]
    if len(shape) != 4:
        raise ValueError(f"{name} must be (N, H, W), (N, H, W, C) or (N, C, H, W), got shape {shape}: reshape it")
    if shape[2] in (1, 3, 4) and shape[1] not in (1, 3, 4) and shape[3] not in (1, 3, 4):
        raise ValueError(f"{name} has shape {shape}, perhaps (H, W, C, N): transpose it, array.transpose(3, 0, 1, 2)")
    for channels in ((1, 3), (4,)):
        first, last = shape[1] in channels, shape[3] in channels
        # Gray images of one pixel are the same in either order.
        if first and last and shape[1:] != (1, 1, 1):
            raise ValueError(
                f"{name} has shape {shape}, which can be read as (N, C, H, W) and as (N, H, W, C): "
                "build an ImageSet from the array, or for gray images save (N, H, W)"
            )
        if first or last:
            return array if first else array.transpose(0, 3, 1, 2)
    raise ValueError(f"{name} has shape {shape} with no axis of 1, 3 or 4 channels at place 1 or 3: transpose it")


def to_bytes(array: NDArray[Any], name: str, value_range: tuple[float, float] | None = None) -> Bytes:
    """Numbers as bytes, by the values of black and white, or without them by dtype and values.

    uint8 is 0..255 and bool black and white. Floats are in [0, 1] if none is negative, otherwise in [-1, 1]; what lies
    outside by rounding alone is clipped.

    Raises:
        TypeError: other dtypes.
        ValueError: NaN, infinite, or outside the range.
    """
    if array.dtype == np.uint8 and value_range in (None, (0, 255)):
        return array
    if array.dtype == bool:
        array, value_range = array.view(np.uint8), value_range or (0, 1)
    if value_range is None:
        _check_dtype(array.dtype, name, value_range)
        black, white = value_range = _float_range(array, name)
        check_brightness(((float(array.max()) - black) * 255 / (white - black), 255.0), None, name)
    return rescale(array, value_range, name)


def _float_range(array: NDArray[Any], name: str) -> tuple[float, float]:
    low, high = float(array.min()), float(array.max())
    check_finite(low, high, name)
    slack = rounding(array.dtype)
    if low < -1 - 2 * slack or high > 1 + slack:
        raise ValueError(
            f"{name} has floats from {low:.9g} to {high:.9g}, expected [0, 1] or [-1, 1]: {_remedy(low, high)}"
        )
    if OVERSHOOT < low < -slack:
        raise ValueError(
            f"{name} has floats from {low:.9g} to {high:.9g}, which may be [0, 1] with an overshoot, or [-1, 1]: "
            "clip them to [0, 1], or give value_range=(-1, 1)"
        )
    return (-1.0, 1.0) if low < -slack else (0.0, 1.0)


def _remedy(low: float, high: float) -> str:
    if low >= -2 and high <= 2:
        return (
            "clip them to that range, as networks overshoot it by a little, do not rescale them; or give "
            "value_range=(black, white)"
        )
    return "rescale them, give value_range=(black, white), or save 0..255 as uint8"


@dataclass(frozen=True)
class _Member:
    """An array whose header has been read and whose numbers follow in the stream."""

    stream: IO[bytes]
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @classmethod
    def open(cls, stream: IO[bytes], name: str, stored: int, *, compressed: bool) -> _Member:
        with naming(name, "a NumPy array"):
            version = np.lib.format.read_magic(stream)
            # Version 3 differs only for named fields, which images do not have.
            old = version == (1, 0)
            length = stream.read(2 if old else 4)
            if int.from_bytes(length, "little") > MOST_HEADER:
                raise ValueError(f"its header declares {int.from_bytes(length, 'little')} bytes")
            header = io.BytesIO(length + stream.read(int.from_bytes(length, "little")))
            read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(header)
        if dtype.hasobject:
            raise TypeError(
                f"{name} holds Python objects, which are never unpickled: save images as uint8, labels as integers, "
                "names as strings"
            )
        if min(shape, default=0) < 0:
            raise ValueError(f"{name} declares the impossible shape {shape}: replace the file")
        check_declared(math.prod(shape) * dtype.itemsize, stored, name, compressed=compressed)
        return cls(stream, name, shape, dtype, fortran)

    def read(self, count: int) -> NDArray[Any]:
        """The first `count` rows; in Fortran order they lie scattered, so all are read."""
        rows = self.shape[0] if self.fortran else count
        size = rows * math.prod(self.shape[1:]) * self.dtype.itemsize
        flat = read_exactly(self.stream, size, self.name, "a NumPy array").view(self.dtype)
        if self.fortran:
            return flat.reshape(self.shape[::-1]).transpose()[:count]
        return flat.reshape(rows, *self.shape[1:])


@contextmanager
def _open_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, shown: str) -> Iterator[_Member]:
    with naming(shown, "an .npz archive"):
        stream = archive.open(entry)
    with stream:
        name = f"{shown}[{entry.filename.removesuffix('.npy')}]"
        compressed = entry.compress_type != zipfile.ZIP_STORED
        yield _Member.open(stream, name, entry.compress_size, compressed=compressed)


def _read_layout(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None, shown: str) -> bool:
    """Whether the archive says that its images are (N, C, H, W)."""
    if entry is None:
        return False
    with _open_entry(archive, entry, shown) as member:
        return member.dtype.kind == "U" and len(member.shape) == 1 and _read_classes(member) == (LAYOUT,)


def _read_images(member: _Member, request: Request, first: bool = False, clip: bool = False) -> Bytes:
    """The images asked for.

    Args:
        first: the axis of colours comes first; else it is guessed.
        clip: whether values outside the range, which the file itself declares, are clipped and counted.
    """
    _check_shape(member.shape, member.name)
    _check_dtype(member.dtype, member.name, request.value_range)
    count = request.count(member.shape[0], member.name)
    # All images decide between [0, 1] and [-1, 1], so that `limit` does not change the pixels.
    whole = member.dtype.kind == "f" and request.value_range is None
    array = member.read(member.shape[0] if whole else count)
    array = array if first and array.ndim == 4 else channels_first(array, member.name)
    if clip and request.value_range is not None:
        low, high = sorted(request.value_range)
        request.left_out["values clipped to black or white"] += int(((array < low) | (array > high)).sum())
        array = array.clip(low, high)
    images = to_bytes(array, member.name, request.value_range)[:count]
    return conform(images, request, member.name)


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) not in (3, 4) or 0 in shape:
        raise ValueError(
            f"{name} must be (N, H, W), (N, H, W, C) or (N, C, H, W) with no empty axis, got shape {shape}: "
            f"{_layout_remedy(shape)}"
        )


def _layout_remedy(shape: tuple[int, ...]) -> str:
    if len(shape) != 2 or 0 in shape:
        return "reshape it"
    side = math.isqrt(shape[1])
    return f"reshape rows of pixels, as in array.reshape(-1, {side}, {side})" if side**2 == shape[1] else "reshape it"


def _read_labels(member: _Member, total: int, count: int) -> Tensor:
    """The labels of the first `count` of `total` images."""
    if member.dtype.kind not in "iu":
        raise TypeError(
            f"{member.name} must be integers, got {member.dtype}: save class numbers 0, 1, 2, ..., as with "
            f".astype(int), or leave them out with {IGNORE}"
        )
    if member.shape not in ((total,), (total, 1)):
        raise ValueError(
            f"{member.name} must be ({total},), one label for each image, got shape {member.shape}: "
            "save the labels of exactly these images, of one-hot rows labels.argmax(1), "
            f"or leave them out with {IGNORE}"
        )
    labels = member.read(count).reshape(count)
    check_labels(int(labels.min()), int(labels.max()), member.name)
    return torch.from_numpy(labels.astype(np.int64))


def _read_range(member: _Member) -> tuple[float, float]:
    if member.shape != (2,) or member.dtype.kind not in "iuf":
        raise TypeError(
            f"{member.name} must be two numbers, (black, white), got {member.dtype} of shape {member.shape}"
        )
    black, white = map(float, member.read(2))
    if not (math.isfinite(black) and math.isfinite(white)) or black == white:
        raise ValueError(f"{member.name} must be two finite values that differ, (black, white), got {black}, {white}")
    return black, white


def _read_classes(member: _Member) -> tuple[str, ...]:
    if member.dtype.kind != "U" or member.dtype.itemsize == 0 or len(member.shape) != 1:
        raise TypeError(
            f"{member.name} must be an array of strings, one name a class, got {member.dtype} of shape {member.shape}"
        )
    return tuple(map(str, member.read(member.shape[0])))


def _read_captions(member: _Member, total: int, count: int) -> tuple[str, ...]:
    """The captions of the first `count` of `total` images."""
    if member.dtype.kind != "U" or member.dtype.itemsize == 0 or member.shape != (total,):
        raise TypeError(
            f"{member.name} must be an array of {total} strings, one for each image, got {member.dtype} of shape "
            f"{member.shape}"
        )
    return tuple(map(str, member.read(count)))


def _check_dtype(dtype: np.dtype[Any], name: str, value_range: tuple[float, float] | None) -> None:
    if dtype == np.uint8 or dtype.kind in "fb" or (dtype.kind in "iu" and value_range is not None):
        return
    remedy = ", or give value_range=(black, white), such as (0, 65535)" if dtype.kind in "iu" else ""
    raise TypeError(
        f"{name} is {dtype}, expected uint8 (0..255), bool, or floats in [0, 1] or [-1, 1]: "
        f"scale to 0..255 and save with .astype(np.uint8){remedy}"
    )


@dataclass(frozen=True)
class _Keys:
    images: str
    labels: str | None = None
    classes: str | None = None
    captions: str | None = None


def _choose(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], request: Request, shown: str) -> _Keys:
    """Which arrays hold the images, the labels, the names of the classes and the captions."""
    keys = tuple(entries)
    captions = _find(keys, ("captions",))
    classes = _find(keys, ("classes",)) if request.labels else None
    images, labels = _find(keys, IMAGE_KEYS), _find(keys, LABEL_KEYS)
    splits = [split for split in SPLITS if _find(keys, _with_split(IMAGE_KEYS, split)) is not None]
    if images is None and splits:
        split = choose_split(splits, request.split, shown)
        images = _find(keys, _with_split(IMAGE_KEYS, split))
        labels = _find(keys, _with_split(LABEL_KEYS, split))
        captions = _find(keys, _with_split(("captions",), split))
    else:
        request.refuse_split(shown)
    if images is None:
        shapes = {key: _peek(archive, entries[key], shown) for key in keys} if len(keys) > 1 else {}
        like = [key for key, (shape, kind) in shapes.items() if len(shape) in (3, 4) and kind in "ufb"]
        if len(keys) != 1 and len(like) != 1:
            raise ValueError(
                f"{shown} has the arrays {', '.join(keys) or '(none)'}, and no name says which holds the images: "
                "call it 'images' (and the labels, if any, 'labels')"
            )
        images = like[0] if like else keys[0]
        if labels is None and images == "arr_0" and "arr_1" in shapes:
            # What np.savez calls arrays without names: images and, in many files of samples, their labels.
            shape, kind = shapes["arr_1"]
            count = shapes[images][0][0]
            labels = "arr_1" if shape in ((count,), (count, 1)) and kind in "iu" else None
    return _Keys(images, labels if request.labels else None, classes, captions)


def _peek(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, shown: str) -> tuple[tuple[int, ...], str]:
    """Shape and kind of dtype of an array; an empty shape for an array that cannot be read."""
    try:
        with _open_entry(archive, entry, shown) as member:
            return member.shape, member.dtype.kind
    except (TypeError, ValueError):
        return (), ""


def _count_others(
    archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], keys: _Keys, request: Request, shown: str
) -> None:
    """Count the arrays that were not read: images of other splits, and others."""
    found = {split: _find(tuple(entries), _with_split(IMAGE_KEYS, split)) for split in SPLITS}
    images_of = {key: split for split, key in found.items() if key is not None}
    # The labels of a split are not counted in addition to its images.
    labels_of = {_find(tuple(entries), _with_split(LABEL_KEYS, split)) for split in images_of.values()}
    for key, entry in entries.items():
        if key in (keys.images, keys.labels, keys.classes, keys.captions, RANGE_KEY, LAYOUT_KEY):
            continue
        if key in images_of:
            shape, _ = _peek(archive, entry, shown)
            request.left_out[of_split(images_of[key])] += shape[0] if shape else 0
        elif key not in labels_of and (request.labels or _find((key,), (*LABEL_KEYS, "classes")) is None):
            request.left_out[OTHERS] += 1


def _find(keys: tuple[str, ...], wanted: tuple[str, ...]) -> str | None:
    lower = {key.lower(): key for key in keys}
    return next((lower[name] for name in wanted if name in lower), None)


def _with_split(names: tuple[str, ...], split: str) -> tuple[str, ...]:
    return tuple(key.lower() for name in names for key in (f"{name}_{split}", f"{split}_{name}"))
