"""Explanations that are sent are those of `els.explain`."""

import pytest
import torch

import elsewhere as els
from elsewhere import schedules
from elsewhere.studio.questions import Question
from elsewhere.studio.sources import explain_step
from tests.studio.test_drawing import ASKED, array

EXPLAINED = {"draw": ASKED, "machine": "ls", "seed": 5, "step": 2, "top": 4}


def test_weights_sources_and_credits_are_those_of_explain(subjects, runs):
    [message] = filter(None, explain_step(Question(EXPLAINED), subjects, runs))
    sent = message["mosaic"]
    subject = subjects["fashion-mini"]
    noise = torch.cat([els.make_noise(1, subject.data.shape, seed) for seed in (3, 5)])
    machine = els.LocalScore(subject.data, els.shipped_locality("fashion-resnet", "ls"))
    run = els.sample(machine, noise, schedules.cosine(3), 1, keep=True)
    mosaic = els.explain(machine, run.states[2][1:], run.sigmas[2], 4, 1)
    assert torch.equal(array(sent["ids"]).long(), mosaic.image_ids[0])
    assert torch.allclose(array(sent["weights"]), mosaic.weights[0], atol=1e-6)
    assert torch.equal(array(sent["rows"]).long(), mosaic.positions[0, ..., 0])
    shares, _ = mosaic.credits()[0].sort(descending=True)
    assert [share for _, share in sent["credits"]] == pytest.approx(shares[: len(sent["credits"])].tolist())
    pictures = array(sent["images"])
    for number, image in zip(sent["shown"][:5], pictures, strict=False):
        assert torch.equal(image, subject.data.images[number].double())
    assert set(mosaic.image_ids.unique().tolist()) - {-1} <= set(sent["shown"])


@pytest.mark.parametrize(
    "change",
    [{"machine": "network"}, {"machine": "els"}, {"seed": 4}, {"step": 3}, {"step": -1}, {"top": 13}, {"more": 1}],
)
def test_bad_questions_are_refused_in_words(subjects, runs, change):
    with pytest.raises(ValueError, match=r"must be|unknown"):
        list(explain_step(Question({**EXPLAINED, **change}), subjects, runs))


def test_the_drawing_must_be_an_object(subjects, runs):
    with pytest.raises(TypeError, match=r"question\.draw must be a JSON object"):
        list(explain_step(Question({**EXPLAINED, "draw": 3}), subjects, runs))
