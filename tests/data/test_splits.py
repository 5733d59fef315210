from __future__ import annotations

from pathlib import Path

import pytest

from elsewhere.data import load_images
from elsewhere.data.splits import choose_split, is_plain, kind_of, several
from tests.data.toys import pixels, refused, write_picture


def fill(root: Path, *names: str) -> Path:
    """One image for each name, in a folder below the root; all differ."""
    for number, name in enumerate(names):
        write_picture(root / name / "0.png", pixels(6, 6, seed=number))
    return root


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("train_set", "train"),
        ("trainset", "train"),
        ("TrainData", "train"),
        ("01-train", "train"),
        ("trainA", "train"),
        ("Testing", "test"),
        ("test2017", "test"),
        ("val", "val"),
        ("Dev", "val"),
        ("evaluation", "val"),
        ("hold-out", "val"),
        ("Unlabelled", "unlabeled"),
    ],
)
def test_names_of_splits_are_known_in_any_spelling(name: str, kind: str) -> None:
    assert kind_of(name) == kind
    assert is_plain(name)


@pytest.mark.parametrize("name", ["cats", "strainer", "contest", "device", "vale", "10", "images", ""])
def test_other_names_are_no_splits(name: str) -> None:
    assert kind_of(name) is None
    assert not is_plain(name)


@pytest.mark.parametrize("name", ["mnist_train", "bullet train", "seg_test"])
def test_names_with_further_words_may_be_splits_or_classes(name: str) -> None:
    assert kind_of(name) is not None
    assert not is_plain(name)


def test_several_splits_are_of_several_kinds() -> None:
    assert several(["train", "dev"])
    assert several(["my_train", "cats", "my_test"])
    assert not several(["train1", "train2", "cats"])


def test_a_split_is_chosen_by_its_name_or_else_by_its_kind() -> None:
    assert choose_split(["test", "train"], "train", "here") == "train"
    assert choose_split(["Testing", "Training"], "test", "here") == "Testing"
    assert choose_split(["eval", "evaluation"], "evaluation", "here") == "evaluation"
    assert choose_split(["train", "Validation"], "validation", "here") == "Validation"
    assert choose_split(["train", "valid"], "validation", "here") == "valid"
    assert choose_split(["TrainA", "trainB"], "trainA", "here") == "TrainA"
    with refused(ValueError, "here has several splits of the kind 'train'", "trainA, trainB"):
        choose_split(["trainA", "trainB"], "train", "here")
    with refused(ValueError, "here has no split 'val'", "train, test", "--split"):
        choose_split(["train", "test"], "val", "here")


@pytest.mark.parametrize(
    "names",
    [("Train", "Test"), ("training", "testing"), ("train", "dev"), ("TRAIN", "EVAL"), ("trn", "holdout", "val")],
)
@pytest.mark.parametrize("inside", ["", "cats"])
def test_of_folders_called_like_splits_only_the_training_split_is_read(
    names: tuple[str, ...], inside: str, tmp_path: Path
) -> None:
    fill(tmp_path, *(f"{name}/{inside}" for name in names))
    data = load_images(tmp_path)
    assert len(data) == 1
    assert data.images[0, 0].tolist() == pixels(6, 6).tolist()
    assert data.classes == (("cats",) if inside else ())
    assert data.left_out == {f"images of the split {name!r}": 1 for name in names[1:]}


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (("train", "test", "extra"), "train"),
        (("mnist_train", "mnist_test"), "mnist_train"),
        (("train/cats", "train/dogs", "boat"), "train"),
        (("cats/train", "cats/test", "dogs/train"), "cats/train"),
        (("cats", "cats/test", "dogs"), "cats/test"),
        (("set/Train", "set/Test"), "set/Train"),
    ],
)
def test_splits_that_are_mixed_with_classes_are_refused(names: tuple[str, ...], remedy: str, tmp_path: Path) -> None:
    with refused(ValueError, "splits of a set", f"give the folder of one split, such as {tmp_path / remedy}"):
        load_images(fill(tmp_path, *names))


def test_splits_by_the_names_of_files_are_refused(tmp_path: Path) -> None:
    for name in ("train_0.png", "train_1.png", "test_0.png"):
        write_picture(tmp_path / name, pixels(6, 6))
    with refused(ValueError, tmp_path, "several splits by the names of its files", "a folder of its own"):
        load_images(tmp_path)
    write_picture(tmp_path / "cat.png", pixels(6, 6))
    assert len(load_images(tmp_path)) == 4


def test_a_folder_around_the_folder_of_classes_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "photos/cats", "photos/dogs")
    with refused(ValueError, f"give {tmp_path / 'photos'} instead"):
        load_images(tmp_path)
    assert load_images(tmp_path / "photos").classes == ("cats", "dogs")


def test_of_folders_within_folders_the_innermost_with_several_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "data/set/photos/cats", "data/set/photos/dogs")
    with refused(ValueError, f"give {tmp_path / 'data' / 'set' / 'photos'} instead"):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("images", "annotations"),
    [("images", "masks"), ("JPEGImages", "SegmentationClass"), ("img", "gt"), ("input", "Target"), ("image", "label")],
)
@pytest.mark.parametrize("above", [".", "set"])
def test_folders_of_annotations_beside_the_images_are_refused(
    images: str, annotations: str, above: str, tmp_path: Path
) -> None:
    folder = fill(tmp_path, f"{above}/{images}", f"{above}/{annotations}") / above
    with refused(ValueError, folder, f"annotations ({annotations})", f"such as {folder / images}"):
        load_images(tmp_path)
    assert len(load_images(folder / images)) == 1


@pytest.mark.parametrize("above", ["", "benign"])
def test_masks_beside_the_images_by_the_names_of_files_are_refused(above: str, tmp_path: Path) -> None:
    for name in ("a (1).png", "b.png", "b_mask.png"):
        write_picture(tmp_path / above / name, pixels(6, 6))
    with refused(ValueError, tmp_path / above, "annotations (b, b_mask)", "a folder of their own"):
        load_images(tmp_path)
    (tmp_path / above / "b.png").unlink()  # then the name may say what the picture shows
    assert len(load_images(tmp_path)) == 2


def test_classes_may_be_called_like_annotations(tmp_path: Path) -> None:
    fill(tmp_path, "masks", "gloves", "labels")
    assert load_images(tmp_path).classes == ("gloves", "labels", "masks")


@pytest.mark.parametrize(("name", "remedy"), [("set.tar.gz", "unpack it"), ("train-0.parquet", "give hf:")])
def test_a_folder_with_packed_images_says_how_to_read_them(name: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"?")
    with refused(ValueError, tmp_path, name, remedy):
        load_images(tmp_path)
    if name.endswith("gz"):
        with refused(ValueError, tmp_path / name, "cannot be read as a tar archive"):
            load_images(tmp_path / name)
