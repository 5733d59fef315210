"""Hugging Face datasets, from the hub or from a folder written by `save_to_disk`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import read_picture, stack
from elsewhere.data.request import Request
from elsewhere.data.streams import naming
from elsewhere.optional import require

PREFIX = "hf:"
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of the library datasets wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def load_saved(folder: Path, request: Request) -> ImageSet:
    """A dataset, or one split of several, written by `save_to_disk`.

    Raises:
        ImportError: the library datasets is not installed.
        ValueError: damaged, no such split, no column of images, unreadable images.
        TypeError: labels that are not integers.
    """
    library = require("datasets", extra="datasets", purpose=f"reading {folder}")
    with naming(str(folder), "a saved dataset"):
        dataset = library.load_from_disk(str(folder))
    if isinstance(dataset, library.DatasetDict):
        if request.split not in dataset:
            raise ValueError(f"{folder} has no split {request.split!r}: give split= one of {', '.join(dataset)}")
        dataset = dataset[request.split]
    elif str(dataset.split) != request.split:
        request.refuse_split(str(folder))
    return _convert(library, dataset, request, str(folder), folder.resolve().name)


def load_hub(source: str, request: Request) -> ImageSet:
    """A dataset of the hub: "hf:NAME", or "hf:NAME:CONFIGURATION" where it has several.

    Raises:
        ImportError: the library datasets is not installed.
        FileNotFoundError: no such dataset, or the hub is out of reach.
        ValueError, TypeError: as `load_saved`.
    """
    name, _, configuration = source.removeprefix(PREFIX).partition(":")
    if not name:
        raise ValueError(f"{source!r} names no dataset: write for example 'hf:ylecun/mnist'")
    if is_saved(Path(name)):
        return load_saved(Path(name), request)
    library = require("datasets", extra="datasets", purpose=f"loading {source}")
    # Before version 4 datasets could bring code of their own; it is not run.
    options = {"trust_remote_code": False} if int(library.__version__.split(".")[0]) < 4 else {}
    try:
        dataset = library.load_dataset(name, configuration or None, split=request.split, **options)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(f"{source} cannot be fetched: check the name and the connection ({reason})") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{source} cannot be loaded with split={request.split!r}: {reason}") from error
    return _convert(library, dataset, request, source, name)


def _convert(library: Any, dataset: Any, request: Request, source: str, name: str) -> ImageSet:
    dataset = dataset.with_format(None)  # a saved format can hide columns and change what rows look like
    column = _image_column(library, dataset, source)
    count = request.count(len(dataset), source)
    # The files as they are: decoded here, like those of a folder, with the same guards.
    files = dataset.select(range(count)).cast_column(column, library.Image(decode=False))
    images = stack(_pictures(files, column, source), count, request)
    labels, classes = _labels(library, files, source)
    return ImageSet(torch.from_numpy(images), labels, name, classes)


def _pictures(files: Any, column: str, source: str) -> Iterator[tuple[str, Image.Image]]:
    for row, file in enumerate(files.select_columns([column])):
        name = f"{source}, row {row}, column {column!r}"
        content = file[column]
        if content is None or not (content["bytes"] or content["path"]):
            raise ValueError(f"{name} has no image: filter such rows out and save the dataset")
        yield name, read_picture(content["bytes"] or Path(content["path"]), name)


def _image_column(library: Any, dataset: Any, source: str) -> str:
    columns = [name for name, feature in dataset.features.items() if isinstance(feature, library.Image)]
    for name in IMAGE_COLUMNS:
        if name in columns:
            return name
    if len(columns) != 1:
        problem = f"has several columns of images ({', '.join(columns)})" if columns else "has no column of images"
        raise ValueError(
            f"{source} {problem} among {', '.join(dataset.features)}: rename the one to use to 'image' and save it"
        )
    return str(columns[0])


def _labels(library: Any, dataset: Any, source: str) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels and the names of the classes, from the column called label or else the first column of classes."""
    known = [name for name, feature in dataset.features.items() if isinstance(feature, library.ClassLabel)]
    column = next((name for name in (*LABEL_COLUMNS, *known) if name in dataset.features), None)
    if column is None:
        return None, ()
    values = np.asarray(dataset[column][:])
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise TypeError(f"{source}, column {column!r} must hold one integer an image, got {values.dtype}")
    if (values == -1).all():  # how the hub marks a test set whose labels are kept back
        return None, ()
    if values.min() < 0:
        raise ValueError(f"{source}, column {column!r} must be 0 or more, got {values.min()}: filter such rows out")
    names = tuple(dataset.features[column].names) if column in known else ()
    return torch.from_numpy(values.astype(np.int64)), names
