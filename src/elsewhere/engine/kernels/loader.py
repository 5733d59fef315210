"""The compiled kernels for this processor: which library is loaded, and what is passed to it.

A library is used only if it was compiled from the sources that lie beside this file: its `kernels_identity` is the hash
that `build.identity` computes. Therefore the structs of kernels.h, as cffi parses them, are those of the library.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cffi import FFI
from torch import Tensor

from elsewhere import notices
from elsewhere.engine.kernels import build

POINTERS = {
    torch.float32: "float *",
    torch.float64: "double *",
    torch.int16: "int16_t *",
    torch.int32: "int32_t *",
    torch.int64: "int64_t *",
    torch.uint8: "uint8_t *",
    torch.bool: "uint8_t *",
}
"""What C takes tensors of a dtype to be."""

# Parsed once, when this is imported: threads that parse at the same time would each have structs of their own.
ffi = FFI()
ffi.cdef((build.FOLDER / "kernels.h").read_text(encoding="utf-8"))


def address(tensor: Tensor, dtype: torch.dtype, *shape: int) -> Any:
    """A pointer to the numbers of a tensor, for a kernel that takes it to be of this dtype and shape.

    The tensor must live until the kernel is done.

    Raises:
        ValueError: the dtype or shape is another, or the tensor is not contiguous in a processor's memory.
    """
    if tensor.dtype != dtype or tensor.shape != shape or not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise ValueError(
            f"a compiled kernel takes {dtype} {shape}, contiguous in a processor's memory, got {tensor.dtype} "
            f"{tuple(tensor.shape)}, strides {tensor.stride()}, on {tensor.device}"
        )
    return ffi.cast(POINTERS[dtype], tensor.data_ptr())


def struct(name: str, **fields: Any) -> Any:
    """A pointer to a struct of kernels.h; fields that are None or missing are zero.

    What its fields point to must live until the kernel is done.
    """
    return ffi.new(f"{name} *", {field: value for field, value in fields.items() if value is not None})


def numbers(array: np.ndarray, kind: str) -> Any:
    """An array of NumPy as a C array of `kind`, which holds on to the array."""
    return ffi.from_buffer(f"{kind}[]", array)


def processor() -> list[str]:
    """Levels that this processor can run, best first."""
    levels = list(build.levels())
    if "v2" not in levels:
        return levels
    if hasattr(torch.cpu, "get_capabilities"):
        has = {feature for feature, there in torch.cpu.get_capabilities().items() if there is True}
        return [name for name, features in build.X86.items() if has.issuperset(map(_in_torch, features))]
    # Earlier versions of torch know whole classes only.
    best = {"AVX512": "v4", "AVX2": "v3"}.get(torch.backends.cpu.get_cpu_capability(), "v2")
    return levels[levels.index(best) :]


def _in_torch(feature: str) -> str:
    """The name in torch of a feature that the compiler names: avx512f is avx512_f there, sse4.2 sse4_2, fma fma3."""
    return {"fma": "fma3"}.get(feature, feature.replace(".", "_").replace("avx512", "avx512_"))


def available() -> Iterator[str]:
    """Levels that are installed and that this processor can run, best first."""
    return (level for level in processor() if build.library(level).exists())


@cache
def library() -> Any | None:
    """The kernels, compiled; None where there are none that this processor can run.

    `ELSEWHERE_KERNELS` names another level than the best one, a library file, or `none`.

    Raises:
        ValueError: it names no level and no file.
        OSError: what it names cannot be used here.
    """
    return chosen()[1]


@cache
def chosen() -> tuple[str, Any | None]:
    """The level that is used, or the file that was named, and its functions; ("none", None) without kernels."""
    named = os.environ.get(build.VARIABLE, "")
    if named == "none":
        return "none", None
    if named:
        return named, _load_named(named)
    faults = []
    level, found = "none", None
    for level in available():
        found, fault = load(build.library(level), level)
        if found is not None:
            break
        faults.append(fault)
    if found is None:
        level = "none"
        faults = faults or [f"{build.FOLDER} has none for this processor"]
    if faults:
        used = "machines are several times slower" if found is None else f"those for {level} are used"
        notices.warn(
            f"compiled kernels cannot be used, and {used}: {'; '.join(faults)}; install elsewhere again, with a C "
            f"compiler, or set {build.VARIABLE}={level} to accept that"
        )
    return level, found


def _load_named(named: str) -> Any:
    levels, is_file = list(build.all_levels()), os.sep in named
    if named not in levels and not is_file:
        raise ValueError(
            f"{build.VARIABLE}={named} is no level here: expected {', '.join(levels[:-1])}, none, or the path of a "
            f"library, such as .{os.sep}{build.library(levels[0]).name}"
        )
    level = None if is_file else named
    if level in build.levels() and level not in processor():
        raise OSError(f"{build.VARIABLE}={named} needs another processor: this one can run {', '.join(processor())}")
    found, fault = load(Path(named) if is_file else build.library(named), level)
    if found is None:
        raise OSError(f"{build.VARIABLE}={named} cannot be used: {fault}")
    return found


def load(path: Path, level: str | None = None) -> tuple[Any | None, str]:
    """The kernels in a file, or None and what is wrong with it.

    Args:
        path: the file.
        level: whose flags it must have been compiled with; None for those of any level.
    """
    if not path.exists():
        return None, f"{path} does not exist"
    try:
        loaded = ffi.dlopen(str(path.resolve()))
        made = ffi.string(loaded.kernels_identity()).decode()
    except (OSError, AttributeError) as error:
        return None, f"{path} is no library of kernels ({error})"
    flags = build.all_levels()
    if made not in [build.identity(flags[one]) for one in ([level] if level else flags)]:
        return None, f"{path} was compiled from other sources or with other flags"
    return loaded, ""


def describe() -> str:
    """What `elsewhere --kernels` says of the kernels."""
    level, found = chosen()
    return f"kernels: {level}" if found or os.environ.get(build.VARIABLE) else "no kernels: install with a C compiler"
