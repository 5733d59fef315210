"""Hugging Face datasets, from the hub or from a folder written by `save_to_disk`."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from elsewhere.data.images import ImageSet, check_labels
from elsewhere.data.pixels import read_picture, stack
from elsewhere.data.request import IGNORE, Request
from elsewhere.data.splits import choose_split, of_split
from elsewhere.data.streams import naming
from elsewhere.optional import require
from elsewhere.phrases import count as count_of

PREFIX = "hf:"
IMAGE_COLUMNS = ("image", "img")
CAPTION_COLUMNS = ("text", "caption", "captions")
LABEL_COLUMNS = ("label", "labels", "fine_label")
PATIENCE = 5.0
"""Seconds in which the hub must answer."""


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
        chosen = choose_split(list(dataset), request.split, str(folder))
        request.left_out.update({of_split(name): len(part) for name, part in dataset.items() if name != chosen})
        dataset = dataset[chosen]
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
        with _prompt(library):
            dataset = library.load_dataset(name, configuration or None, split=request.split, **options)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(f"{source} cannot be fetched: check the name and the connection ({reason})") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{source} cannot be loaded with split={request.split!r}: {reason}") from error
    parts = {part.name: part.num_examples for part in (dataset.info.splits or {}).values()}
    request.left_out.update({of_split(part): number for part, number in parts.items() if part != request.split})
    return _convert(library, dataset, request, source, name)


@contextmanager
def _prompt(library: Any) -> Iterator[None]:
    """Without a connection use only the local cache: the library would retry for half a minute."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    if library.config.HF_HUB_OFFLINE or _reachable(constants.ENDPOINT):
        yield
        return
    places = (library.config, constants)
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _reachable(address: str) -> bool:
    """Whether something answers at an address, or at the proxy that the environment names for it."""
    url = urlsplit(address)
    proxy = None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme, getproxies().get("all"))
    if proxy is not None:
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = url.port or (443 if url.scheme == "https" else 80)
    answers: list[bool] = []

    def connect() -> None:
        with suppress(OSError), socket.create_connection((url.hostname or "", port), timeout=PATIENCE):
            answers.append(True)

    # In a thread, because name resolution has no timeout.
    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answers)


def _convert(library: Any, dataset: Any, request: Request, source: str, name: str) -> ImageSet:
    dataset = dataset.with_format(None)  # a saved format can hide columns and change the type of rows
    column, others = _image_column(library, dataset, source)
    request.left_out["other columns of images"] += others
    count = request.count(len(dataset), source)
    files = dataset.select(range(count))
    mode = None
    if isinstance(files.features[column], library.Image):
        mode = files.features[column].mode
        # Not decoded by the library: read_picture checks these files as it checks those of a folder.
        files = files.cast_column(column, library.Image(decode=False))
    images = stack(_pictures(files, column, mode, request, source), count, request)
    labels, classes = _labels(library, files, source) if request.labels else (None, ())
    return ImageSet(torch.from_numpy(images), labels, name, classes, captions=_captions(files))


def _pictures(
    files: Any, column: str, mode: str | None, request: Request, source: str
) -> Iterator[tuple[str, Image.Image]]:
    for row, file in enumerate(files.select_columns([column])):
        name = f"{source}, row {row}, column {column!r}"
        content = file[column] or {}
        content = content if isinstance(content, dict) else {"bytes": content}
        if not (content.get("bytes") or content.get("path")):
            raise ValueError(f"{name} has no image: filter such rows out and save the dataset")
        yield name, _in_mode(read_picture(content.get("bytes") or Path(content["path"]), name, request), mode)


def _in_mode(picture: Image.Image, mode: str | None) -> Image.Image:
    """Gray or colour as the dataset declares it: `Image(mode="L")`. Modes of more than 8 bits declare neither."""
    if mode is None or mode[0] in "IF":
        return picture
    return picture.convert("L" if mode in ("1", "L", "LA", "La") else "RGB")


def _image_column(library: Any, dataset: Any, source: str) -> tuple[str, int]:
    """The column to read, and how many others hold images."""
    columns = [name for name, feature in dataset.features.items() if isinstance(feature, library.Image)]
    # Tables that were written without the library hold the files of images as bytes, perhaps with their paths.
    columns = columns or [name for name, feature in dataset.features.items() if _holds_files(feature)]
    for name in IMAGE_COLUMNS:
        if name in columns:
            return name, len(columns) - 1
    if len(columns) != 1:
        problem = f"has several columns of images ({', '.join(columns)})" if columns else "has no column of images"
        named = next((name for name in IMAGE_COLUMNS if name in dataset.features), None)
        if named is not None and not columns:
            raise TypeError(
                f"{source}, column {named!r} must hold image files (datasets.Image, or bytes), got "
                f"{dataset.features[named]}: cast it with datasets.Image(), or save arrays as .npz"
            )
        raise ValueError(
            f"{source} {problem} among {', '.join(dataset.features)}: rename the one to use to 'image' and save it"
        )
    return str(columns[0]), 0


def _holds_files(feature: Any) -> bool:
    inner = feature.get("bytes") if isinstance(feature, dict) and feature.keys() <= {"bytes", "path"} else feature
    return getattr(inner, "dtype", None) in ("binary", "large_binary")


def _captions(dataset: Any) -> tuple[str, ...] | None:
    """The strings of the first column called text or caption, "" for a row without."""
    for name in CAPTION_COLUMNS:
        if getattr(dataset.features.get(name), "dtype", None) in ("string", "large_string"):
            return tuple(words or "" for words in dataset[name][:])
    return None


def _labels(library: Any, dataset: Any, source: str) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels and the names of the classes, from the column called label or else the first column of classes."""
    known = [name for name, feature in dataset.features.items() if isinstance(feature, library.ClassLabel)]
    column = next((name for name in (*LABEL_COLUMNS, *known) if name in dataset.features), None)
    if column is None:
        return None, ()
    # Rows of several labels make no array.
    feature = dataset.features[column]
    one = isinstance(feature, (library.ClassLabel, library.Value))
    values = np.asarray(dataset[column][:] if one else ())
    missing = sum(value is None for value in values.tolist()) if values.dtype == object else 0
    if missing and missing == len(values):
        return None, ()
    if missing:
        raise TypeError(
            f"{source}, column {column!r} must hold one integer an image, got None for {missing} of "
            f"{count_of(len(values), 'image')}: filter such rows out, or leave the labels out with {IGNORE}"
        )
    if not one or values.dtype.kind not in "iu":
        seen = values.dtype if one else f"lists or structures ({feature})"
        raise TypeError(
            f"{source}, column {column!r} must hold one integer an image, got {seen}: "
            f"leave the labels out with {IGNORE}"
        )
    if (values == -1).all():  # how the hub marks a test set whose labels are not published
        return None, ()
    check_labels(int(values.min()), int(values.max()), f"{source}, column {column!r}")
    names = tuple(dataset.features[column].names) if column in known else ()
    return torch.from_numpy(values.astype(np.int64)), names
