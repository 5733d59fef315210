"""What the page is sent is what the library computes."""

import base64

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere import schedules
from elsewhere.analysis import pearson_r
from elsewhere.studio.drawing import Drawing, Runs, draw
from elsewhere.studio.questions import Question
from elsewhere.studio.sources import explain_step

ASKED = {"subject": "fashion-mini", "machines": ["ls", "network"], "seeds": [3, 5], "label": 1, "steps": 3}


def array(packed):
    values = np.frombuffer(base64.b64decode(packed["data"]), np.dtype(packed["type"]).newbyteorder("<"))
    return torch.from_numpy(values.astype(np.float64).reshape(packed["shape"]))


def result(working):
    """What work in pieces returns."""
    while True:
        try:
            assert next(working) is None
        except StopIteration as end:
            return end.value


def test_steps_are_those_of_the_library(subjects, runs):
    start, *messages = draw(Question(ASKED), subjects, runs)
    schedule = schedules.cosine(3)
    assert start["start"]["sigmas"] == list(schedule.sigmas)
    subject = subjects["fashion-mini"]
    noise = torch.cat([els.make_noise(1, subject.data.shape, seed) for seed in (3, 5)])
    theirs = els.sample(subject.network, noise, schedule, torch.tensor([1, 1]))
    machine = els.LocalScore(subject.data, els.shipped_locality("fashion-resnet", "ls"))
    ours = els.sample(machine, noise, schedule, 1)
    last = {message["machine"]: message for message in messages if message["step"] == 2}
    # Half precision has a relative error of 2^-11.
    assert torch.allclose(array(last["network"]["x0"]), theirs.images.double(), atol=2e-3)
    assert torch.allclose(array(last["ls"]["x0"]), ours.images.double(), atol=2e-3)
    assert last["ls"]["r"] == pytest.approx(pearson_r(ours.images, theirs.images).tolist(), abs=1e-5)
    assert [(m["step"], m["machine"]) for m in messages] == [(i, n) for i in range(3) for n in ("network", "ls")]


def test_a_stroke_changes_the_noise_inside_its_disc_alone(subjects):
    plain = Drawing.read(Question(ASKED), subjects).noise()
    stroked = Drawing.read(Question({**ASKED, "strokes": [[10, 12, 3, 99]]}), subjects).noise()
    rows, columns = torch.arange(28)[:, None], torch.arange(28)
    disc = (rows - 10) ** 2 + (columns - 12) ** 2 <= 9
    changed = (plain != stroked).any(0).any(0)
    assert torch.equal(changed, disc)


def test_a_state_is_drawn_anew_where_it_was_forgotten(subjects):
    drawing = Drawing.read(Question(ASKED), subjects)
    runs = Runs()
    list(draw(Question(ASKED), subjects, runs))
    kept, forgotten = result(runs.state(drawing, "ls", 2)), result(Runs().state(drawing, "ls", 2))
    assert kept[1] == forgotten[1]
    assert torch.equal(kept[0], forgotten[0])


def test_memory_of_runs_is_bounded(subjects):
    runs = Runs(most=10_000)
    drawing = Drawing.read(Question(ASKED), subjects)
    for step in drawing.process("ls"):
        runs.keep(drawing, "ls", step)
    assert runs._bytes <= 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": "mnist"}, "subject must be one of"),
        ({"subject": "../../etc/passwd"}, "subject must be one of"),
        ({"machines": []}, "one or more names"),
        ({"machines": ["ls", "ls"]}, "each once"),
        ({"machines": ["best"]}, r"machines\[0\] must be one of is, ls"),
        ({"machines": "ls"}, "must be a list"),
        ({"seeds": []}, "one number or more"),
        ({"seeds": list(range(9))}, "at most 8 items"),
        ({"seeds": [-1]}, r"seeds\[0\] must be"),
        ({"seeds": [2**31]}, r"seeds\[0\] must be"),
        ({"label": 10}, "label must be between 0 and 9"),
        ({"label": 1.5}, "label must be"),
        ({"steps": 0}, "steps must be"),
        ({"steps": 10**9}, "steps must be"),
        ({"window": 4}, "odd side"),
        ({"window": 0}, "must be between 1 and 255"),
        ({"window": 10**6}, "must be between 1 and 255"),
        ({"window": "7"}, "odd side, or 1 to 50 pairs"),
        ({"window": [[1.0, 3], [2.0, 3]]}, "sigma"),
        ({"window": []}, "1 to 50 pairs"),
        ({"window": [[1.0, 10**9]]}, "between 1 and 255"),
        ({"window": True}, "must be an integer"),
        ({"strokes": [[1, 2, 3]]}, "a stroke must be"),
        ({"strokes": [[28, 0, 3, 1]]}, r"stroke\[0\]"),
        ({"strokes": [[0, 0, 3, 1]] * 257}, "at most 256 items"),
        ({"other": 1}, "unknown fields"),
    ],
)
def test_bad_questions_are_refused_in_words(subjects, runs, change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        list(draw(Question({**ASKED, **change}), subjects, runs))


def test_every_machine_that_is_offered_draws_and_what_can_be_explained_is(subjects, runs):
    about = subjects["fashion-mini"].about()
    asked = {**ASKED, "machines": about["drawers"], "seeds": [3], "steps": 1}
    drawn = [message["machine"] for message in draw(Question(asked), subjects, runs) if "machine" in message]
    assert sorted(drawn) == sorted(about["drawers"])
    for machine in about["explained"]:
        question = {"draw": asked, "machine": machine, "seed": 3, "step": 0, "top": 2}
        [message] = explain_step(Question(question), subjects, runs)
        assert message["mosaic"]["credits"]
