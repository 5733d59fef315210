"""Keys that are windows of degraded images, with values from the clean ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from elsewhere.engine.keys.base import EMPTY, Sources, StoredKeys, tile_of
from elsewhere.engine.keys.store import PixelStore

# Keys on which their typical length is measured.
SAMPLED = 4096


class DegradedKeys:
    """The windows of degraded training images at some places, whitened; the values are numbers of the clean images.

    A key's row holds the whitened window and, behind it, the values. `roots` are 0 for the values, so that distances
    do not see them.

    Args:
        store: the clean images.
        degraded: the degraded ones, (N, C', L), L numbers a channel.
        windows: positions (in 0..L-1) that each window reads, int64 (P, w).
        values: positions (in 0..H W - 1) of each place's values in the clean images, int64 (P, v).
        whiten: (w, r), by which the window of every channel is multiplied; None for the window itself.
        centre: what is subtracted from degraded numbers first; distances do not depend on it, rounding does.
    """

    scale = 1.0
    is_bytes = False

    def __init__(
        self,
        store: PixelStore,
        degraded: Tensor,
        windows: Tensor,
        values: Tensor,
        whiten: Tensor | None,
        centre: float,
    ) -> None:
        self.store, self.degraded = store, degraded
        self.windows, self.places, self.whiten, self.centre = windows, values, whiten, centre
        rank = windows.shape[1] if whiten is None else whiten.shape[1]
        self.compared = degraded.shape[1] * rank
        self.width = self.compared + store.channels * values.shape[1]
        at = torch.arange(self.width, device=degraded.device)
        self.values = at[self.compared :]
        self.roots: Tensor | None = (at < self.compared).double()
        some = self.read(0, min(len(self), SAMPLED)).raw[:, : self.compared].double()
        self.typical_norm = math.sqrt(float(some.square().sum(1).mean()))

    def __len__(self) -> int:
        return len(self.degraded) * len(self.windows)

    def queries(self, degraded: Tensor, windows: Tensor) -> Tensor:
        """Rows for the windows (P, w) of other degraded images (B, C', L), image by image, (B P, width)."""
        rows = self._whitened(degraded, windows)
        return torch.cat([rows, rows.new_zeros(len(rows), self.width - self.compared)], 1)

    def read(self, start: int, stop: int) -> StoredKeys:
        each = len(self.windows)
        first, end = start // each, -(-stop // each)
        rows = self._whitened(self.degraded[first:end], self.windows)
        clean = self.store.pixels[first:end].flatten(2)[:, :, self.places]
        values = self.store.floats(clean).to(rows.dtype).transpose(1, 2).reshape(len(rows), -1)
        raw = torch.cat([rows, values], 1)[start - first * each : stop - first * each]
        assert self.roots is not None
        return StoredKeys(raw, EMPTY, EMPTY, self.values, 0.0, self.roots)

    def tile(self, start: int, stop: int, out: Tensor) -> tuple[Tensor, Tensor]:
        keys = self.read(start, stop)
        return tile_of(keys, 0, len(keys.raw), out)

    def sources(self) -> Sources:
        return Sources(torch.arange(len(self), device=self.degraded.device) // len(self.windows))

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = self.places[keys % len(self.windows), 0]
        width = self.store.image_size[1]
        return keys // len(self.windows), place // width, place % width

    def _whitened(self, images: Tensor, windows: Tensor) -> Tensor:
        """(n, C', L) -> (n P, C' r)."""
        found = (images[:, :, windows] - self.centre).transpose(1, 2)
        if self.whiten is not None:
            found = found @ self.whiten.to(found.dtype)
        return found.flatten(0, 1).flatten(1)
