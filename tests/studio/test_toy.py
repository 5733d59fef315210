"""The toy is the two machines on two pictures."""

import pytest
import torch

import elsewhere as els
from elsewhere import schedules
from elsewhere.studio.questions import Question
from elsewhere.studio.toy import STEPS, WINDOW, pictures, toy
from tests.studio.test_drawing import array


def test_results_are_those_of_the_library(subjects, runs):
    messages = list(toy(Question({"pictures": pictures(), "seed": 4}), subjects, runs))
    data = els.data.ImageSet(255 * torch.tensor(pictures(), dtype=torch.uint8).view(2, 1, 8, 8))
    noise = els.make_noise(1, (1, 8, 8), 4)
    for name, machine in (("is", els.IdealScore(data)), ("els", els.EquivariantLocalScore(data, WINDOW))):
        drawn = els.sample(machine, noise, schedules.cosine(STEPS)).images[0, 0]
        assert torch.allclose(array(messages[-1][name]), drawn.double(), atol=1e-5)
    assert min(messages[-1]["nearest"]["is"]) < 0.05


def test_shares_are_those_of_the_first_picture(subjects, runs):
    """With a picture that is white and one that is black, the share of the first is the brightness."""
    white_and_black = [[1] * 64, [0] * 64]
    for message in toy(Question({"pictures": white_and_black, "seed": 0}), subjects, runs):
        assert torch.allclose(array(message["share"]), (array(message["els"]) + 1) / 2, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [{"pictures": [[0] * 64]}, {"pictures": [[0] * 63, [0] * 64]}, {"pictures": [[2] * 64, [0] * 64]}, {"seed": -1}],
)  # fmt: skip
def test_bad_questions_are_refused_in_words(subjects, runs, change):
    with pytest.raises(ValueError, match=r"must be"):
        list(toy(Question({"pictures": pictures(), "seed": 0, **change}), subjects, runs))
