"""Values are checked against their range."""

import numpy as np
import pytest
import torch

from elsewhere.checks import check_choice, check_levels, check_memory, check_number, check_sides, check_whole


def test_numbers_have_bounds():
    assert check_whole("n", np.int32(3), 1, 5) == 3
    assert check_number("n", 1, 0, 2) == 1.0
    for check, arguments, message in (
        (check_whole, (0, 1, 5), "n must be between 1 and 5, got 0"),
        (check_whole, (-1, 0), "n must be 0 or more, got -1"),
        (check_number, (float("inf"),), "n must be a number and finite, got inf"),
        (check_number, (3.0, 0, 2), "n must be between 0 and 2 and finite, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            check("n", *arguments)
    with pytest.raises(ValueError, match="n must be positive and finite, got 0"):
        check_number("n", 0, above=0)
    with pytest.raises(ValueError, match="n must be at most 9, got 10"):
        check_whole("n", 10, 0, limit=9)


def test_noise_levels_come_as_any_row_of_numbers():
    for levels in ([2, 1.0], (2.0, 1), np.array([2.0, 1.0]), torch.tensor([2.0, 1.0])):
        assert check_levels("sigmas", levels) == (2.0, 1.0)
    for levels in ("21", 2.0, [2.0, "1"], np.ones((2, 2)), torch.ones(2).to_sparse(), [float("nan")], [0.0] * 20_000):
        with pytest.raises((TypeError, ValueError), match="sigmas"):
            check_levels("sigmas", levels)


def test_the_other_checks_name_their_argument():
    for check, arguments in (
        (check_choice, ("colour", 3, ("red",))),
        (check_choice, ("colour", "blue", ("red",))),
        (check_sides, ("colour", (0, 1))),
        (check_sides, ("colour", (2**20, 1))),
        (check_memory, (10,)),
        (check_memory, (2**60,)),
    ):
        with pytest.raises((TypeError, ValueError), match=r"colour|memory"):
            check(*arguments)
