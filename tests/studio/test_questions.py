"""Questions are read with checks."""

import json

import pytest

from elsewhere.studio.questions import LARGEST_QUESTION, Question, canonical, whole_numbers


@pytest.mark.parametrize("body", [b"", b"[1]", b"nonsense", b"\xff\xfe", b"3", b'{"a": ', b"[" * 5000])
def test_what_is_no_object_is_refused(body):
    with pytest.raises((TypeError, ValueError), match="question must be"):
        Question.parse(body)


def test_a_long_question_is_refused_before_it_is_read():
    with pytest.raises(ValueError, match="at most"):
        Question.parse(b" " * (LARGEST_QUESTION + 1))


@pytest.mark.parametrize("value", [True, 1.5, "1", None, -1, 11, [], {}, float("nan")])
def test_whole_numbers_are_whole_and_in_range(value):
    with pytest.raises((TypeError, ValueError), match=r"question\.n must be (an integer|between 0 and 10)"):
        Question({"n": value}).whole("n", 0, 10)


@pytest.mark.parametrize("value", [True, "1", None, -0.1, 1.1, float("inf"), float("nan")])
def test_numbers_are_finite_and_in_range(value):
    with pytest.raises((TypeError, ValueError), match=r"question\.n must "):
        Question({"n": value}).number("n", 0, 1)


@pytest.mark.parametrize("value", ["c", None, 3, ["a"], {"a": 1}])
def test_choices_are_names(value):
    with pytest.raises((TypeError, ValueError), match=r"must be (one of a, b|a string)"):
        Question({"n": value}).choice("n", ("a", "b"))


def test_unknown_fields_are_named():
    question = Question({"n": 1, "other": 2})
    assert question.whole("n", 0, 3) == 1
    with pytest.raises(ValueError, match=r"unknown fields: 'other'$"):
        question.finish()


def test_long_values_are_cut_in_messages():
    with pytest.raises(TypeError, match=r"got str 'x+\.\.\.x+'$") as caught:
        Question({"n": "x" * 10_000}).whole("n", 0, 1)
    assert len(str(caught.value)) < 200


def test_items_of_a_list_are_named_by_their_number():
    with pytest.raises(TypeError, match=r"seeds\[1\] must be"):
        whole_numbers([1, "x"], "seeds", 0, 5)


def test_equal_questions_have_equal_texts():
    one, other = {"b": [1, 2.0], "a": {"d": None, "c": 3}}, {"a": {"c": 3}, "b": [1, 2], "e": None}
    assert canonical(one) == canonical(other) == '{"a":{"c":3},"b":[1,2]}'
    assert canonical(json.loads(canonical(one))) == canonical(one)
