"""The inner loop of the fast engine: open groups of an index and read the blocks that matter.

It serves where `blocks` does not: without a compiler, and where float32 does not tell apart what decides. One search
makes a hundred small tensor operations for each of thousands of groups: TorchScript, as in `weighing`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from elsewhere.engine.kernels.dense import scripted
from elsewhere.engine.keys.base import StoredKeys, tile_of


class Limits(NamedTuple):
    """Numbers that steer reading.

    Attributes:
        block: cells of a block.
        at_once: keys turned into floats at once.
        unlike: blocks are read by one product where none is asked by so many times as many queries as another.
        largest, most: logs of the largest numbers in float32 and in float64.
        band: the blocks of the last so many nats tell how good Gaussians are.
        kept: of the keys read the heaviest so many are named, one of a block at most.
    """

    block: int
    at_once: int
    unlike: int
    largest: float
    most: float
    band: float
    kept: int


class Chunk(NamedTuple):
    """The keys of some consecutive groups.

    Attributes:
        keys: the keys.
        skipped: number of keys of the index before them.
        groups: number of the first group, and of the one behind the last.
    """

    keys: StoredKeys
    skipped: int
    groups: tuple[int, int]


class Tables(NamedTuple):
    """What does not change while groups are read.

    Attributes:
        starts, bounds: see `Index`.
        masses: for each noise level at which Gaussians are asked, (2 d + 3, C); values: (V, d + 1, C). See `_Look`.
        scale: see `PixelStore`.
        rows: what queries ask of keys, (Q, width + 3): products with (k, |k|^2, log count, 1) are log-weights. All
            ask the same of |k|^2.
        asked, asked_values: what queries ask of Gaussians, (Q, 2 d + 3) and (Q, d + 1).
    """

    starts: Tensor
    bounds: Tensor
    masses: list[Tensor]
    values: Tensor
    scale: float
    rows: Tensor
    asked: Tensor
    asked_values: Tensor


class Asked(NamedTuple):
    """The queries of a round.

    Attributes:
        queries: their positions in the tables, int64 (A,).
        opened: by which of them each group is opened, bool (G, A).
        until, before: log shares between which blocks are read, (A,).
        judged: whether what is read is compared with what was expected.
        floors: logs below which no key need be named, float64 (A,). Whoever reads a part of the groups may raise them
            for those who read others.
    """

    queries: Tensor
    opened: Tensor
    until: Tensor
    before: Tensor
    judged: bool
    floors: Tensor


class Found(NamedTuple):
    """What was found for the queries of a round, as sums relative to e^reference.

    Attributes:
        peak: the largest log-weight read, (A,).
        read: mass and mass times values of the keys read, relative to the peak, (A, 1 + V).
        left: the same for blocks not read, by their Gaussians.
        left_squares: sum of the squares of the masses of blocks not read, (A,).
        band: over the last blocks read, m, v being the mass and value read and e, u those expected: sums of e, e^2,
            m - e, (m - e)^2, m v - e u, (m - e)(m v - e u) and (m v - e u)^2, (A, 4 + 3 V).
        tops, top_keys: logs and numbers of the heaviest keys read, in no order that counts, (A, kept).
    """

    peak: Tensor
    read: Tensor
    left: Tensor
    left_squares: Tensor
    band: Tensor
    tops: Tensor
    top_keys: Tensor


def _blocks(table: Tensor, nothing: float, block: int) -> Tensor:
    """The rows of a table, one for each cell, block by block, (blocks, block, Q); the last is filled up."""
    lacking = (block - table.shape[0] % block) % block
    if lacking > 0:
        table = torch.nn.functional.pad(table, [0, 0, 0, lacking], value=nothing)
    return table.view(-1, block, table.shape[1])


def alike(sizes: list[int], unlike: int) -> tuple[list[list[int]], list[int]]:
    """Blocks that some queries ask, in sets within which their numbers do not differ much, and the largest numbers."""
    sets: list[list[int]] = []
    largest: list[int] = []
    # TorchScript knows no conditions inside comprehensions.
    left = list(range(len(sizes)))
    while len(left) > 0:
        most = max([sizes[block] for block in left])
        chosen: list[int] = []
        rest: list[int] = []
        for block in left:
            if sizes[block] > 0 and unlike * sizes[block] >= most:
                chosen.append(block)
            elif sizes[block] > 0:
                rest.append(block)
        if len(chosen) > 0:
            sets.append(chosen)
            largest.append(most)
        left = rest
    return sets, largest


def _tile(chunk: Chunk, tables: Tables, low: int, high: int, count: int) -> tuple[Tensor, Tensor]:
    """Keys low to high as rows (k, |k|^2, log count, 1), and values, filled up to `count` with keys of no window."""
    width = chunk.keys.raw.shape[1]
    room = torch.empty([count, width + 3], dtype=tables.rows.dtype, device="cpu")
    _, values = tile_of(chunk.keys, low - chunk.skipped, high - chunk.skipped, room[:, : width + 2])
    room[:, width + 2] = 1.0
    values = values / tables.scale
    if high - low < count:
        room[high - low :, : width + 1] = 0.0
        room[high - low :, width + 1] = -float("inf")
        values = torch.nn.functional.pad(values, [0, 0, 0, count - high + low])
    return room, values


def _read(
    chunk: Chunk, tables: Tables, limits: Limits, cells: tuple[int, int], sizes: Tensor, queries: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Peaks (P,), masses and masses times values (P, 1 + V) of pairs of block and query, block by block, and which key
    the heaviest is, int64 (P,).

    Args:
        cells: first cell of a group, and the one behind its last.
        sizes: number of queries of each of its blocks, int64 (n,).
        queries: of block after block.
    """
    rows = tables.rows
    peak = torch.empty([len(queries)], dtype=rows.dtype, device="cpu")
    which = torch.empty([len(queries)], dtype=torch.int64, device="cpu")
    out = torch.empty([len(queries), 1 + tables.values.shape[0]], dtype=rows.dtype, device="cpu")
    first_cell, end_cell = cells
    begin, end = int(tables.starts[first_cell]), int(tables.starts[end_cell])
    size = int(tables.starts[min(first_cell + limits.block, end_cell)]) - begin
    ends = sizes.cumsum(0)
    at_once = max(1, limits.at_once // size)
    for first in range(0, len(sizes), at_once):
        blocks = min(at_once, len(sizes) - first)
        here_sizes = sizes[first : first + blocks]
        here_ends = ends[first : first + blocks]
        counts: list[int] = here_sizes.tolist()
        if sum(counts) == 0:
            continue
        low = begin + first * size
        room, few = _tile(chunk, tables, low, min(low + blocks * size, end), blocks * size)
        tile, values = room.view(blocks, size, -1), few.view(blocks, size, -1)
        sets, largest = alike(counts, limits.unlike)
        for number in range(len(sets)):
            chosen, most = sets[number], largest[number]
            here = torch.tensor(chosen, dtype=torch.int64, device="cpu")
            asked = here_sizes[here]
            # Where a block has fewer queries than another, its last one is answered several times.
            place = torch.arange(most, device="cpu").expand(len(chosen), most).minimum((asked - 1).unsqueeze(1))
            place = (place + (here_ends[here] - asked).unsqueeze(1)).flatten()
            keys, of_keys = tile, values
            if len(chosen) < blocks:
                keys, of_keys = tile[here], values[here]
            weights = torch.bmm(rows[queries[place]].view(len(chosen), most, -1), keys.transpose(1, 2))
            highest, heaviest = weights.max(2)
            weights.sub_(highest.unsqueeze(2)).clamp_(min=-limits.largest).exp_()
            peak[place] = highest.flatten()
            which[place] = (heaviest + (low + here * size).unsqueeze(1)).flatten()
            out[place] = torch.cat([weights.sum(2, keepdim=True), torch.bmm(weights, of_keys)], dim=2).flatten(0, 1)
    return peak.double(), out.double(), which


def read_groups(chunk: Chunk, tables: Tables, limits: Limits, asked: Asked) -> Found:
    """Open groups, and read the blocks whose log share lies between two bounds.

    Args:
        chunk: the groups and their keys.
        tables, limits, asked: see there.
    """
    count, channels = len(asked.queries), tables.values.shape[0]
    inf = float("inf")
    # Not as a Found from the beginning: TorchScript drops what is added in place to a part of a tuple.
    peaks = torch.full([count], -inf, dtype=torch.float64, device="cpu")
    read = torch.zeros([count, 1 + channels], dtype=torch.float64, device="cpu")
    left = torch.zeros([count, 1 + channels], dtype=torch.float64, device="cpu")
    left_squares = torch.zeros([count], dtype=torch.float64, device="cpu")
    band = torch.zeros([count, 4 + 3 * channels], dtype=torch.float64, device="cpu")
    tops = torch.full([count, limits.kept], -inf, dtype=torch.float64, device="cpu")
    top_keys = torch.full([count, limits.kept], -1, dtype=torch.int64, device="cpu")
    for group in range(chunk.groups[0], chunk.groups[1]):
        who = asked.opened[group].nonzero().squeeze(1)
        if len(who) == 0:
            continue
        queries, until, before = asked.queries[who], asked.until[who], asked.before[who]
        first, end = int(tables.bounds[group]), int(tables.bounds[group + 1])
        # Cell by cell, so that sums over the cells of a block run over rows.
        of_masses = tables.asked[queries].t()
        logs = tables.masses[0][:, first:end].t() @ of_masses
        for level in range(1, len(tables.masses)):
            logs = torch.minimum(logs, tables.masses[level][:, first:end].t() @ of_masses)
        logs = logs.float()
        score = _blocks(logs, -inf, limits.block).amax(1)
        later = score < until
        masses = logs.clamp_(max=limits.largest).exp_()
        mass = _blocks(masses, 0.0, limits.block).sum(1)
        of_values = tables.asked_values[queries].t()
        expected = [
            _blocks((tables.values[channel][:, first:end].t() @ of_values) * masses, 0.0, limits.block).sum(1)
            for channel in range(channels)
        ]
        below = mass * later
        unread = [below.sum(0)]
        for value in expected:
            unread.append((value * later).sum(0))
        left.index_add_(0, who, torch.stack(unread, dim=1).double())
        left_squares.index_add_(0, who, below.square().sum(0).double())
        pairs = (~later & (score < before)).nonzero()
        if len(pairs) == 0:
            continue
        block, row = pairs[:, 0], pairs[:, 1]
        sizes = torch.bincount(block, minlength=len(mass))
        peak, found, which = _read(chunk, tables, limits, (first, end), sizes, queries[row])
        at = who[row]
        highest = peaks.scatter_reduce(0, at, peak, "amax")
        # Nothing read so far: -inf - -inf would be NaN.
        anchor = highest.clamp(min=-1e300)
        read = read * (peaks - anchor).exp().unsqueeze(1)
        peaks = highest
        read.index_add_(0, at, found * (peak - anchor[at]).exp().unsqueeze(1))
        heaviest = torch.full([len(who), len(mass)], -inf, dtype=torch.float64, device="cpu")
        heaviest[row, block] = peak
        keys = torch.full([len(who), len(mass)], -1, dtype=torch.int64, device="cpu")
        keys[row, block] = which
        both = torch.cat([tops[who], heaviest], dim=1).topk(limits.kept, dim=1)
        tops[who] = both[0]
        top_keys[who] = torch.cat([top_keys[who], keys], dim=1).gather(1, both[1])
        if not asked.judged:
            continue
        last = ((score[block, row] < until[row] + limits.band) | until[row].isinf()).double()
        found = found * peak.clamp(max=limits.most).exp().unsqueeze(1)
        e = mass[block, row].double() * last
        miss = (found[:, 0] * last - e).unsqueeze(1)
        off = torch.stack(
            [(found[:, 1 + channel] - expected[channel][block, row]) * last for channel in range(channels)], dim=1
        )
        e = e.unsqueeze(1)
        band.index_add_(0, at, torch.cat([e, e.square(), miss, miss.square(), off, miss * off, off.square()], dim=1))
    return Found(peaks, read, left, left_squares, band, tops, top_keys)


read = scripted(read_groups)
