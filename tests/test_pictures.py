from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from elsewhere.data import to_uint8
from elsewhere.files import save_bytes
from elsewhere.pictures import (
    Column,
    data_uri,
    enlargement,
    figure_png,
    grid,
    image_png,
    labelled_grid,
    literal,
    new_figure,
    save_grid,
    save_loss_plot,
)


def images(count, channels=1, side=5):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("channels", [1, 3])
def test_the_grid_holds_every_image_in_reading_order(channels):
    some = images(5, channels)
    pixels = np.asarray(grid(some, columns=2, scale=3, gap=2))
    assert pixels.shape == (3 * (15 + 2) + 2, 2 * (15 + 2) + 2, 3)
    for i, image in enumerate(to_uint8(some).expand(5, 3, 5, 5)):
        top, left = 2 + (i // 2) * 17, 2 + (i % 2) * 17
        cell = pixels[top : top + 15, left : left + 15]
        # Every pixel became 3x3.
        np.testing.assert_array_equal(cell[1::3, 1::3], image.permute(1, 2, 0).numpy())
        np.testing.assert_array_equal(cell[::3], cell[2::3])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_gives_back_the_pixels(channels):
    image = images(1, channels)[0]
    uri = data_uri(image_png(image))
    prefix = "data:image/png;base64,"
    assert uri.startswith(prefix)
    with Image.open(BytesIO(b64decode(uri.removeprefix(prefix)))) as picture:
        pixels = np.asarray(picture).reshape(5, 5, channels)
    np.testing.assert_array_equal(pixels, to_uint8(image).permute(1, 2, 0).numpy())


def test_the_labelled_grid_has_every_picture_in_its_place():
    left, right = images(2, 1), images(2, 3).flip(0)
    columns = [Column("IS", "ideal", left, ["a", "b"]), Column("ELS", "", right, ["", ""])]
    canvas = np.asarray(labelled_grid(columns, width=20, gap=4))
    assert canvas.shape[1] == 4 + 2 * 24
    for column, some in enumerate((left, right)):
        x, found = 4 + column * 24, []
        for image in to_uint8(some).expand(2, 3, 5, 5):
            wanted = image.permute(1, 2, 0).numpy().repeat(4, 0).repeat(4, 1)
            rows = range(canvas.shape[0] - 19)
            found += [y for y in rows if np.array_equal(canvas[y : y + 20, x : x + 20], wanted)]
        assert len(found) == 2
        assert found[1] > found[0] + 20 + 9  # a caption of 9 points goes between


def test_captions_must_match_the_images():
    with pytest.raises(ValueError, match="zip"):
        labelled_grid([Column("IS", "", images(2), ["one"])])


def test_files_are_written_whole_and_nothing_else(tmp_path):
    save_grid(tmp_path / "grid.png", images(3), columns=3)
    save_bytes(tmp_path / "deep" / "bytes.png", image_png(images(1)[0]))
    save_loss_plot(tmp_path / "loss.png", [{"step": i, "loss": 1 / (i + 1)} for i in range(30)])
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert names == ["deep/bytes.png", "grid.png", "loss.png"]
    for name in names:
        with Image.open(tmp_path / name) as picture:
            picture.verify()


def test_a_figure_becomes_a_png():
    figure = new_figure(2, 1)
    figure.subplots().plot([0, 1], [0, 1])
    with Image.open(BytesIO(figure_png(figure, dpi=50))) as picture:
        assert picture.size == (100, 50)


@pytest.mark.parametrize(("side", "scale"), [(1, 128), (8, 16), (16, 8), (28, 5), (32, 4), (64, 2), (128, 1), (600, 1)])
def test_small_pictures_are_enlarged_by_whole_factors(tmp_path, side, scale):
    assert enlargement(side, side) == enlargement(1, side) == scale
    save_grid(tmp_path / "grid.png", images(1, side=side), columns=1)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (side * scale + 4, side * scale + 4)


NAMES = ["$x^2$", r"$\frac{", "$", "a_b^c", "_hidden", "\\", "n" * 500, "日本語" * 40, "set \udcff", "two\nlines"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_drawn_literally_whatever_is_in_it(name, recwarn):
    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label=literal(name, 28))
    axes.set_title(literal(name, 28))
    axes.legend()
    figure_png(figure, dpi=40)
    labelled_grid([Column(name, name, images(1), [name])] * 2, width=60)
    assert not recwarn.list
    assert axes.get_legend().get_texts()


def test_a_long_name_keeps_its_beginning_and_end():
    assert literal("abcdefghij", 5) == "ab\u2026ij"
    assert literal("cost in $") == r"cost in \$"


def test_images_of_other_channels_than_gray_and_colour_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1 or 3 channels, got images of 4"):
        save_grid(tmp_path / "grid.png", torch.zeros(2, 4, 5, 5), 1)
    with pytest.raises(ValueError, match="1 or 3 channels, got images of 2"):
        image_png(torch.zeros(2, 5, 5))
    assert not list(tmp_path.iterdir())


def test_a_figure_is_shown_by_notebooks_without_pyplot():
    figure = new_figure(2, 1)
    with Image.open(BytesIO(figure._repr_png_())) as picture:
        assert picture.size == (180, 90)
