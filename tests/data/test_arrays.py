from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from elsewhere.data import load_images
from elsewhere.data.arrays import OVERSHOOT, channels_first, to_bytes
from tests.data.toys import Pixels, few, pixels, refused


def npy(path: Path, values: NDArray[Any]) -> Path:
    np.save(path, values)
    return path


def npz(path: Path, **values: Any) -> Path:
    np.savez(path, **values)
    return path


gray_sets = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7))


@few
@given(values=gray_sets, fortran=st.booleans(), packed=st.booleans())
def test_gray_bytes_come_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, values: Pixels, fortran: bool, packed: bool
) -> None:
    folder = tmp_path_factory.mktemp("gray")
    stored = np.asfortranarray(values) if fortran else values
    np.save(folder / "set.npy", stored)
    (np.savez_compressed if packed else np.savez)(folder / "set.npz", images=stored)
    for name in ("set.npy", "set.npz"):
        data = load_images(folder / name, value_range=(0, 255))
        assert data.name == name
        np.testing.assert_array_equal(data.images[:, 0].numpy(), values)


@few
@given(count=st.integers(1, 4), height=st.integers(5, 9), width=st.integers(5, 9), channels=st.sampled_from([1, 3]))
def test_channels_may_come_first_or_last(
    tmp_path_factory: pytest.TempPathFactory, count: int, height: int, width: int, channels: int
) -> None:
    folder = tmp_path_factory.mktemp("channels")
    values = pixels(count, channels, height, width)
    first, last = npy(folder / "chw.npy", values), npy(folder / "hwc.npy", values.transpose(0, 2, 3, 1))
    for path in (first, last):
        np.testing.assert_array_equal(load_images(path).images.numpy(), values)


@pytest.mark.parametrize("last", [False, True])
def test_alpha_in_arrays_is_laid_on_white(last: bool, tmp_path: Path) -> None:
    values = pixels(3, 6, 5, 4)
    values[..., 3] = np.array([0, 255])[np.arange(5) % 2]
    expected = np.where(values[..., 3:] == 0, 255, values[..., :3]).transpose(0, 3, 1, 2)
    path = npy(tmp_path / "set.npy", values if last else values.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(load_images(path).images.numpy(), expected)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "longdouble"])
@pytest.mark.parametrize("signed", [False, True])
def test_floats_of_either_range_are_the_bytes_they_came_from(dtype: str, signed: bool, tmp_path: Path) -> None:
    # All levels, so that the range shows; float16 keeps them apart: its steps below 1 are at most 1/2048.
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    floats = levels / 127.5 - 1 if signed else levels / 255
    data = load_images(npy(tmp_path / "set.npy", floats.astype(dtype)))
    np.testing.assert_array_equal(data.images[:, 0].numpy(), levels)


@few
@given(arrays(np.float32, (2, 3, 3), elements=st.floats(-1, 1, width=32)))
def test_floats_are_at_most_half_a_level_away_from_their_bytes(floats: NDArray[np.float32]) -> None:
    assume(floats.min() >= 0 or floats.min() <= OVERSHOOT)  # between them either range could be meant
    scaled = floats.astype(np.float64) * 255 if floats.min() >= 0 else (floats.astype(np.float64) + 1) * 127.5
    # float32 is good to 1e-5 levels here.
    assert np.abs(to_bytes(floats, "floats", (0, 1) if floats.min() >= 0 else (-1, 1)) - scaled).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("floats", [False, True])
def test_a_limit_never_changes_the_pixels_it_keeps(floats: bool, fortran: bool, tmp_path: Path) -> None:
    values: NDArray[Any] = pixels(5, 4, 4)
    if floats:  # of which the first images alone would pass for [0, 1]
        values = values / 255
        values[3] -= 1
    labels = np.arange(5)
    stored = np.asfortranarray(values) if fortran else values
    path = npz(tmp_path / "set.npz", images=stored, labels=labels)
    whole, some = load_images(path), load_images(path, 2)
    assert torch.equal(some.images, whole.images[:2])
    assert some.labels is not None
    assert some.labels.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["images", "image", "imgs", "x", "X", "data", "Images"])
def test_images_are_known_by_their_name(name: str, tmp_path: Path) -> None:
    values = pixels(3, 4, 4)
    other = np.arange(99)
    data = load_images(npz(tmp_path / "set.npz", **{"about": other, name: values, "zzz": other}))
    np.testing.assert_array_equal(data.images[:, 0].numpy(), values)
    assert data.labels is None


@pytest.mark.parametrize("name", ["labels", "label", "y", "Y", "targets", "target"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, ">i2"])
def test_labels_are_known_by_their_name(name: str, dtype: Any, tmp_path: Path) -> None:
    labels = np.array([2, 0, 1])
    for number, shape in enumerate(((3,), (3, 1))):
        values = labels.astype(dtype).reshape(shape)
        data = load_images(npz(tmp_path / f"{number}.npz", images=pixels(3, 4, 4), **{name: values}))
        assert data.labels is not None
        assert data.labels.dtype == torch.int64
        assert data.labels.tolist() == [2, 0, 1]


def test_a_single_array_needs_no_name(tmp_path: Path) -> None:
    values = pixels(3, 4, 4)
    np.savez(tmp_path / "set.npz", values)
    np.testing.assert_array_equal(load_images(tmp_path / "set.npz").images[:, 0].numpy(), values)


@pytest.mark.parametrize("column", [False, True])
def test_arrays_without_names_may_be_images_and_labels(column: bool, tmp_path: Path) -> None:
    values, labels = pixels(3, 4, 4), np.array([2, 0, 1])
    np.savez(tmp_path / "set.npz", values, labels[:, None] if column else labels)
    data = load_images(tmp_path / "set.npz")
    assert data.labels is not None
    assert data.labels.tolist() == labels.tolist()
    assert not data.left_out


def test_a_single_array_of_a_test_set_is_no_training_set(tmp_path: Path) -> None:
    path = npz(tmp_path / "set.npz", x_test=pixels(3, 4, 4))
    with refused(ValueError, path, "no split 'train'", "one of test"):
        load_images(path)
    assert len(load_images(path, split="test")) == 3


def test_labels_without_images_of_their_split_are_counted(tmp_path: Path) -> None:
    path = npz(tmp_path / "set.npz", images=pixels(3, 4, 4), train_labels=[0, 1, 2])
    assert load_images(path).left_out == {"other arrays": 1}


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [((8, 9, 3, 20), "transpose(3, 0, 1, 2)"), ((3, 20, 8, 9), "transpose it"), ((20, 64), "reshape(-1, 8, 8)")],
)
def test_the_remedy_for_a_wrong_layout_keeps_pixels_in_place(
    shape: tuple[int, ...], remedy: str, tmp_path: Path
) -> None:
    with refused(ValueError, "[images]", remedy):
        load_images(npz(tmp_path / "set.npz", images=pixels(*shape)))


@pytest.mark.parametrize(("images", "labels"), [("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}_data", "{}_target")])
def test_a_split_is_part_of_the_names(images: str, labels: str, tmp_path: Path) -> None:
    sets = {"train": (pixels(3, 4, 4), [0, 1, 2]), "test": (pixels(2, 4, 4, seed=1), [1, 0])}
    names = {images.format(split): values for split, (values, _) in sets.items()}
    names |= {labels.format(split): np.array(numbers) for split, (_, numbers) in sets.items()}
    path = npz(tmp_path / "set.npz", **names)
    for split, (values, numbers) in sets.items():
        data = load_images(path, split=split)
        np.testing.assert_array_equal(data.images[:, 0].numpy(), values)
        assert data.labels is not None
        assert data.labels.tolist() == numbers
    assert torch.equal(load_images(path).images, load_images(path, split="train").images)
    with refused(ValueError, path, "no split 'val'", "train, test"):
        load_images(path, split="val")


def test_names_of_classes_come_along(tmp_path: Path) -> None:
    path = npz(tmp_path / "set.npz", images=pixels(2, 4, 4), labels=[0, 1], classes=["T-shirt/top", "Schnürschuh"])
    assert load_images(path).classes == ("T-shirt/top", "Schnürschuh")


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((5, 9, 8), (5, 1, 9, 8)),
        ((5, 7, 3), (5, 1, 7, 3)),  # 7x3 pixels are no picture of colours
        ((5, 3, 9, 8), (5, 3, 9, 8)),
        ((5, 9, 8, 3), (5, 3, 9, 8)),
        ((3, 1, 3, 9), (3, 1, 3, 9)),
        ((5, 4, 9, 8), (5, 4, 9, 8)),
        ((5, 9, 8, 4), (5, 4, 9, 8)),
        # Alpha is rarer than a side of four pixels.
        ((5, 3, 4, 4), (5, 3, 4, 4)),
        ((5, 4, 4, 3), (5, 3, 4, 4)),
    ],
)
def test_the_axis_of_channels_is_found(shape: tuple[int, ...], result: tuple[int, ...]) -> None:
    assert channels_first(pixels(*shape), "array").shape == result


def damaged(path: Path) -> Path:
    """One byte in the middle of the pixels differs from what was stored, which the checksum shows."""
    npz(path, images=pixels(4, 20, 20))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def cut(path: Path, keep: float, values: NDArray[Any]) -> Path:
    (npy if path.suffix == ".npy" else lambda path, values: npz(path, images=values))(path, values)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    return path


def declared(path: Path, descr: str, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    """A header that says so, and whatever follows it."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    path.write_bytes(stream.getvalue() + content)
    return path.read_bytes()


def lying(path: Path, descr: str, shape: tuple[int, ...]) -> Path:
    declared(path, descr, shape, b"\0" * 100)
    return path


def bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", declared(path.with_suffix(".npy"), "|u1", (10**6, 64, 64)))
    return path


def with_member(path: Path, name: str, content: bytes) -> Path:
    npz(path, images=pixels(2, 4, 4))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


GOOD = pixels(2, 4, 4)
BAD: dict[str, tuple[Callable[[Path], Path], type[Exception], str]] = {
    "NaN": (lambda p: npy(p / "set.npy", np.where(GOOD.max() == GOOD, np.nan, 0.5)), ValueError, "NaN or infinite"),
    "infinity": (lambda p: npy(p / "set.npy", np.full((2, 4, 4), np.inf)), ValueError, "NaN or infinite"),
    "minus infinity": (lambda p: npz(p / "set.npz", x=np.full((2, 4, 4), -np.inf)), ValueError, "NaN or infinite"),
    "floats to 255": (lambda p: npy(p / "set.npy", GOOD.astype(float)), ValueError, "expected [0, 1] or [-1, 1]"),
    "floats below -1": (lambda p: npy(p / "set.npy", np.full((2, 4, 4), -1.5)), ValueError, "from -1.5 to -1.5"),
    "int64": (lambda p: npy(p / "set.npy", GOOD.astype(np.int64)), TypeError, "is int64, expected uint8"),
    "uint16": (lambda p: npz(p / "set.npz", x=GOOD.astype(np.uint16)), TypeError, "is uint16, expected uint8"),
    "complex": (lambda p: npy(p / "set.npy", GOOD.astype(complex)), TypeError, "is complex128"),
    "strings": (lambda p: npy(p / "set.npy", GOOD.astype("U3")), TypeError, "is <U3, expected uint8"),
    "records": (lambda p: npy(p / "set.npy", np.zeros((2, 4, 4), "u1,u1")), TypeError, "expected uint8"),
    "two axes": (lambda p: npy(p / "set.npy", GOOD[0]), ValueError, "got shape (4, 4)"),
    "five axes": (lambda p: npy(p / "set.npy", GOOD[None, None]), ValueError, "got shape (1, 1, 2, 4, 4)"),
    "a scalar": (lambda p: npy(p / "set.npy", np.array(3, np.uint8)), ValueError, "got shape ()"),
    "no images": (lambda p: npy(p / "set.npy", GOOD[:0]), ValueError, "got shape (0, 4, 4)"),
    "no pixels": (lambda p: npz(p / "set.npz", x=GOOD[:, :0]), ValueError, "got shape (2, 0, 4)"),
    "two channels": (lambda p: npy(p / "set.npy", pixels(2, 2, 8, 8)), ValueError, "no axis of 1, 3 or 4 channels"),
    "two ways to read": (lambda p: npy(p / "set.npy", pixels(2, 3, 8, 3)), ValueError, "as (N, H, W, C)"),
    "one colour image": (lambda p: npy(p / "set.npy", pixels(32, 32, 3)), ValueError, "one colour image"),
    "empty npy": (lambda p: written(p / "set.npy", b""), ValueError, "cannot be read as a NumPy array"),
    "npy that is text": (lambda p: written(p / "set.npy", b"no array here\n"), ValueError, "as a NumPy array"),
    "npy cut in its header": (lambda p: cut(p / "set.npy", 0.3, GOOD), ValueError, "as a NumPy array"),
    "npy cut in its pixels": (lambda p: cut(p / "set.npy", 0.9, pixels(9, 9, 9)), ValueError, "is cut short"),
    "npy that declares too much": (lambda p: lying(p / "set.npy", "|u1", (10**9, 64, 64)), ValueError, "cut short"),
    "npy of negative shape": (lambda p: lying(p / "set.npy", "|u1", (-2, 4, 4)), ValueError, "impossible shape"),
    "empty npz": (lambda p: written(p / "set.npz", b""), ValueError, "as an .npz archive"),
    "npz that is text": (lambda p: written(p / "set.npz", b"no archive here\n"), ValueError, "as an .npz archive"),
    "npz cut short": (lambda p: cut(p / "set.npz", 0.8, GOOD), ValueError, "as an .npz archive"),
    "npz with a damaged pixel": (lambda p: damaged(p / "set.npz"), ValueError, "Bad CRC-32"),
    "npz with a member that is none": (lambda p: with_member(p / "set.npz", "y.npy", b"?"), ValueError, "[y] cannot"),
    "npz that is a bomb": (lambda p: bomb(p / "set.npz"), ValueError, "more than 100 to 1"),
    "npz without arrays": (lambda p: npz(p / "set.npz"), ValueError, "has the arrays (none)"),
    "npz without known names": (lambda p: npz(p / "set.npz", a=GOOD, b=GOOD), ValueError, "arrays a, b"),
    "too few labels": (lambda p: npz(p / "set.npz", x=GOOD, y=[1]), ValueError, "must be (2,), one label for each"),
    "too many labels": (lambda p: npz(p / "set.npz", x=GOOD, y=[1, 0, 1]), ValueError, "got shape (3,)"),
    "one-hot labels": (lambda p: npz(p / "set.npz", x=GOOD, y=np.eye(2, dtype=int)), ValueError, "got shape (2, 2)"),
    "negative labels": (lambda p: npz(p / "set.npz", x=GOOD, y=[0, -1]), ValueError, "0 or more, got -1"),
    "labels beyond int64": (
        lambda p: npz(p / "set.npz", x=GOOD, y=np.array([0, 2**64 - 1], np.uint64)),
        ValueError,
        "less than 1000000, got 18446744073709551615",
    ),
    "float labels": (lambda p: npz(p / "set.npz", x=GOOD, y=[0.0, 1.0]), TypeError, "integers, got float64"),
    "names for labels": (lambda p: npz(p / "set.npz", x=GOOD, y=["a", "b"]), TypeError, "integers, got <U1"),
    "numbers for classes": (lambda p: npz(p / "set.npz", x=GOOD, classes=[1, 2]), TypeError, "array of strings"),
    "a table of classes": (lambda p: npz(p / "set.npz", x=GOOD, classes=[["a"]]), TypeError, "of shape (1, 1)"),
    "classes of no length": (
        lambda p: with_member(p / "set.npz", "classes.npy", declared(p / "classes.npy", "<U0", (2,))),
        TypeError,
        "array of strings",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_refused_by_name(case: str, tmp_path: Path) -> None:
    make, error, message = BAD[case]
    path = make(tmp_path)
    with refused(error, path, message):
        load_images(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_limit_beyond_the_arrays_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"set{suffix}"
    (npy(path, GOOD) if suffix == ".npy" else npz(path, images=GOOD))
    with refused(ValueError, path, "between 1 and 2", "got 3"):
        load_images(path, 3)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_without_splits_have_none(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"set{suffix}"
    (npy(path, GOOD) if suffix == ".npy" else npz(path, images=GOOD))
    with refused(ValueError, path, "has no splits"):
        load_images(path, split="test")


class Trap:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
@pytest.mark.parametrize("role", ["images", "labels", "classes"])
def test_object_arrays_are_refused_unopened(name: str, role: str, tmp_path: Path) -> None:
    path, mark = tmp_path / name, tmp_path / "opened"
    trap = np.array([Trap(mark)], dtype=object)
    if path.suffix == ".npy":
        np.save(path, trap, allow_pickle=True)
    else:
        npz(path, **{"images": GOOD, role: trap})
    with refused(TypeError, path, "never unpickled"):
        load_images(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
def test_a_bare_pickle_is_not_opened_either(name: str, tmp_path: Path) -> None:
    path, mark = tmp_path / name, tmp_path / "opened"
    path.write_bytes(pickle.dumps(Trap(mark)))
    with refused(ValueError, path, "cannot be read"):
        load_images(path)
    assert not mark.exists()
