"""From a name or a path to an ImageSet."""

from __future__ import annotations

import os
from dataclasses import replace
from difflib import get_close_matches
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from elsewhere.data.arrays import load_npy, load_npz
from elsewhere.data.folders import load_folder
from elsewhere.data.hands import NAME as HANDS
from elsewhere.data.hands import is_hands, load_hands
from elsewhere.data.hub import PREFIX, is_saved, load_hub, load_saved
from elsewhere.data.idx import idx_files, load_idx, load_idx_folder
from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import SUFFIXES
from elsewhere.data.request import Request, make_request

FASHION_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
EMBEDDED = {"fashion-mini": FASHION_CLASSES, "pixel-faces": ()}


def load_images(
    source: str | os.PathLike[str],
    limit: int | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    fit: Literal["crop", "stretch"] = "crop",
    gray: bool | None = None,
    split: str = "train",
) -> ImageSet:
    """Load images of one size from a name or a path.

    Args:
        source: one of
            "fashion-mini" (4,000 gray 28x28 clothes of ten classes) or "pixel-faces" (2,000 colour 32x32
            portraits), which come with the package; a folder of that name is reached as "./fashion-mini" or as a Path;
            "hands" or "hands:COUNT", gray 32x32 hands of five fingers, drawn by code as they are asked for: 500 or
            COUNT, see `elsewhere.data.hands`;
            a folder of images (png, jpg, bmp, gif, webp, tiff, ppm): flat, or one subfolder a class;
            an .npy file, or an .npz file whose arrays are called images and labels (or x and y, data and targets,
            x_train and y_train, train_images and train_labels, ...; an array of strings called classes names the
            classes): uint8 (N, H, W), (N, H, W, C) or
            (N, C, H, W), or floats, taken as [0, 1] if none is negative and as [-1, 1] otherwise, rounded to
            8 bits;
            an IDX file of images, gzipped or not, with its labels beside it, or a folder of such files;
            "hf:NAME" or "hf:NAME:CONFIGURATION", a Hugging Face dataset, or a folder written by its
            `save_to_disk` (both need the extra `datasets`).
        limit: take only the first images, in the order of the source; the others are not decoded. Folders are in
            natural order (2.png before 10.png) and class by class, so there the first images are of the first class.
        size: pixels a side, or (height, width): resize every image (Lanczos). None keeps the size of the files.
        fit: how `size` is reached: "crop" cuts the largest centred part of the right proportions first,
            "stretch" changes the proportions.
        gray: True turns colours to gray (ITU-R 601 luminance), False gray to three equal channels; None keeps gray
            sets gray and makes sets that have any colour image colour.
        split: for sources that have splits: "train", "test", or another name the source uses.

    Returns:
        Images uint8 (N, C, H, W), labels if the source has them, and the names of the classes if it has them.
        Transparent pixels are laid on white; 16-bit gray is scaled to 8 bits.

    Raises:
        FileNotFoundError: no such name, path or dataset.
        TypeError: an argument or the contents of a file are of the wrong kind.
        ValueError: a damaged or unreadable file (the message names it), images of several sizes and no `size`,
            labels that do not match, no images, or a limit beyond their number.
        ImportError: a Hugging Face dataset without the library that reads it.

    Example:
        >>> data = load_images("fashion-mini", limit=100)
        >>> data.shape
        (1, 28, 28)
    """
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"source must be a name or a path, got {type(source).__name__}: build an ImageSet from images in memory"
        )
    text = os.fspath(source)
    if not text:
        raise ValueError("source must be a name or a path, got an empty string")
    request = make_request(limit, size, fit, gray, split)
    if isinstance(source, str) and text in EMBEDDED:
        return _embedded(text, request)
    if isinstance(source, str) and is_hands(text):
        return load_hands(text, request)
    if isinstance(source, str) and text.startswith(PREFIX):
        return load_hub(text, request)
    path = Path(text)
    if not _exists(path):
        near = get_close_matches(text, (*EMBEDDED, HANDS), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"give a path, {', '.join(EMBEDDED)}, {HANDS}, or {PREFIX}NAME"
        raise FileNotFoundError(f"no images at {text!r}: {hint}")
    return _load_folder(path, request) if path.is_dir() else _load_file(path, request)


def _embedded(name: str, request: Request) -> ImageSet:
    with as_file(files("elsewhere.data") / "embedded" / f"{name}.npz") as path:
        return replace(load_npz(path, request, name), classes=EMBEDDED[name])


def _load_folder(path: Path, request: Request) -> ImageSet:
    if is_saved(path):
        return load_saved(path, request)
    return load_idx_folder(path, request) if idx_files(path) else load_folder(path, request)


def _load_file(path: Path, request: Request) -> ImageSet:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        raise ValueError(f"{path} is one image: give the folder of the images, {path.resolve().parent}")
    if suffix == ".npy":
        return load_npy(path, request)
    if suffix == ".npz":
        return load_npz(path, request)
    if suffix in (".gz", ".idx") or "ubyte" in path.name:
        return load_idx(path, request)
    raise ValueError(f"{path} is of an unknown kind: give a folder of images, .npy, .npz, or IDX (.idx, -ubyte, .gz)")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for a file
        return False
