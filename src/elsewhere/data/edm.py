"""Zip archives of EDM (Karras et al. 2022, dataset_tool.py): pictures, and their labels in dataset.json."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from elsewhere.data.images import ImageSet, check_labels
from elsewhere.data.pixels import is_picture, read_picture, stack
from elsewhere.data.request import IGNORE, Request
from elsewhere.data.streams import check_declared, naming
from elsewhere.phrases import count as count_of

LABELS = "dataset.json"
NAMES = re.compile(r"\d{5}/img\d{8}\.\w+")
"""How dataset_tool.py names pictures: 00000/img00000000.png."""


def load_edm(path: Path, request: Request) -> ImageSet:
    """The pictures of an EDM archive in the order of their names, with their labels; nothing is unpacked to disk.

    Raises:
        TypeError: labels that are no class numbers.
        ValueError: a damaged archive or picture, an archive of another kind, pictures without a label.
    """
    request.refuse_split(str(path))
    with naming(str(path), "a zip archive"):
        archive = zipfile.ZipFile(path)
    with archive:
        entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
        # Plain order, as EDM sorts them.
        names = sorted(name for name in entries if is_picture(Path(name)))
        if not names or (LABELS not in entries and not all(map(NAMES.fullmatch, names))):
            raise ValueError(f"{path} is an archive, which is not read: unpack it and give the folder")
        numbers = _labels(archive, entries[LABELS], names, request, path) if LABELS in entries else None
        request.left_out["other files of the archive"] += len(entries) - len(names) - (LABELS in entries)
        count = request.count(len(names), str(path))
        pictures = _pictures(archive, [entries[name] for name in names[:count]], request, path)
        images = stack(pictures, count, request)
    return ImageSet(torch.from_numpy(images), None if numbers is None else numbers[:count], path.stem)


def _pictures(
    archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], request: Request, path: Path
) -> Iterator[tuple[str, Image.Image]]:
    for entry in entries:
        shown = f"{path}[{entry.filename}]"
        yield shown, read_picture(_content(archive, entry, shown, "an image"), shown, request)


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, shown: str, kind: str) -> bytes:
    check_declared(entry.file_size, entry.compress_size, shown, compressed=entry.compress_type != zipfile.ZIP_STORED)
    with naming(shown, kind):
        return archive.read(entry)


def _labels(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, names: list[str], request: Request, path: Path
) -> Tensor | None:
    """The class of every picture, in the order of `names`; None where the archive has none."""
    shown = f"{path}[{LABELS}]"
    if not request.labels:
        return None
    with naming(shown, "JSON"):
        content = json.loads(_content(archive, entry, shown, "JSON"))
    pairs = content.get("labels") if isinstance(content, dict) else None
    if pairs is None and isinstance(content, dict):
        return None
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise ValueError(
            f'{shown} must hold "labels": a list of pairs of a file and its class, or null: make the archive again '
            f"with EDM's dataset_tool.py, or leave labels out with {IGNORE}"
        )
    known: dict[str, Any] = {name.replace("\\", "/"): label for name, label in pairs}
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{shown} has no label for {count_of(len(missing), 'picture')} of {len(names)} ({missing[0]}, ...): "
            f"make the archive again, or leave labels out with {IGNORE}"
        )
    request.left_out["labels without a picture"] += len(known) - len(names)
    values = [known[name] for name in names]
    for name, value in zip(names, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, int):
            seen = "a list" if isinstance(value, list) else repr(value)[:40]
            raise TypeError(
                f"{shown} must hold one class number for each picture, got {seen} for {name}: "
                f"leave labels out with {IGNORE}"
            )
    check_labels(min(values), max(values), shown)
    return torch.tensor(values, dtype=torch.int64, device="cpu")


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
