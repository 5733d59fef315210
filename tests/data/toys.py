"""Small images, and what every refusal has in common."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

few = settings(max_examples=15, deadline=None)


def pixels(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_picture(path: Path, values: NDArray[Any], **options: Any) -> Path:
    """(H, W) or (H, W, C) as an image file, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def idx_bytes(values: NDArray[Any], kind: int = 8) -> bytes:
    header = bytes([0, 0, kind, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return header + values.tobytes()


def write_idx(path: Path, values: NDArray[Any]) -> Path:
    """An IDX file, gzipped if its name says so."""
    content = idx_bytes(values)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


@contextmanager
def refused(error: type[Exception], *parts: object) -> Iterator[None]:
    """Exactly this type of error, in one line that holds all the parts."""
    with pytest.raises(error) as caught:
        yield
    assert caught.type is error
    assert "\n" not in str(caught.value)
    for part in parts:
        assert str(part) in str(caught.value)
