from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elsewhere.anomalies import count_fingers, count_legs, count_sleeves, finger_tips
from elsewhere.data import to_unit
from elsewhere.data.hands import draw_hands, draw_pose

pytest.importorskip("skimage")
LABELLED = Path(__file__).parent / "labelled"
COUNTERS: tuple[Callable[[Any], Any], ...] = (count_fingers, count_legs, count_sleeves)


def test_drawn_fingers_are_counted() -> None:
    hands = draw_hands(100, seed=77, fingers=(3, 4, 5, 6, 7))
    assert hands.labels is not None
    right = count_fingers(hands.scaled()) == hands.labels.numpy()
    # 99.7 % of 1,000 are right in benchmarks/counting.py, blurred and noisy.
    assert right.mean() >= 0.97


def labelled(limb: str, name: str = "clothes") -> tuple[torch.Tensor, np.ndarray]:
    """Images that no threshold was chosen on and on which the eye can decide, and what it counted."""
    with (LABELLED / f"{name}.csv").open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if (r["limb"], r["half"], r["clear"]) == (limb, "held out", "yes")]
    with np.load(LABELLED / f"{name}.npz", allow_pickle=False) as arrays:
        images = torch.from_numpy(arrays["images"])[[int(r["image"]) for r in rows]]
    return to_unit(images)[:, None], np.array([int(r["count"]) for r in rows])


@pytest.mark.parametrize(("limb", "count"), [("legs", count_legs), ("sleeves", count_sleeves)])
def test_limbs_of_clothes_are_counted_as_the_eye_counts(limb: str, count: Callable[[Any], Any]) -> None:
    images, truth = labelled(limb)
    counted = count(images)
    assert len(truth) > 40
    assert (counted == truth).mean() >= 0.95


def test_fingers_that_machines_drew_are_counted_as_the_eye_counts() -> None:
    images, truth = labelled("fingers", "hands")
    counted = count_fingers(images)
    assert len(truth) == 54
    assert (counted == truth).mean() >= 0.95
    np.testing.assert_array_equal(counted == 5, truth == 5)


def test_extra_legs_are_seen_and_not_only_the_usual_two() -> None:
    images, truth = labelled("legs")
    three = truth == 3
    assert three.sum() == 8
    assert (count_legs(images)[three] == 3).sum() >= 6


def test_a_missing_sleeve_is_seen_and_not_only_the_usual_two() -> None:
    images, truth = labelled("sleeves")
    one = truth == 1
    # No more can be asked for: of two such pictures one is found.
    assert one.sum() == 2
    assert (count_sleeves(images)[one] == 1).sum() >= 1


def test_the_labels_are_labels_of_the_pictures() -> None:
    with (LABELLED / "clothes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with np.load(LABELLED / "clothes.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
    assert [int(r["image"]) for r in rows] == list(range(len(images)))
    from elsewhere import load_images

    data = load_images("fashion-mini")
    for row, image in zip(rows, images, strict=True):
        if row["index in fashion-mini"]:
            np.testing.assert_array_equal(image, data.images[int(row["index in fashion-mini"]), 0].numpy())


@pytest.mark.parametrize("strips", [1, 2, 3, 4])
def test_strips_are_legs(strips: int) -> None:
    trousers = torch.full((1, 1, 28, 28), -1.0)
    trousers[..., :8, 4:24] = 0.8
    edges = np.linspace(4, 24, strips + 1).astype(int)
    for begin, end in pairwise(edges.tolist()):
        trousers[..., 8:, begin : end - (2 if strips > 1 else 0)] = 0.8
    assert count_legs(trousers).tolist() == [strips]


@pytest.mark.parametrize(("left", "right"), [(False, False), (True, False), (False, True), (True, True)])
def test_sleeves_are_strips_beside_the_body(left: bool, right: bool) -> None:
    top = torch.full((1, 1, 28, 28), -1.0)
    top[..., 2:25, 9:19] = 0.6
    top[..., 2:6, 4:24] = 0.6
    if left:
        top[..., 5:25, 4:7] = 0.6
    if right:
        top[..., 5:25, 21:24] = 0.6
    assert count_sleeves(top).tolist() == [left + right]


@pytest.mark.parametrize("count", COUNTERS)
def test_an_empty_picture_has_no_limbs(count: Callable[[Any], Any]) -> None:
    assert count(torch.full((2, 1, 28, 28), -1.0)).tolist() == [0, 0]


@pytest.mark.parametrize("count", COUNTERS)
def test_counting_is_image_by_image_and_takes_numpy_and_colour(count: Callable[[Any], Any]) -> None:
    images = torch.cat([draw_hands(6, 3, fingers=(3, 5, 7)).scaled(), torch.full((1, 1, 32, 32), -1.0)])
    together = count(images)
    assert together.dtype == np.int64
    assert together.tolist() == [int(count(image[None])[0]) for image in images]
    np.testing.assert_array_equal(count(images.numpy()), together)
    np.testing.assert_array_equal(count(images.expand(-1, 3, -1, -1)), together)


def test_brightness_and_place_do_not_change_the_count() -> None:
    hands = draw_hands(9, 9, fingers=(4, 5, 6))
    unit = hands.scaled()
    counted = count_fingers(unit)
    np.testing.assert_array_equal(count_fingers((unit + 1) * 0.6 - 1), counted)
    np.testing.assert_array_equal(count_fingers(torch.nn.functional.pad(unit, (3, 1, 1, 2), value=-1)), counted)
    np.testing.assert_array_equal(count_fingers(unit.flip(3)), counted)


def test_tips_are_where_the_fingers_end() -> None:
    pose = draw_pose(np.random.default_rng((4, 0)))
    tips = finger_tips(draw_hands(1, 4).scaled()[0])
    directions = np.array([(-np.cos(a + pose.turn), np.sin(a + pose.turn)) for a in pose.angles])
    ends = np.array(pose.centre[::-1]) + pose.scale * np.array(pose.lengths)[:, None] * directions
    assert len(tips) == 5
    # Half a pixel for the middle of a pixel, one for the roundness of the tip.
    nearest = np.linalg.norm(tips[:, None] + 0.5 - ends[None], axis=2).min(1)
    assert nearest.max() < 1.6
    assert (np.diff(tips[:, 1]) >= 0).all(), "from left to right"


@pytest.mark.parametrize("count", [*COUNTERS, finger_tips])
def test_what_is_no_image_is_refused(count: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="floating point"):
        count(torch.zeros((1, 1, 28, 28) if count is not finger_tips else (1, 28, 28), dtype=torch.uint8))
    with pytest.raises(ValueError, match="must be"):
        count(torch.zeros(28, 28))


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.morphology", None)
    with pytest.raises(ImportError, match=r"skimage.*elsewhere\[anomalies\]"):
        count_fingers(draw_hands(1).scaled())
