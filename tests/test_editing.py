"""What is drawn anew, and from which images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elsewhere as els
from elsewhere import editing
from elsewhere.editing import choose_edit, load_subject, parse_box, read_mask, set_of, without

IMAGE = torch.rand(1, 3, 8, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def test_a_box_is_replaced_or_kept() -> None:
    expected = torch.zeros(8, 10, dtype=torch.bool)
    expected[2:5, 3:9] = True
    assert torch.equal(choose_edit(IMAGE, None, "2,3,3x6", None).missing, expected)
    assert torch.equal(choose_edit(IMAGE, None, " 2, 3, 3 x 6 ", None, keep=True).missing, ~expected)
    assert torch.equal(parse_box("0,0,8x10", (8, 10)), torch.ones(8, 10, dtype=torch.bool))


def test_white_pixels_of_a_mask_are_missing(tmp_path: Path) -> None:
    pixels = np.array([[0, 127, 128], [255, 3, 200]])
    expected = torch.tensor([[False, False, True], [True, False, True]])
    assert torch.equal(read_mask(save(tmp_path / "m.png", pixels), (2, 3)), expected)
    colour = np.repeat(pixels[..., None], 3, axis=2)
    assert torch.equal(read_mask(save(tmp_path / "c.png", colour), (2, 3)), expected)


@pytest.mark.parametrize(("extend", "size", "corner"), [("2", (12, 14), (2, 2)), ("11x10", (11, 10), (1, 0))])
def test_an_extension_has_the_image_in_its_middle(extend: str, size: tuple[int, int], corner: tuple[int, int]) -> None:
    edit = choose_edit(IMAGE, None, None, extend)
    assert edit.size == size
    assert not edit.original
    rows, columns = slice(corner[0], corner[0] + 8), slice(corner[1], corner[1] + 10)
    assert torch.equal(edit.image[..., rows, columns], IMAGE)
    assert not edit.missing[rows, columns].any()
    assert int(edit.missing.sum()) == size[0] * size[1] - 80


@pytest.mark.parametrize(
    ("box", "extend", "keep", "said"),
    [
        (None, None, False, "give one of --mask, --box and --extend, got none"),
        ("0,0,1x1", "4", False, "give one of --mask, --box and --extend, got --box and --extend"),
        ("0,0,8x10", None, False, "--box leaves nothing of the image"),
        ("0,0,8x10", None, True, "--box leaves nothing to draw"),
        ("0,0,9x10", None, False, "--box 0,0,9x10 is not inside the image of 8x10"),
        ("0,0,0x1", None, False, "is not inside"),
        ("nonsense", None, False, "--box must be TOP,LEFT,HEIGHTxWIDTH"),
        (None, "0", False, "--extend 0 does not make the image of 8x10 pixels larger"),
        (None, "7x99", False, "--extend 7x99 does not make"),
        (None, "9996", False, "--extend 9996 makes 20000x20002 pixels: sides are at most 20000"),
        (None, "big", False, "--extend must be pixels"),
        (None, "4", True, "--keep goes with --mask or --box"),
    ],
)
def test_what_cannot_be_drawn_is_refused(box: str | None, extend: str | None, keep: bool, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        choose_edit(IMAGE, None, box, extend, keep)


def test_a_mask_of_the_original_size_is_resized_with_the_image(tmp_path: Path) -> None:
    pixels = np.zeros((8, 10))
    pixels[2:6, 4:9] = 255
    path = save(tmp_path / "m.png", pixels)
    expected = torch.zeros(4, 5, dtype=torch.bool)
    # The last column is half covered.
    expected[1:3, 2:5] = True
    assert torch.equal(read_mask(path, (4, 5), lambda: (8, 10)), expected)
    assert torch.equal(
        read_mask(save(tmp_path / "small.png", 255.0 * expected.numpy()), (4, 5), lambda: (8, 10)), expected
    )


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_mask(tmp_path / "m.png", (8, 10))
    path = save(tmp_path / "m.png", np.zeros((8, 9)))
    with pytest.raises(ValueError, match=re.escape("is 8x9 pixels (height x width), the image is 8x10: give a mask")):
        read_mask(path, (8, 10))
    with pytest.raises(ValueError, match=re.escape("the image is 4x5 after resizing, 8x10 before: give a mask of 4x5")):
        read_mask(path, (4, 5), lambda: (8, 10))
    path = save(tmp_path / "m.png", np.zeros((8, 10)))
    with pytest.raises(ValueError, match="--mask leaves nothing to draw"):
        choose_edit(IMAGE, path, None, None)


def test_an_image_is_a_file_or_one_of_a_set(tmp_path: Path) -> None:
    data = els.load_images("fashion-mini", 20)
    image, name = load_subject("fashion-mini:12", None)
    assert name == "fashion-mini:12"
    assert torch.equal(image, data.scaled()[12:13])
    gray = save(tmp_path / "a.png", np.arange(80).reshape(8, 10))
    image, name = load_subject(str(gray), None)
    assert (name, image.shape) == ("a", (1, 1, 8, 10))
    colours = els.ImageSet(torch.zeros(2, 3, 8, 10, dtype=torch.uint8))
    assert torch.equal(load_subject(str(gray), colours)[0], image.expand(-1, 3, -1, -1))
    colour = save(tmp_path / "b.png", np.arange(240).reshape(8, 10, 3))
    assert load_subject(str(colour), None, size=4)[0].shape == (1, 3, 4, 4)
    with pytest.raises(ValueError, match="is in colour, fashion-mini is gray: give --gray"):
        load_subject(str(colour), data)
    with pytest.raises(ValueError, match="fashion-mini has 4000 images, numbered from 0"):
        load_subject("fashion-mini:4000", None)
    assert set_of("fashion-mini:12") == "fashion-mini"
    assert set_of(str(gray)) is None


def test_equal_training_images_are_left_out() -> None:
    data = els.load_images("fashion-mini", 5)
    assert data.labels is not None
    rest, equal = without(data, data.scaled()[2:3])
    assert equal == 1
    assert torch.equal(rest.images, data.images[[0, 1, 3, 4]])
    assert torch.equal(rest.labels, data.labels[[0, 1, 3, 4]])  # type: ignore[arg-type]
    assert without(data, torch.zeros(1, 1, 9, 9)) == (data, 0)
    assert without(data, torch.zeros(1, 1, 28, 28)) == (data, 0)
    with pytest.raises(ValueError, match="all images of fashion-mini are equal to IMAGE"):
        without(data.take(1), data.scaled()[:1])


def test_errors_are_over_the_missing_pixels() -> None:
    edit = choose_edit(IMAGE, None, "2,3,3x6", None)
    drawn = IMAGE.clone()
    drawn[..., edit.missing] += 0.25
    other = IMAGE.clone()
    other[..., ~edit.missing] += 0.5
    assert edit.errors(torch.cat([drawn, other])) == pytest.approx([0.25, 0.0], abs=1e-6)
    assert edit.held()[..., edit.missing].unique().tolist() == [1.0]
    header, rows = editing.edit_rows(edit, {"ELS": torch.cat([drawn, other])})
    assert header == ("rms error in the mask", "variant 1", "variant 2")
    assert rows == [("ELS", "0.250", "0.000")]
    assert editing.edit_rows(choose_edit(IMAGE, None, None, "1"), {"ELS": drawn})[1] == []
