"""NumPy arrays on disk, .npy and .npz, read without ever unpickling."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import Bytes, conform
from elsewhere.data.request import Request
from elsewhere.data.streams import check_declared, naming, read_exactly

IMAGE_KEYS = ("images", "image", "imgs", "x", "data")
LABEL_KEYS = ("labels", "label", "y", "targets", "target")
SPLITS = ("train", "test", "val", "valid", "validation")


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

    An array of strings called `classes` gives the names of the classes.

    Args:
        path: the archive.
        request: what to read.
        name: what the set and the messages are called; the name of the file, and its path, if None.

    Raises:
        TypeError: images that are neither bytes nor floats, labels that are not integers.
        ValueError: damaged, no array with the name of images, or contents as `load_npy`.
    """
    shown = name or str(path)
    with naming(shown, "an .npz archive"):
        archive = zipfile.ZipFile(path)
    with archive:
        entries = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
        keys = _choose(tuple(entries), request, shown)
        with _open_entry(archive, entries[keys.images], shown) as member:
            images = _read_images(member, request)
            total = member.shape[0]
        labels = None
        if keys.labels is not None:
            with _open_entry(archive, entries[keys.labels], shown) as member:
                labels = _read_labels(member, total, len(images))
        classes: tuple[str, ...] = ()
        if keys.classes is not None:
            with _open_entry(archive, entries[keys.classes], shown) as member:
                classes = _read_classes(member)
    return ImageSet(torch.from_numpy(images), labels, name or path.name, classes)


def channels_first(array: NDArray[Any], name: str) -> NDArray[Any]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W), C = 1, 3 or 4 (with alpha), to (N, C, H, W).

    Raises:
        ValueError: another number of axes, no axis of channels, or two that could be.
    """
    shape = array.shape
    if len(shape) == 3:
        # Nobody has gray images this thin: it is one colour image.
        if shape[2] in (3, 4) and shape[1] >= 8:
            raise ValueError(f"{name} has the shape of one colour image, {shape}: a set of images has a first axis N")
        return array[:, None]
    if len(shape) != 4:
        raise ValueError(f"{name} must be (N, H, W), (N, H, W, C) or (N, C, H, W), got shape {shape}: reshape it")
    for channels in ((1, 3), (4,)):
        first, last = shape[1] in channels, shape[3] in channels
        if first and last:
            raise ValueError(
                f"{name} has shape {shape}, which can be read as (N, C, H, W) and as (N, H, W, C): "
                "build an ImageSet from the array, or for gray images save (N, H, W)"
            )
        if first or last:
            return array if first else array.transpose(0, 3, 1, 2)
    raise ValueError(f"{name} has shape {shape} with no axis of 1, 3 or 4 channels at place 1 or 3: reshape it")


def to_bytes(array: NDArray[Any], name: str) -> Bytes:
    """uint8 as it is; floats by their range: [0, 1] if none is negative, otherwise [-1, 1], rounded to 8 bits.

    Raises:
        TypeError: other dtypes.
        ValueError: NaN, infinite, or outside [-1, 1].
    """
    if array.dtype == np.uint8:
        return array
    _check_dtype(array.dtype, name)
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name} has NaN or infinite values: mend or leave out those images")
    if low < -1 or high > 1:
        raise ValueError(
            f"{name} has floats from {low:g} to {high:g}, expected [0, 1] or [-1, 1]: "
            "rescale them, or save 0..255 as uint8"
        )
    values = array.astype(np.float32)
    return np.rint(values * 255 if low >= 0 else (values + 1) * 127.5).astype(np.uint8)


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
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
        if dtype.hasobject:
            raise TypeError(f"{name} holds Python objects, which are never unpickled: save it as uint8")
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


def _read_images(member: _Member, request: Request) -> Bytes:
    if len(member.shape) not in (3, 4) or 0 in member.shape:
        raise ValueError(
            f"{member.name} must be (N, H, W), (N, H, W, C) or (N, C, H, W) with no empty axis, "
            f"got shape {member.shape}: reshape it"
        )
    _check_dtype(member.dtype, member.name)
    count = request.count(member.shape[0], member.name)
    # The range that tells [0, 1] from [-1, 1] is that of all images, or `limit` could change the pixels.
    array = member.read(count if member.dtype == np.uint8 else member.shape[0])
    images = to_bytes(channels_first(array, member.name), member.name)[:count]
    return conform(images, request, member.name)


def _read_labels(member: _Member, total: int, count: int) -> Tensor:
    """The labels of the first `count` of `total` images."""
    if member.dtype.kind not in "iu":
        raise TypeError(f"{member.name} must be integers, got {member.dtype}: save class numbers 0, 1, 2, ...")
    if member.shape not in ((total,), (total, 1)):
        raise ValueError(
            f"{member.name} must be ({total},), one label for each image, got shape {member.shape}: "
            "save the labels of exactly these images"
        )
    labels = member.read(count).reshape(count).astype(np.int64)
    if labels.min() < 0:
        raise ValueError(f"{member.name} must be 0 or more, got {labels.min()}: number the classes from 0")
    return torch.from_numpy(labels)


def _read_classes(member: _Member) -> tuple[str, ...]:
    if member.dtype.kind != "U" or member.dtype.itemsize == 0 or len(member.shape) != 1:
        raise TypeError(
            f"{member.name} must be an array of strings, one name a class, got {member.dtype} of shape {member.shape}"
        )
    return tuple(map(str, member.read(member.shape[0])))


def _check_dtype(dtype: np.dtype[Any], name: str) -> None:
    if dtype != np.uint8 and dtype.kind != "f":
        raise TypeError(
            f"{name} is {dtype}, expected uint8 (0..255), or floats in [0, 1] or [-1, 1]: "
            "scale to 0..255 and save with .astype(np.uint8)"
        )


@dataclass(frozen=True)
class _Keys:
    images: str
    labels: str | None = None
    classes: str | None = None


def _choose(keys: tuple[str, ...], request: Request, shown: str) -> _Keys:
    """Which arrays hold the images, the labels and the names of the classes."""
    classes = _find(keys, ("classes",))
    plain = _find(keys, IMAGE_KEYS)
    if plain is not None:
        request.refuse_split(shown)
        return _Keys(plain, _find(keys, LABEL_KEYS), classes)
    of_split = _find(keys, _with_split(IMAGE_KEYS, request.split))
    if of_split is not None:
        return _Keys(of_split, _find(keys, _with_split(LABEL_KEYS, request.split)), classes)
    if len(keys) == 1:
        request.refuse_split(shown)
        return _Keys(keys[0])
    splits = [split for split in SPLITS if _find(keys, _with_split(IMAGE_KEYS, split)) is not None]
    if splits:
        raise ValueError(f"{shown} has no split {request.split!r}: give split= one of {', '.join(splits)}")
    raise ValueError(
        f"{shown} has the arrays {', '.join(keys) or '(none)'}, and no name says which holds the images: "
        "call it 'images' (and the labels, if any, 'labels')"
    )


def _find(keys: tuple[str, ...], wanted: tuple[str, ...]) -> str | None:
    lower = {key.lower(): key for key in keys}
    return next((lower[name] for name in wanted if name in lower), None)


def _with_split(names: tuple[str, ...], split: str) -> tuple[str, ...]:
    return tuple(key.lower() for name in names for key in (f"{name}_{split}", f"{split}_{name}"))
