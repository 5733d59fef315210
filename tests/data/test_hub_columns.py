"""Columns of tables that were not written for images and classes, and a hub that is out of reach."""

from __future__ import annotations

import io
import socket
import time
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from elsewhere.data import hub, load_images
from tests.data.toys import pixels, refused

VALUES = pixels(3, 6, 7)
COLOURS = pixels(3, 6, 7, 3)


def encoded(values: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def saved(folder: Path, columns: dict[str, Any], **features: Any) -> Path:
    declared = datasets.Features(features) if features else None
    datasets.Dataset.from_dict(columns, features=declared).save_to_disk(folder)
    return folder


FILES = [encoded(values) for values in VALUES]
BINARY = datasets.Value("binary")


@pytest.mark.parametrize(
    ("column", "feature"),
    [
        (FILES, BINARY),
        (FILES, datasets.Value("large_binary")),
        ([{"bytes": file, "path": None} for file in FILES], {"bytes": BINARY, "path": datasets.Value("string")}),
        ([{"bytes": file} for file in FILES], {"bytes": BINARY}),
    ],
)
@pytest.mark.parametrize("name", ["image", "picture"])
def test_files_in_binary_columns_and_structures_are_read(name: str, column: Any, feature: Any, tmp_path: Path) -> None:
    columns = {name: column, "label": [0, 1, 0]}
    data = load_images(saved(tmp_path / "set", columns, **{name: feature, "label": datasets.Value("int64")}))
    np.testing.assert_array_equal(data.images[:, 0], VALUES)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 0]


def test_a_binary_column_that_holds_no_image_is_named(tmp_path: Path) -> None:
    for number, content in enumerate((b"no image", b"", None)):
        folder = saved(tmp_path / str(number), {"image": [FILES[0], content]}, image=BINARY)
        with refused(ValueError, folder, "row 1, column 'image'"):
            load_images(folder)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("RGB", 3), ("CMYK", 3), (None, 3)])
def test_the_mode_that_a_column_declares_is_that_of_the_images(mode: str | None, channels: int, tmp_path: Path) -> None:
    pictures = [Image.fromarray(values) for values in COLOURS]
    data = load_images(saved(tmp_path / "set", {"image": pictures}, image=datasets.Image(mode=mode)))
    assert data.shape[0] == channels
    if mode == "L":
        np.testing.assert_array_equal(data.images[:, 0], [np.asarray(picture.convert("L")) for picture in pictures])


CLASS = datasets.ClassLabel(names=["x", "y"])


@pytest.mark.parametrize("kind", ["int64", "null"])
def test_a_column_without_any_label_is_no_column_of_labels(kind: str, tmp_path: Path) -> None:
    columns = {"image": [Image.fromarray(values) for values in VALUES], "label": [None] * 3}
    assert (
        load_images(saved(tmp_path / "a", columns, image=datasets.Image(), label=datasets.Value(kind))).labels is None
    )


@pytest.mark.parametrize(
    "feature",
    [datasets.Array3D((1, 2, 2), "uint8"), datasets.Sequence(datasets.Value("int64")), datasets.Value("string")],
)
def test_a_column_of_that_name_that_holds_no_files_is_named_with_its_type(feature: Any, tmp_path: Path) -> None:
    rows = {"Array3D": [[[[0, 1], [2, 3]]]], "List": [[1, 2]], "Sequence": [[1, 2]], "Value": ["a.png"]}
    folder = saved(tmp_path / "set", {"image": rows[type(feature).__name__]}, image=feature)
    with refused(TypeError, folder, "column 'image' must hold image files", "datasets.Image()", ".npz"):
        load_images(folder)


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        ([[0], [0, 1], []], datasets.Sequence(CLASS)),
        ([[0], [0, 1], []], datasets.Sequence(datasets.Value("int64"))),
        ([{"a": 1}, {"a": 2}, {"a": 3}], {"a": datasets.Value("int64")}),
        (["x", "y", "x"], datasets.Value("string")),
        ([0.5, 1.0, 2.0], datasets.Value("float32")),
        ([0, None, 1], datasets.Value("int64")),
    ],
)
def test_labels_that_are_no_single_number_are_named_with_the_way_round_them(
    labels: Any, feature: Any, tmp_path: Path
) -> None:
    columns = {"image": [Image.fromarray(values) for values in VALUES], "labels": labels}
    folder = saved(tmp_path / "set", columns, image=datasets.Image(), labels=feature)
    with refused(TypeError, folder, "column 'labels'", "labels=False", "--ignore-labels"):
        load_images(folder)
    data = load_images(folder, labels=False)
    assert data.labels is None
    assert data.classes == ()
    assert len(data) == 3


def test_other_columns_of_images_are_counted(tmp_path: Path) -> None:
    pictures = [Image.fromarray(values) for values in VALUES]
    columns = {"mask": pictures, "image": pictures}
    folder = saved(tmp_path / "set", columns, mask=datasets.Image(), image=datasets.Image())
    assert load_images(folder).left_out == {"other columns of images": 1}


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("failure", ["no name", "no answer", "refused"])
def test_without_a_connection_one_error_comes_at_once(
    failure: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def connect(*args: Any, **options: Any) -> None:
        if failure == "no answer":
            time.sleep(60)
        raise socket.gaierror("no name") if failure == "no name" else ConnectionRefusedError("refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(hub, "PATIENCE", 0.2)
    start = time.monotonic()
    with refused(FileNotFoundError, "hf:nobody/nothing cannot be fetched: check the name and the connection"):
        load_images("hf:nobody/nothing")
    assert time.monotonic() - start < 10
    assert capfd.readouterr().err == ""
    assert not datasets.config.HF_HUB_OFFLINE
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, ("huggingface.co", 443)),
        ({"https_proxy": "http://proxy.example:3128"}, ("proxy.example", 3128)),
        ({"all_proxy": "proxy.example:3128"}, ("proxy.example", 3128)),
        ({"https_proxy": "http://proxy.example:3128", "no_proxy": "huggingface.co"}, ("huggingface.co", 443)),
    ],
)
def test_the_proxy_is_asked_where_there_is_one(
    variables: dict[str, str], place: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    asked: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> Any:
        asked.append(address)
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    assert hub._reachable("https://huggingface.co")
    assert asked == [place]
