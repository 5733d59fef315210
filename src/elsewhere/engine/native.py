"""The compiled inner loops, where a C compiler was at hand when the package was installed."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

LIBRARY = Path(__file__).with_name("libloops.so")


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
        ("taper", ctypes.c_int64),
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


class ScanInput(ctypes.Structure):
    """See tiles.h."""

    _fields_ = [
        ("keys", ctypes.c_void_p),
        ("log_counts", ctypes.c_void_p),
        ("skipped", ctypes.c_int64),
        ("centres", ctypes.c_void_p),
        ("centre", ctypes.c_double),
        ("scale", ctypes.c_double),
        ("is_byte", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("roots", ctypes.c_void_p),
        ("queries", ctypes.c_void_p),
        ("quantised", ctypes.c_void_p),
        ("precision", ctypes.c_void_p),
        ("factor", ctypes.c_void_p),
        ("offset", ctypes.c_void_p),
    ]


class ScanTask(ctypes.Structure):
    """See scan.c."""

    _fields_ = [
        ("input", ScanInput),
        ("first_group", ctypes.c_int32),
        ("end_group", ctypes.c_int32),
        ("block", ctypes.c_int32),
        ("starts", ctypes.c_void_p),
        ("bounds", ctypes.c_void_p),
        ("cells", ctypes.c_int64),
        ("masses", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("levels", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("directions", ctypes.c_int32),
        ("queries", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("members", ctypes.c_void_p),
        ("opened", ctypes.c_void_p),
        ("lower", ctypes.c_void_p),
        ("upper", ctypes.c_void_p),
        ("compares", ctypes.c_int32),
        ("band", ctypes.c_float),
        ("largest", ctypes.c_double),
        ("most", ctypes.c_double),
        ("kept", ctypes.c_int32),
        ("floors", ctypes.c_void_p),
        ("peaks", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("left_squares", ctypes.c_void_p),
        ("bands", ctypes.c_void_p),
        ("tops", ctypes.c_void_p),
        ("top_keys", ctypes.c_void_p),
    ]


class KeySources(ctypes.Structure):
    """See attribution.c."""

    _fields_ = [
        ("kept", ctypes.c_void_p),
        ("is_wide", ctypes.c_int32),
        ("each", ctypes.c_int64),
        ("merged_count", ctypes.c_int64),
        ("merged", ctypes.c_void_p),
        ("bounds", ctypes.c_void_p),
        ("images", ctypes.c_void_p),
        ("shares", ctypes.c_void_p),
    ]


class AttributionTask(ctypes.Structure):
    """See attribution.c."""

    _fields_ = [
        ("input", ScanInput),
        ("sources", KeySources),
        ("ranges", ctypes.c_int64),
        ("first", ctypes.c_void_p),
        ("end", ctypes.c_void_p),
        ("bounds", ctypes.c_void_p),
        ("queries", ctypes.c_void_p),
        ("image", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("top", ctypes.c_int32),
        ("logs", ctypes.c_void_p),
        ("keys", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("shares", ctypes.c_void_p),
    ]


class Propagation(ctypes.Structure):
    """See neighbours.c."""

    _fields_ = [
        ("pixels", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("grid", ctypes.c_void_p),
        ("window", ctypes.c_void_p),
        ("corner", ctypes.c_int64),
        ("numbers", ctypes.c_void_p),
        ("log_counts", ctypes.c_void_p),
        ("skipped", ctypes.c_int64),
        ("sides", ctypes.c_void_p),
        ("adjacent", ctypes.c_void_p),
        ("sends", ctypes.c_void_p),
        ("found", ctypes.c_void_p),
        ("queries", ctypes.c_void_p),
        ("roots", ctypes.c_void_p),
        ("least", ctypes.c_void_p),
        ("factor", ctypes.c_double),
        ("is_byte", ctypes.c_int32),
        ("is_wide", ctypes.c_int32),
        ("kept", ctypes.c_int32),
    ]


def address(tensor: Tensor, dtype: torch.dtype, *shape: int) -> int:
    """Where a tensor lies in memory, for a loop that takes it to be of this dtype and shape.

    Raises:
        ValueError: it is not, or it is not contiguous in a processor's memory.
    """
    if tensor.dtype != dtype or tensor.shape != shape or not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise ValueError(
            f"a compiled loop takes {dtype} {shape}, contiguous in a processor's memory, got {tensor.dtype} "
            f"{tuple(tensor.shape)}, strides {tensor.stride()}, on {tensor.device}"
        )
    return tensor.data_ptr()


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loops; None where there are none, or for another processor or from another source.

    `ELSEWHERE_LOOPS` names another file, as that of `make sanitize`, which must be of use then.

    Raises:
        OSError: the file that is named cannot be used here.
    """
    named = os.environ.get("ELSEWHERE_LOOPS")
    if not named:
        return load(LIBRARY)
    found = load(Path(named))
    if found is None:
        raise OSError(f"ELSEWHERE_LOOPS={named} is no library of this version for this processor")
    return found


def load(path: Path) -> ctypes.CDLL | None:
    """The loops in a file, or None where they cannot be used here."""
    try:
        loaded = ctypes.CDLL(str(path))
        sizes = (
            loaded.shifts_task,
            loaded.scan_input_size,
            loaded.scan_task_size,
            loaded.attribution_size,
            loaded.propagation_size,
        )
        split, pairs = loaded.split_keys, loaded.pair_distances
    except (OSError, AttributeError):
        return None
    for size, structure in zip(sizes, (Task, ScanInput, ScanTask, AttributionTask, Propagation), strict=True):
        size.restype = ctypes.c_int64
        if size() != ctypes.sizeof(structure):
            return None
    for name in ("shifts_float", "shifts_double"):
        getattr(loaded, name).argtypes = [ctypes.POINTER(Task)]
    loaded.scan_groups.argtypes = [ctypes.POINTER(ScanTask)]
    loaded.attribute_keys.argtypes = [ctypes.POINTER(AttributionTask)]
    loaded.spread_weights.argtypes = [
        ctypes.POINTER(KeySources),
        ctypes.c_int64,
        *[ctypes.c_void_p] * 4,
        ctypes.c_int64,
    ]
    loaded.spread_weights.argtypes += [ctypes.c_void_p]
    loaded.spread_weights.restype = None
    loaded.copy_windows.argtypes = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 3, ctypes.c_int64]
    loaded.copy_windows.argtypes += [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    loaded.copy_windows.restype = None
    split.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * 3]
    pairs.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_void_p]
    pairs.restype = None
    loaded.propagate_keys.argtypes = [ctypes.POINTER(Propagation), *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 2]
    loaded.propagate_keys.restype = ctypes.c_int64
    loaded.scan_all.argtypes = [ctypes.POINTER(ScanInput), *[ctypes.c_int64] * 2, *[ctypes.c_void_p] * 2]
    return loaded
