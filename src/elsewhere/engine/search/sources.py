"""Which training images the keys of an index come from, for keys that stand for several equal windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elsewhere.engine.kernels import loader
from elsewhere.engine.keys.windows import WindowKeys


@dataclass(frozen=True)
class MergedSources:
    """The training images of the keys that stand for several equal windows.

    Attributes:
        keys: positions of these keys, rising, int64 (M,).
        counts: number of windows that each stands for, float64 (M,).
        bounds: where the images of each begin, and the end, int64 (M + 1,).
        images: each image once for a key, int32.
        shares: share of the key's windows that lie in that image, float32.
    """

    keys: Tensor
    counts: Tensor
    bounds: Tensor
    images: Tensor
    shares: Tensor

    @classmethod
    def of(cls, keys: WindowKeys) -> MergedSources:
        """Found by the hashes by which equal windows were merged: a pass over the images, and a sort of the repeats."""
        if keys.log_counts is None or keys.kept is None:
            none = torch.empty(0, dtype=torch.int64, device="cpu")
            return cls(none, none.double(), torch.zeros(1, dtype=torch.int64, device="cpu"), none.int(), none.float())
        merged = (keys.log_counts > 0).nonzero().flatten()
        kept = keys.kept[merged].long()
        labels = keys.labels()
        ordered, row = labels[kept].sort()
        repeats = (keys.numbers < 0).nonzero().flatten()
        rows = [torch.arange(len(merged), device="cpu")]
        # Parts: positions and labels of all repeats at once would need as much memory as an index.
        for part in torch.split(repeats, 2**20):
            rows.append(row[torch.searchsorted(ordered, labels[part])])
        each = keys.grid[0] * keys.grid[1]
        codes = torch.cat(rows) * len(keys.store) + torch.cat([kept, repeats]) // each
        codes, counts = torch.unique_consecutive(codes.sort().values, return_counts=True)
        rows_of = codes // len(keys.store)
        totals = keys.log_counts[merged].exp().round()
        bounds = torch.searchsorted(rows_of, torch.arange(len(merged) + 1, device="cpu"))
        shares = (counts / totals[rows_of]).float()
        return cls(merged, totals, bounds, (codes % len(keys.store)).int(), shares)

    @property
    def nbytes(self) -> int:
        tensors = (self.keys, self.counts, self.bounds, self.images, self.shares)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def compiled(self, keys: WindowKeys) -> Any:
        """As the compiled kernels take them; what it points to belongs to this object and to the keys."""
        kept, count = keys.kept, len(self.keys)
        return loader.struct(
            "key_sources",
            kept=None if kept is None else loader.address(kept, kept.dtype, len(keys)),
            is_wide=kept is not None and kept.dtype == torch.int64,
            each=keys.grid[0] * keys.grid[1],
            merged_count=count,
            merged=loader.address(self.keys, torch.int64, count),
            bounds=loader.address(self.bounds, torch.int64, count + 1),
            images=loader.address(self.images, torch.int32, len(self.images)),
            shares=loader.address(self.shares, torch.float32, len(self.images)),
        )

    def spread(self, keys: WindowKeys, first: Tensor, end: Tensor, weights: Tensor, into: Tensor) -> None:
        """Spread weights evenly over the windows of ranges of keys.

        Args:
            keys: all keys.
            first, end: ranges of them, rising, int64 (R,).
            weights: weight of one window of each range for each image drawn, float64 (R, B).
            into: sums for the training images, float64 (N, B).
        """
        library = loader.library()
        if library is not None:
            task = self.compiled(keys)
            batch = weights.shape[1]
            library.spread_weights(
                task,
                len(first),
                loader.address(first, torch.int64, len(first)),
                loader.address(end, torch.int64, len(first)),
                loader.address(weights, torch.float64, len(first), batch),
                loader.address(self.counts, torch.float64, len(self.keys)),
                batch,
                loader.address(into, torch.float64, len(into), batch),
            )
            return
        for low, high, weight in zip(first.tolist(), end.tolist(), weights, strict=True):
            counts = torch.ones(high - low, dtype=torch.float64, device="cpu")
            if keys.log_counts is not None:
                counts = keys.log_counts[low:high].exp()
            self.credit(keys, low, counts[:, None] * weight, into)

    def credit(self, keys: WindowKeys, first: int, weights: Tensor, into: Tensor) -> None:
        """Add weights of consecutive keys from `first` on, float64 (T, B), to their images' sums (N, B)."""
        places = torch.arange(first, first + len(weights), device="cpu")
        rows = torch.searchsorted(self.keys, places).clamp(max=max(0, len(self.keys) - 1))
        is_merged = torch.zeros(len(places), dtype=torch.bool, device="cpu")
        if len(self.keys):
            is_merged = self.keys[rows] == places
        for place, row in zip(is_merged.nonzero().flatten().tolist(), rows[is_merged].tolist(), strict=True):
            some = slice(int(self.bounds[row]), int(self.bounds[row + 1]))
            into.index_add_(0, self.images[some], self.shares[some, None].double() * weights[place])
        single = places[~is_merged]
        flat = single if keys.kept is None else keys.kept[single].long()
        into.index_add_(0, flat // (keys.grid[0] * keys.grid[1]), weights[~is_merged])
