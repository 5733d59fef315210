from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.data.store import CARD, IMAGES, LABELS


@pytest.fixture
def data() -> els.ImageSet:
    pixels = torch.randint(0, 256, (30, 3, 6, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return els.ImageSet(pixels, torch.arange(30) % 3, "things", ("one", "two", "three"))


def test_what_was_saved_is_read(data: els.ImageSet, tmp_path: Path) -> None:
    for given, name in ((data, "a.store"), (els.ImageSet(data.images), "b.STORE")):
        given.save(tmp_path / name)
        found = els.load_images(tmp_path / name)
        assert torch.equal(found.images, given.images)
        assert (found.labels is None) == (given.labels is None)
        assert (found.name, found.classes) == (given.name, given.classes)
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
