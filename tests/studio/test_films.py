"""Films have a frame for every step, and a row for every machine."""

import base64
import io

import pytest
from PIL import Image

from elsewhere.studio.films import film
from elsewhere.studio.questions import Question


def asked(**changes):
    draw = {"subject": "fashion-mini", "machines": ["is", "wiener"], "seeds": [0, 1, 2], "label": 0, "steps": 3}
    return Question({"draw": draw, **changes})


def test_a_film_has_every_step_row_and_column(subjects, runs):
    *steps, last = film(asked(shown="x"), subjects, runs)
    assert [message["step"] for message in steps] == [0, 0, 1, 1, 2, 2]
    picture = Image.open(io.BytesIO(base64.b64decode(last["gif"])))
    assert picture.format == "GIF"
    assert picture.n_frames == 3
    across, down = picture.width / 28, picture.height / 28
    assert 3 * 3 <= across < 3 * 3 + 1
    assert 2 * 3 <= down < 2 * 3 + 1


def test_what_is_shown_is_one_of_two(subjects, runs):
    with pytest.raises(ValueError, match="x0, x"):
        list(film(asked(shown="both"), subjects, runs))
