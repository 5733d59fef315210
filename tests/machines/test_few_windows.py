"""The fast engine on images with hardly any distinct window: it answers as the exact one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.engine import planner


@pytest.fixture(autouse=True)
def everything_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SEARCH_PLACES", 1)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)


def random(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 1, 9, 8), generator=torch.Generator().manual_seed(count)).byte()


def flat(*values: int) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 9, 8).byte()


def stripes() -> Tensor:
    return torch.arange(8).remainder(2).mul(255).expand(30, 1, 9, 8).byte()


SETS: dict[str, Callable[[], Tensor]] = {
    "one distinct window": lambda: flat(77).expand(50, -1, -1, -1),
    "two distinct windows": lambda: flat(20, 200).repeat(25, 1, 1, 1),
    "stripes": stripes,
    "one image": lambda: random(1),
    "one blank image": lambda: flat(0),
    "equal images": lambda: random(1).expand(50, -1, -1, -1),
    "blank but for one image": lambda: torch.cat([flat(0).expand(49, -1, -1, -1), random(1)]),
}


@pytest.mark.parametrize("borders", ["aware", "wrap"])
@pytest.mark.parametrize("images", SETS.values(), ids=SETS.keys())
def test_few_distinct_windows_are_answered_with(images: Callable[[], Tensor], borders: str) -> None:
    data = els.ImageSet(images().contiguous(), torch.arange(len(images())))
    fast = els.EquivariantLocalScore(data, 3, borders, engine="fast")
    exact = fast.with_engine("exact")
    x, label = data.scaled()[[0, -1]] + els.make_noise(2, data.shape), torch.tensor([0, len(data) - 1])
    for sigma in (1e-3, 0.7, 50.0):
        for asked in (None, label):
            # One class of a label: all its windows come from one image.
            assert float((fast(x, sigma, asked) - exact(x, sigma, asked)).abs().max()) < 1e-3


def test_thousands_of_blank_images_are_answered_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    data = els.ImageSet(torch.zeros(2200, 1, 28, 28, dtype=torch.uint8))
    machine = els.EquivariantLocalScore(data, 5, engine="fast", memory=2**28)
    assert torch.allclose(machine(els.make_noise(1, data.shape), 1.0), torch.tensor(-1.0), rtol=0, atol=1e-5)
