"""Independence of what callers control: the memory layout of their arrays, and torch's process-wide defaults."""

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
    """Run a block under torch's original defaults: float32 on the CPU, gradients recorded.

    For modules, training and other libraries, which create tensors of the default dtype and device. The code of this
    library always names both. The default dtype is shared by all threads.
    """
    before = torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        # Setting a default device slows every call of torch: only where the user has set another.
        with torch.inference_mode(False), torch.enable_grad(), torch.device("cpu") if elsewhere else nullcontext():
            yield
    finally:
        torch.set_default_dtype(before)
