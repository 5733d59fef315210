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

Function = TypeVar("Function", bound=Callable[..., object])


class Keyed(NamedTuple):
    """Consecutive keys.

    Attributes:
        raw: stored pixels, (T, width).
        log_counts: log of how many windows each stands for, (T,), or empty where each is one.
        centres: positions of the values in a key, int64 (V,); empty where the value is the whole key.
        centre: what is taken off stored pixels.
    """

    raw: Tensor
    log_counts: Tensor
    centres: Tensor
    centre: float


class Sums(NamedTuple):
    """For each block of queries: largest log-weight (Q,), sum of weights (Q,) and of weights times values (Q, V)."""

    peak: list[Tensor]
    total: list[Tensor]
    weighted: list[Tensor]


def tile_of(keys: Keyed, low: int, high: int, room: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (k, |k|^2, log count), written to the start of `room` (T or more, width + 2), and values, in its dtype."""
    width = keys.raw.shape[1]
    raw = keys.raw[low:high]
    rows = room[: high - low]
    whole = rows[:, :width]
    whole.copy_(raw)
    whole.sub_(keys.centre)
    rows[:, width] = torch.linalg.vector_norm(whole, dim=1).square_()
    if len(keys.log_counts) > 0:
        rows[:, width + 1] = keys.log_counts[low:high].to(room.dtype)
    else:
        rows[:, width + 1] = 0.0
    if len(keys.centres) > 0:
        return rows, raw[:, keys.centres].to(room.dtype) - keys.centre
    return rows, whole


def weigh_keys(keys: Keyed, blocks: list[Tensor], columns: int, least: float, wide: bool) -> Sums:
    """Every query of every block against every key.

    Args:
        keys: see there.
        blocks: what queries ask, (Q, width + 2) each, all of one dtype: products with rows are log-weights.
        columns: keys of a tile.
        least: log-weights below the largest are not told apart from this on.
        wide: whether weights are float64 rather than float32.
    """
    dtype = torch.float64 if wide else torch.float32
    inf = float("inf")
    like = blocks[0]
    peaks = [torch.full([len(block)], -inf, dtype=torch.float64, device=like.device) for block in blocks]
    totals = [torch.zeros([len(block)], dtype=torch.float64, device=like.device) for block in blocks]
    channels = keys.raw.shape[1] if len(keys.centres) == 0 else len(keys.centres)
    weighted = [torch.zeros([len(block), channels], dtype=torch.float64, device=like.device) for block in blocks]
    count = len(keys.raw)
    columns = min(columns, count)
    room = torch.empty([columns, keys.raw.shape[1] + 2], dtype=like.dtype, device=like.device)
    most = max([len(block) for block in blocks])
    # Fresh memory for every tile costs more than what is computed in it.
    space = torch.empty([most * columns], dtype=like.dtype, device=like.device)
    for low in range(0, count, columns):
        high = min(low + columns, count)
        rows, values = tile_of(keys, low, high, room)
        values = values.to(dtype)
        of_keys = rows.t()
        for number in range(len(blocks)):
            block = blocks[number]
            logs = space[: len(block) * (high - low)].view(len(block), high - low)
            torch.mm(block, of_keys, out=logs)
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
