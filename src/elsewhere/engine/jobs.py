"""The two ways of weighing keys: every query against shared keys, and every pixel against the same place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from elsewhere.engine import blocks as compiled
from elsewhere.engine.blocks import Compact
from elsewhere.engine.keys import Keys, PixelStore, Sources, counting
from elsewhere.engine.state import SoftmaxState, merge_all, stack
from elsewhere.engine.weighing import Blocks, Keyed, multiplies_digits, packed_digits, rounding_of, scripted, weigh_keys

# A tile of log-weights of about this many numbers stays in a core's cache between its five passes.
TILE = 400_000
ROWS = 512
# Over more keys than this a tile's sums in float32 lose digits that sums of tiles, in float64, do not.
LONGEST = 4096
# exp of less than this is denormal or zero, and some hundred times slower to compute than exp of more.
LEAST = -80.0
# Largest rounding error of a log-weight, in nats, at which float32 is still used.
ROUNDING = 1e-4
# The least tolerance at which queries may be rounded to 16 bits, and the share of a tolerance that is not told apart.
COARSE = 1e-3
RESOLVED = 0.2
# Keys looked at to see how near the nearest are.
SOME = 4096
# Pixels beyond so many times 1 + sigma are no images with noise.
FAR = 10.0
# Bytes of keys that are read at once, stored pixels.
CHUNK = 2**24
weigh = scripted(weigh_keys)


State = TypeVar("State", covariant=True)


class Job(Protocol[State]):
    """Work on a number of keys, any range of which can be done alone, with states that merge."""

    @property
    def pairs(self) -> int:
        """Queries times keys: how much work there is to cut into pieces."""
        ...

    def __len__(self) -> int:
        """Number of keys."""
        ...

    def run(self, start: int, stop: int) -> State:
        """The state of the keys in a range."""
        ...


@dataclass(frozen=True)
class Tile:
    """Log-weights of some queries against some keys, but for the job's `offset`, the same for all keys of a query.

    Attributes:
        queries: which queries, consecutive ones.
        start: position of the first key.
        logs: (..., T), the leading axes being those of the queries; a reader may overwrite them.
        values: (T, V), or (P, T, V) where every pixel has its own, times the job's `scale`.
        keys: (T, width), or the parts of images (T, C, H, W) that windows are cut from, times the job's `scale`. They
            are overwritten when the next tile is read.
    """

    queries: slice
    start: int
    logs: Tensor
    values: Tensor
    keys: Tensor


class Average(Job[SoftmaxState], Protocol):
    """A softmax average, whose weights can be read one by one: what `Tracing` takes.

    Attributes:
        count: number of queries.
    """

    count: int

    @property
    def offset(self) -> Tensor:
        """What the logs of the tiles lack, float64 (count,)."""
        ...

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        """The log-weights of the keys in a range: for each query, keys come in order."""
        ...

    def sources(self) -> Sources:
        """Which training images the keys come from."""
        ...

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column of the windows' centres, for positions of keys asked for from a row and a column."""
        ...


@dataclass(frozen=True)
class _Block:
    """Some queries ready for a product with rows (k, |k|^2, log count): (q/sigma^2, -1/(2 sigma^2), 1)."""

    rows: Tensor
    digits: list[Tensor]  # see `Blocks`
    scales: Tensor
    offset: Tensor  # -|q|^2 / (2 sigma^2), float64 (Q,)


class SharedKeys:
    """Every query against every key: x0hat_i = sum_j softmax_j(-|q_i - k_j|^2 / (2 sigma_i^2)) v_j.

    One matrix product a tile gives the log-weights but for -|q|^2 / (2 sigma^2), which is added once at the end.
    Where float32 would lose the differences that decide (small sigma), the product is done in float64.

    Args:
        queries: (Q, D), centred as the keys are, float32 or float64.
        sigma: noise level of each query, float64 (Q,).
        keys: where keys and values come from.
        tolerance: an error of the average that does not matter. From `COARSE` on, products of whole numbers in a
            compiled loop serve, which are several times as fast, and states say that they may be off.

    Attributes:
        queries: as given, so that autograd can take a gradient further back; nothing else here is recorded by it.
        scale: units of the tiles for each unit of the queries.
    """

    def __init__(self, queries: Tensor, sigma: Tensor, keys: Keys, tolerance: float = 0.0) -> None:
        self.queries, self.sigma = queries, sigma
        queries = queries.detach()
        self.keys = keys
        self.scale = keys.scale
        self.tolerance = tolerance
        self.compact: Compact | None = None
        if tolerance >= COARSE and queries.dtype == torch.float32 and keys.whole and compiled.serves(keys):
            self.compact = self._compact(queries, sigma)
        self.dtype = queries.dtype
        self.count = len(queries)
        self.blocks = [
            self._block(q, s) for q, s in zip(torch.split(queries, ROWS), torch.split(sigma, ROWS), strict=True)
        ]
        self.columns = min(max(64, TILE // min(self.count, ROWS)), LONGEST)

    @property
    def pairs(self) -> int:
        return self.count * len(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def _block(self, queries: Tensor, sigma: Tensor) -> _Block:
        precision = (1 / sigma.double()).square()[:, None]
        wide = queries.double()
        norms = wide.square().sum(1, keepdim=True)
        dtype = torch.float64 if self._rounding(norms, precision) > ROUNDING else self.dtype
        scale = self.keys.scale
        asked = wide * precision / scale
        rows = torch.cat([asked, -precision / (2 * scale**2), torch.ones_like(precision)], dim=1).to(dtype)
        worth = self.keys.whole and multiplies_digits(self.keys.width)
        digits, scales = packed_digits(asked) if worth and dtype == torch.float32 else ([], rows)
        return _Block(rows, digits, scales, (-norms * precision / 2).squeeze(1))

    def _compact(self, queries: Tensor, sigma: Tensor) -> Compact | None:
        """What the compiled loop needs, unless rounding is too coarse."""
        wide, nothing = queries.double(), torch.zeros(len(queries), dtype=torch.float64, device="cpu")
        cancels = self._rounding(wide.square().sum(1), 1 / sigma.double().square()) > ROUNDING
        compact = Compact.of(wide, self.keys, sigma.double(), nothing, products=not cancels)
        if cancels:
            # Squared differences are as exact as they are small: the best of all keys is nearer than that of some.
            some = compiled.weigh(self.keys.read(0, min(SOME, len(self.keys))), self.keys.scale, compact)
            if torch.finfo(torch.float32).eps * float(-some.peak.min()) > ROUNDING:
                return None
        return compact

    def _rounding(self, norms: Tensor, precision: Tensor) -> float:
        """The largest rounding error of a log-weight in float32, in nats."""
        return float(rounding_of(norms.sqrt(), self.keys.typical_norm, precision).max())

    @property
    def offset(self) -> Tensor:
        return torch.cat([block.offset for block in self.blocks])

    def sources(self) -> Sources:
        return self.keys.sources()

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.keys.locate(keys, row, column)

    def run(self, start: int, stop: int) -> SoftmaxState:
        if self.compact is not None:
            return self._run_compact(start, stop, self.compact)
        found: list[list[SoftmaxState]] = [[] for _ in self.blocks]
        for keys in self._chunks(start, stop):
            for dtype in {block.rows.dtype for block in self.blocks}:
                chosen = [index for index, block in enumerate(self.blocks) if block.rows.dtype == dtype]
                some = [self.blocks[index] for index in chosen]
                blocks = Blocks([b.rows for b in some], [b.digits for b in some], [b.scales for b in some])
                sums = weigh(keys, blocks, self.columns, least(self.dtype), self.dtype == torch.float64)
                for index, *parts in zip(chosen, *sums, strict=True):
                    found[index].append(SoftmaxState(*parts))
        return stack(
            [
                _finish(merge_all(parts), block.offset, self.keys.scale)
                for parts, block in zip(found, self.blocks, strict=True)
            ]
        )

    def _run_compact(self, start: int, stop: int, compact: Compact) -> SoftmaxState:
        scale = self.keys.scale
        state = merge_all(compiled.weigh(keys, scale, compact) for keys in self._chunks(start, stop))
        return replace(state, error=torch.full_like(state.peak, RESOLVED * self.tolerance))

    def _chunks(self, start: int, stop: int) -> Iterator[Keyed]:
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
                yield Tile(queries, left, logs, values.to(self.dtype), keys[:, : self.keys.width])

    def take(self, index: Tensor) -> SharedKeys:
        """The job of some of the queries, int64 (Q,)."""
        return SharedKeys(self.queries[index], self.sigma[index], self.keys, self.tolerance)

    def gather(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """Add the keys of a tile, times coefficients (Q, T), to the sums of its queries, shaped as `queries`."""
        into[tile.queries].addmm_(coefficients, tile.keys)


class SamePlace:
    """Every pixel's window against the window at the same place in every image; the value is the centre pixel.

    Squared differences of whole images are summed over windows by two products with band matrices, so the cost of a
    pair does not grow with the window. At small sigma the differences themselves are squared, so that nothing cancels
    and float32 serves; at large sigma |x|^2, the same for all keys, is left out and added once at the end, so that the
    sums stay small. Outside the image query and key are both zero: a window simply ends at the border.

    Args:
        x: noisy images (B, C, H, W), centred as the store is.
        sigma: noise level of each image, float64 (B,).
        store: the training images, of the same size.
        window: odd side of the windows; any size.
        pixels: flat positions to answer for, int64 (P,).
        taper: whether pixels of a window count the less the farther they are from its centre: see `counting`.

    Attributes:
        queries: what the windows of these pixels see of x, so that autograd can take a gradient further back; nothing
            else here is recorded by it.
        scale: units of the tiles for each unit of the queries.
    """

    scale = 1.0

    def __init__(
        self, x: Tensor, sigma: Tensor, store: PixelStore, window: int, pixels: Tensor, taper: bool = False
    ) -> None:
        # All that the windows of these pixels see.
        rows, columns = pixels // x.shape[3], pixels % x.shape[3]
        seen = tuple(
            slice(max(0, int(at.min()) - window // 2), int(at.max()) + window // 2 + 1) for at in (rows, columns)
        )
        queries = x[:, :, seen[0], seen[1]].contiguous()
        # Farther away than noise takes x, squared differences in float32 lose the keys.
        if bool((x.abs().amax((1, 2, 3)) > FAR * (1 + sigma.to(x.device))).any()):
            queries = queries.double()
        self.queries = queries
        self.x = x = queries.detach()
        self.store = replace(store, pixels=store.pixels[:, :, seen[0], seen[1]])
        self.pixels = (rows - seen[0].start) * x.shape[3] + columns - seen[1].start
        self.precision = (1 / sigma.double().square())[:, None, None]
        self.down, self.across = (_band(size, window, taper, x) for size in x.shape[2:])
        self.expand = bool((sigma > 1).all())
        self.count = len(x) * len(pixels)

    @property
    def pairs(self) -> int:
        return self.count * len(self.store)

    def __len__(self) -> int:
        return len(self.store)

    @property
    def offset(self) -> Tensor:
        if not self.expand:
            return self.precision.new_zeros(self.count)
        left_out = self._over_windows(self.x.square().sum(1, keepdim=True)).to(self.precision)
        return -(left_out * self.precision / 2).flatten()

    def sources(self) -> Sources:
        return Sources(torch.arange(len(self), device=self.x.device))

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return keys, row.expand(keys.shape), column.expand(keys.shape)

    def run(self, start: int, stop: int) -> SoftmaxState:
        running = _Running(self.x.dtype)
        for tile in self.tiles(start, stop):
            running.add(tile.logs, tile.values)
        state = running.finish(self.offset.view(len(self.x), -1), 1.0)
        return SoftmaxState(state.peak.flatten(), state.total.flatten(), state.weighted.flatten(0, 1))

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        batch, channels, height, width = self.x.shape
        columns = max(1, TILE // (batch * channels * height * width))
        for left in range(start, stop, columns):
            images = self.store.centred(self.store.pixels[left : min(left + columns, stop)], self.x.dtype)
            images = images / self.store.scale
            if self.expand:
                closeness = ((2 * self.x[:, None] - images) * images).sum(2)
            else:
                closeness = -(self.x[:, None] - images).square_().sum(2)
            logs = self._over_windows(closeness) * (self.precision / 2).to(self.x.dtype)
            values = images.flatten(2)[:, :, self.pixels].permute(2, 0, 1)
            # Pixels first: (B, T, P) -> (B, P, T), each pixel with keys and values of its own.
            yield Tile(slice(0, self.count), left, logs.transpose(1, 2), values, images)

    def gather(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """Add the keys of a tile, times coefficients (B, P, T), to sums over all windows, shaped as `queries`."""
        batch, _, keys = coefficients.shape
        spread = coefficients.new_zeros(batch, keys, self.x[0, 0].numel())
        spread[:, :, self.pixels] = coefficients.transpose(1, 2)
        spread = self.down.T @ spread.view(batch, keys, *self.x.shape[2:]) @ self.across.T
        into += torch.einsum("bthw,tchw->bchw", spread, tile.keys)

    def _over_windows(self, squares: Tensor) -> Tensor:
        """Sums over the windows of the pixels answered for, (B, T, H, W) -> (B, T, P)."""
        return (self.down @ squares @ self.across).flatten(2)[:, :, self.pixels]


class _Running:
    """A softmax state that grows tile by tile."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.least = least(dtype)
        self.state: SoftmaxState | None = None

    def add(self, logs: Tensor, values: Tensor) -> None:
        """Take in log-weights (..., T), overwritten, with values (P, T, V) of each query's own."""
        peak = logs.amax(-1)
        if self.state is not None:
            peak = torch.maximum(peak, self.state.peak.to(logs.dtype))
        weights = logs.sub_(peak[..., None]).to(self.dtype).clamp_(min=self.least).exp_()
        weighted = (weights.unsqueeze(-2) @ values).squeeze(-2)
        tile = SoftmaxState(peak.double(), weights.sum(-1).double(), weighted.double())
        self.state = tile if self.state is None else self.state.merge(tile)

    def finish(self, offset: Tensor, scale: float) -> SoftmaxState:
        """The state, with what was left out of the log-weights added and values divided by their scale."""
        assert self.state is not None, "a job was run on an empty range"
        return _finish(self.state, offset, scale)


def _finish(state: SoftmaxState, offset: Tensor, scale: float) -> SoftmaxState:
    return SoftmaxState(state.peak + offset, state.total, state.weighted / scale)


def least(dtype: torch.dtype) -> float:
    """Log-weights below the largest that are not told apart."""
    return LEAST if dtype == torch.float32 else -700.0


def _band(size: int, window: int, taper: bool, like: Tensor) -> Tensor:
    """The matrix whose product sums over a window that ends at the borders, (size, size)."""
    index = torch.arange(size, device=like.device)
    return counting(index[:, None] - index[None], window, taper).to(like.dtype)
