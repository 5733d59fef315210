"""The dense kernel: log-weights of tiles of keys against blocks of queries as matrix products, on any device.

It is compiled by TorchScript, which runs it without Python's lock. As plain Python, which is the same code, two
threads took as long as one (measured).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from elsewhere.engine.keys.base import StoredKeys, norms_of, tile_of, values_of
from elsewhere.engine.processor import HAS_BYTE_PRODUCTS

# Eight-bit planes of a quantised query: three are as exact as float32.
PLANES = 3
Function = TypeVar("Function", bound=Callable[..., object])


class Blocks(NamedTuple):
    """Blocks of queries.

    Attributes:
        rows: products with rows (k, |k|^2, log count) are log-weights, (Q, width + 2) for each block, of one dtype.
        planes: for each block, nothing, or the packed eight-bit planes of what its queries multiply k by: see
            `quantised_planes`.
        steps: for each block, the unit of every plane, float32 (planes, Q).
    """

    rows: list[Tensor]
    planes: list[list[Tensor]]
    steps: list[Tensor]


class Sums(NamedTuple):
    """For each block of queries: largest log-weight (Q,), sum of weights (Q,) and of weights times values (Q, V)."""

    peak: list[Tensor]
    total: list[Tensor]
    weighted: list[Tensor]


def _product_of_planes(
    keys: StoredKeys, low: int, high: int, norms: Tensor, blocks: Blocks, number: int, out: Tensor
) -> Tensor:
    """Log-weights of keys low to high, (T, Q), written to `out`, from the quantised planes of queries.

    Eight-bit integers are multiplied many times faster than floats, and their sums are exact.

    Args:
        norms: |k|^2 of the keys, (T,).
    """
    width = keys.raw.shape[1]
    rows, steps = blocks.rows[number], blocks.steps[number]
    torch.mul(norms.unsqueeze(1), rows[:, width].contiguous(), out=out)
    if len(keys.log_counts) > 0:
        out.add_(keys.log_counts[low:high].to(out.dtype).unsqueeze(1))
    raw, centre = keys.raw[low:high], int(keys.centre)
    zeros = torch.zeros([len(rows)], dtype=torch.int64, device="cpu")
    # TorchScript's type for a list of numbers.
    options: list[int | float | complex | None] = []
    for plane, packed in enumerate(blocks.planes[number]):
        out = torch.ops.onednn.qlinear_pointwise(
            raw, 1.0, centre, packed, steps[plane], zeros, out, None,
            1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", options, "",
        )  # fmt: skip
    return out


def _no_product(
    keys: StoredKeys, low: int, high: int, norms: Tensor, blocks: Blocks, number: int, out: Tensor
) -> Tensor:
    return out


# TorchScript refuses to compile an operation that this build of torch lacks.
product_of_planes = _product_of_planes if HAS_BYTE_PRODUCTS else _no_product


def quantised_planes(numbers: Tensor) -> tuple[list[Tensor], Tensor]:
    """Numbers (Q, width) as eight-bit planes packed for products with keys, and the unit of each: see `Blocks`.

    number = sum over planes of unit * plane; planes are signed, the least significant comes first.
    """
    top = sum(127 * 256**plane for plane in range(PLANES))
    unit = (numbers.double().abs().amax(1).clamp(min=1e-30) / top).float()
    left = (numbers.double() / unit[:, None]).round().long()
    packed = []
    for _ in range(PLANES):
        plane = (left + 128) % 256 - 128
        left = (left - plane) // 256
        packed.append(torch.ops.onednn.qlinear_prepack(plane.to(torch.int8), None))
    return packed, torch.stack([unit * 256**plane for plane in range(PLANES)])


def weigh_keys(keys: StoredKeys, blocks: Blocks, columns: int, least: float, wide: bool) -> Sums:
    """Every query of every block against every key.

    Args:
        keys: the keys.
        blocks: the queries.
        columns: keys of a tile.
        least: log-weights this far below the largest count as equal.
        wide: whether weights are float64 rather than float32.
    """
    dtype = torch.float64 if wide else torch.float32
    inf = float("inf")
    like = blocks.rows[0]
    sizes = [len(rows) for rows in blocks.rows]
    peaks = [torch.full([size], -inf, dtype=torch.float64, device=like.device) for size in sizes]
    totals = [torch.zeros([size], dtype=torch.float64, device=like.device) for size in sizes]
    channels = keys.raw.shape[1] if len(keys.values) == 0 else len(keys.values)
    weighted = [torch.zeros([size, channels], dtype=torch.float64, device=like.device) for size in sizes]
    count = len(keys.raw)
    columns = min(columns, count)
    quantised = [len(packed) > 0 for packed in blocks.planes]
    room = torch.empty([0 if all(quantised) else columns, keys.raw.shape[1] + 2], dtype=like.dtype, device=like.device)
    # Fresh memory for every tile costs more than what is computed in it.
    space = torch.empty([max(sizes) * columns], dtype=like.dtype, device=like.device)
    for low in range(0, count, columns):
        high = min(low + columns, count)
        norms = norms_of(keys, low, high) if any(quantised) else keys.norms
        if all(quantised):
            of_keys, values = room, values_of(keys, low, high, dtype)
        else:
            rows, values = tile_of(keys, low, high, room)
            of_keys, values = rows.t(), values.to(dtype)
        for number in range(len(sizes)):
            out = space[: sizes[number] * (high - low)]
            if quantised[number]:
                out = out.view(high - low, sizes[number])
                logs = product_of_planes(keys, low, high, norms, blocks, number, out).t()
            else:
                logs = out.view(sizes[number], high - low)
                torch.mm(blocks.rows[number], of_keys, out=logs)
            peak = torch.maximum(logs.amax(1), peaks[number].to(logs.dtype))
            weights = logs.sub_(peak.unsqueeze(1)).to(dtype).clamp_(min=least).exp_()
            if channels > 4:
                product = weights @ values
            else:
                # A product with so few columns is slower than as many products with a vector (measured).
                product = torch.stack([torch.mv(weights, values[:, channel]) for channel in range(channels)], dim=1)
            highest = peak.double()
            faded = (peaks[number] - highest).exp()
            totals[number] = totals[number] * faded + weights.sum(1).double()
            weighted[number] = weighted[number] * faded.unsqueeze(1) + product.double()
            peaks[number] = highest
    return Sums(peaks, totals, weighted)


def scripted(function: Function) -> Function:
    """The function compiled by TorchScript, or the function itself where TorchScript is missing."""
    with warnings.catch_warnings():
        # Deprecated, but nothing else needs neither a C++ compiler nor Python's lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            script: Function = torch.jit.script(function)
        except (AttributeError, RuntimeError):
            return function
        return script


weigh = scripted(weigh_keys)
