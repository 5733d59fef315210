"""Whole images as keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from elsewhere.engine.keys.base import EMPTY, Sources, StoredKeys, tile_of
from elsewhere.engine.keys.store import PixelStore


class ImageKeys:
    """Whole images: key and value are the flattened image."""

    def __init__(self, store: PixelStore) -> None:
        self.store = store
        self.scale = store.scale
        self.is_bytes = store.is_bytes
        self.width = store.pixels[0].numel()
        self.roots: Tensor | None = None
        self.typical_norm = store.spread * math.sqrt(self.width)
        self._values = torch.empty(0, dtype=torch.int64, device=store.pixels.device)

    def __len__(self) -> int:
        return len(self.store)

    def read(self, start: int, stop: int) -> StoredKeys:
        raw = self.store.pixels[start:stop].flatten(1)
        return StoredKeys(raw, EMPTY, EMPTY, self._values, self.store.centre, EMPTY)

    def tile(self, start: int, stop: int, out: Tensor) -> tuple[Tensor, Tensor]:
        keys = self.read(start, stop)
        return tile_of(keys, 0, len(keys.raw), out)

    def sources(self) -> Sources:
        return Sources(torch.arange(len(self), device=self.store.pixels.device))

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return keys, row.expand(keys.shape), column.expand(keys.shape)
