"""Folders of image files."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from elsewhere.data.captions import caption_file, read_captions
from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import is_picture, read_picture, stack
from elsewhere.data.request import Request
from elsewhere.data.splits import (
    annotated,
    annotations_among,
    choose_split,
    is_plain,
    kind_of,
    of_split,
    several,
)

SYSTEM = frozenset({".ds_store", "thumbs.db", "desktop.ini", "__macosx", ".directory", "@eadir"})
"""Files and folders that operating systems create: neither read nor counted."""
DEEPEST = 100
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")


def load_folder(folder: Path, request: Request) -> ImageSet:
    """A folder of image files: flat, or one subfolder a class.

    Files and classes come in natural order (2 before 10). All images below a class's folder are of this class, at any
    depth. A folder whose subfolders are all called like splits (train, Test, validation, ...) is read from the one
    asked for. `metadata.jsonl` or `captions.json` in the folder that is read has captions, see `read_captions`. What is
    not read is counted in `request.left_out`.

    Raises:
        ValueError: no images, images beside classes, a class without images, splits that are mixed with classes,
            masks or other annotations beside the images, several sizes, an unreadable file.
    """
    name = folder.resolve().name
    tree = _Walk(folder).tree
    splits = _splits(tree)
    if splits:
        chosen = choose_split([branch.path.name for branch in splits], request.split, str(folder))
        request.left_out.update(tree.others)
        for branch in tree.branches:
            if branch.path.name == chosen:
                tree = branch
            elif branch in splits:
                request.left_out[of_split(branch.path.name)] += len(branch.pictures())
            else:
                request.left_out.update(branch.passed_over())
    else:
        request.refuse_split(str(folder))
    files, labels, classes = _list(tree)
    request.left_out.update(tree.passed_over())
    captions = None
    if (words := caption_file(tree.path)) is not None:
        request.left_out[f"{words.suffix} files"] -= 1
        names = [path.relative_to(tree.path).as_posix() for path in files]
        captions = read_captions(words, names, request)
    count = request.count(len(files), str(folder))
    images = stack(((str(path), read_picture(path, str(path), request)) for path in files[:count]), count, request)
    numbers = torch.tensor(labels[:count], dtype=torch.int64, device="cpu") if classes else None
    return ImageSet(
        torch.from_numpy(images), numbers, name, classes, captions=None if captions is None else captions[:count]
    )


def natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorting key of natural order: 2.png before 10.png; equal numbers (1, 01) by the plain name."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], path.name


def count_pictures(folder: Path) -> int:
    """How many images are below a folder."""
    return len(_Walk(folder).tree.pictures())


@dataclass(frozen=True)
class _Tree:
    """A folder: its own pictures, its subfolders, and how many of its own files are of other kinds."""

    path: Path
    own: list[Path]
    branches: list[_Tree]
    others: Counter[str]

    def pictures(self) -> list[Path]:
        """All pictures, at any depth."""
        return [*self.own, *(path for branch in self.branches for path in branch.pictures())]

    def filled(self) -> list[_Tree]:
        """The subfolders with pictures, at any depth."""
        return [branch for branch in self.branches if branch.pictures()]

    def passed_over(self) -> Counter[str]:
        """The files that are no pictures, at any depth, by kind."""
        return sum((branch.passed_over() for branch in self.branches), self.others)


class _Walk:
    """Lists a folder and all folders below it. A folder that several links lead to is read once."""

    def __init__(self, root: Path) -> None:
        self.read: set[Path] = set()
        self.above: set[Path] = set()
        self._mark(root.resolve())
        self.tree = self._list(root, 0)

    def _mark(self, real: Path) -> None:
        self.read.add(real)
        self.above.update(real.parents)

    def _list(self, folder: Path, depth: int) -> _Tree:
        if depth > DEEPEST:
            raise ValueError(f"{folder} lies more than {DEEPEST} folders deep: give the folder of the images")
        own, branches, others = [], [], Counter[str]()
        for path in sorted(folder.iterdir(), key=natural):
            kind = self._kind(path)
            if kind == "picture":
                own.append(path)
            elif kind == "folder":
                branches.append(self._list(path, depth + 1))
            elif kind is not None:
                others[kind] += 1
        return _Tree(folder, own, branches, others)

    def _kind(self, path: Path) -> str | None:
        """ "picture", "folder", a kind of files that are not read, or None for SYSTEM files."""
        if path.name.lower() in SYSTEM or path.name.startswith("._"):
            return None
        if path.name.startswith("."):
            return "hidden files or folders"
        if path.is_file():
            if is_picture(path):
                return "picture"
            if not path.suffix:
                return "files without a suffix"
            return f"{path.suffix.lower()} files" if re.fullmatch(r"\.\w{1,12}", path.suffix) else "other files"
        if path.is_dir():
            return self._follow(path.resolve()) if path.is_symlink() else "folder"
        return "special files" if path.exists() else "dangling links"

    def _follow(self, real: Path) -> str:
        if real in self.above or not self.read.isdisjoint((real, *real.parents)):
            return "links to folders that are read already"
        self._mark(real)
        return "folder"


def _splits(tree: _Tree) -> list[_Tree]:
    """The subfolders that are splits of one set, or none where they are classes.

    Raises:
        ValueError: splits beside other folders with pictures, or with names that could be those of classes.
    """
    filled = tree.filled()
    # A split may be empty: an error only where it is the one asked for.
    if tree.own or not tree.branches:
        return []
    if all(is_plain(branch.path.name) for branch in filled or tree.branches):
        return [branch for branch in tree.branches if is_plain(branch.path.name)]
    # A split holds classes, a class holds pictures.
    nested = [branch for branch in filled if is_plain(branch.path.name) and len(branch.filled()) > 1]
    if several([branch.path.name for branch in filled]) or nested:
        _refuse_mixed(tree.path, [branch for branch in filled if kind_of(branch.path.name)] or nested)
    return []


def _refuse_mixed(folder: Path, branches: list[_Tree]) -> None:
    first = next((b.path for b in branches if kind_of(b.path.name) == "train"), branches[0].path)
    names = ", ".join(branch.path.name for branch in branches)
    raise ValueError(
        f"{folder} seems to hold splits of a set ({names}), not classes: "
        f"give the folder of one split, such as {first}, or rename them if they are classes"
    )


def _list(tree: _Tree) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """The files, their labels, and the names of the classes (none for a flat folder)."""
    folder, filled = tree.path, tree.filled()
    _refuse_annotation_folders(tree)
    if tree.own and filled:
        raise ValueError(
            f"{folder} has images of its own ({tree.own[0].name}) beside the class {filled[0].path.name}: "
            "move them to a class"
        )
    if tree.own:
        _refuse_split_names(tree.own)
        _refuse_annotated_files(tree)
        return tree.own, [], ()
    if not filled:
        raise ValueError(_nothing(folder))
    for branch in tree.branches:
        if not branch.pictures():
            raise ValueError(
                f"{branch.path} has no images, though subfolders of {folder} are classes: fill or remove it"
            )
        _refuse_splits_within(branch)
    inner = tree
    while not inner.own and len(inner.filled()) == 1:
        inner = inner.filled()[0]
    if inner is not tree and len(inner.filled()) > 1:
        raise ValueError(f"{folder} holds one folder, whose subfolders could be the classes: give {inner.path} instead")
    _refuse_split_names(tree.pictures())
    _refuse_annotated_files(tree)
    labels = [label for label, branch in enumerate(filled) for _ in branch.pictures()]
    return tree.pictures(), labels, tuple(branch.path.name for branch in filled)


def _refuse_splits_within(tree: _Tree) -> None:
    """Refuse classes that hold splits: all pictures below a class are read, also those of a test set."""
    filled = tree.filled()
    tests = [branch for branch in filled if is_plain(branch.path.name) and kind_of(branch.path.name) != "train"]
    if tests or several([branch.path.name for branch in filled]):
        _refuse_mixed(tree.path, [branch for branch in filled if kind_of(branch.path.name)])
    for branch in filled:
        _refuse_splits_within(branch)


def _refuse_annotation_folders(tree: _Tree) -> None:
    """Refuse folders of masks or labels beside the images, at any depth: they would be read as a class."""
    filled = tree.filled()
    found = annotations_among([branch.path.name for branch in filled])
    if found:
        images = next(branch.path for branch in filled if branch.path.name not in found)
        raise ValueError(
            f"{tree.path} seems to hold images and their annotations ({', '.join(found)}), not classes: "
            f"give the folder of the images, such as {images}, or rename them if they are classes"
        )
    for branch in filled:
        _refuse_annotation_folders(branch)


def _refuse_annotated_files(tree: _Tree) -> None:
    """Refuse masks and images in one folder, which only the names of the files distinguish: a.png, a_mask.png."""
    pair = annotated([path.stem for path in tree.own])
    if pair:
        raise ValueError(
            f"{tree.path} seems to hold images and their annotations ({pair[0]}, {pair[1]}): "
            "put the images into a folder of their own and give that folder"
        )
    for branch in tree.branches:
        _refuse_annotated_files(branch)


def _refuse_split_names(files: list[Path]) -> None:
    """Refuse several splits in one folder, which only the names of the files distinguish: train_0.png, test_0.png."""
    if all(kind_of(path.stem) for path in files) and several([path.stem for path in files]):
        raise ValueError(
            f"{files[0].parent} seems to hold several splits by the names of its files ({files[0].name}, "
            f"{files[-1].name}): put each split into a folder of its own and give that folder"
        )


def _nothing(folder: Path) -> str:
    found = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    listing = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    packed = next((name for name in found if name.lower().endswith(ARCHIVES)), None)
    if packed is not None:
        return f"{folder} has no images, but {packed}: unpack it first"
    if any(name.endswith((".parquet", ".arrow")) for name in found):
        return f"{folder} has no images, but tables ({found[0]}): give hf:{folder}, which reads them"
    return (
        f"{folder} has no images: found {listing or 'nothing'}, "
        "expected files such as .png, .jpg or .tif, in it or in one subfolder a class"
    )
