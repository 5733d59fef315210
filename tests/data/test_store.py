from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import elsewhere as els
from elsewhere.data.store import CARD, IMAGES, LABELS


@pytest.fixture
def data() -> els.ImageSet:
    pixels = torch.randint(0, 256, (30, 3, 6, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    words = tuple(f"thing {number}" for number in range(30))
    return els.ImageSet(pixels, torch.arange(30) % 3, "things", ("one", "two", "three"), captions=words)


def test_what_was_saved_is_read(data: els.ImageSet, tmp_path: Path) -> None:
    for given, name in ((data, "a.store"), (els.ImageSet(data.images), "b.STORE")):
        given.save(tmp_path / name)
        found = els.load_images(tmp_path / name)
        assert torch.equal(found.images, given.images)
        assert (found.labels is None) == (given.labels is None)
        assert (found.name, found.classes, found.captions) == (given.name, given.classes, given.captions)
        assert found.fingerprint() == given.fingerprint()
    assert els.load_images(tmp_path / "a.store", labels=False).labels is None


def test_images_are_mapped_and_machines_do_not_copy_them(data: els.ImageSet, tmp_path: Path) -> None:
    data.save(tmp_path / "a.store")
    found = els.load_images(tmp_path / "a.store", 20)
    assert str(found) == "ImageSet('things', only the first 20 of 30 images of 6x5 colour pixels, 3 classes)"
    # A mapped file is written to in memory alone, and what reads the same memory sees it.
    machine = els.LocalScore(found, 3)
    assert machine.store.pixels.data_ptr() == found.images.data_ptr()
    found.images[0, 0, 0, 0] ^= 255
    assert int(els.load_images(tmp_path / "a.store").images[0, 0, 0, 0]) == int(data.images[0, 0, 0, 0])


def test_machines_answer_as_from_memory(data: els.ImageSet, tmp_path: Path) -> None:
    data.save(tmp_path / "a.store")
    found = els.load_images(tmp_path / "a.store")
    x = els.make_noise(2, data.shape)
    assert torch.equal(els.LocalScore(found, 3)(x, 0.5), els.LocalScore(data, 3)(x, 0.5))


def test_saving_again_replaces(data: els.ImageSet, tmp_path: Path) -> None:
    data.save(tmp_path / "a.store")
    els.ImageSet(data.images[:4]).save(tmp_path / "a.store")
    found = els.load_images(tmp_path / "a.store")
    assert len(found) == 4
    assert found.labels is None
    assert sorted(path.name for path in (tmp_path / "a.store").iterdir()) == [IMAGES, CARD]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda store: flip(store / IMAGES), ValueError, "is damaged"),
        (lambda store: flip(store / LABELS), ValueError, "labels"),
        (lambda store: (store / LABELS).unlink(), ValueError, "is damaged"),
        (lambda store: (store / IMAGES).unlink(), FileNotFoundError, "images.npy is missing"),
        (lambda store: (store / CARD).unlink(), FileNotFoundError, "set.json is missing"),
        (lambda store: (store / CARD).write_text("{"), ValueError, "cannot be read as a store of images"),
        (lambda store: (store / CARD).write_text("[]"), ValueError, "cannot be read as a store of images"),
        (lambda store: (store / CARD).write_text('{"format": 1}'), ValueError, "store of images"),
        (lambda store: edit(store / CARD, captions=["one"]), ValueError, "captions must be 30.*store again"),
        (lambda store: edit(store / CARD, captions="a" * 30), ValueError, "is not a store of images"),
        (lambda store: edit(store / CARD, captions=[1] * 30), ValueError, "is not a store of images"),
        (lambda store: np.save(store / IMAGES, np.zeros((2, 3))), ValueError, "must hold uint8 with 4 axes"),
        (lambda store: (store / IMAGES).write_bytes(b"no array"), ValueError, "cannot be read as an array"),
        (lambda store: np.save(store / IMAGES, np.array([{}]), allow_pickle=True), ValueError, "cannot be read"),
        (
            lambda store: (store / IMAGES).write_bytes((store / IMAGES).read_bytes()[:-9]),
            ValueError,
            "cannot be read as an array",
        ),
    ],
)
def test_damage_is_named(data: els.ImageSet, tmp_path: Path, damage: Any, error: type[Exception], message: str) -> None:
    data.save(tmp_path / "a.store")
    damage(tmp_path / "a.store")
    with pytest.raises(error, match=message):
        els.load_images(tmp_path / "a.store")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"size": 4}, "leave out size, gray and value_range"),
        ({"gray": True}, "leave out size, gray and value_range"),
        ({"split": "test"}, "has no splits"),
        ({"limit": 31}, "limit must be between 1 and 30"),
    ],
)
def test_what_a_store_cannot_do(data: els.ImageSet, tmp_path: Path, request_: dict[str, Any], message: str) -> None:
    data.save(tmp_path / "a.store")
    with pytest.raises(ValueError, match=message):
        els.load_images(tmp_path / "a.store", **request_)


def test_the_card_says_what_is_in_it(data: els.ImageSet, tmp_path: Path) -> None:
    data.save(tmp_path / "a.store")
    card = json.loads((tmp_path / "a.store" / CARD).read_text())
    assert card["shape"] == [30, 3, 6, 5]
    assert card["fingerprint"] == data.fingerprint()


def write_pictures(folder: Path) -> None:
    """Two classes of files; the first ones are gray, so that colour is found out in the midst."""
    generator = np.random.default_rng(0)
    for number in range(12):
        shape = (9, 7) if number < 5 else (9, 7, 3)
        path = folder / ("a" if number < 6 else "b") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.mark.parametrize("options", [{}, {"size": 5}, {"gray": True}, {"limit": 4}, {"labels": False}], ids=str)
def test_pictures_are_decoded_into_a_store(tmp_path: Path, options: dict[str, Any]) -> None:
    write_pictures(tmp_path / "pictures")
    expected = els.load_images(tmp_path / "pictures", **options)
    for _ in range(2):  # the second replaces the first
        found = els.load_images(tmp_path / "pictures", store=tmp_path / "a.store", **options)
        for each in (found, els.load_images(tmp_path / "a.store")):
            assert torch.equal(each.images, expected.images)
            assert each.fingerprint() == expected.fingerprint()
            assert each.classes == expected.classes
        assert found.left_out == expected.left_out
    files = {IMAGES, CARD} | ({LABELS} if expected.labels is not None else set())
    assert {path.name for path in (tmp_path / "a.store").iterdir()} == files


def test_arrays_get_into_a_store(data: els.ImageSet, tmp_path: Path) -> None:
    found = els.load_images(data.images.numpy(), store=tmp_path / "a.store")
    assert torch.equal(found.images, data.images)


def test_a_failure_leaves_the_store_as_it_was(data: els.ImageSet, tmp_path: Path) -> None:
    data.save(tmp_path / "a.store")
    write_pictures(tmp_path / "pictures")
    (tmp_path / "pictures/b/11.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"11\.png"):
        els.load_images(tmp_path / "pictures", store=tmp_path / "a.store")
    assert {path.name for path in (tmp_path / "a.store").iterdir()} == {IMAGES, CARD, LABELS}
    assert torch.equal(els.load_images(tmp_path / "a.store").images, data.images)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    (tmp_path / "a.store").mkdir()
    (tmp_path / "a.store/.images-abc.npy").write_bytes(b"half")
    with pytest.raises(FileNotFoundError, match=r"set\.json is missing"):
        els.load_images(tmp_path / "a.store")
    els.load_images(tmp_path / "pictures", store=tmp_path / "a.store")
    assert not (tmp_path / "a.store/.images-abc.npy").exists()


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_pictures(tmp_path / "pictures")
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left") as error:
        els.load_images(tmp_path / "pictures", store=tmp_path / "a.store")
    assert error.value.filename == str(tmp_path / "a.store")
    assert not list((tmp_path / "a.store").iterdir())


def test_bad_names_of_stores(data: els.ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a folder NAME\.store"):
        els.load_images("hands", 2, store=tmp_path / "a.npz")
    data.save(tmp_path / "a.store")
    with pytest.raises(ValueError, match="is the source itself"):
        els.load_images(tmp_path / "a.store", store=tmp_path / "a.store")
