"""Arrays in messages: shape, type and little-endian bytes in base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from torch import Tensor

TYPES = ("float16", "float32", "uint8", "uint16", "int16", "int32")
"""Types that the page can read."""


def pack_whole(values: Tensor | np.ndarray) -> dict[str, Any]:
    """An array of whole numbers, in the smallest type that has all of them.

    Example:
        >>> pack_whole(np.array([-1, 300]))["type"], pack_whole(np.array([0, 27]))["type"]
        ('int16', 'uint8')
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    limits = {kind: np.iinfo(kind) for kind in ("uint8", "uint16", "int16")}
    fitting = [kind for kind, limit in limits.items() if limit.min <= low and high <= limit.max]
    return pack(array, fitting[0] if fitting else "int32")


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
