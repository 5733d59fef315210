import json
import math

import pytest

from elsewhere.files import json_text, write_text
from elsewhere.phrases import count, decimal, duration, listed, part_of


@pytest.mark.parametrize(("number", "words"), [(0, "0 seeds"), (1, "1 seed"), (2, "2 seeds")])
def test_one_is_singular(number, words):
    assert count(number, "seed") == words


def test_irregular_plurals_are_given():
    assert [count(n, "copy", "copies") for n in (1, 2)] == ["1 copy", "2 copies"]


def test_what_is_undefined_is_called_so():
    assert (decimal(0.12345), decimal(math.nan), decimal(None), decimal(2.0, ".1f")) == (
        "0.123", "undefined", "undefined", "2.0"
    )  # fmt: skip


def test_a_part_says_of_how_many():
    assert part_of(5, None, "image") == part_of(5, 5, "image") == "5 images"
    assert part_of(1, 5, "image") == "only the first 1 of 5 images"


def test_json_has_no_bare_nan():
    text = json_text({"a": [math.nan, math.inf, 1.5], "b": (None, "NaN")})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, None, 1.5], "b": [None, "NaN"]}


def test_a_name_that_is_no_text_does_not_cost_the_file(tmp_path):
    write_text(tmp_path / "page.html", "set \udcff")
    assert (tmp_path / "page.html").read_text() == "set \\udcff"


def test_lists_end_with_and():
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_times_are_in_the_unit_that_fits():
    seconds = (0.01, 59.6, 89, 90, 3600, 5399, 5400, 36_000)
    assert [duration(s) for s in seconds] == [
        "1 s", "60 s", "89 s", "2 min", "60 min", "1 h 30 min", "1 h 30 min", "10 h 0 min",
    ]  # fmt: skip
