"""Indexes kept on disk: named after the hash of what they were made of, written whole, checked before they are used."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from elsewhere.engine import index as building
from elsewhere.engine.index import Index, build_index
from elsewhere.engine.keys import WindowKeys
from elsewhere.engine.pool import in_parallel
from elsewhere.files import atomic_path

# Changes whenever the same images would give another index.
VERSION = 5
# An index of fewer windows is built faster than one would miss the space.
WORTH_KEEPING = 500_000


@dataclass(frozen=True)
class Shelf:
    """A folder of indexes.

    Attributes:
        folder: where they are; made when the first is written.
        images: hash of the images that they are made of, before these were wrapped.
    """

    folder: Path
    images: str

    @classmethod
    def of(cls, folder: Path, pixels: Tensor) -> Shelf:
        """The shelf for windows of some images."""
        return cls(folder, _hash({"pixels": pixels}, f"{pixels.dtype} {tuple(pixels.shape)}"))

    def get(self, keys: WindowKeys, merge: bool, told: Callable[[float], None] | None = None) -> Index:
        """The index of some windows (not merged yet): read if it is there and sound, else built, and written.

        Args:
            keys: all windows at some places.
            merge: whether to merge equal windows first.
            told: see `build_index`.
        """
        if keys.places < WORTH_KEEPING:
            return build_index(_merged(keys, merge), told=told)
        what = self._what(keys, merge)
        path = self.folder / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.safetensors"
        found = _read(path, what, keys)
        if found is not None:
            return found
        made = build_index(_merged(keys, merge), told=told)
        try:
            _write(path, what, made)
        except OSError as error:
            warnings.warn(f"the index was not kept: {path} cannot be written ({error.strerror})", stacklevel=2)
        return made

    def _what(self, keys: WindowKeys, merge: bool) -> str:
        """All that an index depends on, as text."""
        extent = keys.extent
        sizes = (
            building.KEYS_A_CELL,
            building.BLOCK,
            building.BLOCKS_A_GROUP,
            building.VARIANCE_KEPT,
            building.MOST_DIRECTIONS,
        )
        return json.dumps(
            {
                "version": VERSION,
                "images": self.images,
                "shape": list(keys.store.pixels.shape),
                "extent": [extent.top, extent.bottom, extent.left, extent.right],
                "first": keys.first,
                "grid": keys.grid,
                "merge": merge,
                "sizes": sizes,
            }
        )


def _merged(keys: WindowKeys, merge: bool) -> WindowKeys:
    return keys.merged() if merge else keys


def _write(path: Path, what: str, index: Index) -> None:
    held = {name: tensor.contiguous() for name, tensor in index.tensors().items()}
    with atomic_path(path) as beside:
        save_file(held, beside, {"what": what, "hash": _hash(held, what)})


def _read(path: Path, what: str, keys: WindowKeys) -> Index | None:
    """The index in a file; None if there is no such file, or if it is not to be trusted."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        wrong = str(error)
    else:
        if about.get("what") != what or about.get("hash") != _hash(held, what):
            wrong = "its contents do not match its hash"
        elif not _sound(held, keys):
            wrong = "it does not fit these images"
        else:
            return Index.of_tensors(keys, held)
    warnings.warn(f"the kept index {path} is damaged and is built again: {wrong}", stacklevel=2)
    return None


def _sound(held: dict[str, Tensor], keys: WindowKeys) -> bool:
    """Whether a file holds tensors of the right shapes, and every position that it names lies inside the images."""
    if not {"starts", "bounds", "basis"} <= set(held):
        return False
    starts, bounds, basis = held["starts"], held["bounds"], held["basis"]
    edges = (starts, bounds)
    if any(edge.dtype != torch.int64 or edge.ndim != 1 or len(edge) < 2 for edge in edges) or basis.ndim != 2:
        return False
    count, cells, directions, values = int(starts[-1]), len(starts) - 1, basis.shape[1], len(keys.centres)
    shapes: dict[str, tuple[int, ...]] = {
        "kept": (count,),
        "log_counts": (count,),
        "starts": (cells + 1,),
        "bounds": (len(bounds),),
        "origin": (keys.width,),
        "basis": (keys.width, directions),
        "plain": (1,),
        "inner": (len(bounds) - 1, directions),
    }
    for name, number in (("cells", cells), ("groups", len(bounds) - 1)):
        shapes |= {
            f"{name}.log_mass": (number,),
            f"{name}.mean": (number, directions),
            f"{name}.variance": (number, directions),
            f"{name}.rest": (number,),
            f"{name}.value": (number, values),
            f"{name}.slope": (number, values, directions),
        }
    # Where every window stands for itself alone there are no counts.
    if set(held) | {"log_counts"} != set(shapes):
        return False
    if any(tuple(tensor.shape) != shapes[name] for name, tensor in held.items()):
        return False
    kept = held["kept"]
    rising = all(int(edge[0]) >= 0 and bool((edge.diff() > 0).all()) for edge in edges)
    inside = not kept.is_floating_point() and bool(((kept >= 0) & (kept < keys.places)).all())
    plain = held["plain"].dtype == torch.int64 and 0 < int(held["plain"]) < len(bounds)
    return inside and rising and plain and int(bounds[0]) == 0 and int(bounds[-1]) == cells


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
