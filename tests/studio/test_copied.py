"""Verdicts that are sent are those of `els.audit`."""

import base64

import pytest
import torch

import elsewhere as els
from elsewhere.data import to_unit
from elsewhere.studio.copied import NULL, TRACED, copied
from elsewhere.studio.questions import Question
from elsewhere.studio.subjects import MEMORY


def text(image):
    return base64.b64encode(image.numpy().tobytes()).decode()


def test_altered_training_images_are_found(subjects, runs):
    *_, last = copied(Question({"subject": "fashion-mini"}), subjects, runs)
    assert last["verdicts"] == ["copy", "near copy", "near copy", "near copy"]
    assert last["nearest"] == [7] * 4
    assert last["changes"][2:] == ["2 right", "mirrored"]


def test_own_pictures_get_the_verdicts_of_the_library(subjects, runs):
    data = subjects["fashion-mini"].data
    noise = (127 + 40 * els.make_noise(1, data.shape, 9)[0]).clamp(0, 255).to(torch.uint8)
    pictures = torch.stack([data.images[3], noise])
    asked = {"subject": "fashion-mini", "pictures": [text(image) for image in pictures]}
    *_, last = copied(Question(asked), subjects, runs)
    found = els.audit(data, to_unit(pictures), null=NULL, pixels=TRACED, memory=MEMORY)
    assert last["verdicts"] == list(found.verdicts)
    assert last["distances"] == pytest.approx(found.measures.aligned.distances[:, 0].tolist())


@pytest.mark.parametrize("pictures", [[], ["AAAA"], ["not base64!"], [3], [None], "AAAA", ["A" * 1048] * 17])
def test_bad_pictures_are_refused_in_words(subjects, runs, pictures):
    with pytest.raises(ValueError, match="must"):
        list(copied(Question({"subject": "fashion-mini", "pictures": pictures}), subjects, runs))
