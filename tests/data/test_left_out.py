from __future__ import annotations

import os
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image, features

from elsewhere.data import ImageSet, load_images
from tests.data.toys import pixels, refused, write_idx, write_picture


def test_a_source_that_is_read_whole_has_left_nothing_out(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", pixels(6, 6))
    assert load_images(tmp_path).left_out == {}
    assert load_images("fashion-mini").left_out == {}


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "jp2", "dib", "apng", "avif"])
def test_images_are_known_by_every_suffix_of_their_format(suffix: str, tmp_path: Path) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow cannot read AVIF")
    write_picture(tmp_path / f"a.{suffix}", pixels(8, 8))
    assert len(load_images(tmp_path)) == 1


def test_files_that_are_not_read_are_counted_by_kind(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", pixels(6, 6))
    for name in ("b.txt", "c.TXT", "README", "d.tga", ".hidden.png", "odd.a b", ".DS_Store", "Thumbs.db", "._a.png"):
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / "dead.png").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "e.txt").write_bytes(b"?")
    os.mkfifo(tmp_path / "pipe.png")
    data = load_images(tmp_path)
    assert len(data) == 1
    assert data.left_out == {
        ".txt files": 3,
        "files without a suffix": 1,
        ".tga files": 1,
        "hidden files or folders": 1,
        "other files": 1,
        "dangling links": 2,
        "special files": 1,
    }


def test_images_in_deeper_folders_belong_to_the_class_above(tmp_path: Path) -> None:
    for name in ("a/0.png", "a/more/1.png", "a/more/still/2.png", "b/first/3.png"):
        write_picture(tmp_path / name, pixels(6, 6))
    data = load_images(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 0, 1]
    assert data.classes == ("a", "b")


def test_links_in_a_circle_are_read_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_picture(tmp_path / name / "0.png", pixels(6, 6))
        for other in ("a", "b", "c"):
            (tmp_path / name / f"to-{other}").symlink_to(tmp_path / other)
        (tmp_path / name / "up").symlink_to(tmp_path.parent)
    data = load_images(tmp_path)
    assert len(data) == 3
    assert data.left_out == {"links to folders that are read already": 12}


def test_classes_may_be_links_to_folders_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_picture(tmp_path / "all" / name / "0.png", pixels(6, 6))
        (tmp_path / "some").mkdir(exist_ok=True)
        (tmp_path / "some" / name).symlink_to(tmp_path / "all" / name)
    data = load_images(tmp_path / "some")
    assert data.classes == ("a", "b")
    assert data.left_out == {}


def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / Path(*"d" * 120) / "a.png", pixels(6, 6))
    with refused(ValueError, "more than 100 folders deep"):
        load_images(tmp_path)


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_frames_after_the_first_are_said_to_be_left_out(suffix: str, tmp_path: Path) -> None:
    first, *others = (Image.fromarray(pixels(8, 8, seed=seed) // 2 + 99) for seed in range(3))
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others)
    first.save(tmp_path / f"b.{suffix}")
    assert load_images(tmp_path).left_out == {"files with further frames": 1}


def test_what_a_limit_leaves_out_is_counted_and_whole_classes_too(tmp_path: Path) -> None:
    for name in ("a/0.png", "a/1.png", "b/0.png", "c/0.png"):
        write_picture(tmp_path / name, pixels(6, 6))
    assert load_images(tmp_path, 3).left_out == {"images beyond limit": 1, "classes beyond limit": 1}
    assert load_images(tmp_path, 4).left_out == {}


def test_arrays_that_are_not_read_are_counted(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=pixels(3, 8, 8), y_train=[0, 1, 2], x_dev=pixels(5, 8, 8), y_dev=[0] * 5, mu=1)
    data = load_images(tmp_path / "a.npz")
    assert len(data) == 3
    assert data.left_out == {"images of the split 'dev'": 5, "other arrays": 1}


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "Validation")])
def test_splits_of_a_saved_dataset_are_counted(names: tuple[str, str], tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image()})
    parts = {
        name: datasets.Dataset.from_dict({"image": [Image.fromarray(pixels(6, 6))] * count}, features=features)
        for name, count in zip(names, (1, 2), strict=True)
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    data = load_images(tmp_path / "set")
    assert len(data) == 1
    assert data.left_out == {f"images of the split {names[1]!r}": 2}


def test_the_root_of_torchvision_is_read_and_its_other_files_counted(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    write_idx(raw / "train-images-idx3-ubyte", pixels(3, 8, 8))
    write_idx(raw / "train-images-idx3-ubyte.gz", pixels(3, 8, 8))
    write_idx(raw / "train-labels-idx1-ubyte", np.array([2, 0, 1], np.uint8))
    write_idx(raw / "t10k-images-idx3-ubyte", pixels(2, 8, 8))
    for folder in (tmp_path, tmp_path / "MNIST", raw):
        data = load_images(folder)
        assert len(data) == 3
        assert data.name == "MNIST"
        assert data.labels is not None
        assert data.left_out == {"other IDX files of images": 1}
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    write_idx(tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte", pixels(3, 8, 8))
    with refused(ValueError, tmp_path, "several sets", "give the folder of one"):
        load_images(tmp_path)


def test_taking_some_keeps_what_was_left_out() -> None:
    data = load_images(pixels(3, 8, 8))
    some = ImageSet(data.images, left_out={".txt files": 1}).take(2)
    assert some.left_out == {".txt files": 1, "images beyond limit": 1}
    assert (len(some), some.total) == (2, 3)


def test_sets_can_be_keys_whatever_was_left_out() -> None:
    data = load_images(pixels(3, 8, 8), 2)
    assert data.left_out
    assert {data: 1}[data] == 1
