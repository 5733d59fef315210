"""How arrays that come from outside lie in memory, made uniform in one place."""

from __future__ import annotations

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
    # Conjugated and negated views are marked as such, and their memory holds other numbers.
    return values.resolve_conj().resolve_neg().contiguous()
