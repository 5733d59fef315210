"""What queries tell those beside them: windows beside one another find windows beside one another.

A key that one query found lies beside a key that the next one may have missed, for all that Gaussians promised of it.
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
# Queries asked at once.
AT_ONCE = 256


def adjacent_queries(count: int, grid: tuple[int, int]) -> Tensor:
    """Numbers of the queries on all SIDES of each, -1 where there is none, int64 (count, sides).

    Args:
        count: of queries, which are grid after grid.
        grid: rows and columns of the places that they are of.
    """
    numbers = torch.nn.functional.pad(torch.arange(count, device="cpu").view(-1, *grid), [1, 1, 1, 1], value=-1)
    rows, columns = grid
    sides = [numbers[:, 1 + down : 1 + down + rows, 1 + right : 1 + right + columns].flatten() for down, right in SIDES]
    return torch.stack(sides, dim=1)


@dataclass(frozen=True)
class Naming:
    """Queries that tell one another what they found.

    Attributes:
        keys: what they are asked of; the first `skipped` of them are not told.
        queries: as pixels are stored, float64 (Q, width).
        sigma: their noise level, in the same units.
        beside: which queries lie on all SIDES of each, -1 for none, int64 (Q, sides).
    """

    keys: WindowKeys
    skipped: int
    queries: Tensor
    sigma: float
    beside: Tensor

    def named(self, found: Tensor, told: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        """Keys that lie beside one found beside a query.

        Args:
            found: the heaviest keys that each query found, -1 for none, int64 (Q, kept).
            told: which queries tell theirs, bool (Q,).
            least: log-weights that keys must have for each query, float64 (Q,).

        Returns:
            Queries and the keys that they were told of, int64 (P,) each, in order. Those that a query found itself may
            be among them or not.
        """
        library = loader.library()
        if library is None or not scan.serves(self.keys):
            return self._named(found, told, least)
        parts = torch.split(torch.arange(len(found), device="cpu"), AT_ONCE)
        task, held = self._task(found.contiguous(), told.contiguous(), least.contiguous())

        def name(part: Tensor) -> Tensor:
            pairs = torch.empty(2, len(part) * self.beside.shape[1] * found.shape[1], dtype=torch.int64, device="cpu")
            first, end = int(part[0]), int(part[-1]) + 1
            who, named = (loader.address(row, torch.int64, pairs.shape[1]) for row in pairs)
            count = library.name_keys(task, first, end, who, named)
            if count < 0:
                raise MemoryError(f"not enough memory to look at windows beside {found.shape[1]} others")
            return pairs[:, :count].clone()

        named = list(in_parallel(name, parts))
        del held
        return self._in_order(*torch.cat(named, dim=1))

    def _named(self, found: Tensor, told: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        keys, named = self.keys, [torch.empty(0, dtype=torch.int64, device="cpu")]
        for (down, right), there in zip(SIDES, self.beside.unbind(1), strict=True):
            who = ((there >= 0) & told[there]).nonzero().flatten()
            query, key = (
                what[found[there[who]] >= 0] for what in (who[:, None].expand(-1, found.shape[1]), found[there[who]])
            )
            moved = keys.shifted(key, -down, -right)
            named.append((query * len(keys) + moved)[moved >= self.skipped])
        pairs = torch.unique(torch.cat(named))
        query, key = pairs // len(keys), pairs % len(keys)
        parts = torch.split(torch.arange(len(pairs), device="cpu"), max(1, 2**20 // keys.width))
        logs = in_parallel(lambda at: self.logs(query[at], key[at], keys.raw_at(key[at])), parts)
        matters = torch.cat(list(logs)) > least[query]
        return query[matters], key[matters]

    def logs(self, query: Tensor, key: Tensor, raw: Tensor) -> Tensor:
        """Log-weights of keys (T,), each for a query (T,); raw: their pixels, (T, width)."""
        logs = scan.distances(raw, self.queries, query) / (-2 * self.sigma**2)
        return logs if self.keys.log_counts is None else logs + self.keys.log_counts[key]

    def _in_order(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        pairs = (query * len(self.keys) + key).sort().values
        return pairs // len(self.keys), pairs % len(self.keys)

    def _task(self, found: Tensor, told: Tensor, least: Tensor) -> tuple[Any, object]:
        """What the loop needs to know, and what must be held until it is done."""
        keys, pixels = self.keys, self.keys.store.pixels
        numbers, counts, count = None, keys.log_counts, len(found)
        if keys.kept is not None:
            numbers, found = keys.numbers, keys.kept[found.clamp(min=0)].long().masked_fill_(found < 0, -1)
        sizes = [np.array(some, np.int64) for some in (pixels.shape[1:], keys.grid, keys.extent.sides, SIDES)]
        shape, grid, window, sides = (loader.numbers(some, "int64_t") for some in sizes)
        beside = self.beside.contiguous()
        task = loader.struct(
            "naming",
            pixels=loader.address(pixels, pixels.dtype, *pixels.shape),
            shape=shape,
            grid=grid,
            window=window,
            corner=keys.corner,
            numbers=None if numbers is None else loader.address(numbers, numbers.dtype, keys.places),
            log_counts=None if counts is None else loader.address(counts, torch.float64, len(keys)),
            skipped=self.skipped,
            sides=sides,
            beside=loader.address(beside, torch.int64, count, len(SIDES)),
            told=loader.address(told, torch.bool, count),
            found=loader.address(found, torch.int64, count, found.shape[1]),
            queries=loader.address(self.queries, torch.float64, count, keys.width),
            least=loader.address(least, torch.float64, count),
            factor=-1 / (2 * self.sigma**2),
            is_byte=pixels.dtype == torch.uint8,
            is_wide=numbers is not None and numbers.dtype == torch.int64,
            kept=found.shape[1],
        )
        return task, (sizes, numbers, beside, found, told, least)
