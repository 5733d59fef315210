"""What the processor is good at."""

from __future__ import annotations

import torch

# From this many bytes in a key on, products of quantised planes are faster than products of floats (measured,
# benchmarks/exact_engine.py).
BYTES_WORTH_MULTIPLYING = 100
HAS_BYTE_PRODUCTS = hasattr(torch.ops.onednn, "qlinear_pointwise")


def multiplies_bytes(width: int) -> bool:
    """Whether this processor multiplies keys of `width` bytes faster as bytes than as floats."""
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = known.get("amx_int8", False) or known.get("avx512_vnni", False)
    return width >= BYTES_WORTH_MULTIPLYING and fast and HAS_BYTE_PRODUCTS
