"""Sets of images on disk that are read as they are needed, so that they may be larger than memory.

A store is a folder, NAME.store: `images.npy` and `labels.npy`, which are mapped into memory, and `set.json` with the
names and the fingerprint. The operating system reads pages of a mapped file when they are asked for and forgets them
when memory is wanted elsewhere.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elsewhere.data.request import Request
from elsewhere.data.streams import naming
from elsewhere.files import atomic_path, json_object, json_text, write_text
from elsewhere.files import naming as naming_file

SUFFIX = ".store"
UNFINISHED = ".images-{}.npy"
# More bytes than the header of an array has.
HEADER = 2**12
CARD, IMAGES, LABELS = "set.json", "images.npy", "labels.npy"
FORMAT = "elsewhere image store 1"
AGAIN = "make the store again with --save"
DAMAGED = f"is damaged, or saving it was interrupted: {AGAIN}"
# Bytes that are copied at a time.
BLOCK = 2**26


class Stored(NamedTuple):
    """What a store holds.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,), or None.
        name, classes, captions: see `ImageSet`.
        fingerprint: see `ImageSet.fingerprint`.
    """

    images: Tensor
    labels: Tensor | None
    name: str
    classes: tuple[str, ...]
    fingerprint: str
    captions: tuple[str, ...] | None


def write_store(folder: Path, stored: Stored) -> None:
    """Write a store; each file is written completely or not at all, `set.json` last.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = stored.images.cpu().numpy()
    with atomic_path(folder / IMAGES) as path:
        target = np.lib.format.open_memmap(path, "w+", np.uint8, images.shape)
        each = max(1, BLOCK // images[0].nbytes)
        for start in range(0, len(images), each):
            target[start : start + each] = images[start : start + each]
        target.flush()
        del target
    _write_beside(folder, stored)


def _write_beside(folder: Path, stored: Stored) -> None:
    """All of a store but its images."""
    labels = folder / LABELS
    if stored.labels is None:
        labels.unlink(missing_ok=True)
    else:
        with atomic_path(labels) as path:
            np.save(path, stored.labels.cpu().numpy(), allow_pickle=False)
    content = {
        "format": FORMAT,
        "name": stored.name,
        "classes": list(stored.classes),
        "captions": None if stored.captions is None else list(stored.captions),
        "shape": list(stored.images.shape),
        "fingerprint": stored.fingerprint,
    }
    write_text(folder / CARD, json_text(content) + "\n")


class StoreWriter:
    """Makes a store of images that are decoded right into it, so that they need not fit in memory.

    Args:
        folder: the store, made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.array: NDArray[np.uint8] | None = None
        self.path: Path | None = None

    @contextmanager
    def open(self) -> Iterator[Self]:
        """A block in which images are decoded; what it leaves unfinished is removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Left by a process that was killed.
        for path in self.folder.glob(UNFINISHED.format("*")):
            path.unlink(missing_ok=True)
        try:
            yield self
        finally:
            self._drop()

    def room(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """A new array for the images, in place of the one before, which is gone when nobody reads it any more.

        Raises:
            OSError: the disk has no room for it.
        """
        self._drop()
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=UNFINISHED.split("{", 1)[0], suffix=".npy")
        self.path = Path(name)
        with naming_file(self.folder), os.fdopen(handle, "wb") as file:
            # Reserved, because a mapped file that grows on a full disk ends the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, HEADER + math.prod(shape))
        self.array = np.lib.format.open_memmap(self.path, "w+", np.uint8, shape)
        return self.array

    def finish(self, stored: Stored) -> None:
        """Write the store: its images are those that were decoded into it, or else are copied.

        Raises:
            OSError: the folder cannot be written.
        """
        if self.array is None or self.path is None or stored.images.data_ptr() != self.array.ctypes.data:
            write_store(self.folder, stored)
            return
        cast(np.memmap[Any, Any], self.array).flush()
        self.path.chmod(0o644)
        self.path.replace(self.folder / IMAGES)
        self.path = None
        _write_beside(self.folder, stored)

    def _drop(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        self.array = self.path = None


def is_store(folder: Path) -> bool:
    """Whether `save_store` wrote this folder."""
    return folder.suffix.lower() == SUFFIX or ((folder / CARD).is_file() and (folder / IMAGES).is_file())


def read_store(folder: Path, request: Request) -> Stored:
    """What a store holds, mapped into memory; whether its bytes are those of the fingerprint is for the caller to see.

    Raises:
        FileNotFoundError: a file of the store is missing.
        ValueError: a damaged store, or a request that would change its images.
    """
    request.refuse_split(str(folder))
    if request.size is not None or request.gray is not None or request.value_range is not None:
        raise ValueError(
            f"{folder} is a store, whose images are read as they are: leave out size, gray and value_range, or make "
            "another store from its source"
        )
    for name in (CARD, IMAGES):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing: {AGAIN}")
    card = _card(folder)
    images = _mapped(folder / IMAGES, np.dtype(np.uint8), 4)
    labels = _mapped(folder / LABELS, np.dtype(np.int64), 1) if (folder / LABELS).is_file() else None
    if list(images.shape) != card["shape"]:
        raise ValueError(f"{folder} {DAMAGED}")
    known = None if labels is None else torch.from_numpy(labels)
    captions = None if card["captions"] is None else tuple(card["captions"])
    if captions is not None and len(captions) != len(images):
        raise ValueError(
            f"{folder / CARD}: captions must be {len(images)}, one for each image, got {len(captions)}: {AGAIN}"
        )
    return Stored(torch.from_numpy(images), known, card["name"], tuple(card["classes"]), card["fingerprint"], captions)


def _card(folder: Path) -> dict[str, Any]:
    form = f"a store of images ({FORMAT})"
    try:
        card = json_object((folder / CARD).read_text(encoding="utf-8"))
        ok = (
            card["format"] == FORMAT
            and isinstance(card["name"], str)
            and isinstance(card["fingerprint"], str)
            and isinstance(card["classes"], list)
            and isinstance(card["captions"], list | None)
            and all(isinstance(name, str) for name in [*card["classes"], *(card["captions"] or [])])
        )
    except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder / CARD} cannot be read as {form}: {AGAIN}") from error
    if not ok:
        raise ValueError(f"{folder / CARD} is not {form}: {AGAIN}")
    return card


def _mapped(path: Path, dtype: np.dtype[Any], axes: int) -> NDArray[Any]:
    with naming(str(path), "an array"):
        # Copy on write: torch takes no arrays that cannot be written to, and the file stays as it is.
        found: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    if found.dtype != dtype or found.ndim != axes:
        raise ValueError(f"{path} must hold {dtype} with {axes} axes, got {found.dtype} of shape {found.shape}")
    return found
