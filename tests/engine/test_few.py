"""Few keys of every query, found in one pass and pasted: against all pairs in float64."""

from __future__ import annotations

import pytest
import torch

import elsewhere as els
from elsewhere.engine import few
from elsewhere.engine.kernels import loader
from elsewhere.engine.sliding import OMITTED

pytestmark = pytest.mark.skipif(loader.library() is None, reason="the kernels were not compiled here")
PHOTO = els.ImageSet(torch.cat([*els.load_images("pixel-faces", 4).images[:, :, :28].split(1)], 3)[:, :, :, :56])
# As much as may be left out of a mean of values in [-1, 1], and rounding.
ERROR = 2 * OMITTED + 1e-5


def noisy(channels: int, sigma: float) -> torch.Tensor:
    """Another canvas than the photograph, of its content, with noise."""
    image = PHOTO.scaled()[:, :channels].repeat(1, 1, 2, 1)[:, :, 3:40, 2:47]
    return 0.9 * image + sigma * els.make_noise(1, (channels, 37, 45))


def machine(channels: int, **changes: object) -> els.PatchScore:
    settings = {"window": 9, "keys": "inside", "response": 9, "fold": 0.12, **changes}
    return els.PatchScore(els.ImageSet(PHOTO.images[:, :channels]), els.PatchSettings(**settings))  # type: ignore[arg-type]


def in_float64(exact: els.PatchScore, x: torch.Tensor, sigma: float) -> torch.Tensor:
    offset = exact.store.offset
    return exact((x - offset).double() + offset, sigma)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call was answered by few keys, also where all pairs would take no time."""
    known: list[bool] = []
    paste = few.paste
    monkeypatch.setattr(few, "FEWEST_PAIRS", 0)
    monkeypatch.setattr(few, "MOST_KEYS", 1.0)
    monkeypatch.setattr(few, "paste", lambda *given: [found := paste(*given), known.append(found is not None)][0])
    return known


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "changes", [{}, {"keys": "wrap"}, {"keys": "torus", "response": 5}, {"window": 21, "response": 21, "fold": None}]
)
@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.3])
def test_patches_are_those_of_all_pairs(
    answers: list[bool], channels: int, changes: dict[str, object], sigma: float
) -> None:
    one, x = machine(channels, **changes), noisy(channels, sigma)
    assert float((one(x, sigma) - in_float64(one, x, sigma)).abs().max()) < ERROR
    assert answers == [True]


def test_bad_guesses_cost_memory_but_no_accuracy(answers: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few, "ROUNDS", 1)
    monkeypatch.setattr(few, "ROOM", 2000)
    one, x = machine(3), noisy(3, 0.2)
    assert float((one(x, 0.2) - in_float64(one, x, 0.2)).abs().max()) < ERROR
    assert answers == [True]


@pytest.mark.parametrize("setting", [("MOST_KEYS", -1.0), ("ROOM", 1e-9)])
def test_without_room_all_pairs_are_weighed_twice(
    answers: list[bool], monkeypatch: pytest.MonkeyPatch, setting: tuple[str, float]
) -> None:
    monkeypatch.setattr(few, *setting)
    one, x = machine(1), noisy(1, 0.2)
    assert float((one(x, 0.2) - in_float64(one, x, 0.2)).abs().max()) < ERROR
    assert answers == [False]


@pytest.mark.parametrize("fold", [0.12, 0.2, 1.0])
@pytest.mark.parametrize("sigma", [1.0, 6.0])
def test_far_pixels_of_patches_are_left_out_inside_the_canvas_alone(fold: float, sigma: float) -> None:
    """At the edges the patches that lie inside are the only ones, however little their far pixels count."""
    one, x = machine(3, window=15, response=15, fold=fold), noisy(3, sigma)
    off = (one(x, sigma) - in_float64(one, x, sigma)).abs()
    assert float(off.max()) < ERROR
    assert float(off[:, :, 7:-7, 7:-7].max()) < ERROR
