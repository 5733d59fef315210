from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from elsewhere.data import load_images
from elsewhere.data.idx import idx_files
from tests.data.toys import Pixels, few, idx_bytes, pixels, refused, write_idx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@few
@given(
    values=arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)),
    seed=st.integers(0, 99),
    packed=st.sampled_from([("", ""), (".gz", ".gz"), ("", ".gz"), (".gz", "")]),
)
def test_images_and_the_labels_beside_them_come_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, values: Pixels, seed: int, packed: tuple[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("idx")
    labels = pixels(len(values), seed=seed)
    path = write_idx(folder / (IMAGES + packed[0]), values)
    write_idx(folder / (LABELS + packed[1]), labels)
    data = load_images(path, value_range=(0, 255))
    assert data.name == path.name
    assert data.labels is not None
    assert data.labels.dtype == torch.int64
    np.testing.assert_array_equal(data.images[:, 0].numpy(), values)
    np.testing.assert_array_equal(data.labels.numpy(), labels)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("emnist-letters-train-images-idx3-ubyte.gz", "emnist-letters-train-labels-idx1-ubyte.gz"),
        ("images-of-images-idx3-ubyte", "images-of-labels-idx1-ubyte"),
    ],
)
def test_labels_are_found_under_the_usual_names(images: str, labels: str, tmp_path: Path) -> None:
    path = write_idx(tmp_path / images, pixels(3, 4, 5))
    assert load_images(path).labels is None
    write_idx(tmp_path / labels, np.array([2, 0, 1], np.uint8))
    found = load_images(path).labels
    assert found is not None
    assert found.tolist() == [2, 0, 1]


@pytest.mark.parametrize("name", ["mine.idx", "mine.gz", "mine-ubyte"])
def test_a_file_of_another_name_has_no_labels(name: str, tmp_path: Path) -> None:
    values = pixels(3, 4, 5)
    data = load_images(write_idx(tmp_path / name, values))
    np.testing.assert_array_equal(data.images[:, 0].numpy(), values)
    assert data.labels is None


def test_packing_is_seen_in_the_bytes_not_in_the_name(tmp_path: Path) -> None:
    values = pixels(3, 4, 5)
    (tmp_path / "packed.idx").write_bytes(gzip.compress(idx_bytes(values)))
    (tmp_path / "plain.gz").write_bytes(idx_bytes(values))
    for name in ("packed.idx", "plain.gz"):
        np.testing.assert_array_equal(load_images(tmp_path / name).images[:, 0].numpy(), values)


@pytest.mark.parametrize("last", [False, True])
def test_colours_may_come_first_or_last(last: bool, tmp_path: Path) -> None:
    values = pixels(2, 3, 6, 5)
    path = write_idx(tmp_path / "train-images-idx4-ubyte", values.transpose(0, 2, 3, 1) if last else values)
    write_idx(tmp_path / LABELS, np.array([1, 0], np.uint8))
    data = load_images(path)
    np.testing.assert_array_equal(data.images.numpy(), values)
    assert data.labels is not None


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_limit_takes_the_first_images_and_labels(suffix: str, tmp_path: Path) -> None:
    values = pixels(5, 4, 4)
    path = write_idx(tmp_path / (IMAGES + suffix), values)
    write_idx(tmp_path / (LABELS + suffix), np.arange(5, dtype=np.uint8))
    data = load_images(path, 2, gray=False, size=8)
    assert data.shape == (3, 8, 8)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(load_images(path, 2).images[:, 0].numpy(), values[:2])
    with refused(ValueError, path, "between 1 and 5", "got 6"):
        load_images(path, 6)


def test_a_folder_of_files_is_read_by_split(tmp_path: Path) -> None:
    sets = {"train": pixels(4, 5, 5), "t10k": pixels(3, 5, 5, seed=1)}
    for split, values in sets.items():
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", values)
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", np.arange(len(values), dtype=np.uint8))
    for split, word in (("train", "train"), ("test", "t10k"), ("t10k", "t10k")):
        data = load_images(tmp_path, split=split)
        np.testing.assert_array_equal(data.images[:, 0].numpy(), sets[word])
        assert data.labels is not None
        assert data.name == tmp_path.name
    with refused(ValueError, tmp_path, "no file for split='val'", "t10k-images-idx3-ubyte.gz"):
        load_images(tmp_path, split="val")


def test_names_may_be_in_capitals(tmp_path: Path) -> None:
    write_idx(tmp_path / IMAGES.upper(), pixels(4, 5, 5))
    write_idx(tmp_path / LABELS.upper(), np.array([3, 2, 1, 0], np.uint8))
    data = load_images(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [3, 2, 1, 0]


def test_labels_that_are_not_read_are_counted(tmp_path: Path) -> None:
    write_idx(tmp_path / IMAGES, pixels(4, 5, 5))
    (tmp_path / LABELS.replace("idx1-ubyte", "idx2-int")).write_bytes(idx_bytes(np.zeros((4, 8), ">i4"), 12))
    assert load_images(tmp_path).left_out == {"files of labels": 1}
    assert load_images(tmp_path, labels=False).left_out == {}


def test_labels_of_other_types_are_refused_with_the_way_round_them(tmp_path: Path) -> None:
    write_idx(tmp_path / IMAGES, pixels(4, 5, 5))
    (tmp_path / LABELS).write_bytes(idx_bytes(np.zeros(4, ">i4"), 12))
    with refused(TypeError, tmp_path / LABELS, "0x0c", "--ignore-labels"):
        load_images(tmp_path)


def test_a_file_and_its_gz_count_once(tmp_path: Path) -> None:
    values = pixels(4, 5, 5)
    write_idx(tmp_path / IMAGES, values)
    (tmp_path / f"{IMAGES}.gz").write_bytes(b"not looked at")
    np.testing.assert_array_equal(load_images(tmp_path).images[:, 0].numpy(), values)


def test_several_files_for_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_idx(tmp_path / f"{name}-{IMAGES}", pixels(2, 4, 4))
    with refused(ValueError, tmp_path, f"several files for split='train' (a-{IMAGES}, b-{IMAGES})"):
        load_images(tmp_path)


def test_files_of_labels_are_no_files_of_images(tmp_path: Path) -> None:
    write_idx(tmp_path / LABELS, np.array([1, 0], np.uint8))
    (tmp_path / f"{IMAGES}.txt").touch()
    (tmp_path / IMAGES).mkdir()
    assert idx_files(tmp_path) == []


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def with_labels(folder: Path, labels: bytes) -> Path:
    """Good images beside these labels, which are to blame."""
    write_idx(folder / IMAGES, GOOD)
    return written(folder / LABELS, labels)


GOOD = pixels(5, 6, 7)
RAW = idx_bytes(GOOD)
PACKED = gzip.compress(RAW)
FIVE = idx_bytes(np.arange(5, dtype=np.uint8))
HUGE = RAW[:4] + np.array([2**31, 64, 64], ">u4").tobytes() + RAW[16:]
BAD: dict[str, tuple[Callable[[Path], Path], type[Exception], str]] = {
    "an empty file": (lambda p: written(p / IMAGES, b""), ValueError, "starts with the bytes (none)"),
    "text": (lambda p: written(p / IMAGES, b"hello\n"), ValueError, "not an IDX file: it starts with the bytes 68 65"),
    "gzipped text": (lambda p: written(p / "a.gz", gzip.compress(b"hello\n")), ValueError, "not an IDX file"),
    "a cut header": (lambda p: written(p / IMAGES, RAW[:11]), ValueError, "cut short: 12 bytes were expected, 7"),
    "cut pixels": (lambda p: written(p / IMAGES, RAW[:-1]), ValueError, "declares 210 bytes, 209 are there"),
    "an empty gz": (lambda p: written(p / "a.gz", gzip.compress(b"")), ValueError, "starts with the bytes (none)"),
    "a gz cut in its header": (lambda p: written(p / "a.gz", PACKED[:6]), ValueError, "cannot be read as an IDX"),
    "a gz cut in its pixels": (lambda p: written(p / "a.gz", PACKED[:-50]), ValueError, "cannot be read as an IDX"),
    "a gz cut in its checksum": (lambda p: written(p / "a.gz", PACKED[:-3]), ValueError, "cannot be read as an IDX"),
    "a gz of another checksum": (
        lambda p: written(p / "a.gz", PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:]),
        ValueError,
        "CRC check failed",
    ),
    "a gz of cut pixels": (lambda p: written(p / "a.gz", gzip.compress(RAW[:-1])), ValueError, "210 bytes were"),
    "more than declared": (lambda p: written(p / IMAGES, RAW + b"\0"), ValueError, "goes on after the 5 rows"),
    "more in a gz": (lambda p: written(p / "a.gz", gzip.compress(RAW + b"\0")), ValueError, "goes on after the 5"),
    "a header that lies": (lambda p: written(p / IMAGES, HUGE), ValueError, "cut short: its header declares"),
    "a gz that is a bomb": (lambda p: written(p / "a.gz", gzip.compress(HUGE)), ValueError, "more than 100 to 1"),
    "floats": (lambda p: written(p / IMAGES, idx_bytes(GOOD, kind=13)), TypeError, "IDX type 0x0d"),
    "signed bytes": (lambda p: written(p / IMAGES, idx_bytes(GOOD, kind=9)), TypeError, "IDX type 0x09"),
    "labels": (lambda p: write_idx(p / LABELS, GOOD[:, 0, 0]), ValueError, "a file of labels: give the file of images"),
    "two axes": (lambda p: write_idx(p / IMAGES, GOOD[0]), ValueError, "has 2 axes, images have 3 or 4"),
    "no axes": (lambda p: written(p / IMAGES, b"\0\0\x08\0"), ValueError, "not an IDX file"),
    "no images": (lambda p: write_idx(p / IMAGES, GOOD[:0]), ValueError, "holds no images"),
    "no pixels": (lambda p: write_idx(p / IMAGES, GOOD[:, :0]), ValueError, "images without pixels, shape (5, 0, 7)"),
    "two channels": (lambda p: write_idx(p / IMAGES, pixels(2, 2, 6, 6)), ValueError, "no axis of 1, 3 or 4 channels"),
    "fewer labels": (lambda p: with_labels(p, idx_bytes(GOOD[1:, 0, 0])), ValueError, "shape (4,) for the 5 images"),
    "more labels": (lambda p: with_labels(p, idx_bytes(GOOD[0].ravel())), ValueError, "shape (42,) for the 5 images"),
    "labels that are images": (lambda p: with_labels(p, RAW), ValueError, "labels of shape (5, 6, 7)"),
    "cut labels": (lambda p: with_labels(p, FIVE[:-1]), ValueError, "cut short"),
    "labels with a tail": (lambda p: with_labels(p, FIVE + b"\0"), ValueError, "goes on after the 5 rows"),
    "wide labels": (lambda p: with_labels(p, idx_bytes(GOOD[:, 0, 0], kind=12)), TypeError, "IDX type 0x0c"),
    "a gz of labels cut short": (lambda p: with_labels(p, gzip.compress(FIVE)[:-9]), ValueError, "as an IDX file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_by_name(case: str, tmp_path: Path) -> None:
    make, error, message = BAD[case]
    culprit = make(tmp_path)
    # Where the labels are to blame, the images are what was asked for.
    path = tmp_path / IMAGES if (tmp_path / IMAGES).exists() else culprit
    with refused(error, culprit, message):
        load_images(path)


def test_a_file_has_no_splits(tmp_path: Path) -> None:
    path = write_idx(tmp_path / IMAGES, GOOD)
    with refused(ValueError, path, "has no splits"):
        load_images(path, split="test")
