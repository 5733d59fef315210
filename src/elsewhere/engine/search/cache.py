"""Indexes kept on disk: named by the hash of what they were made of, written whole, checked before they are used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from elsewhere.engine.keys.windows import WindowKeys
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.search.build import build_index
from elsewhere.engine.search.index import Index
from elsewhere.engine.search.settings import INDEX, IndexSettings
from elsewhere.engine.search.validation import fault
from elsewhere.files import default_folder
from elsewhere.notices import warn
from elsewhere.tensor_files import read_whole, save_tensors

# Changes whenever the same images would give another index.
VERSION = 6
# Indexes of fewer windows are not kept: building one takes a second or two.
WORTH_KEEPING = 500_000
# An index has some 20 bytes for each window: a file with more bytes for each than this is no index, and is not read.
MOST_BYTES = 256


@dataclass(frozen=True)
class IndexCache:
    """A folder of indexes.

    Attributes:
        folder: where they are; made when the first is written. None for the user's cache folder, found when needed.
        images: hash of the images that they are made of, before these were wrapped.
        settings: of the indexes.
    """

    folder: Path | None
    images: str
    settings: IndexSettings = INDEX

    @classmethod
    def of(cls, folder: Path | None, pixels: Tensor) -> IndexCache:
        """The indexes of windows of some images."""
        return cls(folder, _hash({"pixels": pixels}, f"{pixels.dtype} {tuple(pixels.shape)}"))

    def get(self, keys: WindowKeys, merge: bool, report: Callable[[float], None] | None = None) -> Index:
        """The index of some windows (not merged yet): read if it is there and valid, else built and written.

        Args:
            keys: all windows at some places.
            merge: whether to merge equal windows first.
            report: see `build_index`.
        """
        if keys.places < WORTH_KEEPING:
            return self._build(keys, merge, report)
        what = self._what(keys, merge)
        try:
            folder = self.folder or default_folder()
        except OSError as error:
            warn(f"the index was not kept: {error}")
            return self._build(keys, merge, report)
        path = folder / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.safetensors"
        found = _read(path, what, keys)
        if found is not None:
            return found
        made = self._build(keys, merge, report)
        try:
            _write(path, what, made)
        except OSError as error:
            why = error.strerror or error
            warn(f"the index was not kept: {path} cannot be written ({why})")
        return made

    def _build(self, keys: WindowKeys, merge: bool, report: Callable[[float], None] | None) -> Index:
        return build_index(keys.merged() if merge else keys, report=report, settings=self.settings)

    def _what(self, keys: WindowKeys, merge: bool) -> str:
        """All that an index depends on, as text."""
        extent = keys.extent
        weights = None if keys.roots is None else _hash({"roots": keys.roots}, "")
        return json.dumps(
            {
                "version": VERSION,
                "images": self.images,
                "shape": list(keys.store.pixels.shape),
                "extent": [extent.top, extent.bottom, extent.left, extent.right],
                "first": keys.first,
                "grid": keys.grid,
                "merge": merge,
                "weights": weights,
                "settings": asdict(self.settings),
            }
        )


def _write(path: Path, what: str, index: Index) -> None:
    held = {name: tensor.contiguous() for name, tensor in index.tensors().items()}
    save_tensors(path, held, {"what": what, "hash": _hash(held, what)})


def _read(path: Path, what: str, keys: WindowKeys) -> Index | None:
    """The index in a file; None if there is no such file, or if it is not to be trusted."""
    try:
        about, held = read_whole(path, MOST_BYTES * keys.places + 2**20)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        warn(f"the kept index {path} cannot be read and is built again: {error.strerror}")
        return None
    except ValueError as error:
        wrong = str(error)
    else:
        matches = about.get("what") == what and about.get("hash") == _hash(held, what)
        found = fault(held, keys) if matches else "its contents do not match its hash"
        if found is None:
            return Index.of_tensors(keys, held)
        wrong = f"{path}: {found}"
    warn(f"a kept index is damaged and is built again: {wrong}")
    return None


def _hash(held: dict[str, Tensor], what: str) -> str:
    def of_one(name: str) -> bytes:
        tensor = held[name].detach().cpu().contiguous()
        digest = hashlib.blake2b(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=16)
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
        return digest.digest()

    digest = hashlib.blake2b(what.encode(), digest_size=16)
    for each in in_parallel(of_one, sorted(held)):
        digest.update(each)
    return digest.hexdigest()
