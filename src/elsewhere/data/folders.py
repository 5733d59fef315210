"""Folders of image files."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import SUFFIXES, read_picture, stack
from elsewhere.data.request import Request

SPLITS = frozenset({"train", "test", "val", "valid", "validation"})


def load_folder(folder: Path, request: Request) -> ImageSet:
    """A folder of image files: flat, or one subfolder a class.

    Files and classes come in natural order (2 before 10). Hidden files and files that are not images by their
    suffix are passed over. A folder whose subfolders are all called like splits (train, test, ...) is read from
    the one asked for.

    Raises:
        ValueError: no images, images beside classes, a class without images, several sizes, an unreadable file.
    """
    name = folder.resolve().name
    subfolders = _subfolders(folder)
    if subfolders and not _pictures(folder) and {path.name for path in subfolders} <= SPLITS:
        chosen = folder / request.split
        if chosen not in subfolders:
            known = ", ".join(path.name for path in subfolders)
            raise ValueError(f"{folder} has no split {request.split!r}: give split= one of {known}")
        folder, subfolders = chosen, _subfolders(chosen)
    else:
        request.refuse_split(str(folder))
    files, labels, classes = _list(folder, subfolders)
    count = request.count(len(files), str(folder))
    images = stack(((str(path), read_picture(path, str(path))) for path in files[:count]), count, request)
    numbers = torch.tensor(labels[:count], dtype=torch.int64, device="cpu") if classes else None
    return ImageSet(torch.from_numpy(images), numbers, name, classes)


def natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorting key that counts: 2.png before 10.png; equal numbers (1, 01) by the plain name."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], path.name


def _list(folder: Path, subfolders: list[Path]) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """The files, their labels, and the names of the classes (none for a flat folder)."""
    flat = _pictures(folder)
    inside = [_pictures(path) for path in subfolders]
    if flat and any(inside):
        where = next(path for path, files in zip(subfolders, inside, strict=True) if files)
        raise ValueError(
            f"{folder} has images of its own ({flat[0].name}) beside the class {where.name}: move them to a class"
        )
    if flat:
        return flat, [], ()
    if not any(inside):
        raise ValueError(_nothing(folder))
    for path, files in zip(subfolders, inside, strict=True):
        if not files:
            raise ValueError(f"{path} has no images, though subfolders of {folder} are classes: fill or remove it")
    labels = [label for label, files in enumerate(inside) for _ in files]
    return [path for files in inside for path in files], labels, tuple(path.name for path in subfolders)


def _nothing(folder: Path) -> str:
    found = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    listing = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    return (
        f"{folder} has no images: found {listing or 'nothing'}, "
        f"expected {', '.join(SUFFIXES)} files, in it or in one subfolder a class"
    )


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        (path for path in _visible(folder) if path.suffix.lower() in SUFFIXES and path.is_file()), key=natural
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted((path for path in _visible(folder) if path.is_dir()), key=natural)


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]
