"""The compiled inner loop, where a C compiler was at hand when the package was installed."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).with_name("libshifts.so")


class Line(ctypes.Structure):
    """See shifts.c."""

    _fields_ = [(name, ctypes.c_int32) for name in ("shift", "start", "stop")]


class Frame(ctypes.Structure):
    """See shifts.c."""

    _fields_ = [(name, ctypes.c_int32) for name in ("first_row", "end_row", "first_column", "end_column")]


class Task(ctypes.Structure):
    """See shifts.c."""

    _fields_ = [
        ("pixels", ctypes.c_void_p),
        ("first", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("is_byte", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("centre", ctypes.c_double),
        ("x", ctypes.c_void_p),
        ("batch", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("radius", ctypes.c_int32),
        ("turn_row", ctypes.c_int32),
        ("period_rows", ctypes.c_int32),
        ("turn_column", ctypes.c_int32),
        ("period_columns", ctypes.c_int32),
        ("fresh", ctypes.c_int32),
        ("precision", ctypes.c_void_p),
        ("lines", ctypes.c_void_p),
        ("frames", ctypes.c_void_p),
        ("frame_count", ctypes.c_int32),
        ("peak", ctypes.c_void_p),
        ("total", ctypes.c_void_p),
        ("weighted", ctypes.c_void_p),
        ("top", ctypes.c_int32),
        ("log_counts", ctypes.c_void_p),
        ("logs", ctypes.c_void_p),
        ("keys", ctypes.c_void_p),
        ("shares", ctypes.c_void_p),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loop; None where there is none, or it was compiled for another processor or from another source."""
    return load(LIBRARY)


def load(path: Path) -> ctypes.CDLL | None:
    """The loop in a file, or None where it cannot be used here."""
    try:
        loaded = ctypes.CDLL(str(path))
        size = loaded.shifts_task
    except (OSError, AttributeError):
        return None
    size.restype = ctypes.c_int64
    if size() != ctypes.sizeof(Task):
        return None
    for name in ("shifts_float", "shifts_double"):
        getattr(loaded, name).argtypes = [ctypes.POINTER(Task)]
    return loaded
