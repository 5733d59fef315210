"""Arguments are compared with the annotations of their function."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.checks import check_type, checked
from elsewhere.denoiser import DenoiserLike
from elsewhere.schedules import Schedule, cosine

SET = els.ImageSet(torch.arange(2 * 8 * 9, dtype=torch.uint8).reshape(2, 1, 8, 9), torch.tensor([0, 1]))
MACHINE = els.LocalScore(SET, 3)
NOISE = els.make_noise(2, SET.shape)


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
