"""Growth and healing that are sent are those of the library; wounds lie on a torus."""

import pytest
import torch

from elsewhere.studio.patterns import SIDE, _wound, grow, heal
from elsewhere.studio.questions import Question
from tests.studio.test_drawing import array


@pytest.fixture(scope="module")
def grown(subjects):
    return list(filter(None, grow(Question({"pattern": "spots", "seed": 1}), subjects, None)))


def test_both_machines_grow_the_kind_of_the_original(grown):
    measured = grown[-1]["measured"]
    assert {found["kind"] for found in measured.values()} == {"spots"}
    assert len(grown) == 14


def test_healing_leaves_the_rest_and_the_local_machine_fits_better(subjects, runs, grown):
    messages = list(heal(Question({"pattern": "spots", "seed": 1, "wound": [[10, 60, 9]]}), subjects, runs))
    assert all(messages), "the pattern that was grown is kept: nothing is computed before the first message"
    wound = _wound([[10, 60, 9]])
    before = array(grown[-2]["els"])
    last = {message["machine"]: message for message in messages if "image" in message}
    for message in last.values():
        # Half precision, and values outside of -1..1 are clipped before.
        assert torch.allclose(array(message["image"])[~wound], before.clamp(-1, 1)[~wound], atol=2e-3)
    misfit = {message["machine"]: message["misfit"] for message in messages if "misfit" in message}
    assert misfit["els"] < misfit["is"]


def test_a_wound_goes_on_at_the_opposite_side():
    wound = _wound([[0, 0, 3]])
    assert bool(wound[SIDE - 2, SIDE - 2])
    assert int(wound.sum()) == int(_wound([[30, 30, 3]]).sum()) == 29


@pytest.mark.parametrize(
    "wound", [None, [], [[0, 0]], [[0, 0, 64]], [[-1, 0, 3]], [[32, 32, 63]], [[1, 1, 1]] * 201, [["a", 0, 1]]]
)
def test_bad_wounds_are_refused_in_words(subjects, runs, wound):
    with pytest.raises((TypeError, ValueError), match="must be"):
        list(heal(Question({"pattern": "spots", "wound": wound}), subjects, runs))
