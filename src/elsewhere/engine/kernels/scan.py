"""The compiled scan: keys weighed one by one, all of them or those of the blocks of an index that matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elsewhere.engine.kernels import loader
from elsewhere.engine.kernels.reference import Asked, Chunk, Found, Limits, Tables
from elsewhere.engine.keys.base import Keys, StoredKeys
from elsewhere.engine.keys.windows import WindowKeys
from elsewhere.engine.state import SoftmaxState

# Room for a pixel's value, or three.
CHANNELS = 3


@dataclass(frozen=True)
class QuantisedQueries:
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
    def of(cls, queries: Tensor, keys: Keys, sigma: float, reference: Tensor, products: bool) -> QuantisedQueries:
        """
        Args:
            queries: float64 (Q, width), centred as the keys are.
            keys: what they ask.
            sigma: noise level.
            reference: what all log-weights are relative to, float64 (Q,).
            products: whether to sum products of whole numbers: twice as fast, but queries are rounded to 16 bits, and
                what cancels is rounded.
        """
        precision = torch.full_like(reference, 1 / (sigma * keys.scale) ** 2)
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

    def asking(self, keys: StoredKeys, skipped: int, scale: float) -> tuple[Any, object]:
        """What the loop needs to know, and what must be held until it is done."""
        raw, log_counts = keys.raw.contiguous(), keys.log_counts.float()
        products, is_byte = self.pixels.dtype == torch.int16, raw.dtype == torch.uint8
        (total, width), count, channels = raw.shape, len(self.pixels), len(keys.values)
        if products:
            pixels = loader.address(self.pixels, torch.int16, count, width + width % 2)
        else:
            pixels = loader.address(self.pixels, torch.float32, count, width)
        made = loader.struct(
            "asking",
            keys=loader.address(raw, torch.uint8 if is_byte else torch.float32, total, width),
            log_counts=loader.address(log_counts, torch.float32, total) if len(log_counts) else None,
            skipped=skipped,
            centres=loader.address(keys.values, torch.int64, channels),
            centre=keys.centre,
            scale=scale,
            is_byte=is_byte,
            width=width,
            channels=channels,
            queries=None if products else pixels,
            digits=pixels if products else None,
            precision=loader.address(self.precision, torch.float32, count),
            factor=loader.address(self.factor, torch.float32, count),
            offset=loader.address(self.offset, torch.float32, count),
        )
        return made, (raw, log_counts)


def serves(keys: Keys) -> bool:
    """Whether the loop is there, and reads such keys."""
    return (
        isinstance(keys, WindowKeys)
        and keys.device.type == "cpu"
        and keys.store.pixels.dtype in (torch.uint8, torch.float32)
        and 0 < len(keys.values) <= CHANNELS
        and keys.roots is None
        and loader.library() is not None
    )


def weigh(keys: StoredKeys, scale: float, compact: QuantisedQueries) -> SoftmaxState:
    """Every query against every key."""
    library = loader.library()
    assert library is not None
    count, channels = len(compact.pixels), len(keys.values)
    peak = torch.full([count], -torch.inf, dtype=torch.float64, device="cpu")
    sums = torch.zeros([count, 1 + channels], dtype=torch.float64, device="cpu")
    task, held = compact.asking(keys, 0, scale)
    failed = library.read_all(
        task,
        len(keys.raw),
        count,
        loader.address(peak, torch.float64, count),
        loader.address(sums, torch.float64, count, 1 + channels),
    )
    del held
    if failed:
        raise MemoryError(f"not enough memory to weigh windows of {task.width} numbers")
    return SoftmaxState(peak, sums[:, 0], sums[:, 1:])


def read(chunk: Chunk, tables: Tables, limits: Limits, asked: Asked, compact: QuantisedQueries) -> Found:
    """As `reading.read_groups`."""
    library = loader.library()
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
    rows, cells = tables.masses[0].shape
    directions, total = tables.values.shape[1] - 1, len(compact.pixels)
    levels = [loader.address(table, torch.float32, rows, cells) for table in tables.masses]
    masses = loader.ffi.new("float *[]", levels)
    task = loader.struct(
        "reading",
        a=asking[0],
        first_group=chunk.groups[0],
        end_group=chunk.groups[1],
        block=limits.block,
        starts=loader.address(tables.starts, torch.int64, cells + 1),
        bounds=loader.address(tables.bounds, torch.int64, len(opened) + 1),
        cells=cells,
        masses=masses,
        values=loader.address(tables.values, torch.float32, channels, directions + 1, cells),
        levels=len(levels),
        rows=rows,
        directions=directions,
        asked=loader.address(tables.asked, torch.float32, total, rows),
        count=count,
        who=loader.address(queries, torch.int64, count),
        opened=loader.address(opened, torch.bool, len(opened), count),
        until=loader.address(until, torch.float32, count),
        before=loader.address(before, torch.float32, count),
        judged=asked.judged,
        band=limits.band,
        largest=limits.largest,
        most=limits.most,
        kept=limits.kept,
        floors=loader.address(asked.floors, torch.float64, count),
        **{
            name: loader.address(tensor, tensor.dtype, *tensor.shape) for name, tensor in zip(FOUND, found, strict=True)
        },
    )
    failed = library.read_blocks(task)
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
    library = loader.library()
    if library is None or raw.dtype not in (torch.uint8, torch.float32):
        return (raw.double() - queries[who]).square().sum(1)
    raw, queries, who = raw.contiguous(), queries.contiguous(), who.contiguous()
    squares = torch.empty(len(raw), dtype=torch.float64, device="cpu")
    library.pair_distances(
        loader.address(raw, raw.dtype, len(who), queries.shape[1]),
        raw.dtype == torch.uint8,
        raw.shape[1],
        loader.address(queries, torch.float64, *queries.shape),
        loader.address(who, torch.int64, len(who)),
        len(raw),
        loader.address(squares, torch.float64, len(raw)),
    )
    return squares


FOUND = ("peaks", "read", "left", "left_squares", "bands", "tops", "top_keys")
