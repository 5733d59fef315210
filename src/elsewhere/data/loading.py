"""From a name or a path to an ImageSet."""

from __future__ import annotations

import os
from dataclasses import replace
from difflib import get_close_matches
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from elsewhere.checks import check_dense, check_path, check_whole, checked
from elsewhere.data.arrays import OTHERS, from_array, load_npy, load_npz
from elsewhere.data.celeba import is_celeba, load_celeba
from elsewhere.data.cifar import TARS, find_cifar_folder, load_cifar_file, load_cifar_folder, load_cifar_tar
from elsewhere.data.edm import load_edm
from elsewhere.data.folders import ARCHIVES, load_folder
from elsewhere.data.hands import NAME as HANDS
from elsewhere.data.hands import is_hands, load_hands
from elsewhere.data.hub import PREFIX, is_saved, load_hub, load_saved
from elsewhere.data.idx import find_idx_folder, load_idx, load_idx_folder
from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import is_picture, read_picture, stack
from elsewhere.data.request import BEYOND, Request, make_request
from elsewhere.layout import plain
from elsewhere.limits import LARGEST_SIDE

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
EMOJI_GROUPS = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
    "Flags",
)
EMBEDDED = {"fashion-mini": FASHION_CLASSES, "pixel-faces": (), "emoji": EMOJI_GROUPS}
"""Names of the sets that come with the package, and the names of their classes, none if a set has no classes."""


def load_images(
    source: str | os.PathLike[str] | NDArray[Any] | Tensor,
    limit: int | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    fit: Literal["crop", "stretch"] = "crop",
    gray: bool | None = None,
    split: str = "train",
    labels: bool = True,
    value_range: tuple[float, float] | None = None,
    progress: bool = False,
    resample: Literal["lanczos", "bilinear"] = "lanczos",
) -> ImageSet:
    """Images of one size, with labels where the source has them.

    Args:
        source: "fashion-mini", "pixel-faces" or "emoji" (embedded), "hands" or "hands:COUNT" (drawn by code), a folder
            of image files (flat, or one subfolder a class), an .npz or .npy file, an IDX file or a folder of them,
            CIFAR-10's binary files (one .bin, their folder, or their tar archive), a zip archive of EDM's
            dataset_tool.py, the folder of CelebA, a folder written by `save_to_disk` of the library datasets, or
            "hf:NAME" for a Hugging Face dataset. Or the images themselves, a NumPy array or tensor: (N, H, W),
            (N, C, H, W) or (N, H, W, C).
        limit: take only the first `limit` images; None takes all. Folders count in natural order: 2 before 10.
        size: bring every image to this many pixels a side, at most 20,000, or to (height, width); None keeps the size
            of the files.
        fit: how `size` is reached: "crop" cuts the largest centred part of the right proportions first,
            "stretch" changes the proportions.
        gray: True turns colours to gray (ITU-R 601 luminance), False gray to three equal channels; None keeps gray
            sets gray and makes sets that have any colour image colour.
        split: for sources that have splits: "train", "test", or another name the source uses.
        labels: False leaves the labels of the source out: for labels that are no single class number.
        value_range: the values of black and white in the source, such as (0, 1) or (0, 4095). None takes what files of
            images declare; bytes as 0..255, bool as black and white, and floats as [0, 1] if none is negative, else
            as [-1, 1]. Sets that would come out nearly black (nothing above 16 of 255) then are refused.
        progress: show a bar with the time left while files are decoded and images are resized.
        resample: the filter that changes the size, "lanczos" or "bilinear"; both average over the pixels that become
            one. Most published runs resized with "bilinear" (torchvision), EDM's archives with "lanczos".

    Returns:
        Images uint8 (N, C, H, W), and labels, names of the classes and captions if the source has them.
        Transparent pixels are laid on white; 16-bit gray is scaled to 8 bits. `left_out` of the set says what was not
        taken.

    Raises:
        FileNotFoundError: no such name, path or dataset.
        TypeError: an argument or the contents of a file are of the wrong kind.
        ValueError: a damaged or unreadable file (the message names it), images of several sizes and no `size`,
            labels that do not match, splits mixed with classes, no images, or a limit beyond their number.
        MemoryError: images that the machine has no memory for.
        ImportError: a Hugging Face dataset without the library that reads it.

    Example:
        >>> data = load_images("fashion-mini", limit=100)
        >>> data.shape
        (1, 28, 28)
    """
    request = make_request(limit, size, fit, gray, split, labels, value_range, progress, resample)
    data = _read(source, request)
    left_out = {kind: number for kind, number in request.left_out.items() if number}
    if not labels:
        data = replace(data, labels=None, classes=())
    elif data.labels is not None and BEYOND in left_out:
        absent = len(data.classes) - len(set(data.labels.tolist()))
        left_out |= {"classes beyond limit": absent} if absent > 0 else {}
    return replace(data, left_out=left_out) if left_out else data


@checked
def load_picture(
    path: str | Path,
    *,
    longest: int | None = None,
    size: int | tuple[int, int] | None = None,
    gray: bool | None = None,
) -> ImageSet:
    """One image file as an ImageSet of one image.

    Args:
        path: a file in a format that `load_images` reads in folders, such as .png or .jpg.
        longest: shrink the image so that its longer side has this many pixels, where it has more; 1 to 20,000.
        size, gray: as for `load_images`.

    Raises:
        FileNotFoundError: no such file.
        IsADirectoryError: a folder.
        TypeError, ValueError: arguments of the wrong kind; not an image, or a damaged one.

    Example:
        >>> data = load_picture("photo.png", longest=256)  # doctest: +SKIP
    """
    path = check_path("path", path)
    if longest is not None:
        longest = check_whole("longest", longest, 1, LARGEST_SIDE)
    if not _exists(path):
        raise FileNotFoundError(f"no image at {path}: give a file such as photo.png")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give one image file of it")
    if not is_picture(path):
        raise ValueError(f"{path} is no image by its name: give a file such as photo.png or photo.jpg")
    picture = read_picture(path, str(path))
    if longest is not None and max(picture.size) > longest:
        scale = longest / max(picture.size)
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    request = make_request(None, size, "crop", gray, "train", True, None, False, "lanczos")
    pixels = torch.from_numpy(stack([(str(path), picture)], 1, request))
    return ImageSet(pixels, name=path.stem)


def picture_folder(source: str) -> Path | None:
    """The folder whose image files `load_images` reads for this name or path; None for any other kind of source."""
    path = Path(source)
    if source in EMBEDDED or is_hands(source) or source.startswith(PREFIX) or not _exists(path) or not path.is_dir():
        return None
    other = is_saved(path) or is_celeba(path) or find_cifar_folder(path) or find_idx_folder(path)
    return None if other else path


def _read(source: object, request: Request) -> ImageSet:
    if isinstance(source, (np.ndarray, Tensor)):
        return from_array(_in_memory(source), request)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"source must be a name, a path, or an array or tensor of images, got {type(source).__name__}: "
            "stack images of one size with np.stack, or give the folder of the files"
        )
    text = os.fspath(source)
    if not isinstance(text, str):
        raise TypeError(f"source must be a name or a path of type str, got {type(text).__name__}")
    if not text:
        raise ValueError("source must be a name or a path, got an empty string")
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


def _in_memory(source: NDArray[Any] | Tensor) -> NDArray[Any]:
    """Images in memory as an array.

    Raises:
        TypeError: a tensor or array whose values cannot be read.
        ValueError: a tensor that may be one colour image.
        MemoryError: expanded beyond the memory of the machine.
    """
    check_dense("source", source)
    if isinstance(source, np.ndarray):
        return source
    if source.ndim == 3 and source.shape[0] == 3:
        raise ValueError(
            f"source has shape {tuple(source.shape)}, which can be one colour image (C, H, W) or three gray ones: "
            "give tensor[None] or tensor[:, None]"
        )
    if source.dtype.is_floating_point and source.dtype not in (torch.float16, torch.float32, torch.float64):
        source = source.float()  # NumPy has no bfloat16
    return plain(source.detach().cpu()).numpy()


def _embedded(name: str, request: Request) -> ImageSet:
    with as_file(files("elsewhere.data") / "embedded" / f"{name}.npz") as path:
        data = load_npz(path, request, name)
    request.left_out.pop(OTHERS, None)  # where the images come from
    return replace(data, classes=EMBEDDED[name])


def _load_folder(path: Path, request: Request) -> ImageSet:
    if is_saved(path):
        return load_saved(path, request)
    if is_celeba(path):
        return load_celeba(path, request)
    batches = find_cifar_folder(path)
    if batches is not None:
        return load_cifar_folder(batches, request)
    files = find_idx_folder(path)
    return load_folder(path, request) if files is None else load_idx_folder(files, request)


def _load_file(path: Path, request: Request) -> ImageSet:
    suffix = path.suffix.lower()
    if is_picture(path):
        raise ValueError(f"{path} is one image: give the folder of the images, {path.resolve().parent}")
    if suffix == ".npy":
        return load_npy(path, request)
    if suffix == ".npz":
        return load_npz(path, request)
    if suffix == ".zip":
        return load_edm(path, request)
    if suffix == ".bin":
        return load_cifar_file(path, request)
    if path.name.lower().endswith(TARS):
        return load_cifar_tar(path, request)
    if path.name.lower().endswith(ARCHIVES):
        raise ValueError(f"{path} is an archive, which is not read: unpack it and give the folder")
    if suffix in (".gz", ".idx") or "ubyte" in path.name:
        return load_idx(path, request)
    raise ValueError(
        f"{path} is of an unknown kind: give a folder of images, .npy, .npz, IDX (.idx, -ubyte, .gz), CIFAR-10 (.bin, "
        ".tar.gz), or a zip archive of EDM"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for a file
        return False
