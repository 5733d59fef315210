from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from elsewhere.data import EMBEDDED, load_images, load_picture
from tests.data.toys import pixels, refused, write_idx, write_picture

# Networks that come with the package carry these: a change makes them networks of other images.
FINGERPRINTS = {
    "fashion-mini": "d9c17a382fcdeca06852ba090d8065c4c982da041b7dc6382ccaa724d803ad95",
    "pixel-faces": "cb18e390b43df60045b10bfef7f84747ce47b8b29e38ff715e23be8076c72403",
    "emoji": "ab2ad85d43541a5887ad9c663d7f111971311a491fe71c8b1bdb3e831dedbf22",
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_embedded_sets_never_change(name: str) -> None:
    data = load_images(name)
    assert data.name == name
    assert data.fingerprint() == FINGERPRINTS[name]
    assert data.images.is_contiguous()


def test_fashion_mini_has_400_clothes_of_each_of_ten_classes() -> None:
    data = load_images("fashion-mini")
    assert data.images.shape == (4000, 1, 28, 28)
    assert data.labels is not None
    assert data.labels.dtype == torch.int64
    assert data.labels.bincount().tolist() == [400] * 10
    # The numbers are those of Fashion-MNIST.
    assert data.classes[:5] == ("T-shirt/top", "trouser", "pullover", "dress", "coat")
    assert data.classes[5:] == ("sandal", "shirt", "sneaker", "bag", "ankle boot")
    # Sandals, sneakers and boots are flat: their upper rows are emptier than those of any clothes.
    upper = torch.stack([data.images[data.labels == c, 0, :5].float().mean() for c in range(10)])
    assert {data.classes[i] for i in upper.argsort()[:3].tolist()} == {"sandal", "sneaker", "ankle boot"}


def test_pixel_faces_has_2000_colour_portraits_without_classes() -> None:
    data = load_images("pixel-faces")
    assert data.images.shape == (2000, 3, 32, 32)
    assert data.labels is None
    assert data.classes == ()
    # In colour indeed, not gray in three channels.
    assert not torch.equal(data.images[:, 0], data.images[:, 2])


def test_emoji_are_pictures_on_white_with_their_names_and_groups() -> None:
    data = load_images("emoji")
    assert data.images.shape == (3641, 3, 32, 32)
    assert data.labels is not None
    assert data.captions is not None
    assert len(data.captions) == len(set(data.captions)) == 3641
    assert len({image.numpy().tobytes() for image in data.images}) == 3641
    group = {words: data.classes[label] for words, label in zip(data.captions, data.labels.tolist(), strict=True)}
    assert group["cat face"] == "Animals & Nature"
    assert group["flag: Bouvet Island / flag: Norway / flag: Svalbard & Jan Mayen"] == "Flags"
    # Corners are background in nearly all pictures; no picture is nothing but background.
    assert (data.images[:, :, 0, 0] == 255).float().mean() > 0.9
    assert int(data.images.flatten(1).amin(1).max()) < 255
    heart = data.images[data.captions.index("red heart"), :, 16, 16].tolist()
    assert heart[0] > 200
    assert max(heart[1:]) < 100


def test_the_licences_of_the_emoji_lie_beside_them() -> None:
    text = (files("elsewhere.data") / "embedded" / "emoji.LICENSE.txt").read_text("utf-8")
    for part in ("Copyright 2022 Google Inc.", "SIL OPEN FONT LICENSE Version 1.1", "UNICODE, INC. LICENSE AGREEMENT"):
        assert part in text


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_limit_takes_the_first_of_an_embedded_set(name: str) -> None:
    data, some = load_images(name), load_images(name, 7)
    assert torch.equal(some.images, data.images[:7])
    assert some.classes == data.classes
    if data.labels is not None:
        assert some.labels is not None
        assert torch.equal(some.labels, data.labels[:7])


def test_an_embedded_set_can_be_brought_to_another_size_and_colour() -> None:
    assert load_images("fashion-mini", 3, size=32, gray=False).images.shape == (3, 3, 32, 32)
    assert load_images("pixel-faces", 3, size=(8, 16), gray=True).images.shape == (3, 1, 8, 16)


def test_a_folder_of_the_name_of_an_embedded_set_is_reached_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sources = ("./fashion-mini", Path("fashion-mini"))
    for source in sources:
        with refused(FileNotFoundError, "no images at", "fashion-mini"):
            load_images(source)
    write_picture(tmp_path / "fashion-mini" / "a.png", pixels(4, 5))
    for source in sources:
        assert load_images(source).shape == (1, 4, 5)
    assert len(load_images("fashion-mini")) == 4000


def make_npy(path: Path, values: Any) -> Path:
    np.save(path / "set.npy", values)
    return path / "set.npy"


def make_npz(path: Path, values: Any) -> Path:
    np.savez(path / "set.npz", images=values)
    return path / "set.npz"


def make_idx(path: Path, values: Any) -> Path:
    return write_idx(path / "train-images-idx3-ubyte", values)


def make_idx_folder(path: Path, values: Any) -> Path:
    return make_idx(path, values).parent


def make_folder(path: Path, values: Any) -> Path:
    for i, image in enumerate(values):
        write_picture(path / f"{i}.png", image)
    return path


KINDS: dict[str, Callable[[Path, Any], Path]] = {
    "npy": make_npy,
    "npz": make_npz,
    "idx": make_idx,
    "folder of idx": make_idx_folder,
    "folder of images": make_folder,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cast", [str, Path])
def test_the_same_images_are_the_same_set_whatever_the_source(
    kind: str, cast: Callable[[Path], Any], tmp_path: Path
) -> None:
    values = pixels(12, 6, 5)
    source = cast(KINDS[kind](tmp_path, values))
    data = load_images(source)
    np.testing.assert_array_equal(data.images[:, 0].numpy(), values)
    assert data.images.is_contiguous()
    # What was asked for is met the same way as well.
    asked = load_images(source, 5, size=(4, 3), fit="stretch", gray=False)
    (tmp_path / "other").mkdir()
    other = load_images(make_npy(tmp_path / "other", values), 5, size=(4, 3), fit="stretch", gray=False)
    assert asked.fingerprint() == other.fingerprint()
    assert asked.images.shape == (5, 3, 4, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_loading_writes_nothing(kind: str, tmp_path: Path) -> None:
    source = KINDS[kind](tmp_path, pixels(3, 6, 5))
    before = sorted(os.walk(tmp_path))
    load_images(source, gray=False)
    assert sorted(os.walk(tmp_path)) == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_belong_to_the_set(kind: str, tmp_path: Path) -> None:
    source = KINDS[kind](tmp_path, pixels(3, 6, 5))
    data = load_images(source)
    expected = data.images.clone()
    shutil.rmtree(tmp_path)
    assert torch.equal(data.images, expected)
    data.images.zero_()


@pytest.mark.parametrize("name", ["SET.NPY", "SET.NPZ"])
def test_suffixes_may_be_upper_case(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        (np.save if name.endswith("Y") else np.savez)(file, pixels(3, 6, 5))
    assert len(load_images(tmp_path / name)) == 3


def test_the_file_of_an_embedded_set_is_a_set_like_any_other() -> None:
    with as_file(files("elsewhere.data") / "embedded" / "fashion-mini.npz") as path:
        assert load_images(path).fingerprint() == FINGERPRINTS["fashion-mini"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("fashion-mimi", "fashion-mini"), ("fashionmini", "fashion-mini"), ("pixel_faces", "pixel-faces")],
)
def test_a_near_miss_is_told_the_name(text: str, name: str) -> None:
    with refused(FileNotFoundError, f"no images at {text!r}: did you mean {name!r}?"):
        load_images(text)


@pytest.mark.parametrize("text", ["no/such/folder", "photos", "n" * 5000, "nul\0byte", "two\nlines"])
def test_nothing_there_is_said_with_what_could_be_given(text: str) -> None:
    with refused(FileNotFoundError, f"no images at {text!r}", *EMBEDDED, "hf:NAME"):
        load_images(text)


def test_a_broken_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "set.npz").symlink_to(tmp_path / "gone.npz")
    with refused(FileNotFoundError, tmp_path / "set.npz"):
        load_images(tmp_path / "set.npz")


@pytest.mark.parametrize("name", ["set.csv", "set.npy.bak", "set", "set.pt", "set.parquet"])
def test_a_file_of_an_unknown_kind_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with refused(ValueError, tmp_path / name, "is of an unknown kind"):
        load_images(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.JPG"])
def test_one_image_is_no_set_but_its_folder_is(name: str, tmp_path: Path) -> None:
    path = write_picture(tmp_path / name, pixels(4, 5))
    with refused(ValueError, path, f"is one image: give the folder of the images, {tmp_path}"):
        load_images(path)


@pytest.mark.parametrize("source", [None, 3, b"fashion-mini", ["a.png"], [pixels(4, 4)]])
def test_what_is_no_name_is_refused(source: Any) -> None:
    with refused(TypeError, f"a name, a path, or an array or tensor of images, got {type(source).__name__}"):
        load_images(source)


def test_an_empty_name_is_refused() -> None:
    with refused(ValueError, "got an empty string"):
        load_images("")


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"limit": 0}, ValueError, "limit must be 1 or more, got 0"),
    ({"limit": 4001}, ValueError, "between 1 and 4000, the size of fashion-mini"),
    ({"limit": 1.5}, TypeError, "limit must be an integer"),
    ({"size": 0}, ValueError, "size must be 1 or more"),
    ({"size": (28, 28, 1)}, TypeError, "(height, width)"),
    ({"fit": "pad"}, ValueError, "'crop' or 'stretch', got 'pad'"),
    ({"gray": "no"}, TypeError, "gray must be"),
    ({"split": "test"}, ValueError, "fashion-mini has no splits"),
]


@pytest.mark.parametrize(("asked", "error", "message"), BAD)
def test_bad_wishes_say_what_is_wrong(asked: dict[str, Any], error: type[Exception], message: str) -> None:
    with refused(error, message):
        load_images("fashion-mini", **asked)


def test_bad_wishes_are_refused_before_the_source_is_looked_for() -> None:
    with refused(ValueError, "limit must be 1 or more"):
        load_images("no/such/folder", 0)


def test_one_picture_is_a_set_of_one(tmp_path: Path) -> None:
    pixels = np.arange(12 * 20 * 3, dtype=np.uint8).reshape(12, 20, 3)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    data = load_picture(tmp_path / "photo.png")
    assert (len(data), data.shape, data.name) == (1, (3, 12, 20), "photo")
    np.testing.assert_array_equal(data.images[0].permute(1, 2, 0).numpy(), pixels)
    assert load_picture(tmp_path / "photo.png", longest=10).shape == (3, 6, 10)
    assert load_picture(tmp_path / "photo.png", longest=99).shape == (3, 12, 20)
    assert load_picture(tmp_path / "photo.png", size=4, gray=True).shape == (1, 4, 4)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    (tmp_path / "a.txt").write_text("text")
    for name, error, said in (
        ("a.png", ValueError, "cannot be read as an image"),
        ("a.txt", ValueError, "no image by its name"),
        ("b.png", FileNotFoundError, "no image at"),
        ("", IsADirectoryError, "is a folder"),
    ):
        with pytest.raises(error, match=said):
            load_picture(tmp_path / name)
