"""Zip archives as EDM's dataset_tool.py writes them, whole and damaged."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elsewhere.data import load_images
from tests.data.toys import pixels, refused

IMAGES = pixels(12, 8, 9, 3)
NAMES = [f"00000/img{i:08d}.png" for i in range(12)]
LABELS = [i % 4 for i in range(12)]


def png(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "PNG")
    return content.getvalue()


def write(path: Path, labels: Any = "each", names: list[str] = NAMES, **extra: bytes) -> Path:
    """An archive; labels are those of LABELS, or what dataset.json has under "labels", or None for no dataset.json."""
    pairs = [[name, label] for name, label in zip(names, LABELS, strict=True)] if labels == "each" else labels
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for index in (3, *range(3), *range(4, 12)):  # the order in the archive does not matter
            archive.writestr(names[index], png(IMAGES[index]))
        if labels is not None:
            archive.writestr("dataset.json", json.dumps({"labels": pairs}))
        for name, content in extra.items():
            archive.writestr(name.replace("_", "."), content)
    return path


def test_pictures_and_labels_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    data = load_images(write(tmp_path / "toys-8x8.zip", read_me=b"?"))
    assert (data.images.numpy() == IMAGES.transpose(0, 3, 1, 2)).all()
    assert data.labels is not None
    assert data.labels.tolist() == LABELS
    assert (data.name, dict(data.left_out)) == ("toys-8x8", {"other files of the archive": 1})


@pytest.mark.parametrize("labels", [None, "null"])
def test_archives_may_have_no_labels(labels: str | None, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", None)
    if labels == "null":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("dataset.json", '{"labels": null}')
    data = load_images(path)
    assert (len(data), data.labels) == (12, None)


def test_a_limit_takes_the_first_pictures_and_their_labels(tmp_path: Path) -> None:
    data = load_images(write(tmp_path / "a.zip"), 5, size=4)
    assert data.shape == (3, 4, 4)
    assert data.labels is not None
    assert data.labels.tolist() == LABELS[:5]


def test_labels_are_found_by_name_whatever_their_order(tmp_path: Path) -> None:
    pairs = [[name.replace("/", "\\"), label] for name, label in zip(NAMES, LABELS, strict=True)][::-1]
    data = load_images(write(tmp_path / "a.zip", [*pairs, ["gone.png", 3]]))
    assert data.labels is not None
    assert data.labels.tolist() == LABELS
    assert data.left_out == {"labels without a picture": 1}


VECTORS = [[name, [0.0, 1.0]] for name in NAMES]
BAD_LABELS: dict[str, tuple[Any, type[Exception], str]] = {
    "too few": ([[name, 1] for name in NAMES[:-1]], ValueError, "no label for 1 picture of 12"),
    "vectors": (VECTORS, TypeError, "one class number for each picture, got a list"),
    "fractions": ([[name, 0.5] for name in NAMES], TypeError, "got 0.5"),
    "truth values": ([[name, True] for name in NAMES], TypeError, "got True"),
    "negative": ([[name, -1] for name in NAMES], ValueError, "must be 0 or more, got -1"),
    "a table": ({"a": 1}, ValueError, "a list of pairs"),
    "no pairs": ([1, 2], ValueError, "a list of pairs"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels_are_refused_and_can_be_left_out(case: str, tmp_path: Path) -> None:
    labels, error, message = BAD_LABELS[case]
    path = write(tmp_path / "a.zip", labels)
    with refused(error, f"{path}[dataset.json]", message):
        load_images(path)
    assert load_images(path, labels=False).labels is None


def damaged(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(old) >= 1
    path.write_bytes(content.replace(old, new, 1))
    return path


def declaring(path: Path, size: int) -> Path:
    """Both records of the first picture declare so many bytes."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.infolist()[0]
    first = content.index(b"PK\x01\x02")
    content[entry.header_offset + 22 : entry.header_offset + 26] = size.to_bytes(4, "little")
    content[first + 24 : first + 28] = size.to_bytes(4, "little")
    path.write_bytes(bytes(content))
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-40])
    return path


def only(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "cut short": (lambda p: cut(write(p)), "cannot be read as a zip archive"),
    "text": (lambda p: written(p, b"no archive"), "cannot be read as a zip archive"),
    "a damaged picture": (lambda p: damaged(write(p), b"IDAT", b"IDAX"), "cannot be read as an image"),
    "a picture that is none": (lambda p: only(p, {NAMES[0]: b"text"}), "cannot be read as an image"),
    "damaged labels": (lambda p: damaged(write(p), b'{"labels"', b'["labels"'), "cannot be read as JSON"),
    "labels that are no JSON": (lambda p: only(p, {NAMES[0]: png(IMAGES[0]), "dataset.json": b"{"}), "as JSON"),
    "a size that lies": (lambda p: declaring(write(p), 2**31), "cut short: its header declares"),
    "no pictures": (lambda p: only(p, {"dataset.json": b"{}"}), "is an archive, which is not read: unpack it"),
    "classes as folders": (lambda p: only(p, {"cat/a.png": png(IMAGES[0])}), "is an archive, which is not read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_archives_are_refused_by_name(case: str, tmp_path: Path) -> None:
    make, message = BAD[case]
    path = make(tmp_path / "a.zip")
    with refused(ValueError, path, message):
        load_images(path)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    import pickle

    path = only(tmp_path / "a.zip", {NAMES[0]: png(IMAGES[0]), "dataset.json": pickle.dumps(Bomb())})
    with refused(ValueError, path, "JSON"):
        load_images(path)
    assert not (tmp_path / "ran").exists()
