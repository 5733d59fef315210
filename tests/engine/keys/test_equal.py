"""Equal windows are found whatever the images are made of, and whatever their hashes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.engine import Extent, PixelStore, WindowKeys
from elsewhere.engine.keys import equal

SIDES = (3, 4)


def random(count: int, levels: int, channels: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(0, levels, (count, channels, 9, 8), generator=torch.Generator().manual_seed(seed))


def bytes_of(images: Tensor) -> Tensor:
    return images.mul(255 // max(1, int(images.max()))).byte()


def floats_of(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda images: (images.to(dtype) / max(1, int(images.max())) * 2 - 1) + 0.0


KINDS = {"bytes": bytes_of, "float32": floats_of(torch.float32), "float64": floats_of(torch.float64)}
SETS = {
    "black and white": lambda: random(30, 2),
    "colour": lambda: random(20, 2, channels=3),
    "eight levels": lambda: random(30, 8),
    "constant": lambda: torch.zeros(20, 1, 9, 8, dtype=torch.int64),
    "one image many times": lambda: random(1, 256).expand(25, -1, -1, -1),
}


def keys_of(images: Tensor, merge: bool) -> WindowKeys:
    return WindowKeys(PixelStore.of(images), Extent(1, 1, 1, 2), range(1, 8), range(1, 6), merge=merge)


def windows_of(images: Tensor) -> Tensor:
    return keys_of(images, merge=False).raw(0, len(images) * 7 * 5)


@pytest.mark.parametrize("hashing", ["as it is", "one hash for all"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", SETS.values(), ids=SETS.keys())
def test_equal_windows_and_no_others_are_merged(
    images: Callable[[], Tensor], kind: str, hashing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = KINDS[kind](images())
    if hashing != "as it is":
        monkeypatch.setattr(equal, "hashes", lambda some, sides: torch.zeros(len(some), 7, 5, dtype=torch.int64))
    keys = keys_of(pixels, merge=True)
    distinct, counts = torch.unique(windows_of(pixels), dim=0, return_counts=True)
    assert len(keys) == len(distinct)
    if keys.kept is None:
        return
    found, order = torch.unique(keys.raw(0, len(keys)), dim=0, return_inverse=True)
    assert torch.equal(found, distinct)
    assert keys.log_counts is not None
    assert torch.equal(keys.log_counts.exp().round().long(), counts[order])
    # What a key stands for is known as well: its windows come from as many places.
    assert torch.equal(keys.sources().counts(torch.arange(len(keys))), counts[order])


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_hashes_of_floats_do_not_collide(kind: str) -> None:
    # 1,100 images of few values, whose bits have much in common.
    images = KINDS[kind](torch.cat([random(550, levels, seed=levels) for levels in (2, 5)]))
    assert len(equal.groups(images, SIDES)[1]) == len(equal.groups(images, SIDES, exact=True)[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_machine_of_black_and_white_floats_answers_as_one_of_bytes(dtype: torch.dtype) -> None:
    images = random(40, 2)
    data = els.ImageSet(bytes_of(images))
    x = els.make_noise(1, data.shape)
    expected = els.EquivariantLocalScore(data, 3)(x, 0.7)
    found = els.EquivariantLocalScore(floats_of(dtype)(images), 3)(x, 0.7)
    assert float((found - expected).abs().max()) < 1e-5


def test_the_images_are_left_as_they_are() -> None:
    for kind in KINDS.values():
        images = kind(random(4, 8))
        before = images.clone()
        equal.hashes(images, SIDES)
        equal.names(images, SIDES)
        assert torch.equal(images, before)


@pytest.mark.parametrize("sides", [(1, 1), (1, 5), (9, 8), (2, 7)])
def test_names_are_those_of_whole_windows(sides: tuple[int, int]) -> None:
    images = random(12, 2, channels=2)
    windows = images.unfold(2, sides[0], 1).unfold(3, sides[1], 1).permute(0, 2, 3, 1, 4, 5)
    rows = windows.reshape(-1, 2 * sides[0] * sides[1])
    pairs = torch.stack([torch.unique(rows, dim=0, return_inverse=True)[1], equal.names(images, sides).flatten()])
    assert pairs.unique(dim=1).shape[1] == len(rows.unique(dim=0)) == len(pairs[1].unique())
