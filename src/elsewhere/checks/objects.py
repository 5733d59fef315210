"""Checks of single objects: paths, devices, tensors that can be read, and what needs too much memory."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elsewhere.checks.words import seen, seen_text
from elsewhere.limits import require_memory

if TYPE_CHECKING:
    import torch

LONGEST_NAME = 255
"""Bytes of a file's name, on the file systems in use."""


def check_room(name: str, value: object, wanted: int) -> None:
    """Refuse an argument for which more memory would be needed than the machine has: see `limits.require_memory`.

    Args:
        name, value: the argument that asks for so much.
        wanted: bytes.

    Raises:
        TooLarge: the machine has less.
    """
    require_memory(wanted, f"{name} ({seen_text(value)})")


def check_path(name: str, path: object, kind: str = "a path") -> Path:
    """A path that a file or a folder can have.

    Raises:
        TypeError: not a path.
        ValueError: empty, or with a null character.
        OSError: a name longer than file systems allow.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{name} must be {kind}, got {seen(path)}")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ValueError(f"{name} must be {kind}, got {seen_text(text) if text else 'an empty string'}")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(text).parts):
        raise OSError(errno.ENAMETOOLONG, f"{name} has a file name of more than {LONGEST_NAME} bytes", seen_text(text))
    return Path(text)


def check_device(name: str, device: object) -> torch.device:
    """A device that torch can compute on here.

    Raises:
        TypeError: neither a name nor a torch device.
        ValueError: no such device, or none on this machine; the message lists those that are there.
    """
    import torch

    if not isinstance(device, str | torch.device):
        raise TypeError(f"{name} must be a device such as 'cpu' or 'cuda', got {seen(device)}")
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise ValueError("it computes nothing")
        torch.ones(1, dtype=torch.float32, device=found).sum().item()
    except Exception as error:  # torch raises AssertionError, RuntimeError, NotImplementedError, ...
        raise ValueError(
            f"{name} {seen_text(str(device))} cannot be used here ({_why_not(str(device), error)}): choose of "
            f"{', '.join(devices())}"
        ) from error
    return found


def devices() -> list[str]:
    """Names of the devices that torch can compute on here, "cpu" first.

    Example:
        >>> devices()[0]
        'cpu'
    """
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    found += ["mps"] if torch.backends.mps.is_available() else []
    return [*found, "xpu"] if torch.xpu.is_available() else found


def _why_not(device: str, error: Exception) -> str:
    """Why a device cannot be used, in a few words."""
    import torch

    if device.partition(":")[0] != "cuda" or torch.cuda.is_available():
        return " ".join(str(error).split()).partition(". ")[0][:120]
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} was built without CUDA"
    return "torch finds no GPU: none is there, or its driver is missing or too old for this torch"


def check_dense(name: str, values: torch.Tensor | np.ndarray) -> None:
    """Refuse tensors and arrays whose values cannot be read one by one.

    Raises:
        TypeError: a sparse, quantized or nested tensor, one without values (on the device "meta"), or a masked array.
        ValueError: a tensor inside of torch.func.vmap.
        MemoryError: a small tensor or array that is expanded beyond the memory of the machine.
    """
    if isinstance(values, np.ndarray):
        if isinstance(values, np.ma.MaskedArray):
            raise TypeError(f"{name} must not be a masked array, got {seen(values)}: fill it, as with .filled(0)")
        check_room(name, values, values.nbytes)
        return
    import torch

    tensor, kind = values, None
    if _is_mapped(tensor):
        raise ValueError(
            f"{name} cannot be mapped (torch.func.vmap, vectorize=True): pass a batch of images; for Jacobians use "
            "torch.func.jacrev"
        )
    if tensor.layout != torch.strided or tensor.is_nested:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
    elif tensor.is_quantized:
        kind = "quantized"
    elif tensor.device.type == "meta":
        kind = "meta (without values)"
    if kind is not None:
        raise TypeError(f"{name} must be a dense tensor, got one that is {kind}: convert it, as with .to_dense()")
    check_room(name, tensor, tensor.numel() * tensor.element_size())


def is_tensor(value: object) -> bool:
    # Without importing torch, which takes seconds: where it was never imported there are no tensors.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_mapped(tensor: torch.Tensor) -> bool:
    """Whether a tensor is the batched one of a function mapped by torch.func.vmap, or by torch.autograd's own vmap."""
    import torch

    inside = torch._C._functorch
    while inside.is_functorch_wrapped_tensor(tensor):
        if inside.is_batchedtensor(tensor):
            return True
        tensor = inside.get_unwrapped(tensor)
    return inside.is_legacy_batchedtensor(tensor)
