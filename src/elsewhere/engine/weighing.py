"""The inner loop of the exact engine: tiles of keys against blocks of queries.

As TorchScript it runs without Python between its operations. As plain Python, which is the same code, the cores wait
for Python's lock between tiles: on two cores that took as long as on one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

# Digits of what a query asks, and from how many bytes in a key on products of digits are the faster ones: measured.
DIGITS = 3
WORTH = 100
Function = TypeVar("Function", bound=Callable[..., object])


class Keyed(NamedTuple):
    """Consecutive keys.

    Attributes:
        raw: stored pixels, (T, width).
        log_counts: log of how many windows each stands for, (T,), or empty where each is one.
        norms: |k|^2 of each, float32 (T,), or empty where they are not known.
        centres: positions of the values in a key, int64 (V,); empty where the value is the whole key.
        centre: what is taken off stored pixels.
        roots: what every number of a key is multiplied by once its centre is off, (width,), values not; empty for one.
    """

    raw: Tensor
    log_counts: Tensor
    norms: Tensor
    centres: Tensor
    centre: float
    roots: Tensor


class Blocks(NamedTuple):
    """Queries ready to be asked, in blocks.

    Attributes:
        rows: products with rows (k, |k|^2, log count) are log-weights, (Q, width + 2) for each block, of one dtype.
        digits: what they ask of k once more, where keys are whole numbers: see `packed_digits`. For each block,
            nothing or one packed tensor for each digit.
        scales: for each block, what one of every digit is worth, float32 (digits, Q).
    """

    rows: list[Tensor]
    digits: list[list[Tensor]]
    scales: list[Tensor]


class Sums(NamedTuple):
    """For each block of queries: largest log-weight (Q,), sum of weights (Q,) and of weights times values (Q, V)."""

    peak: list[Tensor]
    total: list[Tensor]
    weighted: list[Tensor]


def rounding_of(length: Tensor, typical: float, precision: Tensor | float) -> Tensor:
    """Rounding of log-weights that are products in float32, (q k - |k|^2 / 2) / sigma^2, in nats.

    Args:
        length: of queries, float64.
        typical: length of a key.
        precision: 1 / sigma^2.
    """
    rounding: Tensor = torch.finfo(torch.float32).eps * (length * typical + typical**2 / 2) * precision
    return rounding


def values_of(keys: Keyed, low: int, high: int, dtype: torch.dtype) -> Tensor:
    """The values of some keys, (T, V)."""
    raw = keys.raw[low:high]
    return (raw[:, keys.centres] if len(keys.centres) > 0 else raw).to(dtype) - keys.centre


def norms_of(keys: Keyed, low: int, high: int) -> Tensor:
    """|k|^2 of some keys, float32 (T,)."""
    if len(keys.norms) > 0:
        return keys.norms[low:high]
    norms: Tensor = torch.linalg.vector_norm(keys.raw[low:high].to(torch.float32).sub_(keys.centre), dim=1)
    return norms.square_()


def tile_of(keys: Keyed, low: int, high: int, room: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (k, |k|^2, log count), written to the start of `room` (T or more, width + 2), and values, in its dtype."""
    width = keys.raw.shape[1]
    rows = room[: high - low]
    whole = rows[:, :width]
    whole.copy_(keys.raw[low:high])
    whole.sub_(keys.centre)
    if len(keys.roots) > 0:
        whole.mul_(keys.roots.to(room.dtype))
    rows[:, width] = torch.linalg.vector_norm(whole, dim=1).square_()
    if len(keys.log_counts) > 0:
        rows[:, width + 1] = keys.log_counts[low:high].to(room.dtype)
    else:
        rows[:, width + 1] = 0.0
    return rows, values_of(keys, low, high, room.dtype)


def _product_of_digits(
    keys: Keyed, low: int, high: int, norms: Tensor, blocks: Blocks, number: int, out: Tensor
) -> Tensor:
    """Log-weights of keys low to high, (T, Q), written to `out`, by the digits of queries.

    Whole numbers of eight bits are multiplied many times faster than floats, and their sums are exact.

    Args:
        norms: of the keys, (T,).
    """
    width = keys.raw.shape[1]
    asked, scales = blocks.rows[number], blocks.scales[number]
    torch.mul(norms.unsqueeze(1), asked[:, width].contiguous(), out=out)
    if len(keys.log_counts) > 0:
        out.add_(keys.log_counts[low:high].to(out.dtype).unsqueeze(1))
    raw, centre = keys.raw[low:high], int(keys.centre)
    nothing = torch.zeros([len(asked)], dtype=torch.int64, device="cpu")
    # A list of what TorchScript calls numbers.
    options: list[int | float | complex | None] = []
    for digit, packed in enumerate(blocks.digits[number]):
        out = torch.ops.onednn.qlinear_pointwise(
            raw, 1.0, centre, packed, scales[digit], nothing, out, None,
            1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", options, "",
        )  # fmt: skip
    return out


def _no_product(keys: Keyed, low: int, high: int, norms: Tensor, blocks: Blocks, number: int, out: Tensor) -> Tensor:
    return out


# TorchScript compiles only what is there.
product_of_digits = _product_of_digits if hasattr(torch.ops.onednn, "qlinear_pointwise") else _no_product


def multiplies_digits(width: int) -> bool:
    """Whether this processor multiplies keys of so many bytes faster by digits than by floats."""
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = known.get("amx_int8", False) or known.get("avx512_vnni", False)
    return width >= WORTH and fast and product_of_digits is _product_of_digits


def packed_digits(asked: Tensor) -> tuple[list[Tensor], Tensor]:
    """Digits of numbers (Q, width), packed for products with keys, and what one of each is worth: see `Blocks`.

    Digits have eight bits and a sign, the smallest comes first; three are as exact as float32.
    """
    top = sum(127 * 256**digit for digit in range(DIGITS))
    worth = (asked.double().abs().amax(1).clamp(min=1e-30) / top).float()
    left = (asked.double() / worth[:, None]).round().long()
    packed = []
    for _ in range(DIGITS):
        digit = (left + 128) % 256 - 128
        left = (left - digit) // 256
        packed.append(torch.ops.onednn.qlinear_prepack(digit.to(torch.int8), None))
    return packed, torch.stack([worth * 256**digit for digit in range(DIGITS)])


def weigh_keys(keys: Keyed, blocks: Blocks, columns: int, least: float, wide: bool) -> Sums:
    """Every query of every block against every key.

    Args:
        keys: see there.
        blocks: see there.
        columns: keys of a tile.
        least: log-weights below the largest are not told apart from this on.
        wide: whether weights are float64 rather than float32.
    """
    dtype = torch.float64 if wide else torch.float32
    inf = float("inf")
    like = blocks.rows[0]
    sizes = [len(asked) for asked in blocks.rows]
    peaks = [torch.full([size], -inf, dtype=torch.float64, device=like.device) for size in sizes]
    totals = [torch.zeros([size], dtype=torch.float64, device=like.device) for size in sizes]
    channels = keys.raw.shape[1] if len(keys.centres) == 0 else len(keys.centres)
    weighted = [torch.zeros([size, channels], dtype=torch.float64, device=like.device) for size in sizes]
    count = len(keys.raw)
    columns = min(columns, count)
    digits = [len(packed) > 0 for packed in blocks.digits]
    room = torch.empty([0 if all(digits) else columns, keys.raw.shape[1] + 2], dtype=like.dtype, device=like.device)
    # Fresh memory for every tile costs more than what is computed in it.
    space = torch.empty([max(sizes) * columns], dtype=like.dtype, device=like.device)
    for low in range(0, count, columns):
        high = min(low + columns, count)
        norms = norms_of(keys, low, high) if any(digits) else keys.norms
        if all(digits):
            of_keys, values = room, values_of(keys, low, high, dtype)
        else:
            rows, values = tile_of(keys, low, high, room)
            of_keys, values = rows.t(), values.to(dtype)
        for number in range(len(sizes)):
            out = space[: sizes[number] * (high - low)]
            if digits[number]:
                out = out.view(high - low, sizes[number])
                logs = product_of_digits(keys, low, high, norms, blocks, number, out).t()
            else:
                logs = out.view(sizes[number], high - low)
                torch.mm(blocks.rows[number], of_keys, out=logs)
            peak = torch.maximum(logs.amax(1), peaks[number].to(logs.dtype))
            weights = logs.sub_(peak.unsqueeze(1)).to(dtype).clamp_(min=least).exp_()
            if channels > 4:
                product = weights @ values
            else:
                # A product with so few columns is slower than as many products with a vector.
                product = torch.stack([torch.mv(weights, values[:, channel]) for channel in range(channels)], dim=1)
            highest = peak.double()
            faded = (peaks[number] - highest).exp()
            totals[number] = totals[number] * faded + weights.sum(1).double()
            weighted[number] = weighted[number] * faded.unsqueeze(1) + product.double()
            peaks[number] = highest
    return Sums(peaks, totals, weighted)


def scripted(function: Function) -> Function:
    """The function as TorchScript; where that is not to be had, the function itself."""
    with warnings.catch_warnings():
        # Deprecated, without a successor that needs neither a compiler nor Python's lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            script: Function = torch.jit.script(function)
        except (AttributeError, RuntimeError):
            return function
        return script
