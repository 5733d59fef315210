"""The dense job: every query against every key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from elsewhere.engine.attribution import TiledAttribution
from elsewhere.engine.jobs import TILE, Tile
from elsewhere.engine.kernels import scan
from elsewhere.engine.kernels.dense import Blocks, quantised_planes, weigh
from elsewhere.engine.kernels.scan import QuantisedQueries
from elsewhere.engine.keys.base import Keys, Sources, StoredKeys, rounding_of
from elsewhere.engine.precision import COARSE, RESOLVED, ROUNDING
from elsewhere.engine.processor import multiplies_bytes
from elsewhere.engine.state import SoftmaxState, least, merge_all, stack

# Queries of a block.
ROWS = 512
# Over more keys than this the sums of a tile in float32 lose digits that sums of tiles, in float64, do not.
LARGEST_TILE = 4096
# Keys looked at to estimate the distance to the nearest.
KEYS_SAMPLED = 4096
# Bytes of stored pixels that are read at once.
CHUNK = 2**24


@dataclass(frozen=True)
class Prior:
    """A log-weight for each image of a batch and training image.

    Attributes:
        image_logs: (B, N).
        image: image of the batch that each query belongs to, int64 (Q,).
        each: consecutive keys that come from the same training image.
    """

    image_logs: Tensor
    image: Tensor
    each: int

    def logs(self, queries: slice, start: int, stop: int) -> Tensor:
        """Those of some queries and some consecutive keys, (Q, T)."""
        training = torch.arange(start, stop, device=self.image.device) // self.each
        return self.image_logs.detach()[self.image[queries]][:, training]


@dataclass(frozen=True)
class _Block:
    """Some queries ready for a product with rows (k, |k|^2, log count): (q/sigma^2, -1/(2 sigma^2), 1)."""

    rows: Tensor
    planes: list[Tensor]  # see `Blocks`
    steps: Tensor
    offset: Tensor  # -|q|^2 / (2 sigma^2), float64 (Q,)


class DenseJob:
    """Every query against every key: x0hat_i = sum_j softmax_j(-|q_i - k_j|^2 / (2 sigma^2)) v_j.

    One matrix product a tile gives the log-weights without -|q|^2 / (2 sigma^2), which is added once at the end.
    Where float32 would lose the differences that decide (small sigma), the product is done in float64.

    Args:
        queries: (Q, D), centred as the keys are and multiplied by their `roots`, float32 or float64.
        sigma: noise level.
        keys: where keys and values come from.
        tolerance: an error of the average that does not matter. From `COARSE` on, queries are quantised for a compiled
            kernel several times as fast, and states say that they may be off.
        prior: added to log-weights; None for nothing.

    Attributes:
        queries: as given, so that autograd can take a gradient further back; nothing else here is recorded by it.
        scale: units of the tiles for each unit of the queries.
    """

    def __init__(
        self, queries: Tensor, sigma: float, keys: Keys, tolerance: float = 0.0, prior: Prior | None = None
    ) -> None:
        self.queries, self.sigma, self.prior = queries, sigma, prior
        queries = queries.detach()
        self.keys = keys
        self.scale = keys.scale
        self.tolerance = tolerance
        self.quantised: QuantisedQueries | None = None
        if prior is None and tolerance >= COARSE and queries.dtype == torch.float32 and scan.multiplies(keys):
            self.quantised = self._quantised(queries)
        self.dtype = queries.dtype
        self.count = len(queries)
        self.blocks = [self._block(some) for some in torch.split(queries, ROWS)]
        self.columns = min(max(64, TILE // min(self.count, ROWS)), LARGEST_TILE)

    @property
    def pairs(self) -> int:
        return self.count * len(self.keys)

    @property
    def keys_met(self) -> int:
        return len(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def _block(self, queries: Tensor) -> _Block:
        precision = (1 / self.sigma) ** 2
        wide = queries.double()
        norms = wide.square().sum(1, keepdim=True)
        dtype = torch.float64 if self._rounding(norms) > ROUNDING else self.dtype
        scale = self.keys.scale
        factors, one = wide * precision / scale, torch.ones_like(norms)
        rows = torch.cat([factors, one * (-precision / (2 * scale**2)), one], dim=1).to(dtype)
        pays = self.keys.is_bytes and multiplies_bytes(self.keys.width)
        planes, steps = quantised_planes(factors) if pays and dtype == torch.float32 else ([], rows)
        return _Block(rows, planes, steps, (-norms * precision / 2).squeeze(1))

    def _quantised(self, queries: Tensor) -> QuantisedQueries | None:
        """The queries for the compiled kernel, or None where rounding them is too coarse."""
        wide, zeros = queries.double(), torch.zeros(len(queries), dtype=torch.float64, device="cpu")
        cancels = self._rounding(wide.square().sum(1)) > ROUNDING
        quantised = QuantisedQueries.of(wide, self.keys, self.sigma, zeros, products=not cancels)
        if cancels:
            # Squared differences are as exact as they are small: the nearest of all keys is nearer than that of some.
            some = scan.weigh(self.keys.read(0, min(KEYS_SAMPLED, len(self.keys))), self.keys.scale, quantised)
            if torch.finfo(torch.float32).eps * float(-some.peak.min()) > ROUNDING:
                return None
        return quantised

    def _rounding(self, norms: Tensor) -> float:
        """The largest rounding error of a log-weight in float32, in nats."""
        return float(rounding_of(norms.sqrt(), self.keys.typical_norm, (1 / self.sigma) ** 2).max())

    @property
    def offset(self) -> Tensor:
        return torch.cat([block.offset for block in self.blocks])

    def sources(self) -> Sources:
        return self.keys.sources()

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.keys.locate(keys, row, column)

    def attribution(self, state: SoftmaxState, batch: int, top: int) -> TiledAttribution:
        return TiledAttribution(self, state, batch, len(self.keys.store), top)

    def run(self, start: int, stop: int) -> SoftmaxState:
        if self.prior is not None:
            return self._run_tiles(start, stop)
        if self.quantised is not None:
            return self._run_quantised(start, stop, self.quantised)
        found: list[list[SoftmaxState]] = [[] for _ in self.blocks]
        for keys in self._chunks(start, stop):
            for dtype in {block.rows.dtype for block in self.blocks}:
                chosen = [index for index, block in enumerate(self.blocks) if block.rows.dtype == dtype]
                some = [self.blocks[index] for index in chosen]
                blocks = Blocks([b.rows for b in some], [b.planes for b in some], [b.steps for b in some])
                sums = weigh(keys, blocks, self.columns, least(self.dtype), self.dtype == torch.float64)
                for index, *parts in zip(chosen, *sums, strict=True):
                    found[index].append(SoftmaxState(*parts))
        states = [
            merge_all(parts).completed(block.offset, self.keys.scale)
            for parts, block in zip(found, self.blocks, strict=True)
        ]
        return stack(states)

    def _run_tiles(self, start: int, stop: int) -> SoftmaxState:
        """In plain operations, for log-weights that are more than products."""
        found: dict[int, SoftmaxState] = {}
        for tile in self.tiles(start, stop):
            first = tile.queries.start
            state = SoftmaxState.of(tile.logs, tile.values)
            found[first] = found[first].merge(state) if first in found else state
        return stack([found[first] for first in sorted(found)]).completed(self.offset, self.scale)

    def _run_quantised(self, start: int, stop: int, quantised: QuantisedQueries) -> SoftmaxState:
        scale = self.keys.scale
        state = merge_all(scan.weigh(keys, scale, quantised) for keys in self._chunks(start, stop))
        return replace(state, error=torch.full_like(state.peak, RESOLVED * self.tolerance))

    def _chunks(self, start: int, stop: int) -> Iterator[StoredKeys]:
        """The keys of a range, as many as are read at once."""
        at_once = max(self.columns, CHUNK // self.keys.width)
        for low in range(start, stop, at_once):
            yield self.keys.read(low, min(low + at_once, stop))

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        columns = min(self.columns, stop - start)
        room = {block.rows.dtype: block.rows.new_empty((columns, self.keys.width + 2)) for block in self.blocks}
        for left in range(start, stop, columns):
            right = min(left + columns, stop)
            tiles = {dtype: self.keys.tile(left, right, out) for dtype, out in room.items()}
            for index, block in enumerate(self.blocks):
                keys, values = tiles[block.rows.dtype]
                queries = slice(index * ROWS, index * ROWS + len(block.rows))
                logs = block.rows @ keys.T
                if self.prior is not None:
                    logs += self.prior.logs(queries, left, right).to(logs.dtype)
                yield Tile(queries, left, logs, values.to(self.dtype), keys[:, : self.keys.width])

    def parts(self, gradient: Tensor) -> list[tuple[DenseJob, Tensor]]:
        """See `DifferentiableJob`."""
        # A row of a Jacobian asks for one pixel of an image.
        chosen = gradient.any(1).nonzero().flatten()
        return [
            (DenseJob(self.queries[some], self.sigma, self.keys, self.tolerance, self._prior_of(some)), gradient[some])
            for some in (torch.split(chosen, ROWS) if len(chosen) else ())
        ]

    @property
    def image_logs(self) -> Tensor | None:
        """See `DifferentiableJob`."""
        return None if self.prior is None else self.prior.image_logs

    def to_images(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """See `DifferentiableJob`."""
        assert self.prior is not None
        of_queries = coefficients.new_zeros(len(coefficients), into.shape[1])
        training = torch.arange(tile.start, tile.start + coefficients.shape[1], device=into.device) // self.prior.each
        of_queries.index_add_(1, training, coefficients)
        into.index_add_(0, self.prior.image[tile.queries], of_queries.to(into.dtype))

    def _prior_of(self, queries: Tensor) -> Prior | None:
        return None if self.prior is None else replace(self.prior, image=self.prior.image[queries])

    def gather(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """Add the keys of a tile, times coefficients (Q, T), to the sums of its queries, shaped as `queries`."""
        into[tile.queries].addmm_(coefficients, tile.keys)
