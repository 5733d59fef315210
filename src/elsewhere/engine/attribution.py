"""The attribution pass: once the totals are known, which keys weigh most, and whose images they are."""

from __future__ import annotations

import torch
from torch import Tensor

from elsewhere.engine.jobs import Tile, Tiled
from elsewhere.engine.state import Attribution, SoftmaxState, TopWeights, least

# Every piece of an attribution pass begins without a top and lets nearly all keys in at first: pieces this many times
# longer than those of the average do less work.
LONGER = 4


class TiledAttribution:
    """The attribution pass of a job that has tiles: w_ij = exp(l_ij - peak_i) / total_i, key by key.

    It reads the same tiles, so that the weights are those that were averaged.

    Args:
        average: the job.
        state: its result for all its keys.
        batch: number of images B that its queries belong to, equally many each, one image after the other.
        images: number of training images N.
        top: number of the largest weights to keep for each query.
    """

    def __init__(self, average: Tiled, state: SoftmaxState, batch: int, images: int, top: int) -> None:
        self.average = average
        self.top = top
        self.shape = (batch, images)
        self.peak = state.peak - average.offset
        self.total = state.total
        self.sources = average.sources()
        self.image = torch.arange(average.count, device=state.peak.device) // (average.count // batch)

    @property
    def pairs(self) -> int:
        return -(-self.average.pairs // LONGER)

    def __len__(self) -> int:
        return len(self.average)

    def run(self, start: int, stop: int) -> Attribution:
        top = TopWeights.none(self.average.count, self.top, self.peak)
        shares, entropy = self.peak.new_zeros(self.shape), torch.zeros_like(self.peak)
        log_total = self.total.log()
        for tile in self.average.tiles(start, stop):
            logs = tile.logs.reshape(-1, tile.logs.shape[-1])
            logs = logs.sub_(self.peak[tile.queries, None].to(logs.dtype))
            improve(top, tile, logs)
            weights = logs.clamp(min=least(logs.dtype)).exp_()
            entropy[tile.queries] += self._entropy(tile, logs, weights, log_total[tile.queries])
            # Rows of this product sum over the queries of one image; a tile seldom meets more than two images.
            image = self.image[tile.queries]
            first, last = int(image[0]), int(image[-1])
            members = image == torch.arange(first, last + 1, device=image.device)[:, None]
            sums = (members / self.total[tile.queries]).to(weights.dtype) @ weights
            self.sources.add_shares(sums, tile.start, shares[first : last + 1])
        top = TopWeights(top.logs - log_total[:, None], top.keys)
        return Attribution(top, shares, torch.zeros_like(self.total), entropy)

    def _entropy(self, tile: Tile, logs: Tensor, weights: Tensor, log_total: Tensor) -> Tensor:
        """What the keys of a tile add to the entropy, float64 (Q,): some stand for several equal windows."""
        keys = torch.arange(tile.start, tile.start + logs.shape[1], device=logs.device)
        counts = self.sources.counts(keys).log().to(logs.dtype)
        # Weights below `least` are zero, also where their logs are -inf.
        surprise = (counts - logs).clamp_(max=-2 * least(logs.dtype))
        sums = torch.linalg.vecdot(weights, surprise).double() + log_total * weights.sum(1).double()
        nats: Tensor = sums / log_total.exp()
        return nats

    def counts(self, keys: Tensor) -> Tensor:
        return self.sources.counts(keys)

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.average.locate(keys, row, column)


def improve(top: TopWeights, tile: Tile, logs: Tensor) -> None:
    """Let the keys of a tile into the top of its queries, in place."""
    best, keys = top.logs[tile.queries], top.keys[tile.queries]
    # Strictly larger: of equal weights the earlier key stays. After the first tiles few rows are left.
    rows = (logs.amax(1) > best[:, -1]).nonzero().flatten()
    if not len(rows):
        return
    some = logs[rows] if len(rows) < len(logs) else logs
    found = _largest(some, min(top.logs.shape[1], logs.shape[1]))
    here = TopWeights(some.gather(1, found).double(), found + tile.start)
    merged = TopWeights(best[rows], keys[rows]).merge(here)
    best[rows], keys[rows] = merged.logs, merged.keys


def _largest(logs: Tensor, k: int) -> Tensor:
    """Columns of the k largest numbers of each row, the first ones of equal numbers, in ascending order."""
    if k == logs.shape[1]:
        return torch.arange(k, device=logs.device).expand(len(logs), k)
    values, columns = logs.topk(k, dim=1, sorted=False)
    # topk takes any of several equal numbers: where more of them are there than fit, sort.
    tied = (logs >= values.amin(1, keepdim=True)).sum(1) > k
    if bool(tied.any()):
        columns[tied] = logs[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return columns.sort(dim=1).values
