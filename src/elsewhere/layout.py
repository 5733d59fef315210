"""What comes from outside made uniform in one place: how arrays lie in memory, and torch's process-wide defaults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor


def plain(values: Tensor | np.ndarray) -> Tensor:
    """The same values as a contiguous tensor, whatever the strides, byte order or write protection of the input.

    Only what needs a new layout is copied; the input is never written to. Code behind this call may flatten the
    tensor, view it and hand its memory to compiled loops.

    Raises:
        TypeError: a NumPy array whose dtype torch does not have.
    """
    if isinstance(values, np.ndarray):
        # torch warns about memory that is write-protected, and refuses negative strides and foreign byte orders.
        native = np.require(values, values.dtype.newbyteorder("="), ["C", "ALIGNED", "WRITEABLE", "ENSUREARRAY"])
        return torch.from_numpy(native)
    if type(values) is not Tensor:  # subclasses can change what every function of torch returns
        values = values.as_subclass(Tensor)
    # Conjugated and negated views are marked as such, and their memory holds other numbers.
    return values.resolve_conj().resolve_neg().contiguous()


@contextmanager
def torch_defaults() -> Iterator[None]:
    """torch's own state, whatever the user has set: float32 on the processor by default, gradients recorded.

    For modules, training and code of other libraries, which take dtype and device from nowhere else; tensors of this
    library name both. The default dtype is one for all threads.
    """
    before = torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        # A device that is set here costs every call of torch a detour through Python.
        with torch.inference_mode(False), torch.enable_grad(), torch.device("cpu") if elsewhere else nullcontext():
            yield
    finally:
        torch.set_default_dtype(before)
