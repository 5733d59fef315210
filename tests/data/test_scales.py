"""Black and white: what files declare, what arrays show, and what the caller says."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from elsewhere.data import ImageSet, load_images
from elsewhere.data.arrays import to_bytes
from elsewhere.data.pixels import DARKEST, read_picture
from elsewhere.data.request import Request
from tests.data.toys import pixels, refused, write_picture

RAMP = np.arange(0, 256, 5)[None].repeat(2, 0)
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1


def packed(values: NDArray[Any], bits: int) -> bytes:
    """Rows of numbers of so many bits each, the highest bit first; every row ends with a whole byte."""
    ones = (values[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(ones.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def tiff(values: NDArray[Any], bits: int, photometric: int, sample_format: int = 1) -> bytes:
    """A gray TIFF of one strip."""
    pixels = values.astype(f"<u{bits // 8}").tobytes() if bits in (16, 32) else packed(values, bits)
    height, width = values.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: height}
    tags |= {279: len(pixels), 339: sample_format}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + pixels


def png(rows: NDArray[Any], colour_type: int, width: int, bits: int = 16, transparent: bytes = b"") -> bytes:
    """A PNG of so many bits; `transparent` is the content of the chunk that names one transparent value."""
    packs = [row.astype(">u2").tobytes() if bits == 16 else packed(row[None], bits) for row in rows]
    lines = b"".join(b"\0" + row for row in packs)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)),
        *([(b"tRNS", transparent)] if transparent else []),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    whole = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_gray_is_turned_round_where_the_file_says_that_white_is_zero(bits: int) -> None:
    top = 2**bits - 1
    levels = (np.arange(16) * top // 15)[None].repeat(2, 0)
    expected = np.rint(levels * 255 / top)
    for photometric, right in ((BLACK_IS_ZERO, expected), (WHITE_IS_ZERO, 255 - expected)):
        np.testing.assert_array_equal(np.asarray(read_picture(tiff(levels, bits, photometric), "a.tif")), right)


def test_white_of_12_bits_is_4095() -> None:
    levels = np.rint(RAMP * 4095 / 255).astype(int)
    np.testing.assert_array_equal(np.asarray(read_picture(tiff(levels, 12, BLACK_IS_ZERO), "a.tif")), RAMP)


@pytest.mark.parametrize(("bits", "photometric"), [(12, WHITE_IS_ZERO), (10, BLACK_IS_ZERO), (14, BLACK_IS_ZERO)])
def test_depths_that_pillow_cannot_read_are_refused_by_name(bits: int, photometric: int) -> None:
    with refused(ValueError, "a.tif cannot be read as an image"):
        read_picture(tiff(RAMP, bits, photometric), "a.tif")


@pytest.mark.parametrize(("bits", "sample_format"), [(32, 1), (32, 2), (16, 2)])
def test_pixels_without_a_known_white_need_a_range(bits: int, sample_format: int, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(RAMP, bits, BLACK_IS_ZERO, sample_format))
    with refused(ValueError, tmp_path / "a.tif", "black and white are unknown", "value_range=(black, white)"):
        load_images(tmp_path)
    images = load_images(tmp_path, value_range=(0, 255)).images
    np.testing.assert_array_equal(images[0, 0], RAMP)


def test_gray_with_alpha_of_16_bits_stays_gray(tmp_path: Path) -> None:
    values = np.stack([RAMP * 257, np.full(RAMP.shape, 65535)], -1).reshape(2, -1)
    values[0, 1] = 0  # the first pixel is transparent
    (tmp_path / "a.png").write_bytes(png(values, 4, RAMP.shape[1]))
    images = load_images(tmp_path).images
    expected = RAMP.copy()
    expected[0, 0] = 255
    np.testing.assert_array_equal(images[0], expected[None])


def test_signed_pixels_of_8_bits_need_a_range(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(RAMP - 128 & 255, 8, BLACK_IS_ZERO, 2))
    with refused(ValueError, tmp_path / "a.tif", "with signs", "value_range=(black, white)"):
        load_images(tmp_path)
    images = load_images(tmp_path, value_range=(-128, 127)).images
    np.testing.assert_array_equal(images[0, 0], RAMP)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_value_of_gray_is_white_at_any_depth(bits: int) -> None:
    levels = (np.arange(16) * (2**bits - 1) // 15)[None].repeat(2, 0)
    clear = levels[0, 8]
    expected = np.rint(levels * 255 / (2**bits - 1))
    expected[levels == clear] = 255
    picture = read_picture(png(levels, 0, 16, bits, struct.pack(">H", clear)), "a.png")
    np.testing.assert_array_equal(np.asarray(picture), expected)


def test_the_transparent_colour_of_16_bits_is_white() -> None:
    grays = np.arange(16)[None].repeat(3, 1) * 4097
    picture = read_picture(png(grays, 2, 16, 16, struct.pack(">HHH", 4097, 4097, 4097)), "a.png")
    assert np.asarray(picture)[0, :3, 0].tolist() == [0, 255, 32]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_range_that_is_given_counts_the_numbers_in_the_file(bits: int) -> None:
    top = 2**bits - 1
    levels = (np.arange(16) * top // 15)[None].repeat(2, 0)
    for photometric in (BLACK_IS_ZERO, WHITE_IS_ZERO):
        picture = read_picture(tiff(levels, bits, photometric), "a.tif", Request(value_range=(0, top)))
        np.testing.assert_array_equal(np.asarray(picture), np.rint(levels * 255 / top))


def test_files_of_black_and_white_need_no_range_beside_others(tmp_path: Path) -> None:
    values = pixels(6, 6) % 2
    write_picture(tmp_path / "0.png", values)
    write_picture(tmp_path / "1.png", values.astype(bool))
    images = load_images(tmp_path, value_range=(0, 1)).images
    np.testing.assert_array_equal(images[:, 0], np.stack([values, values]) * 255)


def test_values_that_would_be_rounded_to_black_are_refused(tmp_path: Path) -> None:
    masks = (pixels(2, 6, 6) % 4).astype(np.uint16)
    write_picture(tmp_path / "masks" / "0.png", masks[0])
    with refused(ValueError, "largest value is 3 of 65535", "such as value_range=(0, 3)"):
        load_images(tmp_path / "masks")
    np.testing.assert_array_equal(load_images(tmp_path / "masks", value_range=(0, 3)).images[:, 0], masks[:1] * 85)
    for dark in (masks / 1e4, masks.astype(np.float32) / 1e6):
        with refused(ValueError, "of 255, so that all images would be nearly black"):
            load_images(dark)
    assert load_images(np.zeros((2, 6, 6))).images.max() == 0


@pytest.mark.parametrize("top", [1, 5, DARKEST])
def test_sets_with_a_tiny_largest_value_are_refused_with_the_remedies(top: int, tmp_path: Path) -> None:
    values = (pixels(3, 6, 6) % (top + 1)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=values)
    np.save(tmp_path / "b.npy", values / 255)
    write_picture(tmp_path / "c" / "0.png", values[0])
    for source in (values, *sorted(tmp_path.iterdir())):
        with refused(ValueError, f"largest value is {top} of 255", "value_range=(0, WHITE)", "--value-range"):
            load_images(source)


def test_zeros_and_ones_are_white_where_the_caller_says_so(tmp_path: Path) -> None:
    values = pixels(3, 6, 6) % 2
    write_picture(tmp_path / "0.png", values[0])
    for source, expected in ((values, values), (tmp_path, values[:1])):
        np.testing.assert_array_equal(load_images(source, value_range=(0, 1)).images[:, 0], expected * 255)


def test_dark_sets_can_be_read_and_written(tmp_path: Path) -> None:
    values = pixels(3, 6, 6) % 2
    data = load_images(values, value_range=(0, 255))
    np.testing.assert_array_equal(data.images[:, 0], values)
    assert ImageSet(values[:, None]).fingerprint() == data.fingerprint()
    data.save(tmp_path / "set.npz")
    assert load_images(tmp_path / "set.npz").fingerprint() == data.fingerprint()
    assert not load_images(values / 255, value_range=(0, 1)).images.max() > 1
    assert load_images(np.zeros((2, 4, 4), np.uint8)).images.max() == 0


def test_resizing_does_not_make_a_set_too_dark() -> None:
    values = np.zeros((1, 64, 64), np.uint8)
    values[0, 20, 20] = 255
    assert load_images(values, size=4).images.max() <= DARKEST


@pytest.mark.parametrize("value_range", [(0, 4095), (4095, 0), (-2048, 2047)])
@pytest.mark.parametrize("dtype", ["int16", ">i4", "int64", "float32", "float64"])
def test_any_numbers_are_read_with_their_black_and_white(value_range: tuple[int, int], dtype: str) -> None:
    black, white = value_range
    values = np.rint(black + RAMP * ((white - black) / 255)).astype(dtype)
    np.testing.assert_array_equal(load_images(values[None], value_range=value_range).images[0, 0], RAMP)


def test_values_outside_the_range_are_named(tmp_path: Path) -> None:
    with refused(ValueError, "source has values from 0 to 255, outside value_range=(0, 100)"):
        load_images(RAMP[None].astype(np.uint8), value_range=(0, 100))
    with refused(TypeError, "is uint16", "value_range=(black, white)"):
        load_images(RAMP[None].astype(np.uint16))


@pytest.mark.parametrize("value_range", [1, "01", (0,), (0, 1, 2), (0, None), (False, True)])
def test_what_is_no_range_is_refused(value_range: Any) -> None:
    with refused(TypeError, "value_range must be (black, white)"):
        load_images("fashion-mini", value_range=value_range)


@pytest.mark.parametrize("value_range", [(1, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_range_without_length_is_refused(value_range: Any) -> None:
    with refused(ValueError, "value_range must be two finite values"):
        load_images("fashion-mini", value_range=value_range)


def test_truth_values_are_black_and_white(tmp_path: Path) -> None:
    values = pixels(3, 6, 6) > 127
    np.save(tmp_path / "a.npy", values)
    for source in (values, tmp_path / "a.npy"):
        np.testing.assert_array_equal(load_images(source).images[:, 0], np.where(values, 255, 0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("end", [0, -1])
def test_floats_may_overshoot_by_rounding(dtype: Any, signed: bool, end: int) -> None:
    levels = np.arange(256).reshape(1, 16, 16)
    floats = (levels / 127.5 - 1 if signed else levels / 255).astype(dtype)
    step = max(np.finfo(dtype).eps, 2e-7)
    floats.reshape(-1)[end] += step if end else -step
    assert floats.min() < (-1 if signed else 0) or floats.max() > 1
    np.testing.assert_array_equal(to_bytes(floats, "floats"), levels)


def test_floats_that_overshoot_by_more_are_refused_with_what_was_seen() -> None:
    floats = np.linspace(0, 1.00002, 16).reshape(1, 4, 4)
    with refused(ValueError, "from 0 to 1.00002,", "value_range="):
        load_images(floats)
    # Read as [-1, 1], these would lose half of their contrast.
    with refused(ValueError, "from -0.05 to 1,", "clip them to [0, 1]", "value_range=(-1, 1)"):
        load_images(np.linspace(-0.05, 1, 16).reshape(1, 4, 4))


def test_an_archive_may_say_its_range_and_is_clipped_to_it(tmp_path: Path) -> None:
    bright = np.linspace(0.2, 1.01, 16).reshape(1, 4, 4)
    np.savez(tmp_path / "a.npz", images=bright, value_range=[-1.0, 1.0])
    data = load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.images[0, 0], np.rint((bright[0].clip(-1, 1) + 1) * 127.5))
    assert data.left_out == {"values clipped to black or white": 1}
    for bad, error in (
        ([1.0, 1.0], ValueError),
        ([0.0, np.nan], ValueError),
        ([1.0], TypeError),
        (["a", "b"], TypeError),
    ):
        np.savez(tmp_path / "b.npz", images=bright, value_range=bad)
        with refused(error, tmp_path / "b.npz", "[value_range] must be two"):
            load_images(tmp_path / "b.npz")
