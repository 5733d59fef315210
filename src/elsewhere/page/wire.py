"""Arrays in messages: shape, type and little-endian bytes in base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from torch import Tensor

TYPES = ("float16", "float32", "uint8", "uint16", "int32")
"""Types that the page can read."""


def pack(values: Tensor | np.ndarray, kind: str) -> dict[str, Any]:
    """An array as a JSON object.

    Args:
        values: of any shape.
        kind: one of TYPES. Numbers beyond its range are clipped.

    Example:
        >>> pack(np.array([1, 2]), "uint8")
        {'shape': [2], 'type': 'uint8', 'data': 'AQI='}
    """
    if kind not in TYPES:
        raise ValueError(f"kind must be one of {', '.join(TYPES)}, got {kind!r}")
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    dtype = np.dtype(kind).newbyteorder("<")
    limits: Any = np.finfo(kind) if dtype.kind == "f" else np.iinfo(kind)
    array = np.clip(array, limits.min, limits.max).astype(dtype)
    return {"shape": list(array.shape), "type": kind, "data": base64.b64encode(array.tobytes()).decode("ascii")}
