"""Operators that degrade images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere import operators


def images() -> torch.Tensor:
    return els.make_noise(2, (3, 8, 10)).double()


def test_a_mask_hides_what_is_missing_and_is_its_own_pseudo_inverse() -> None:
    missing = torch.zeros(8, 10, dtype=torch.bool)
    missing[2:5, 1:4] = True
    mask = operators.mask(missing)
    assert torch.equal(mask(images())[..., ~missing], images()[..., ~missing])
    assert not mask(images())[..., missing].any()
    assert torch.equal(mask.pseudo_inverse(mask(images())), mask(images()))  # type: ignore[misc]
    assert torch.equal(operators.mask(missing.numpy())(images()), mask(images()))


@pytest.mark.parametrize(("edges", "mode"), [("reflect", "reflect"), ("wrap", "wrap"), ("zeros", "constant")])
def test_a_blur_is_a_convolution(edges: Any, mode: Any) -> None:
    kernel = np.arange(15.0).reshape(3, 5) / 100
    x = images().numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)), mode=mode)
    expected = sum(
        kernel[i, j] * padded[:, :, 2 - i : 2 - i + 8, 4 - j : 4 - j + 10] for i in range(3) for j in range(5)
    )
    np.testing.assert_allclose(operators.blur(kernel, edges)(images()).numpy(), expected, atol=1e-12)


def test_downsampling_takes_means_and_its_pseudo_inverse_is_moore_penrose() -> None:
    half = operators.downsample(2)
    assert half(images())[1, 2, 1, 3] == pytest.approx(float(images()[1, 2, 2:4, 6:8].mean()))
    basis = torch.eye(80, dtype=torch.float64).view(80, 1, 8, 10)
    a = half(basis).flatten(1).T
    b = half.pseudo_inverse(torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5)).flatten(1).T  # type: ignore[misc]
    assert torch.allclose(b, torch.linalg.pinv(a), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: operators.mask(torch.zeros(4, 4)), TypeError, "missing must be a bool array"),
        (lambda: operators.mask(torch.ones(4, 4, dtype=torch.bool)), ValueError, "leave a pixel"),
        (lambda: operators.mask(torch.zeros(4, 4, dtype=torch.bool))(images()), ValueError, "of the images' size"),
        (lambda: operators.blur(torch.ones(2, 3)), ValueError, "odd sides"),
        (lambda: operators.blur(torch.ones(3, 3, dtype=torch.int64)), TypeError, "floating point"),
        (lambda: operators.blur(torch.zeros(3, 3)), ValueError, "not all zeros"),
        (lambda: operators.blur(torch.ones(3, 3), "mirror"), ValueError, "edges must be one of"),  # type: ignore[arg-type]
        (lambda: operators.blur(torch.ones(17, 3))(images()), ValueError, "smaller than the images"),
        (lambda: operators.downsample(1), ValueError, "factor must be"),
        (lambda: operators.downsample(3)(images()), ValueError, "factor must divide"),
    ],
)
def test_bad_arguments_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_operators_say_what_they_are() -> None:
    assert repr(operators.blur(torch.ones(3, 5), "wrap")) == "blur(3x5, wrap)"
    assert repr(operators.downsample(4)) == "downsample(4)"
    assert repr(operators.mask(torch.eye(4, dtype=torch.bool))) == "mask(4 of 16 pixels)"
