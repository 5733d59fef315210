"""Where results go, and what is said when they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elsewhere.terminal import (
    Interrupted,
    check_file,
    check_outside,
    parse_memory,
    parse_pixel,
    parse_size,
    parse_value_range,
    parse_windows,
    results_in,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GB", 10**9), ("512mb", 512 * 10**6), ("2GiB", 2**31), ("1.5 GiB", 3 * 2**29), ("123", 123), ("4k", 4000)],
)
def test_memory_sizes(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "GB", "lots", "1e9", "-1GB", "1TB", "1 2"])
def test_what_is_no_memory_size(text: str) -> None:
    with pytest.raises(ValueError, match="such as 512MB or 2GiB"):
        parse_memory(text)


def test_a_side_or_a_canvas() -> None:
    assert parse_size(None) == (None, None)
    assert parse_size("64") == (64, None)
    assert parse_size("256x512") == parse_size(" 256 x 512 ") == (None, (256, 512))


@pytest.mark.parametrize(
    "text", ["", "x", "64x", "x64", "0", "0x5", "5x0", "1x2x3", "-3", "2.5", "big", "99999x1", "9" * 30]
)
def test_what_is_neither_a_side_nor_a_canvas(text: str) -> None:
    with pytest.raises(ValueError, match="--size must be a side such as 64, or height and width such as 256x512"):
        parse_size(text)


def test_a_row_and_a_column() -> None:
    assert parse_pixel(None) is None
    assert parse_pixel("14,9") == parse_pixel(" 14 , 9 ") == (14, 9)
    for text in ("", "14", "14,", "14x9", "1,2,3", "-1,2", "1.5,2", "a,b", "9" * 30 + ",1"):
        with pytest.raises(ValueError, match="--pixel must be a row and a column such as 14,9"):
            parse_pixel(text)


def test_values_of_black_and_white() -> None:
    assert parse_value_range(None) is None
    assert parse_value_range("0,255") == (0, 255)
    assert parse_value_range(" 1 , -0.5") == (1, -0.5)
    for text in ("", "0", "0,", "0;1", "0,1,2", "1,1", "0,inf", "nan,1", "a,b", "9" * 400 + ",0"):
        with pytest.raises(ValueError, match="--value-range must be the values of black and white, such as 0,255"):
            parse_value_range(text)


def test_lists_and_ranges_of_windows() -> None:
    assert parse_windows("3,5, 9") == [3, 5, 9]
    assert parse_windows("3-9") == [3, 5, 7, 9]
    with pytest.raises(ValueError, match="such as 3,5,9 or 3-15"):
        parse_windows("3;5")


def test_checking_a_folder_leaves_no_trace(tmp_path: Path) -> None:
    with results_in(tmp_path / "a" / "b"):
        assert list(tmp_path.iterdir()) == []


def work(folder: Path, error: BaseException, *, write: bool, kept: str = "") -> None:
    """What a command does: make its folder, perhaps write, and fail."""
    with results_in(folder, kept):
        folder.mkdir(parents=True, exist_ok=True)
        if write:
            (folder / "file").touch()
        raise error


def test_a_failure_takes_its_empty_folders_along(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"):
        work(tmp_path / "a" / "b", ValueError("boom"), write=False)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_what_was_there_and_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name, write in (("old", False), ("new", True)):
        with pytest.raises(ValueError, match="boom"):
            work(tmp_path / name, ValueError("boom"), write=write)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "new", "old"]


def test_an_interruption_says_what_is_kept(tmp_path: Path) -> None:
    (tmp_path / "from-before").touch()
    with pytest.raises(Interrupted, match=r"^nothing was written$"):
        work(tmp_path, KeyboardInterrupt(), write=False)
    with pytest.raises(Interrupted, match="files finished so far are kept in"):
        work(tmp_path, KeyboardInterrupt(), write=True)
    with pytest.raises(Interrupted, match=r"^a word of its own$"):
        work(tmp_path, KeyboardInterrupt(), write=True, kept="a word of its own")


def test_files_are_named_after_what_is_in_them(tmp_path: Path) -> None:
    check_file(tmp_path / "deep" / "sheet.PNG", ".png")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"must end in \.png"):
        check_file(tmp_path / "sheet.jpg", ".png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(IsADirectoryError, match="give the name of a file"):
        check_file(tmp_path / "folder.png", ".png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one class of two pictures."""
    folder = tmp_path / "photos"
    (folder / "cats").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("L", (8, 8), 99).save(folder / "cats" / name)
    return folder


@pytest.mark.parametrize("place", ["", "cats", "cats/deep/new", "new", "../photos/new", "linked"])
def test_pictures_are_not_written_among_the_images_that_are_read(photos: Path, tmp_path: Path, place: str) -> None:
    (photos / "linked").symlink_to(photos / "cats")
    before = sorted(tmp_path.rglob("*"))
    refused = pytest.raises(
        ValueError, match=r"^--out \S+ lies in the folder of the images .*choose a folder elsewhere"
    )
    with refused, results_in(photos / place, sources=["fashion-mini", str(photos)]):
        pytest.fail("the work was begun")
    assert sorted(tmp_path.rglob("*")) == before


def test_pictures_may_be_written_where_no_images_are_read(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("out", "photos-out", "photos/.hidden/out", "."):
        check_outside(tmp_path / place, str(photos))
    # A file is read alone, and a name of the package is no folder, whatever lies there.
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8))
    check_outside(tmp_path, str(tmp_path / "a.npz"))
    monkeypatch.chdir(tmp_path)
    photos.rename(tmp_path / "hands")
    for name in ("hands", "hands:20", "hf:hands", "nowhere", "a\0b", "x" * 300):
        check_outside(tmp_path / "hands", name)
    # Of a folder of IDX files only these are read.
    (tmp_path / "idx").mkdir()
    (tmp_path / "idx" / "train-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + bytes(12))
    check_outside(tmp_path / "idx" / "out", str(tmp_path / "idx"))
