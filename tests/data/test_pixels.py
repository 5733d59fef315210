from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from elsewhere.data.pixels import conform, opaque, read_picture, stack
from elsewhere.data.request import Request
from tests.data.toys import Pixels, few, pixels, refused, write_picture


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def read(picture: Image.Image, kind: str = "PNG", **options: Any) -> Pixels:
    """(H, W) or (H, W, 3), after the way through a file."""
    result = read_picture(encoded(picture, kind, **options), "a picture")
    assert result.mode in ("L", "RGB")
    return np.asarray(result)


def shrink(values: Pixels, **asked: Any) -> Pixels:
    return conform(values, Request(value_range=(0, 255), **asked), "here")


def test_bytes_and_files_are_read_alike(tmp_path: Path) -> None:
    values = pixels(5, 6, 3)
    path = write_picture(tmp_path / "a.png", values)
    for source in (path, path.read_bytes()):
        np.testing.assert_array_equal(np.asarray(read_picture(source, "a.png")), values)


@few
@given(level=st.integers(0, 65535))
def test_gray_of_16_bits_is_scaled_to_8(level: int) -> None:
    # 65535 = 255 * 257, so white stays white and rounding is exact.
    values = np.full((2, 3), level, np.uint16)
    for kind in ("PNG", "TIFF"):
        assert (read(Image.fromarray(values), kind) == round(level / 257)).all()


def test_a_portable_graymap_of_16_bits_is_scaled_to_8() -> None:
    levels = np.arange(256) * 257
    file = b"P5 16 16 65535\n" + levels.astype(">u2").tobytes()
    np.testing.assert_array_equal(np.asarray(read_picture(file, "a.pgm")).ravel(), np.arange(256))


def test_the_transparent_level_of_16_bit_gray_is_white() -> None:
    values = np.array([[0, 257], [512, 65535]], np.uint16)
    assert read(Image.fromarray(values), transparency=257).tolist() == [[0, 255], [2, 255]]


@pytest.mark.parametrize("value", [-1, 65536])
def test_pixels_of_32_bits_are_refused(value: int) -> None:
    for dtype in (np.int32, np.float32):
        picture = Image.fromarray(np.full((2, 2), value, dtype))
        with refused(ValueError, "a picture has pixels of 32 bits"):
            read(picture, "TIFF")


@few
@given(alpha=st.integers(0, 255), level=st.integers(0, 255), mode=st.sampled_from(["LA", "RGBA"]))
def test_transparent_pixels_are_laid_on_white(alpha: int, level: int, mode: str) -> None:
    colours = (level,) * (len(mode) - 1)
    result = read(Image.new(mode, (2, 2), (*colours, alpha)))
    expected = (level * alpha + 255 * (255 - alpha)) / 255
    assert result.shape == ((2, 2) if mode == "LA" else (2, 2, 3))
    assert np.abs(result - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_the_transparent_colour_of_a_file_is_white(mode: str) -> None:
    picture = Image.new(mode, (2, 1), 0)
    picture.putpixel((1, 0), (9, 9, 9) if mode == "RGB" else 1)
    hidden = (0, 0, 0) if mode == "RGB" else 0
    result = read(picture, transparency=hidden)
    assert (result[0, 0] == 255).all()
    assert (result[0, 1] == {"1": 255, "L": 1, "P": picture.convert("RGB").getpixel((1, 0)), "RGB": 9}[mode]).all()


def test_a_palette_may_carry_the_opacity_of_each_colour() -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    for x in range(3):
        picture.putpixel((x, 0), x)
    result = read(picture, transparency=bytes([255, 0, 128]))
    blend = [round((level * 128 + 255 * 127) / 255) for level in (70, 80, 90)]
    assert result.tolist() == [[[10, 20, 30], [255, 255, 255], blend]]


def test_a_palette_may_hold_colours_with_opacity() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 255, 40, 50, 60, 0], "RGBA")
    picture.putpixel((1, 0), 1)
    assert np.asarray(opaque(picture, "here")).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_counts_as_colour(kind: str) -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    result = read(picture, kind)
    assert result.shape == (4, 4, 3)
    assert (result == (200, 100, 50)).all()


def test_two_levels_are_black_and_white() -> None:
    values = pixels(5, 9) > 127
    np.testing.assert_array_equal(read(Image.fromarray(values)), np.where(values, 255, 0))


def test_cmyk_is_turned_to_colours() -> None:
    result = read(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert (result == (255, 0, 0)).all()


def test_the_rotation_of_the_camera_is_applied() -> None:
    values = pixels(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter
    np.testing.assert_array_equal(read(Image.fromarray(values), exif=exif), np.rot90(values, -1))


def test_an_animation_gives_its_first_frame() -> None:
    first, second = Image.new("L", (4, 4), 10), Image.new("L", (4, 4), 200)
    result = read(first, "GIF", save_all=True, append_images=[second])
    assert (result == 10).all()


def test_too_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = encoded(Image.new("L", (20, 20)))
    for limit in (399, 100):  # Pillow only warns up to twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with refused(ValueError, "big.png cannot be read as an image", "pixels"):
            read_picture(file, "big.png")


def test_formats_that_are_not_listed_are_never_tried() -> None:
    file = encoded(Image.new("RGB", (4, 4)), "TGA")
    assert Image.open(io.BytesIO(file)).format == "TGA"
    with refused(ValueError, "a.png cannot be read as an image"):
        read_picture(file, "a.png")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_the_size_an_image_has_changes_nothing(fit: str, channels: int) -> None:
    values = pixels(3, channels, 6, 7)
    np.testing.assert_array_equal(shrink(values, size=(6, 7), fit=fit), values)
    picture = opaque(Image.fromarray(values[0].transpose(1, 2, 0).squeeze()), "here")
    again = stack([("here", picture)], 1, Request(size=(6, 7), fit=fit))
    np.testing.assert_array_equal(again[0], values[0])


@few
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    level=st.integers(0, 255),
    fit=st.sampled_from(["crop", "stretch"]),
)
def test_one_level_keeps_its_level_at_any_size(
    height: int, width: int, size: tuple[int, int], level: int, fit: str
) -> None:
    result = shrink(np.full((2, 3, height, width), level, np.uint8), size=size, fit=fit)
    assert result.shape == (2, 3, *size)
    assert (result == level).all()


@pytest.mark.parametrize("wide", [False, True])
def test_crop_keeps_the_proportions_and_stretch_the_borders(wide: bool) -> None:
    # White bars at both ends of a black image twice as long as it is thick.
    values = np.zeros((1, 1, 16, 32), np.uint8)
    values[..., :10] = values[..., -10:] = 255
    if not wide:
        values = values.transpose(0, 1, 3, 2)
    crop, stretch = shrink(values, size=(8, 8)), shrink(values, size=(8, 8), fit="stretch")
    assert crop.shape == stretch.shape == (1, 1, 8, 8)
    # The middle half holds two columns of each bar, which is one of eight after halving.
    line = crop[0, 0, 4] if wide else crop[0, 0, :, 4]
    assert line[0] > 200
    assert line[-1] > 200
    assert line[2:-2].max() < 20
    # Lanczos keeps the mean up to overshoot clipped at black and white, a few levels here.
    assert abs(stretch.mean() - values.mean()) < 5
    assert abs(crop.mean() - values.mean()) > 20


def test_colours_become_gray_by_their_luminance() -> None:
    values = pixels(3, 3, 5, 5)
    red, green, blue = values.astype(float).transpose(1, 0, 2, 3)
    gray = shrink(values, gray=True)
    assert gray.shape == (3, 1, 5, 5)
    # Pillow's weights have 16 bits.
    assert np.abs(gray[:, 0] - (0.299 * red + 0.587 * green + 0.114 * blue)).max() < 0.51


def test_gray_becomes_three_equal_channels() -> None:
    values = pixels(3, 1, 5, 5)
    np.testing.assert_array_equal(shrink(values, gray=False), values.repeat(3, 1))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("gray", [None, True, False])
@pytest.mark.parametrize("size", [None, (4, 6)])
def test_every_wish_for_colours_is_met(channels: int, gray: bool | None, size: tuple[int, int] | None) -> None:
    result = 1 if gray or (gray is None and channels == 1) else 3
    images = shrink(pixels(2, channels, 8, 8), gray=gray, size=size)
    assert images.shape == (2, result, *(size or (8, 8)))
    assert images.flags.c_contiguous


def test_colour_after_gray_leaves_the_gray_ones_as_they_were() -> None:
    gray, colour = pixels(2, 5, 5), pixels(5, 5, 3, seed=1)
    pictures = [Image.fromarray(gray[0]), Image.fromarray(colour), Image.fromarray(gray[1])]
    images = stack([(str(i), picture) for i, picture in enumerate(pictures)], 3, Request())
    np.testing.assert_array_equal(images[0], np.stack([gray[0]] * 3))
    np.testing.assert_array_equal(images[1], colour.transpose(2, 0, 1))
    np.testing.assert_array_equal(images[2], np.stack([gray[1]] * 3))
    assert stack([(str(i), picture) for i, picture in enumerate(pictures)], 3, Request(gray=True)).shape[1] == 1


def test_several_sizes_are_refused_with_both_names() -> None:
    pictures = [("one", Image.new("L", (6, 5))), ("two", Image.new("RGB", (5, 6)))]
    with refused(ValueError, "two is 6x5 pixels (height x width) but one is 5x6"):
        stack(pictures, 2, Request())


def test_resizing_shows_progress_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, bool]] = []
    monkeypatch.setattr(
        "elsewhere.data.pixels.track", lambda items, total, title, show: asked.append((total, show)) or items
    )
    for progress in (True, False):
        conform(np.full((3, 1, 4, 4), 99, np.uint8), Request(size=(8, 8), progress=progress), "here")
    assert asked == [(3, True), (3, False)]
