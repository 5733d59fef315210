"""Sets of images on disk that are read as they are needed, so that they may be larger than memory.

A store is a folder, NAME.store: `images.npy` and `labels.npy`, which are mapped into memory, and `set.json` with the
names and the fingerprint. The operating system reads pages of a mapped file when they are asked for and forgets them
when memory is wanted elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elsewhere.data.request import Request
from elsewhere.data.streams import naming
from elsewhere.files import atomic_path, json_object, json_text, write_text

SUFFIX = ".store"
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
        name, classes: see `ImageSet`.
        fingerprint: see `ImageSet.fingerprint`.
    """

    images: Tensor
    labels: Tensor | None
    name: str
    classes: tuple[str, ...]
    fingerprint: str


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
        "shape": list(images.shape),
        "fingerprint": stored.fingerprint,
    }
    write_text(folder / CARD, json_text(content) + "\n")


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
    return Stored(torch.from_numpy(images), known, card["name"], tuple(card["classes"]), card["fingerprint"])


def _card(folder: Path) -> dict[str, Any]:
    form = f"a store of images ({FORMAT})"
    try:
        card = json_object((folder / CARD).read_text(encoding="utf-8"))
        ok = (
            card["format"] == FORMAT
            and isinstance(card["name"], str)
            and isinstance(card["fingerprint"], str)
            and isinstance(card["classes"], list)
            and all(isinstance(name, str) for name in card["classes"])
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
