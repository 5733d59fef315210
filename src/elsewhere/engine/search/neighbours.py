"""Neighbour propagation: adjacent windows usually match adjacent training windows.

Next to a key that one query found lies a key that the adjacent query may have missed, because Gaussians predict too
little of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.engine.kernels import loader, scan
from elsewhere.engine.keys.windows import WindowKeys
from elsewhere.engine.pool import in_parallel

SIDES = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
# Queries that one thread takes at once.
AT_ONCE = 256


def adjacent_queries(count: int, grid: tuple[int, int]) -> Tensor:
    """Numbers of the queries on all SIDES of each, -1 where there is none, int64 (count, sides).

    Args:
        count: number of queries, which are grid after grid.
        grid: rows and columns of the places whose windows they are.
    """
    numbers = torch.nn.functional.pad(torch.arange(count, device="cpu").view(-1, *grid), [1, 1, 1, 1], value=-1)
    rows, columns = grid
    sides = [numbers[:, 1 + down : 1 + down + rows, 1 + right : 1 + right + columns].flatten() for down, right in SIDES]
    return torch.stack(sides, dim=1)


@dataclass(frozen=True)
class Propagation:
    """Propagates what queries found to adjacent queries.

    Attributes:
        keys: training windows; the first `skipped` of them are not propagated.
        queries: in units of the stored pixels, multiplied by the keys' `roots`, float64 (Q, width).
        sigma: their noise level, in the same units.
        adjacent: which queries lie on all SIDES of each, -1 for none, int64 (Q, sides).
    """

    keys: WindowKeys
    skipped: int
    queries: Tensor
    sigma: float
    adjacent: Tensor

    @classmethod
    def of(cls, keys: WindowKeys, skipped: int, queries: Tensor, sigma: float, adjacent: Tensor) -> Propagation:
        """For queries that are centred as the keys are and multiplied by their `roots`, float64 (Q, width)."""
        centre = keys.store.centre if keys.roots is None else keys.store.centre * keys.roots
        return cls(keys, skipped, queries * keys.scale + centre, sigma * keys.scale, adjacent)

    def propagated(self, found: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        """Keys adjacent to those that adjacent queries found.

        Args:
            found: the heaviest keys that each query found, -1 for none, int64 (Q, kept).
            least: log-weights that keys must have for each query, float64 (Q,).

        Returns:
            Queries and the keys propagated to them, int64 (P,) each, in order. Keys that a query found itself may be
            among them or not.
        """
        library = loader.library()
        if library is None or not scan.serves(self.keys):
            return self._propagated(found, least)
        parts = torch.split(torch.arange(len(found), device="cpu"), AT_ONCE)
        task, held = self._task(found.contiguous(), least.contiguous())

        def propagate(part: Tensor) -> Tensor:
            room = len(part) * self.adjacent.shape[1] * found.shape[1]
            pairs = torch.empty(2, room, dtype=torch.int64, device="cpu")
            first, end = int(part[0]), int(part[-1]) + 1
            where = (loader.address(row, torch.int64, room) for row in pairs)
            count = library.propagate_keys(task, first, end, *where)
            if count < 0:
                raise MemoryError(f"not enough memory to propagate {found.shape[1]} windows")
            return pairs[:, :count].clone()

        pairs = list(in_parallel(propagate, parts))
        del held
        return self._in_order(*torch.cat(pairs, dim=1))

    def _propagated(self, found: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        """The same without a compiled kernel."""
        keys, numbers = self.keys, [torch.empty(0, dtype=torch.int64, device="cpu")]
        for (down, right), there in zip(SIDES, self.adjacent.unbind(1), strict=True):
            receivers = (there >= 0).nonzero().flatten()
            theirs = found[there[receivers]]
            query, key = (what[theirs >= 0] for what in (receivers[:, None].expand_as(theirs), theirs))
            moved = keys.shifted(key, -down, -right)
            numbers.append((query * len(keys) + moved)[moved >= self.skipped])
        pairs = torch.unique(torch.cat(numbers))
        query, key = pairs // len(keys), pairs % len(keys)
        parts = torch.split(torch.arange(len(pairs), device="cpu"), max(1, 2**20 // keys.width))
        logs = in_parallel(lambda at: self.logs(query[at], key[at], keys.raw_at(key[at])), parts)
        matters = torch.cat(list(logs)) > least[query]
        return query[matters], key[matters]

    def logs(self, query: Tensor, key: Tensor, raw: Tensor) -> Tensor:
        """Log-weights of keys (T,), each for a query (T,); raw: their pixels, (T, width)."""
        logs = scan.distances(raw, self.queries, query, self.keys.roots) / (-2 * self.sigma**2)
        return logs if self.keys.log_counts is None else logs + self.keys.log_counts[key]

    def _in_order(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        pairs = (query * len(self.keys) + key).sort().values
        return pairs // len(self.keys), pairs % len(self.keys)

    def _task(self, found: Tensor, least: Tensor) -> tuple[Any, object]:
        """What the kernel is given, and what must be held until it is done."""
        keys, pixels = self.keys, self.keys.store.pixels
        numbers, counts, count = None, keys.log_counts, len(found)
        if keys.kept is not None:
            numbers, found = keys.numbers, keys.kept[found.clamp(min=0)].long().masked_fill_(found < 0, -1)
        sizes = [np.array(some, np.int64) for some in (pixels.shape[1:], keys.grid, keys.extent.sides, SIDES)]
        shape, grid, window, sides = (loader.numbers(some, "int64_t") for some in sizes)
        adjacent = self.adjacent.contiguous()
        roots = torch.ones(keys.width, dtype=torch.float64, device="cpu") if keys.roots is None else keys.roots
        task = loader.struct(
            "propagation",
            pixels=loader.address(pixels, pixels.dtype, *pixels.shape),
            shape=shape,
            grid=grid,
            window=window,
            corner=keys.corner,
            numbers=None if numbers is None else loader.address(numbers, numbers.dtype, keys.places),
            log_counts=None if counts is None else loader.address(counts, torch.float64, len(keys)),
            skipped=self.skipped,
            sides=sides,
            adjacent=loader.address(adjacent, torch.int64, count, len(SIDES)),
            found=loader.address(found, torch.int64, count, found.shape[1]),
            queries=loader.address(self.queries, torch.float64, count, keys.width),
            roots=loader.address(roots, torch.float64, keys.width),
            least=loader.address(least, torch.float64, count),
            factor=-1 / (2 * self.sigma**2),
            is_byte=pixels.dtype == torch.uint8,
            is_wide=numbers is not None and numbers.dtype == torch.int64,
            kept=found.shape[1],
        )
        return task, (shape, grid, window, sides, numbers, adjacent, found, least, roots)
