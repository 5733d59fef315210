"""The compiled scan: keys weighed one by one, all of them or those of the blocks of an index that matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elsewhere.engine.kernels import loader
from elsewhere.engine.kernels.reference import Chunk, ScanQueries, ScanResult, ScanSettings, ScanTables
from elsewhere.engine.keys.base import Keys, StoredKeys
from elsewhere.engine.keys.windows import WindowKeys
from elsewhere.engine.state import SoftmaxState


@dataclass(frozen=True)
class QuantisedQueries:
    """Queries as the kernel takes them.

    Attributes:
        pixels: where squared differences are summed, the queries in units of the stored pixels, float32 (Q, width).
            Where products are, what keys are multiplied by, in steps of each query's own: int16 (Q, width or one more,
            the last 0).
        factor: of these sums, float32 (Q,).
        precision: 1 / sigma^2 in units of the stored pixels, float32 (Q,).
        offset: added to log-weights, float32 (Q,).
    """

    pixels: Tensor
    factor: Tensor
    precision: Tensor
    offset: Tensor

    @classmethod
    def of(cls, queries: Tensor, keys: Keys, sigma: float, reference: Tensor, products: bool) -> QuantisedQueries:
        """
        Args:
            queries: float64 (Q, width), centred as the keys are and multiplied by their `roots`.
            keys: what they are weighed against.
            sigma: noise level.
            reference: what log-weights are relative to, float64 (Q,).
            products: whether to sum products of whole numbers: twice as fast as squared differences, but queries are
                rounded to 16 bits, and terms that cancel are rounded.
        """
        precision = torch.full_like(reference, 1 / (sigma * keys.scale) ** 2)
        queries = queries * keys.scale
        offset = -reference
        if products:
            offset = offset - queries.square().sum(1) * precision / 2
            if keys.roots is not None:
                queries = queries * keys.roots
            # Sums must fit 32 bits, whatever the keys.
            top = min(2**15 - 1, (2**31 - 1) // (255 * keys.width))
            step = queries.abs().amax(1).clamp(min=1e-30) / top
            pixels = torch.zeros(len(queries), keys.width + keys.width % 2, dtype=torch.int16, device="cpu")
            pixels[:, : keys.width] = (queries / step[:, None]).round()
            factor = step * precision
        else:
            pixels, factor = queries.float().contiguous(), -precision / 2
        return cls(pixels, *(numbers.float() for numbers in (factor, precision, offset)))

    def relative_to(self, log_totals: Tensor) -> QuantisedQueries:
        """The same queries, whose log-weights are relative to log totals, float64 (Q,), that were relative to these."""
        return QuantisedQueries(self.pixels, self.factor, self.precision, (self.offset.double() - log_totals).float())

    def input(self, keys: StoredKeys, skipped: int, scale: float) -> tuple[Any, object]:
        """What the kernel is given of these queries and some keys, and what must be held until it is done."""
        raw, log_counts, roots = keys.raw.contiguous(), keys.log_counts.float(), keys.roots.float().contiguous()
        products, is_byte = self.pixels.dtype == torch.int16, raw.dtype == torch.uint8
        (total, width), count, channels = raw.shape, len(self.pixels), len(keys.values)
        if products:
            pixels = loader.address(self.pixels, torch.int16, count, width + width % 2)
        else:
            pixels = loader.address(self.pixels, torch.float32, count, width)
        made = loader.struct(
            "scan_input",
            keys=loader.address(raw, torch.uint8 if is_byte else torch.float32, total, width),
            log_counts=loader.address(log_counts, torch.float32, total) if len(log_counts) else None,
            skipped=skipped,
            centres=loader.address(keys.values, torch.int64, channels),
            centre=keys.centre,
            scale=scale,
            is_byte=is_byte,
            width=width,
            channels=channels,
            roots=loader.address(roots, torch.float32, width) if len(roots) else None,
            queries=None if products else pixels,
            quantised=pixels if products else None,
            precision=loader.address(self.precision, torch.float32, count),
            factor=loader.address(self.factor, torch.float32, count),
            offset=loader.address(self.offset, torch.float32, count),
        )
        return made, (raw, log_counts, roots)


def serves(keys: Keys) -> bool:
    """Whether the kernel is available and reads such keys."""
    return (
        isinstance(keys, WindowKeys)
        and keys.device.type == "cpu"
        and keys.store.pixels.dtype in (torch.uint8, torch.float32)
        and len(keys.values) > 0
        and loader.library() is not None
    )


def multiplies(keys: Keys) -> bool:
    """Whether the kernel reads such keys and can weigh them by products of whole numbers."""
    return serves(keys) and isinstance(keys, WindowKeys) and keys.store.is_bytes


def weigh(keys: StoredKeys, scale: float, queries: QuantisedQueries) -> SoftmaxState:
    """Every query against every key."""
    library = loader.library()
    assert library is not None
    count, channels = len(queries.pixels), len(keys.values)
    peak = torch.full([count], -torch.inf, dtype=torch.float64, device="cpu")
    sums = torch.zeros([count, 1 + channels], dtype=torch.float64, device="cpu")
    task, held = queries.input(keys, 0, scale)
    failed = library.scan_all(
        task,
        len(keys.raw),
        count,
        loader.address(peak, torch.float64, count),
        loader.address(sums, torch.float64, count, 1 + channels),
    )
    del held
    if failed:
        raise MemoryError(f"not enough memory to weigh windows of {task.width} numbers against {count} queries")
    return SoftmaxState(peak, sums[:, 0], sums[:, 1:])


def scan_groups(
    chunk: Chunk, tables: ScanTables, round_: ScanQueries, queries: QuantisedQueries, settings: ScanSettings
) -> ScanResult:
    """As `reference.scan_groups`, in float32."""
    library = loader.library()
    assert library is not None
    count, channels = len(round_.members), tables.values.shape[0]
    found = ScanResult.nothing(count, channels, settings.kept)
    task, held = queries.input(chunk.keys, chunk.skipped, tables.scale)
    members, lower, upper = (what.contiguous() for what in (round_.members, round_.lower, round_.upper))
    opened = round_.opened.contiguous()
    rows, cells = tables.masses[0].shape
    directions, total = tables.values.shape[1] - 1, len(queries.pixels)
    levels = [loader.address(table, torch.float32, rows, cells) for table in tables.masses]
    masses = loader.ffi.new("float *[]", levels)
    results = {
        "peaks": found.peak,
        "read": found.read,
        "left": found.left,
        "left_squares": found.left_squares,
        "bands": found.band,
        "tops": found.tops,
        "top_keys": found.top_keys,
    }
    scan = loader.struct(
        "scan_task",
        **{"in": task[0]},
        first_group=chunk.groups[0],
        end_group=chunk.groups[1],
        block=tables.block,
        starts=loader.address(tables.starts, torch.int64, cells + 1),
        bounds=loader.address(tables.bounds, torch.int64, len(opened) + 1),
        cells=cells,
        masses=masses,
        values=loader.address(tables.values, torch.float32, channels, directions + 1, cells),
        levels=len(levels),
        rows=rows,
        directions=directions,
        queries=loader.address(tables.queries, torch.float32, total, rows),
        count=count,
        members=loader.address(members, torch.int64, count),
        opened=loader.address(opened, torch.bool, len(opened), count),
        lower=loader.address(lower, torch.float32, count),
        upper=loader.address(upper, torch.float32, count),
        compares=round_.compares,
        band=settings.band,
        largest=settings.largest,
        most=settings.most,
        kept=settings.kept,
        floors=loader.address(round_.floors, torch.float64, count),
        **{name: loader.address(tensor, tensor.dtype, *tensor.shape) for name, tensor in results.items()},
    )
    failed = library.scan_groups(scan)
    del held
    if failed:
        raise MemoryError(f"not enough memory to read windows of {task.width} numbers for {count} queries")
    return found


def distances(raw: Tensor, queries: Tensor, paired: Tensor, roots: Tensor | None) -> Tensor:
    """|r k - q|^2 of pairs of a key and a query, float64 (T,).

    Args:
        raw: keys as pixels are stored, (T, width).
        queries: in the same units, times the roots, float64 (Q, width).
        paired: which query each key is paired with, int64 (T,).
        roots: r, square roots of the metric's weights, float64 (width,); None where all are one.
    """
    library = loader.library()
    if library is None or raw.dtype not in (torch.uint8, torch.float32):
        keys = raw.double() if roots is None else raw.double() * roots
        return (keys - queries[paired]).square().sum(1)
    raw, queries, paired = raw.contiguous(), queries.contiguous(), paired.contiguous()
    if roots is None:
        roots = torch.ones(raw.shape[1], dtype=torch.float64, device="cpu")
    squares = torch.empty(len(raw), dtype=torch.float64, device="cpu")
    library.pair_distances(
        loader.address(raw, raw.dtype, len(paired), queries.shape[1]),
        raw.dtype == torch.uint8,
        raw.shape[1],
        loader.address(roots, torch.float64, raw.shape[1]),
        loader.address(queries, torch.float64, *queries.shape),
        loader.address(paired, torch.int64, len(paired)),
        len(raw),
        loader.address(squares, torch.float64, len(raw)),
    )
    return squares
