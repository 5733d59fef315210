from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.checks import (
    check_choice,
    check_dense,
    check_device,
    check_levels,
    check_memory,
    check_number,
    check_path,
    check_sides,
    check_type,
    check_whole,
    checked,
    seen,
)
from elsewhere.denoiser import DenoiserLike
from elsewhere.schedules import Schedule, cosine


@checked
def paint(
    denoiser: DenoiserLike,
    sides: tuple[int, int],
    schedule: Schedule | None = None,
    *,
    out: str | Path = "here",
    **rest,
) -> str:
    return "painted"


def identity(x, sigma, label=None):
    return x


def test_arguments_that_fit_pass():
    assert paint(identity, (2, 3)) == "painted"
    assert paint(identity, [np.int64(2), 3], cosine(2), out=Path("there"), anything=1) == "painted"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((7, (2, 3)), TypeError, r"denoiser must be callable as D\(x, sigma, label=None\), got int 7"),
        ((torch.nn.Identity, (2, 3)), TypeError, "denoiser must be .*got the class Identity, not an instance"),
        ((lambda x: x, (2, 3)), TypeError, "denoiser must be .*too many positional arguments"),
        ((identity, (2,)), TypeError, r"sides must be a tuple of 2 integers, got tuple \(2,\)"),
        ((identity, (2, True)), TypeError, r"sides\[1\] must be an integer, got bool True"),
        ((identity, (2, 10**5000)), ValueError, r"sides\[1\] must fit 64 bits"),
        ((identity, (2, 3), [1.0, 0.0]), TypeError, "schedule must be a Schedule .such as .* or None, got"),
        (
            (identity,),
            TypeError,
            "missing a required argument: 'sides'|missing 1 required positional argument: 'sides'",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        paint(*arguments)


def test_an_empty_path_is_refused():
    with pytest.raises(ValueError, match="out must be a path, got an empty string"):
        paint(identity, (2, 3), out="")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, bool), (3, float), (np.float32(2), float), (None, int | None), ("a", Literal["a", "b"]),
        ([], Sequence[int]), (range(3), Sequence[int]), ({"a": 1}, Mapping[str, int]), (iter([1]), Iterable[int]),
        (torch.ones(1), torch.Tensor),
    ],
)  # fmt: skip
def test_values_of_an_annotation_are_taken(value, hint):
    check_type("it", value, hint)


@pytest.mark.parametrize(
    ("value", "hint", "error"),
    [
        (1, bool, TypeError), ("3", float, TypeError), (float("nan"), float, ValueError), (1 + 2j, float, TypeError),
        ("c", Literal["a", "b"], ValueError), (1, Literal["a", "b"], TypeError), ("ab", Sequence[str], TypeError),
        ({"a": "1"}, Mapping[str, int], TypeError), ({1: 1}, Mapping[str, int], TypeError),
        ([1, "2"], list[int], TypeError),
        (torch.ones(2).to_sparse(), torch.Tensor, TypeError), (torch.ones(2, device="meta"), torch.Tensor, TypeError),
        (torch.ones(1).expand(2**50), torch.Tensor, MemoryError), (np.array([None]), np.ndarray, TypeError),
    ],
)  # fmt: skip
def test_other_values_are_refused_by_name(value, hint, error):
    with pytest.raises(error, match="it"):
        check_type("it", value, hint)


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


def test_a_device_must_be_there():
    assert check_device("device", "cpu") == torch.device("cpu")
    for device in ("nonsense", "meta", "cuda:99"):
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used here"):
            check_device("device", device)
    with pytest.raises(TypeError, match="device must be a device such as 'cpu'"):
        check_device("device", 7)


def test_paths_are_such_as_files_can_have():
    assert check_path("out", "a/b") == Path("a/b")
    assert check_path("out", "/") == Path("/")
    for path, error in (
        ("", ValueError),
        ("a\0b", ValueError),
        (b"a", TypeError),
        (None, TypeError),
        ("a" * 300, OSError),
    ):
        with pytest.raises(error, match="out"):
            check_path("out", path)


def test_what_would_not_fit_into_memory_is_refused_at_once():
    for values in (torch.zeros(1, 1).expand(2**31, 2**31), np.broadcast_to(np.zeros(1), (2**31, 2**28))):
        with pytest.raises(MemoryError, match=r"^x \(.*\) needs .* GiB of memory, this machine has"):
            check_dense("x", values)


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


def test_values_are_shown_in_short():
    class Faulty:
        def __repr__(self):
            raise RuntimeError

    assert seen(None) == "None"
    assert seen(torch.zeros(2, 3)) == "Tensor torch.float32 of shape (2, 3)"
    assert len(seen(list(range(10_000)))) < 100
    assert seen(10**5000) == "int (too long to show)"
    assert "Faulty" in seen(Faulty())


SET = els.ImageSet(torch.arange(2 * 8 * 9, dtype=torch.uint8).reshape(2, 1, 8, 9), torch.tensor([0, 1]))
MACHINE = els.LocalScore(SET, 3)
NOISE = els.make_noise(2, SET.shape)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MACHINE(NOISE.permute(0, 2, 3, 1), 1.0), ValueError, r"x has 8 channels.*looks like \(B, H, W, C\)"),
        (lambda: els.sample(MACHINE, NOISE.permute(0, 2, 3, 1)), ValueError, r"noise has 8 .* give \(B, C, H, W\)"),
        (lambda: MACHINE(NOISE, 1.0, label="cup"), TypeError, r"str 'cup': .* data\.classes\.index\(name\)"),
        (lambda: els.sample(MACHINE, NOISE, label="cup"), TypeError, r"str 'cup': .* data\.classes\.index\(name\)"),
        (lambda: els.compare(MACHINE, MACHINE, NOISE), TypeError, r'a dict of denoisers .*\{"ELS": machine\}, got'),
        (lambda: els.compare({"LS": MACHINE}, "fashion-resnet", NOISE), TypeError, "load_network reads a network"),
        (
            lambda: els.make_noise(2, (8, 9)),
            TypeError,
            r"a tuple of 3 integers, got tuple \(8, 9\): give channels, hei",
        ),
        (lambda: els.LocalScore(SET, "a.json"), TypeError, r"LocalitySchedule\.load\) or None, got str 'a\.json'"),
        (lambda: els.calibrate(els.IdealScore(SET), MACHINE, NOISE), TypeError, "a machine with windows .*got IdealSc"),
        (lambda: els.ImageSet(SET.images, [0, 1]), TypeError, r"got list \[0, 1\]: .*as in torch\.tensor\(numbers\)"),
    ],
)
def test_mistakes_of_the_first_hour_are_told_with_a_way_out(call, error, message):
    with pytest.raises(error, match=message):
        call()
