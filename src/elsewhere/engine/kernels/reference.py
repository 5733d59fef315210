"""The cell scan in plain code: slow, and the definition that the compiled scan is tested against.

It serves where the compiled scan does not: without a compiler, for float64 queries, and at noise levels at which
float32 does not distinguish the weights that matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from elsewhere.engine.keys.base import StoredKeys


class ScanSettings(Protocol):
    """What a scan must know of the settings of a search: see `SearchSettings`."""

    @property
    def kept(self) -> int: ...
    @property
    def band(self) -> float: ...
    @property
    def largest(self) -> float: ...
    @property
    def most(self) -> float: ...


@dataclass(frozen=True)
class Chunk:
    """The keys of some consecutive groups.

    Attributes:
        keys: the keys.
        skipped: number of keys of the index before them.
        groups: number of the first group, and of the one behind the last.
    """

    keys: StoredKeys
    skipped: int
    groups: tuple[int, int]


@dataclass(frozen=True)
class ScanTables:
    """What does not change while an index is scanned.

    Attributes:
        starts, bounds, block: see `Index`.
        masses: for each noise level of the Gaussians (2 d + 3, C); the least log mass counts. See `GaussianTable`.
        values: (V, d + 1, C).
        scale: see `PixelStore`.
        queries: products with `masses` are log masses relative to the reference, (Q, 2 d + 3).
        points: the queries, float64 (Q, width), centred as the keys are and multiplied by their `roots`.
        sigma: noise level.
        reference: what log-weights are relative to, float64 (Q,).
    """

    starts: Tensor
    bounds: Tensor
    block: int
    masses: list[Tensor]
    values: Tensor
    scale: float
    queries: Tensor
    points: Tensor
    sigma: float
    reference: Tensor


@dataclass(frozen=True)
class ScanQueries:
    """The queries of a round.

    Attributes:
        members: their positions in the tables, int64 (A,).
        opened: by which of them each group is opened, bool (G, A).
        lower, upper: blocks whose log share is at least `lower` and below `upper` are read, float32 (A,): -inf reads
            all below `upper`, +inf none.
        compares: whether what is read is compared with what was predicted.
        floors: logs below which no key need be kept, float64 (A,). The scan of one chunk may raise them for others.
    """

    members: Tensor
    opened: Tensor
    lower: Tensor
    upper: Tensor
    compares: bool
    floors: Tensor


class ScanResult(NamedTuple):
    """What a scan found for the queries of a round, as sums relative to e^reference.

    Attributes:
        peak: the largest log-weight read, float64 (A,).
        read: mass, and mass times values, of the keys read, relative to the peak, float64 (A, 1 + V).
        left: the same of the blocks not read, by their Gaussians.
        left_squares: sum of the squares of the masses of blocks not read, float64 (A,).
        band: over the last blocks read, m, v being the mass and value read and e, u those predicted: sums of e, e^2,
            m - e, (m - e)^2, m v - e u, (m - e)(m v - e u) and (m v - e u)^2, float64 (A, 4 + 3 V).
        tops, top_keys: log-weight and number of the heaviest key of each of the heaviest blocks, in any order,
            (A, kept); -inf and -1 where there are fewer.
    """

    peak: Tensor
    read: Tensor
    left: Tensor
    left_squares: Tensor
    band: Tensor
    tops: Tensor
    top_keys: Tensor

    @classmethod
    def nothing(cls, count: int, values: int, kept: int) -> ScanResult:
        """The result of scanning no groups."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device="cpu")

        return cls(
            zeros(count) - torch.inf,
            zeros(count, 1 + values),
            zeros(count, 1 + values),
            zeros(count),
            zeros(count, 4 + 3 * values),
            zeros(count, kept) - torch.inf,
            torch.full((count, kept), -1, dtype=torch.int64, device="cpu"),
        )


def scan_groups(chunk: Chunk, tables: ScanTables, round_: ScanQueries, settings: ScanSettings) -> ScanResult:
    """Open groups, and read the blocks whose log share lies between two bounds."""
    found = ScanResult.nothing(len(round_.members), len(tables.values), settings.kept)
    for group in range(*chunk.groups):
        active = round_.opened[group].nonzero().squeeze(1)
        first, end = tables.bounds[group].item(), tables.bounds[group + 1].item()
        rows = tables.queries[round_.members[active]]
        cells = slice(int(first), int(end))
        logs = torch.stack([rows @ table[:, cells] for table in tables.masses]).amin(0).double()
        value_rows = rows[:, -tables.values.shape[1] :].to(tables.values.dtype)
        # (A, cells, V)
        values = torch.stack([value_rows @ table[:, cells] for table in tables.values], dim=2).double()
        for low in range(0, logs.shape[1] if len(active) else 0, tables.block):
            block = slice(low, low + tables.block)
            _scan_block(chunk, tables, round_, settings, found, active, cells.start + low, cells.stop, logs[:, block],
                        values[:, block])  # fmt: skip
    return found


def _scan_block(
    chunk: Chunk,
    tables: ScanTables,
    round_: ScanQueries,
    settings: ScanSettings,
    found: ScanResult,
    active: Tensor,
    first: int,
    end: int,
    logs: Tensor,
    values: Tensor,
) -> None:
    """One block, for the queries `active` that open its group: log masses (A, cells) and values (A, cells, V)."""
    masses = logs.clamp(max=settings.largest).exp()
    mass, value = masses.sum(1), (masses[:, :, None] * values).sum(1)
    score, lower, upper = logs.amax(1), round_.lower[active], round_.upper[active]
    left, read = score < lower, (score >= lower) & (score < upper)
    found.left[active[left]] += torch.cat([mass[:, None], value], dim=1)[left]
    found.left_squares[active[left]] += mass[left].square()
    if not read.any():
        return
    at = active[read]
    start, stop = (int(tables.starts[cell]) for cell in (first, min(first + tables.block, end)))
    weights = log_weights(chunk.keys, start - chunk.skipped, stop - chunk.skipped, tables, round_.members[at])
    of_keys = chunk.keys.raw[start - chunk.skipped : stop - chunk.skipped][:, chunk.keys.values].double()
    of_keys = (of_keys - chunk.keys.centre) / tables.scale
    peak, heaviest = weights.max(1)
    shares = (weights - peak[:, None]).exp()
    sums = torch.cat([shares.sum(1, keepdim=True), shares @ of_keys], dim=1)
    highest = torch.maximum(found.peak[at], peak)
    # Nothing was read before: -inf - -inf would be NaN.
    before = (found.peak[at] - highest).exp()
    found.read[at] = found.read[at] * before[:, None] + sums * (peak - highest).exp()[:, None]
    found.peak[at] = highest
    tops = torch.cat([found.tops[at], peak[:, None]], dim=1).topk(settings.kept, dim=1)
    keys = torch.cat([found.top_keys[at], (heaviest + start)[:, None]], dim=1)
    found.tops[at], found.top_keys[at] = tops.values, keys.gather(1, tops.indices)
    if round_.compares:
        in_band = ((score < lower + settings.band) | lower.isinf())[read].double()[:, None]
        sums = sums * peak.clamp(max=settings.most).exp()[:, None]
        predicted, miss = mass[read, None], sums[:, :1] - mass[read, None]
        off = sums[:, 1:] - value[read]
        parts = [predicted, predicted.square(), miss, miss.square(), off, miss * off, off.square()]
        found.band[at] += torch.cat(parts, dim=1) * in_band


def log_weights(keys: StoredKeys, low: int, high: int, tables: ScanTables, members: Tensor) -> Tensor:
    """Log-weights of keys low to high for some queries, relative to the reference, float64 (A, high - low)."""
    rows = keys.raw[low:high].double() - keys.centre
    if len(keys.roots):
        rows = rows * keys.roots
    squares = torch.cdist(
        tables.points[members], rows / tables.scale, compute_mode="donot_use_mm_for_euclid_dist"
    ).square()
    logs = squares / (-2 * tables.sigma**2) - tables.reference[members, None]
    return logs + keys.log_counts[low:high] if len(keys.log_counts) else logs
