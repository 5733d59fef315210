from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from elsewhere.data import ImageSet, load_images
from elsewhere.limits import TooLarge
from tests.data.toys import pixels, refused

COLOUR = pixels(3, 3, 8, 6)
LAYOUTS: dict[str, Any] = {
    "channels first": COLOUR,
    "channels last": COLOUR.transpose(0, 2, 3, 1),
    "Fortran": np.asfortranarray(COLOUR),
    "reversed twice": COLOUR[::-1].copy()[::-1],
    "big-endian floats": (COLOUR / 255).astype(">f4"),
    "signed floats": COLOUR / 127.5 - 1,
    "a tensor": torch.from_numpy(COLOUR),
    "a tensor with gradients": torch.from_numpy(COLOUR / 255).requires_grad_(),
    "a transposed tensor": torch.from_numpy(COLOUR.transpose(0, 1, 3, 2).copy()).mT,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_and_tensors_are_read_in_any_layout(layout: str) -> None:
    data = load_images(LAYOUTS[layout])
    np.testing.assert_array_equal(data.images.numpy(), COLOUR)
    assert data.images.is_contiguous()
    assert data.labels is None


def test_images_in_memory_are_treated_as_those_in_files() -> None:
    data = load_images(COLOUR, 2, size=(4, 3), gray=True)
    assert data.images.shape == (2, 1, 4, 3)
    assert data.left_out == {"images beyond limit": 1}


def test_the_set_has_its_own_copy() -> None:
    values = pixels(2, 1, 4, 4)
    values.flags.writeable = False
    read_only = load_images(values)
    read_only.images.zero_()
    values = values.copy()
    for data in (load_images(values), ImageSet(values)):
        before = data.fingerprint()
        values[:] = 255 - values
        assert data.fingerprint() == before
        values[:] = 255 - values


BAD: list[tuple[Any, type[Exception], str]] = [
    (torch.rand(3, 8, 8), ValueError, "one colour image (C, H, W) or three gray ones: give tensor[None]"),
    (pixels(8, 8, 3), ValueError, "one colour image"),
    (pixels(8, 8), ValueError, "source must be (N, H, W)"),
    (pixels(0, 8, 8), ValueError, "no empty axis"),
    (pixels(2, 3, 8, 3), ValueError, "can be read as (N, C, H, W) and as (N, H, W, C)"),
    (torch.empty(2, 1, 8, 8, device="meta"), TypeError, "dense tensor, got one that is"),
    (torch.zeros(2, 1, 8, 8).to_sparse(), TypeError, "dense tensor, got one that is"),
    (torch.zeros(2, 1, 8, 8, dtype=torch.complex64), TypeError, "source is complex64"),
    (np.array([None, pixels(2, 2)], dtype=object), TypeError, "np.stack"),
    (np.ma.masked_equal(pixels(2, 8, 8), 3), TypeError, "must not be a masked array"),
    ([pixels(8, 8), pixels(8, 8)], TypeError, "np.stack"),
]


@pytest.mark.parametrize(("source", "error", "message"), BAD)
def test_what_is_no_set_of_images_is_refused_with_a_hint(source: Any, error: type[Exception], message: str) -> None:
    with refused(error, message):
        load_images(source)


@pytest.mark.parametrize(
    "source", [torch.zeros(1, 1, 8, 8).expand(2**40, -1, -1, -1), np.broadcast_to(pixels(8, 8), (2**40, 8, 8))]
)
def test_arrays_expanded_beyond_the_memory_are_refused(source: Any) -> None:
    with refused(TooLarge, "source (", "GiB of memory"):
        load_images(source)


def test_an_array_has_no_splits_and_labels_are_a_switch() -> None:
    with refused(ValueError, "has no splits"):
        load_images(COLOUR, split="test")
    with refused(TypeError, "labels must be True", "build ImageSet(images, labels)"):
        load_images(COLOUR, labels=[0, 1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["uint8", "int32", ">i8", "uint64"])
def test_a_set_is_built_from_numpy_arrays(dtype: str) -> None:
    data = ImageSet(COLOUR[:, ::-1], np.array([1, 0, 2], dtype))
    np.testing.assert_array_equal(data.images.numpy(), COLOUR[:, ::-1])
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 2]
