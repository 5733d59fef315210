"""Hands that are sent are counted as the library counts them."""

import pytest
import torch

import elsewhere as els
from elsewhere import schedules
from elsewhere.anomalies import count_fingers
from elsewhere.studio.fingers import STEPS, fingers, gallery, windows
from elsewhere.studio.questions import Question
from tests.studio.test_drawing import array


def test_windows_cover_the_picture_above_the_level_and_are_narrow_below():
    locality = windows(5, 2.0, 32)
    for sigma in schedules.cosine(STEPS).sigmas[:-1]:
        assert locality(sigma) == (65 if sigma >= 2 else 5)


def test_hands_and_counts_are_those_of_the_library(subjects, runs):
    *steps, last = fingers(Question({"seed": 3}), subjects, runs)
    subject = subjects["hands"]
    machine = els.EquivariantLocalScore(subject.data, els.shipped_locality("hands-resnet"), memory=2**28)
    drawn = els.sample(machine, els.make_noise(1, subject.data.shape, 3), schedules.cosine(STEPS)).images
    assert len(steps) == STEPS
    assert torch.allclose(array(last["hand"]["image"]), drawn[0].double(), atol=2e-3)
    assert last["hand"]["count"] == int(count_fingers(drawn)[0]) == len(last["hand"]["tips"])


def test_the_gallery_has_hands_with_a_wrong_number_only(subjects, runs):
    *_, last = gallery(Question({"first": 0, "count": 2}), subjects, runs)
    assert last["searched"] == 2
    assert all(found["count"] != 5 for found in last["found"])


@pytest.mark.parametrize(
    "change", [{"window": 6, "when": 1.0}, {"window": 5}, {"when": 1.0}, {"window": 5, "when": 1e9}, {"seed": "x"}]
)
def test_bad_questions_are_refused_in_words(subjects, runs, change):
    with pytest.raises((TypeError, ValueError), match=r"must"):
        list(fingers(Question({"seed": 0, **change}), subjects, runs))
