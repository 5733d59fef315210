from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elsewhere.data import load_images
from elsewhere.data.folders import natural
from tests.data.toys import few, pixels, refused, write_picture

BASE = 100


def fill(folder: Path, count: int, side: int = 6, first: int = 0) -> Path:
    """Images 0.png, 1.png, ...; each is gray of a level that `levels` turns into its number."""
    for i in range(first, first + count):
        write_picture(folder / f"{i}.png", np.full((side, side), BASE + i, np.uint8))
    return folder


def levels(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 0, 0].int() - BASE).tolist()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "ppm", "webp", "gif", "PNG"])
def test_lossless_files_come_back_unchanged(suffix: str, channels: int, tmp_path: Path) -> None:
    values = pixels(3, 6, 7, channels)
    if suffix == "gif":
        values = values // 64 * 64  # few enough colours for a palette
    for i, image in enumerate(values):
        options = {"lossless": True} if suffix == "webp" else {}
        write_picture(tmp_path / f"{i}.{suffix}", image[..., 0] if channels == 1 else image, **options)
    data = load_images(tmp_path)
    expected = values.transpose(0, 3, 1, 2)
    # WebP knows no gray and GIF only palettes: there gray images come back as three equal channels.
    assert data.shape[0] == (3 if suffix in ("webp", "gif") else channels)
    np.testing.assert_array_equal(data.images.numpy(), np.broadcast_to(expected, data.images.shape))
    assert data.labels is None
    assert data.classes == ()
    assert data.name == tmp_path.name


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "JPG"])
def test_jpeg_comes_back_nearly_unchanged(suffix: str, tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    write_picture(tmp_path / f"a.{suffix}", smooth, quality=95)
    difference = load_images(tmp_path).images[0, 0].numpy().astype(int) - smooth
    assert np.abs(difference).max() <= 4


@pytest.mark.parametrize("suffix", ["pgm", "pnm", "pbm"])
def test_portable_gray_files_are_read(suffix: str, tmp_path: Path) -> None:
    values = np.where(pixels(6, 8) > 127, 255, 0).astype(np.uint8)
    write_picture(tmp_path / f"a.{suffix}", values > 0 if suffix == "pbm" else values)
    np.testing.assert_array_equal(load_images(tmp_path).images[0, 0].numpy(), values)


def test_a_flat_folder_counts_in_natural_order(tmp_path: Path) -> None:
    fill(tmp_path, 12)
    assert levels(load_images(tmp_path).images) == list(range(12))


@few
@given(st.lists(st.integers(0, 10**20), unique=True, max_size=8), st.sampled_from(["", "img", "a1b"]))
def test_names_sort_by_their_numbers(numbers: list[int], prefix: str) -> None:
    paths = [Path(f"{prefix}{number}.png") for number in numbers]
    assert sorted(paths, key=natural) == [Path(f"{prefix}{number}.png") for number in sorted(numbers)]


@few
@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), unique=True))
def test_any_names_have_one_order(names: list[str]) -> None:
    paths = [Path(f"x{name}") for name in names]
    backwards = paths[::-1]
    assert sorted(paths, key=natural) == sorted(backwards, key=natural)


def test_equal_numbers_sort_by_name() -> None:
    names = ["1.png", "01.png", "001.png"]
    assert [path.name for path in sorted(map(Path, names), key=natural)] == ["001.png", "01.png", "1.png"]


def test_subfolders_are_classes_in_natural_order(tmp_path: Path) -> None:
    for number, name in enumerate(("cats", "class 2", "class 10")):
        fill(tmp_path / name, 2, first=9 + 2 * number)
    data = load_images(tmp_path)
    assert data.classes == ("cats", "class 2", "class 10")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert levels(data.images) == [9, 10, 11, 12, 13, 14]


def test_a_limit_takes_the_first_and_leaves_the_rest_unopened(tmp_path: Path) -> None:
    fill(tmp_path / "a", 2)
    fill(tmp_path / "b", 2, first=2)
    (tmp_path / "b" / "3.png").write_bytes(b"not looked at")
    data = load_images(tmp_path, 3)
    assert levels(data.images) == [0, 1, 2]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    assert data.classes == ("a", "b")


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    for name in (".hidden.png", ".DS_Store", "notes.txt", "a.png.part"):
        (tmp_path / name).write_bytes(b"no image")
    fill(tmp_path / ".thumbnails", 1)
    (tmp_path / "notes").mkdir()
    data = load_images(tmp_path)
    assert levels(data.images) == [0, 1]
    assert data.labels is None


def test_a_link_to_a_folder_is_a_folder(tmp_path: Path) -> None:
    fill(tmp_path / "real", 2)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert levels(load_images(tmp_path / "link").images) == [0, 1]


@pytest.mark.parametrize("classes", [False, True])
def test_subfolders_called_like_splits_are_splits(classes: bool, tmp_path: Path) -> None:
    for number, split in enumerate(("test", "train", "val")):
        fill(tmp_path / split / "cats" if classes else tmp_path / split, 2, first=10 * number)
    for split, first in (("train", 10), ("test", 0), ("val", 20)):
        data = load_images(tmp_path, split=split)
        assert levels(data.images) == [first, first + 1]
        assert data.classes == (("cats",) if classes else ())
        assert data.name == tmp_path.name
    assert torch.equal(load_images(tmp_path).images, load_images(tmp_path, split="train").images)
    with refused(ValueError, tmp_path, "no split 'extra'", "test, train, val"):
        load_images(tmp_path, split="extra")


def test_train_beside_another_class_is_a_class(tmp_path: Path) -> None:
    fill(tmp_path / "train", 1)
    fill(tmp_path / "boat", 1, first=1)
    assert load_images(tmp_path).classes == ("boat", "train")


def test_one_colour_image_makes_the_set_colour(tmp_path: Path) -> None:
    gray, colour = pixels(5, 5), pixels(5, 5, 3, seed=1)
    for i, values in enumerate((gray, colour, gray)):
        write_picture(tmp_path / f"{i}.png", values)
    images = load_images(tmp_path).images.numpy()
    np.testing.assert_array_equal(images[1], colour.transpose(2, 0, 1))
    for i in (0, 2):
        np.testing.assert_array_equal(images[i], np.stack([gray] * 3))


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", pixels(6, 8))
    write_picture(tmp_path / "b.png", pixels(8, 6))
    with refused(ValueError, f"{tmp_path / 'b.png'} is 8x6", f"{tmp_path / 'a.png'} is 6x8", "give size="):
        load_images(tmp_path)
    assert load_images(tmp_path, size=(4, 5)).images.shape == (2, 1, 4, 5)


def spoil(folder: Path, name: str, content: bytes) -> Path:
    """A good image before a bad one, which is to blame."""
    fill(folder, 1)
    (folder / name).write_bytes(content)
    return folder / name


def holding(folder: Path, name: str) -> Path:
    """A folder with one file, none of whose bytes matter."""
    (folder / name).write_bytes(b"?")
    return folder


def cut(folder: Path, suffix: str) -> Path:
    path = write_picture(folder / f"a.{suffix}", pixels(40, 40, 3))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


def flipped(folder: Path) -> Path:
    path = write_picture(folder / "a.png", pixels(40, 40, 3))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    return path


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
    return folder


def with_class(folder: Path, count: int, beside: int) -> Path:
    fill(folder, count)
    made(folder, "cats", "dogs")
    fill(folder / "cats", beside)
    return folder


CUT = "cannot be read as an image"
# Opened by its first bytes, it would be handed to an outside program.
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda p: p, "has no images: found nothing"),
    "only text": (lambda p: holding(p, "a.txt"), "has no images: found a.txt"),
    "only hidden images": (lambda p: holding(p, ".a.png"), "has no images: found .a.png"),
    "only empty classes": (lambda p: made(p, "cats", "dogs"), "has no images: found cats/, dogs/"),
    "many things, none of use": (lambda p: made(p, *"abcdefg"), "found a/, b/, c/, d/, e/, ..."),
    "an empty split": (lambda p: made(p, "train", "test") / "train", "has no images: found nothing"),
    "an empty class": (lambda p: with_class(p, 0, 2) / "dogs", "has no images, though subfolders of"),
    "images beside classes": (lambda p: with_class(p, 2, 2), "images of its own (0.png) beside the class cats"),
    "text called png": (lambda p: spoil(p, "9.png", b"not a picture"), CUT),
    "an empty png": (lambda p: spoil(p, "9.png", b""), CUT),
    "an empty jpg": (lambda p: spoil(p, "9.jpg", b""), CUT),
    "PostScript called png": (lambda p: spoil(p, "9.png", POSTSCRIPT), CUT),
    "a damaged png": (flipped, CUT),
    "a cut png": (lambda p: cut(p, "png"), CUT),
    "a cut jpg": (lambda p: cut(p, "jpg"), CUT),
    "a cut bmp": (lambda p: cut(p, "bmp"), CUT),
    "a cut gif": (lambda p: cut(p, "gif"), CUT),
    "a cut webp": (lambda p: cut(p, "webp"), CUT),
    "a cut tif": (lambda p: cut(p, "tif"), CUT),
    "a cut ppm": (lambda p: cut(p, "ppm"), CUT),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_and_files_are_refused_by_name(case: str, tmp_path: Path) -> None:
    make, message = BAD[case]
    culprit = make(tmp_path)
    with refused(ValueError, culprit, message):
        load_images(tmp_path)


@pytest.mark.parametrize("limit", [4, 10**9])
def test_a_limit_beyond_the_files_is_refused(limit: int, tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with refused(ValueError, tmp_path, "between 1 and 3", f"got {limit}"):
        load_images(tmp_path, limit)


def test_a_folder_without_splits_has_none(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    with refused(ValueError, tmp_path, "has no splits"):
        load_images(tmp_path, split="test")
