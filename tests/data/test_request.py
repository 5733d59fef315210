from __future__ import annotations

from typing import Any

import pytest

from elsewhere.data.request import Request, make_request
from tests.data.toys import refused

PLAIN: dict[str, Any] = {"limit": None, "size": None, "fit": "crop", "gray": None, "split": "train"}


def test_the_plain_request_asks_for_nothing() -> None:
    assert make_request(**PLAIN) == Request()


@pytest.mark.parametrize(("size", "sides"), [(8, (8, 8)), ((6, 9), (6, 9)), ([6, 9], (6, 9)), (None, None)])
def test_a_size_is_one_side_or_height_and_width(size: Any, sides: tuple[int, int] | None) -> None:
    assert make_request(**{**PLAIN, "size": size}).size == sides


def test_all_images_are_read_unless_fewer_are_asked_for() -> None:
    assert Request().count(7, "here") == 7
    assert [Request(limit=limit).count(7, "here") for limit in (1, 3, 7)] == [1, 3, 7]


@pytest.mark.parametrize("limit", [0, 8])
def test_a_limit_beyond_the_images_is_refused(limit: int) -> None:
    with refused(ValueError, "between 1 and 7, the size of here", f"got {limit}"):
        Request(limit=limit).count(7, "here")


@pytest.mark.parametrize("limit", [None, 1])
def test_a_source_without_images_is_refused(limit: int | None) -> None:
    with refused(ValueError, "here holds no images"):
        Request(limit=limit).count(0, "here")


def test_a_source_without_splits_is_all_training_images() -> None:
    Request().refuse_split("here")
    with refused(ValueError, "'test'", "here has no splits"):
        Request(split="test").refuse_split("here")


BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("limit", 0, ValueError, "limit must be 1 or more, got 0"),
    ("limit", -3, ValueError, "got -3"),
    ("limit", 2.0, TypeError, "limit must be an integer or None, got 2.0"),
    ("progress", 1, TypeError, "progress must be True or False, got 1"),
    ("limit", True, TypeError, "got True"),
    ("limit", "2", TypeError, "got '2'"),
    ("size", 0, ValueError, "size must be 1 or more pixels a side, got 0"),
    ("size", (8, -1), ValueError, "got (8, -1)"),
    ("size", 8.0, TypeError, "size must be an integer or (height, width), got 8.0"),
    ("size", (8,), TypeError, "got (8,)"),
    ("size", (8, 8, 3), TypeError, "got (8, 8, 3)"),
    ("size", (8, None), TypeError, "got (8, None)"),
    ("size", True, TypeError, "got True"),
    ("size", "8x8", TypeError, "got '8x8'"),
    ("fit", "squash", ValueError, "fit must be 'crop' or 'stretch', got 'squash'"),
    ("fit", None, ValueError, "got None"),
    ("gray", 1, TypeError, "gray must be True, False or None, got 1"),
    ("gray", "yes", TypeError, "got 'yes'"),
    ("split", None, TypeError, "split must be a name"),
    ("split", "", ValueError, "got an empty string"),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), BAD)
def test_bad_arguments_say_what_is_wrong(name: str, value: Any, error: type[Exception], message: str) -> None:
    with refused(error, message):
        make_request(**{**PLAIN, name: value})
