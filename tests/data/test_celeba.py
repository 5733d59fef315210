"""CelebA's folder and list of splits, and the folder of AFHQ: pictures sorted by split, then class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elsewhere.data import load_images
from tests.data.toys import pixels, refused, write_picture

# Smooth pictures of CelebA's proportions, 178 x 218, a tenth of its size.
PICTURES = [np.asarray(Image.fromarray(pixels(3, 3, 3, seed=i)).resize((18, 22))) for i in range(6)]
SPLITS = [0, 0, 1, 2, 0, 2]


def celeba(home: Path, listed: list[str] | None = None) -> Path:
    for i, values in enumerate(PICTURES):
        write_picture(home / "img_align_celeba" / f"{i + 1:06d}.png", values)
    lines = [f"{i + 1:06d}.png {split}" for i, split in enumerate(SPLITS)] if listed is None else listed
    (home / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    (home / "list_attr_celeba.txt").write_text("not read\n")
    return home


@pytest.mark.parametrize(("split", "number"), [("train", 0), ("valid", 1), ("val", 1), ("test", 2)])
def test_the_list_of_celeba_gives_its_splits(split: str, number: int, tmp_path: Path) -> None:
    data = load_images(celeba(tmp_path), split=split)
    expected = [values.transpose(2, 0, 1) for values, part in zip(PICTURES, SPLITS, strict=True) if part == number]
    assert (data.images.numpy() == np.stack(expected)).all()
    assert (data.name, data.labels) == ("celeba", None)
    others = {"train": 3, "val": 1, "test": 2}
    del others["val" if split == "valid" else split]
    assert data.left_out == {f"images of the split {name!r}": count for name, count in others.items()}


def test_pictures_in_no_split_are_counted(tmp_path: Path) -> None:
    data = load_images(celeba(tmp_path, ["000002.png 0", "", "000001.png 0"]))
    assert len(data) == 2
    assert data.left_out == {"pictures in no split": 4}


def test_bilinear_stretching_is_what_published_runs_did(tmp_path: Path) -> None:
    # torchvision's Resize((h, w)) of a PIL picture is this call.
    data = load_images(celeba(tmp_path), 1, size=8, fit="stretch", resample="bilinear")
    expected = np.asarray(Image.fromarray(PICTURES[0]).resize((8, 8), Image.Resampling.BILINEAR))
    assert (data.images[0].numpy() == expected.transpose(2, 0, 1)).all()
    other = load_images(tmp_path, 1, size=8, fit="stretch")
    assert (other.images != data.images).any()


BAD = {
    "a missing picture": (["000009.png 0"], FileNotFoundError, "lacks 000009.png (1 of 1 pictures)"),
    "a fourth split": (["000001.png 3"], ValueError, "line 1: expected a file name and 0, 1 or 2"),
    "a line that is cut": (["000001.png 0", "00000"], ValueError, "line 2: expected"),
    "a path": (["../../x.png 0"], ValueError, "line 1: expected"),
    "no pictures of the split": (["000001.png 2"], ValueError, "holds no images"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lists_are_refused(case: str, tmp_path: Path) -> None:
    listed, error, message = BAD[case]
    with refused(error, tmp_path, message):
        load_images(celeba(tmp_path, listed))


def test_a_split_that_celeba_has_not_is_refused(tmp_path: Path) -> None:
    with refused(ValueError, tmp_path, "no split 'unlabeled': give split= one of train, val, test"):
        load_images(celeba(tmp_path), split="unlabeled")


def test_afhq_has_its_classes_in_folders_of_its_splits(tmp_path: Path) -> None:
    names = ("cat", "dog", "wild")
    for number, name in enumerate(names):
        for split, count in (("train", 2), ("val", 1)):
            for i in range(count):
                values = pixels(12, 12, 3, seed=10 * number + i)
                write_picture(tmp_path / "afhq" / split / name / f"flickr_{name}_{i:06d}.png", values)
    data = load_images(tmp_path / "afhq")
    assert data.classes == names
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.left_out == {"images of the split 'val'": 3}
    inner = load_images(tmp_path / "afhq" / "train")
    assert (inner.images == data.images).all()
