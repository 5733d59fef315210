"""Arrays survive the way to the page."""

import base64

import numpy as np
import pytest
import torch

from elsewhere.page.wire import TYPES, pack


@pytest.mark.parametrize("kind", TYPES)
def test_bytes_shape_and_type_are_those_of_the_array(kind):
    values = np.arange(24).reshape(2, 3, 4)
    packed = pack(torch.from_numpy(values).transpose(0, 2), kind)
    found = np.frombuffer(base64.b64decode(packed["data"]), np.dtype(packed["type"]).newbyteorder("<"))
    assert np.array_equal(found.reshape(packed["shape"]), values.transpose(2, 1, 0))


def test_numbers_beyond_the_range_are_clipped():
    packed = pack(np.array([-5.0, 300.0]), "uint8")
    assert base64.b64decode(packed["data"]) == bytes([0, 255])


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="kind must be one of"):
        pack(np.zeros(1), "complex64")
