"""The memorisation transition: what is counted, what is kept, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.analysis.transition_makers import named_makers
from elsewhere.analysis.transition_result import TransitionPoint, TransitionResult, wilson
from elsewhere.networks import TrainSettings

DATA = els.load_images("fashion-mini", limit=80)
LEVELS = els.schedules.cosine(4)


def copier(data: els.ImageSet) -> Callable[..., torch.Tensor]:
    """Draws the training images in turn, whatever the noise."""
    return lambda x, sigma, label=None: data.scaled()[torch.arange(len(x)) % len(data)].to(x.dtype)


def grayer(data: els.ImageSet) -> Callable[..., torch.Tensor]:
    """Draws noise of its own: no copies."""
    noise = els.make_noise(1, data.shape, seed=9)
    return lambda x, sigma, label=None: (0.5 * noise).expand(x.shape).to(x.dtype)


def point(name: str, count: int, copies: int, total: int = 10) -> TransitionPoint:
    verdicts = ("copy",) * (copies // 2) + ("near copy",) * (copies - copies // 2) + ("no copy",) * (total - copies)
    return TransitionPoint(name, count, verdicts, (0.1,) * total, (None,) + (0.2,) * (total - 1), 0.05, 1.0)


def test_what_copies_has_the_share_one_and_what_does_not_zero() -> None:
    found = els.transition(DATA, {"copies": copier, "gray": grayer}, (5, 40), images=6, schedule=LEVELS)
    assert [one.share for one in found.of("copies")] == [1, 1]
    assert [one.share for one in found.of("gray")] == [0, 0]
    assert [(one.name, one.count) for one in found.points] == [("copies", 5), ("copies", 40), ("gray", 5), ("gray", 40)]
    assert all(len(one.verdicts) == 6 for one in found.points)


def test_every_denoiser_has_the_same_nested_images() -> None:
    seen: dict[str, list[els.ImageSet]] = {"a": [], "b": []}

    def maker(name: str) -> Callable[[els.ImageSet], Any]:
        def make(data: els.ImageSet) -> Any:
            seen[name].append(data)
            return copier(data)

        return make

    els.transition(DATA, {name: maker(name) for name in seen}, (40, 5), images=1, schedule=LEVELS, seed=2)
    assert [len(data) for data in seen["a"]] == [5, 40]
    for mine, theirs in zip(seen["a"], seen["b"], strict=True):
        assert mine.fingerprint() == theirs.fingerprint()
    few, many = ({image.numpy().tobytes() for image in data.images} for data in seen["a"])
    assert few < many
    # At random, not the first ones.
    assert not few <= {image.numpy().tobytes() for image in DATA.images[:5]}


def test_an_audit_of_the_same_images_gives_the_same_verdicts() -> None:
    chosen: list[els.ImageSet] = []
    found = els.transition(DATA, {"IS": lambda d: chosen.append(d) or els.IdealScore(d)}, (20,), images=5)
    run = els.sample(els.IdealScore(chosen[0]), els.make_noise(5, DATA.shape))
    assert found.points[0].verdicts == els.audit(chosen[0], run.images, pixels=0).verdicts


def test_half_lies_between_the_counts_around_it() -> None:
    found = TransitionResult(tuple(point("A", n, c) for n, c in ((10, 10), (100, 8), (1000, 2))))
    # Linear in the logarithm: half way from 8 to 2 of 10.
    assert found.half("A") == pytest.approx(10**2.5)
    assert TransitionResult((point("A", 10, 10), point("A", 100, 6))).half("A") is None
    assert TransitionResult((point("A", 10, 0),)).half("A") is None
    with pytest.raises(ValueError, match="name must be one of A"):
        found.half("B")


@pytest.mark.parametrize(("hits", "total"), [(0, 5), (1, 4), (7, 9), (64, 64)])
def test_intervals_are_those_of_scipy(hits: int, total: int) -> None:
    from scipy.stats import binomtest

    wanted = binomtest(hits, total).proportion_ci(0.95, "wilson")
    assert wilson(hits, total) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


def test_a_saved_transition_is_read_again(tmp_path: Path) -> None:
    found = els.transition(DATA, {"copies": copier, "gray": grayer}, (5, 40), images=3, schedule=LEVELS)
    files = found.save(tmp_path)
    assert {path.name for path in files} == {"report.html", "results.json", "results.csv", "transition.png"}
    again = els.Transition.load(tmp_path)
    assert again == found
    assert again.to_json() == found.to_json()
    assert found.headline in (tmp_path / "report.html").read_text()
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 5
    np.testing.assert_array_equal(again.points[0].image(), found.points[0].image())
    (tmp_path / "results.json").write_text(json.dumps({"format": "elsewhere.transition/1", "points": 3}))
    with pytest.raises(ValueError, match="is no result of"):
        els.Transition.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no transition at"):
        els.Transition.load(tmp_path / "nowhere")


def test_finished_points_are_not_measured_again(tmp_path: Path) -> None:
    made: list[int] = []

    def maker(data: els.ImageSet) -> Any:
        made.append(len(data))
        return copier(data)

    settings: dict[str, Any] = {"images": 2, "schedule": LEVELS, "cache": tmp_path}
    first = els.transition(DATA, {"A": maker}, (5, 10), **settings)
    more = els.transition(DATA, {"A": maker}, (5, 10, 20), **settings)
    assert made == [5, 10, 20]
    assert more.points[:2] == first.points
    # Other noise is another measurement.
    els.transition(DATA, {"A": maker}, (5,), **settings, seed=1)
    assert made == [5, 10, 20, 5]
    for kept in tmp_path.glob("*.json"):
        kept.write_text("nonsense")
    with pytest.raises(ValueError, match="delete it"):
        els.transition(DATA, {"A": maker}, (5,), **settings)


def test_a_trained_network_is_one_point_at_the_number_of_all_images(tmp_path: Path) -> None:
    networks = {"net": copier(DATA)}
    found = els.transition(DATA, {"gray": grayer}, (5,), networks=networks, images=3, schedule=LEVELS)
    assert [(one.name, one.count, one.share) for one in found.points] == [("gray", 5, 0), ("net", 80, 1)]
    assert found.half("net") is None
    found.save(tmp_path)
    assert els.transition(DATA, {}, (5,), networks=networks, images=3, schedule=LEVELS).names == ("net",)
    with pytest.raises(ValueError, match="different names, got 'net'"):
        els.transition(DATA, {"net": grayer}, (5,), networks=networks)


@pytest.mark.parametrize(
    ("counts", "part"), [((2, 10), "counts must be 3 to 80"), ((81,), "got 81"), ((), "counts is empty")]
)
def test_counts_that_cannot_be_are_refused(counts: tuple[int, ...], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        els.transition(DATA, {"A": copier}, counts)
    with pytest.raises(ValueError, match="makers is empty"):
        els.transition(DATA, {}, (5,))


def test_points_have_an_entry_for_each_image() -> None:
    with pytest.raises(ValueError, match="one entry for each image"):
        replace(point("A", 5, 3), distances=(0.1,))


def test_names_make_machines_of_the_chosen_images_and_networks_are_trained(tmp_path: Path) -> None:
    training = TrainSettings(options={"width": 4, "blocks": 1}, steps=2, batch=2)
    makers = named_makers(["is", "els"], window=5, training=training, folder=tmp_path)
    assert list(makers) == ["IS", "ELS", "trained resnet"]
    found = els.transition(DATA, makers, (4,), images=1, schedule=LEVELS)
    assert len(found.points) == 3
    assert (tmp_path / "resnet-4" / "network.safetensors").is_file()
    with pytest.raises(ValueError, match="got 'best'"):
        named_makers(["best"])
