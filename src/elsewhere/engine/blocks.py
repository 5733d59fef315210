"""The compiled inner loop over keys, blocks.c: the work of `weighing` and `reading`, several times as fast."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine import native
from elsewhere.engine.keys import Keys, WindowKeys
from elsewhere.engine.reading import Asked, Chunk, Found, Limits, Tables
from elsewhere.engine.state import SoftmaxState
from elsewhere.engine.weighing import Keyed

# Room for a pixel's value, or three.
CHANNELS = 3


@dataclass(frozen=True)
class Compact:
    """What queries ask of keys, as the loop takes it.

    Attributes:
        pixels: the queries in units of the stored pixels, float32 (Q, width), where squared differences are summed; or
            in units of a step of their own, int16 (Q, width or one more, the last 0), where products are.
        factor: of these sums, float32 (Q,).
        precision: 1 / sigma^2 in units of the stored pixels, float32 (Q,).
        offset: what log-weights lack then, float32 (Q,).
    """

    pixels: Tensor
    factor: Tensor
    precision: Tensor
    offset: Tensor

    @classmethod
    def of(cls, queries: Tensor, keys: Keys, sigma: Tensor, reference: Tensor, products: bool) -> Compact:
        """
        Args:
            queries: float64 (Q, width), centred as the keys are.
            keys: what they ask.
            sigma: noise level of each, float64 (Q,).
            reference: what all log-weights are relative to, float64 (Q,).
            products: whether to sum products of whole numbers: twice as fast, but queries are rounded to 16 bits, and
                what cancels is rounded.
        """
        precision = 1 / (sigma * keys.scale).square()
        queries = queries * keys.scale
        offset = -reference
        if products:
            # Sums must fit 32 bits, whatever the keys.
            top = min(2**15 - 1, (2**31 - 1) // (255 * keys.width))
            step = queries.abs().amax(1).clamp(min=1e-30) / top
            pixels = torch.zeros(len(queries), keys.width + keys.width % 2, dtype=torch.int16, device="cpu")
            pixels[:, : keys.width] = (queries / step[:, None]).round()
            factor = step * precision
            offset = offset - queries.square().sum(1) * precision / 2
        else:
            pixels, factor = queries.float().contiguous(), -precision / 2
        return cls(pixels, *(numbers.float() for numbers in (factor, precision, offset)))

    def asking(self, keys: Keyed, skipped: int, scale: float) -> tuple[native.Asking, object]:
        """What the loop needs to know, and what must be held until it is done."""
        raw, log_counts = keys.raw.contiguous(), keys.log_counts.float()
        products = self.pixels.dtype == torch.int16
        made = native.Asking(
            keys=raw.data_ptr(),
            log_counts=log_counts.data_ptr() if len(log_counts) else None,
            skipped=skipped,
            centres=keys.centres.data_ptr(),
            centre=keys.centre,
            scale=scale,
            is_byte=raw.dtype == torch.uint8,
            width=raw.shape[1],
            channels=len(keys.centres),
            queries=None if products else self.pixels.data_ptr(),
            digits=self.pixels.data_ptr() if products else None,
            precision=self.precision.data_ptr(),
            factor=self.factor.data_ptr(),
            offset=self.offset.data_ptr(),
        )
        return made, (raw, log_counts)


def serves(keys: Keys) -> bool:
    """Whether the loop is there, and reads such keys."""
    return (
        isinstance(keys, WindowKeys)
        and keys.device.type == "cpu"
        and keys.store.pixels.dtype in (torch.uint8, torch.float32)
        and len(keys.centres) <= CHANNELS
        and native.library() is not None
    )


def weigh(keys: Keyed, scale: float, compact: Compact) -> SoftmaxState:
    """Every query against every key."""
    library = native.library()
    assert library is not None
    count, channels = len(compact.pixels), len(keys.centres)
    peak = torch.full([count], -torch.inf, dtype=torch.float64, device="cpu")
    sums = torch.zeros([count, 1 + channels], dtype=torch.float64, device="cpu")
    task, held = compact.asking(keys, 0, scale)
    failed = library.read_all(ctypes.byref(task), len(keys.raw), count, peak.data_ptr(), sums.data_ptr())
    del held
    if failed:
        raise MemoryError(f"not enough memory to weigh windows of {task.width} numbers")
    return SoftmaxState(peak, sums[:, 0], sums[:, 1:])


def read(chunk: Chunk, tables: Tables, limits: Limits, asked: Asked, compact: Compact) -> Found:
    """As `reading.read_groups`."""
    library = native.library()
    assert library is not None
    count, channels = len(asked.queries), tables.values.shape[0]
    found = Found(
        torch.full([count], -torch.inf, dtype=torch.float64, device="cpu"),
        torch.zeros([count, 1 + channels], dtype=torch.float64, device="cpu"),
        torch.zeros([count, 1 + channels], dtype=torch.float64, device="cpu"),
        torch.zeros([count], dtype=torch.float64, device="cpu"),
        torch.zeros([count, 4 + 3 * channels], dtype=torch.float64, device="cpu"),
        torch.full([count, limits.kept], -torch.inf, dtype=torch.float64, device="cpu"),
        torch.full([count, limits.kept], -1, dtype=torch.int64, device="cpu"),
    )
    asking, held = compact.asking(chunk.keys, chunk.skipped, tables.scale)
    queries, until, before = (what.contiguous() for what in (asked.queries, asked.until, asked.before))
    opened = asked.opened.contiguous()
    masses = (ctypes.c_void_p * len(tables.masses))(*(table.data_ptr() for table in tables.masses))
    task = native.Reading(
        asking=asking,
        first_group=chunk.groups[0],
        end_group=chunk.groups[1],
        block=limits.block,
        starts=tables.starts.data_ptr(),
        bounds=tables.bounds.data_ptr(),
        cells=tables.masses[0].shape[1],
        masses=ctypes.cast(masses, ctypes.c_void_p),
        values=tables.values.data_ptr(),
        levels=len(tables.masses),
        rows=tables.masses[0].shape[0],
        directions=tables.values.shape[1] - 1,
        asked=tables.asked.data_ptr(),
        count=count,
        who=queries.data_ptr(),
        opened=opened.data_ptr(),
        until=until.data_ptr(),
        before=before.data_ptr(),
        judged=asked.judged,
        band=limits.band,
        largest=limits.largest,
        most=limits.most,
        kept=limits.kept,
        floors=asked.floors.data_ptr(),
        **{name: tensor.data_ptr() for name, tensor in zip(FOUND, found, strict=True)},
    )
    failed = library.read_blocks(ctypes.byref(task))
    del held
    if failed:
        raise MemoryError(f"not enough memory to read windows of {asking.width} numbers for {count} queries")
    return found


def distances(raw: Tensor, queries: Tensor, who: Tensor) -> Tensor:
    """|q - k|^2 of pairs of a key and a query, float64 (T,).

    Args:
        raw: keys as pixels are stored, (T, width).
        queries: in the same units, float64 (Q, width).
        who: which query each key meets, int64 (T,).
    """
    library = native.library()
    if library is None or raw.dtype not in (torch.uint8, torch.float32):
        return (raw.double() - queries[who]).square().sum(1)
    raw, queries, who = raw.contiguous(), queries.contiguous(), who.contiguous()
    squares = torch.empty(len(raw), dtype=torch.float64, device="cpu")
    library.pair_distances(
        raw.data_ptr(),
        raw.dtype == torch.uint8,
        raw.shape[1],
        queries.data_ptr(),
        who.data_ptr(),
        len(raw),
        squares.data_ptr(),
    )
    return squares


FOUND = ("peaks", "read", "left", "left_squares", "bands", "tops", "top_keys")
