from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from elsewhere.data import load_images
from tests.data.toys import idx_bytes, pixels, refused

VALUES = pixels(6, 5, 7)
LABELS = [0, 1, 1, 0, 2, 1]
CLASSES = ["cat", "dog", "bird"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    # The libraries read the variable when they are imported, which another test may have done.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def make(
    images: Any = VALUES, labels: Any = LABELS, column: str = "image", label: str = "label", split: str | None = None
) -> datasets.Dataset:
    pictures = [Image.fromarray(image) if isinstance(image, np.ndarray) else image for image in images]
    kind = datasets.ClassLabel(names=CLASSES)
    features = datasets.Features({column: datasets.Image(), label: kind})
    return datasets.Dataset.from_dict({column: pictures, label: labels}, features=features, split=split)


def with_second_column(name: str) -> datasets.Dataset:
    """Other images, in a column before the images and labels of `make`."""
    others = make(VALUES[:, :3, :3], column=name).remove_columns("label")
    return datasets.concatenate_datasets([others, make()], axis=1)


def saved(folder: Path, dataset: datasets.Dataset | datasets.DatasetDict) -> Path:
    dataset.save_to_disk(folder)
    return folder


def check(data: Any, labels: list[int] | None = LABELS) -> None:
    np.testing.assert_array_equal(data.images[:, 0].numpy(), VALUES)
    assert (None if data.labels is None else data.labels.tolist()) == labels


def test_a_saved_dataset_comes_back_unchanged(tmp_path: Path) -> None:
    data = load_images(saved(tmp_path / "set", make()))
    check(data)
    assert data.classes == tuple(CLASSES)
    assert data.name == "set"
    assert data.shape == (1, 5, 7)


def test_colours_come_back_unchanged(tmp_path: Path) -> None:
    values = pixels(2, 5, 7, 3)
    data = load_images(saved(tmp_path / "set", make(values, [0, 1])))
    np.testing.assert_array_equal(data.images.numpy(), values.transpose(0, 3, 1, 2))


def test_transparent_and_wide_pixels_are_treated_as_in_files(tmp_path: Path) -> None:
    wide = Image.fromarray(VALUES[0].astype(np.uint16) * 257)
    clear = Image.new("LA", (7, 5), (0, 0))
    images = load_images(saved(tmp_path / "set", make([wide, clear], [0, 1]))).images[:, 0].numpy()
    np.testing.assert_array_equal(images, [VALUES[0], np.full((5, 7), 255)])


def test_loading_writes_nothing(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", make())
    before = sorted(os.walk(tmp_path))
    load_images(folder, 3)
    assert sorted(os.walk(tmp_path)) == before


@pytest.mark.parametrize("style", ["numpy", "torch", "pandas", "arrow"])
def test_the_format_a_dataset_was_saved_in_does_not_matter(style: str, tmp_path: Path) -> None:
    check(load_images(saved(tmp_path / "set", make().with_format(style))))


@pytest.mark.parametrize("shown", ["image", "label"])
def test_columns_that_the_format_hides_are_read(shown: str, tmp_path: Path) -> None:
    check(load_images(saved(tmp_path / "set", make().with_format("numpy", columns=[shown]))))


def test_a_limit_takes_the_first_and_leaves_the_rest_undecoded(tmp_path: Path) -> None:
    images = [*VALUES[:2], {"bytes": b"not looked at", "path": None}]
    folder = saved(tmp_path / "set", make(images, [2, 0, 1]))
    data = load_images(folder, 2, size=(10, 14), gray=False)
    assert data.images.shape == (2, 3, 10, 14)
    assert data.labels is not None
    assert data.labels.tolist() == [2, 0]
    with refused(ValueError, folder, "between 1 and 3", "got 4"):
        load_images(folder, 4)


def test_the_split_asked_for_is_read(tmp_path: Path) -> None:
    whole = make()
    folder = saved(tmp_path / "set", datasets.DatasetDict({"train": whole, "test": whole.select([4, 5])}))
    check(load_images(folder))
    data = load_images(folder, split="test")
    np.testing.assert_array_equal(data.images[:, 0].numpy(), VALUES[4:])
    assert data.labels is not None
    assert data.labels.tolist() == [2, 1]
    with refused(ValueError, folder, "no split 'val'", "train, test"):
        load_images(folder, split="val")


def test_a_split_saved_alone_is_read_under_its_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", make(split="test"))
    check(load_images(folder, split="test"))
    with refused(ValueError, folder, "has no splits"):
        load_images(folder, split="val")


@pytest.mark.parametrize("column", ["image", "img", "picture"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label", "kind"])
def test_columns_are_known_by_name_or_by_kind(column: str, label: str, tmp_path: Path) -> None:
    check(load_images(saved(tmp_path / "set", make(column=column, label=label))))


def test_the_column_called_image_is_preferred(tmp_path: Path) -> None:
    dataset = with_second_column("mask")
    assert next(iter(dataset.features)) == "mask"
    check(load_images(saved(tmp_path / "set", dataset)))


def test_plain_integers_are_labels_without_names(tmp_path: Path) -> None:
    dataset = make().cast_column("label", datasets.Value("int16"))
    data = load_images(saved(tmp_path / "set", dataset))
    check(data)
    assert data.classes == ()


def test_labels_kept_back_are_no_labels(tmp_path: Path) -> None:
    data = load_images(saved(tmp_path / "set", make(labels=[-1] * 6)))
    check(data, None)
    assert data.classes == ()


def test_a_dataset_without_labels_has_none(tmp_path: Path) -> None:
    check(load_images(saved(tmp_path / "set", make().remove_columns("label"))), None)


def test_hf_reads_a_saved_folder_as_well(tmp_path: Path) -> None:
    check(load_images(f"hf:{saved(tmp_path / 'set', make())}"))


def labelled(values: list[Any], name: str = "label") -> datasets.Dataset:
    """Images with labels of any kind."""
    return make().select(range(len(values))).remove_columns("label").add_column(name, values)


def cut(folder: Path) -> Path:
    saved(folder, make())
    (arrow,) = folder.glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:-400])
    return folder


def spoil(folder: Path, name: str, content: str) -> Path:
    folder.mkdir()
    (folder / name).write_text(content)
    return folder


JUNK, VOID = {"bytes": b"not a picture", "path": None}, {"bytes": b"", "path": None}
BAD: dict[str, tuple[Callable[[Path], Path], type[Exception], str]] = {
    "no rows": (lambda p: saved(p, make().select([])), ValueError, "cannot be read as a saved dataset"),
    "no image column": (lambda p: saved(p, make().remove_columns("image")), ValueError, "no column of images among"),
    "two image columns": (
        lambda p: saved(p, with_second_column("right").rename_column("image", "left")),
        ValueError,
        "columns of images (right, left)",
    ),
    "several sizes": (
        lambda p: saved(p, make([*VALUES[:1], VALUES[0].T], [0, 1])),
        ValueError,
        "row 1, column 'image'",
    ),
    "junk": (lambda p: saved(p, make([VALUES[0], JUNK], [0, 1])), ValueError, "row 1, column 'image' cannot be read"),
    "a missing image": (
        lambda p: saved(p, make([VALUES[0], None], [0, 1])),
        ValueError,
        "row 1, column 'image' has no",
    ),
    "an empty image": (lambda p: saved(p, make([VALUES[0], VOID], [0, 1])), ValueError, "row 1, column 'image' has no"),
    "negative labels": (lambda p: saved(p, labelled([0, -2])), ValueError, "0 or more, got -2"),
    "float labels": (lambda p: saved(p, labelled([0.0, 1.0])), TypeError, "one integer an image, got float64"),
    "names for labels": (lambda p: saved(p, labelled(["a", "b"])), TypeError, "one integer an image"),
    "several labels": (lambda p: saved(p, labelled([[0, 1], [1, 2]], "labels")), TypeError, "one integer an image"),
    "a missing label": (lambda p: saved(p, labelled([0, None])), TypeError, "one integer an image"),
    "a cut table": (cut, ValueError, "cannot be read as a saved dataset"),
    "a broken state": (lambda p: spoil(p, "state.json", "{"), ValueError, "cannot be read as a saved dataset"),
    "a broken index": (lambda p: spoil(p, "dataset_dict.json", "{"), ValueError, "cannot be read as a saved dataset"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_datasets_are_refused_by_name(case: str, tmp_path: Path) -> None:
    make_bad, error, message = BAD[case]
    folder = make_bad(tmp_path / "set")
    with refused(error, folder, message):
        load_images(folder)


@pytest.mark.parametrize("source", ["hf:nobody/nothing", "hf:nothing", "hf:nobody/nothing:plain", "hf:a b//c"])
def test_a_dataset_that_cannot_be_had_is_not_found(source: str) -> None:
    with refused(FileNotFoundError, f"{source} cannot be fetched: check the name and the connection"):
        load_images(source)


@pytest.mark.parametrize("source", ["hf:", "hf::plain"])
def test_no_name_is_refused(source: str) -> None:
    with refused(ValueError, f"{source!r} names no dataset"):
        load_images(source)


def test_a_path_is_never_taken_for_the_name_of_a_dataset() -> None:
    with refused(FileNotFoundError, "no images at 'hf:nobody/nothing'"):
        load_images(Path("hf:nobody/nothing"))


@pytest.mark.parametrize(("source", "configuration"), [("hf:some/set", None), ("hf:some/set:plain", "plain")])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_dataset_of_the_hub_is_asked_for_by_name_configuration_and_split(
    source: str, configuration: str | None, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def load_dataset(*args: Any, split: str, **options: Any) -> datasets.Dataset:
        assert options in ({}, {"trust_remote_code": False})
        calls.append((*args, split))
        return make()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = load_images(source, split=split)
    check(data)
    assert data.name == "some/set"
    assert calls == [("some/set", configuration, split)]


@pytest.mark.parametrize(("version", "options"), [("2.19.0", {"trust_remote_code": False}), ("4.0.0", {})])
def test_code_of_a_dataset_is_never_run(
    version: str, options: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, bool]] = []

    def load_dataset(name: str, configuration: str | None, split: str, **options: bool) -> datasets.Dataset:
        seen.append(options)
        return make()

    monkeypatch.setattr(datasets, "__version__", version)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    load_images("hf:some/set")
    assert seen == [options]


@pytest.mark.parametrize(
    ("raised", "error", "message"),
    [
        (ConnectionError("no\nroute"), FileNotFoundError, "hf:some/set cannot be fetched"),
        (FileNotFoundError("no\nset"), FileNotFoundError, "(no set)"),
        # The library says which configurations there are in several lines.
        (ValueError("Config name is missing.\nPick one of:\n\t['a', 'b']"), ValueError, "Pick one of: ['a', 'b']"),
        (RuntimeError(), ValueError, "hf:some/set cannot be loaded with split='train': RuntimeError"),
    ],
)
def test_what_the_library_raises_is_said_in_one_line(
    raised: Exception, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(*args: Any, **options: Any) -> None:
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with refused(error, message):
        load_images("hf:some/set")


def test_without_the_library_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "set", make())
    monkeypatch.setitem(sys.modules, "datasets", None)
    for source in ("hf:some/set", str(folder)):
        with refused(ImportError, source, "pip install 'elsewhere[datasets]'"):
            load_images(source)


def test_other_sources_never_import_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "a.idx").write_bytes(idx_bytes(VALUES))
    check(load_images(tmp_path / "a.idx"), None)
