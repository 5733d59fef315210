"""IDX, the format of MNIST: a magic number, the sizes of the axes, then the bytes; often gzipped."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch

from elsewhere.data.arrays import channels_first, to_bytes
from elsewhere.data.folders import count_pictures
from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import Bytes, conform
from elsewhere.data.request import IGNORE, Request
from elsewhere.data.streams import check_declared, naming, read_exactly

IMAGES = re.compile(r"images[-._]idx[34][-._]ubyte(\.gz)?$", re.IGNORECASE)
LABELS = re.compile(r"labels[-._]idx\d[-._]\w+(\.gz)?$", re.IGNORECASE)
SPLITS = {"train": ("train",), "test": ("test", "t10k")}
UNSIGNED_BYTE = 8


def idx_files(folder: Path) -> list[Path]:
    """The IDX files of images in a folder, by name."""
    return sorted(path for path in folder.iterdir() if IMAGES.search(path.name) and path.is_file())


def find_idx_folder(folder: Path) -> Path | None:
    """The folder itself, or the one in it where torchvision puts IDX files: raw, MNIST/raw; None if there is none.

    Raises:
        ValueError: several sets below the folder.
    """
    if idx_files(folder):
        return folder
    found = [path for path in sorted((folder / "raw", *folder.glob("*/raw"))) if path.is_dir() and idx_files(path)]
    if len(found) > 1:
        raise ValueError(f"{folder} has several sets ({', '.join(map(str, found))}): give the folder of one of them")
    return found[0] if found else None


def load_idx_folder(folder: Path, request: Request) -> ImageSet:
    """The images of one split in a folder that holds files such as train-images-idx3-ubyte.gz.

    Files of images that are not read are counted in `request.left_out`.

    Raises:
        ValueError: no file or several files for that split, or as `load_idx`.
    """
    files = idx_files(folder)
    words = SPLITS.get(request.split, (request.split,))
    # A file and its .gz are the same images: the unpacked one is faster.
    files = [path for path in files if not (path.suffix == ".gz" and path.with_suffix("") in files)]
    matching = [path for path in files if any(word in path.name.lower() for word in words)]
    if len(matching) != 1:
        found = ", ".join(path.name for path in matching or files)
        problem = "several files" if matching else "no file"
        raise ValueError(f"{folder} has {problem} for split={request.split!r} ({found}): give the path of one file")
    request.left_out["other IDX files of images"] += len(files) - 1
    if request.labels and _labels_beside(matching[0]) is None:
        names = (path.name.lower() for path in folder.iterdir() if LABELS.search(path.name))
        request.left_out["files of labels"] += sum(any(word in name for word in words) for name in names)
    request.left_out["pictures in other files"] += count_pictures(folder)
    parent = folder.resolve().parent if folder.name == "raw" else folder.resolve()
    return _load(matching[0], request, parent.name)


def load_idx(path: Path, request: Request) -> ImageSet:
    """An IDX file of images; labels come from the file of the same name with "labels" in place of "images".

    Raises:
        ValueError: not an IDX file of images, damaged, cut short, or labels of another number.
        TypeError: the pixels are not bytes.
    """
    request.refuse_split(str(path))
    return _load(path, request, path.name)


def _load(path: Path, request: Request, name: str) -> ImageSet:
    with _open(path) as (stream, shape):
        if len(shape) not in (3, 4):
            hint = "a file of labels: give the file of images" if len(shape) == 1 else "images have 3 or 4"
            raise ValueError(f"{path} has {len(shape)} axes, {hint}")
        if 0 in shape[1:]:
            raise ValueError(f"{path} declares images without pixels, shape {shape}: replace the file")
        count = request.count(shape[0], str(path))
        images = channels_first(_rows(stream, shape, count, path), str(path))
    labels = None
    beside = _labels_beside(path) if request.labels else None
    if beside is not None:
        with _open(beside) as (stream, label_shape):
            if label_shape != shape[:1]:
                raise ValueError(
                    f"{beside} has labels of shape {label_shape} for the {shape[0]} images of {path}: "
                    "put the right labels beside it, or none"
                )
            labels = torch.from_numpy(_rows(stream, label_shape, count, beside).astype(np.int64))
    return ImageSet(
        torch.from_numpy(conform(to_bytes(images, str(path), request.value_range), request, str(path))), labels, name
    )


def _labels_beside(path: Path) -> Path | None:
    if not IMAGES.search(path.name):
        return None
    start = path.name.lower().rindex("images")
    word, tail = path.name[start:][:6], path.name[start:][6:]
    labels = "LABELS" if word.isupper() else "labels"
    same = path.name[:start] + labels + re.sub("(idx)[34]", r"\g<1>1", tail, flags=re.IGNORECASE)
    other = same.removesuffix(".gz") if same.endswith(".gz") else same + ".gz"
    return next((path.with_name(name) for name in (same, other) if path.with_name(name).is_file()), None)


@contextmanager
def _open(path: Path) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
    """The stream after the header, and the shape the header declares."""
    stored = path.stat().st_size
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: IO[bytes] = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
        with naming(str(path), "an IDX file"):
            magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= 4:
            raise ValueError(
                f"{path} is not an IDX file: it starts with the bytes {magic.hex(' ') or '(none)'}, "
                "where images start with 00 00 08 03"
            )
        if magic[2] != UNSIGNED_BYTE:
            remedy = f", or leave labels out with {IGNORE}" if LABELS.search(path.name) else ", or save it as .npy"
            raise TypeError(
                f"{path} holds numbers of IDX type {magic[2]:#04x}: only unsigned bytes (0x08) are read; "
                f"convert it{remedy}"
            )
        axes = read_exactly(stream, 4 * magic[3], str(path), "an IDX file").view(">u4")
        shape = tuple(int(axis) for axis in axes)
        header = 0 if packed else 4 + 4 * len(shape)
        check_declared(math.prod(shape), stored - header, str(path), compressed=packed)
        yield stream, shape


def _rows(stream: IO[bytes], shape: tuple[int, ...], count: int, path: Path) -> Bytes:
    rows = read_exactly(stream, count * math.prod(shape[1:]), str(path), "an IDX file")
    if count == shape[0]:
        with naming(str(path), "an IDX file"):
            rest = stream.read(1)
        if rest:
            raise ValueError(
                f"{path} goes on after the {count} rows that its header declares: download or copy the file again"
            )
    return rows.reshape(count, *shape[1:])
