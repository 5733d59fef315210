"""What the engine needs to know of keys, whatever they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from elsewhere.engine.keys.store import PixelStore

EMPTY = torch.empty(0, dtype=torch.float32, device="cpu")


class StoredKeys(NamedTuple):
    """Consecutive keys as they are stored.

    A named tuple, because TorchScript takes it.

    Attributes:
        raw: stored pixels, (T, width).
        log_counts: log of the number of equal windows that each key stands for, (T,); empty where each is one window.
        norms: |k|^2 of each key, float32 (T,); empty where they are not known.
        values: positions of the values in a key, int64 (V,); empty where the value is the whole key.
        centre: what is subtracted from stored pixels.
        roots: square roots of the metric's weights, by which centred keys are multiplied, (width,); empty where all
            weights are one. Values are not multiplied.
    """

    raw: Tensor
    log_counts: Tensor
    norms: Tensor
    values: Tensor
    centre: float
    roots: Tensor


# TorchScript compiles the next three functions with the dense kernel.
def values_of(keys: StoredKeys, low: int, high: int, dtype: torch.dtype) -> Tensor:
    """The values of some keys in stored units, without the centre, (T, V): whoever reads them divides by the scale."""
    raw = keys.raw[low:high]
    return (raw[:, keys.values] if len(keys.values) > 0 else raw).to(dtype) - keys.centre


def norms_of(keys: StoredKeys, low: int, high: int) -> Tensor:
    """|k|^2 of some keys, float32 (T,)."""
    if len(keys.norms) > 0:
        return keys.norms[low:high]
    norms: Tensor = torch.linalg.vector_norm(keys.raw[low:high].to(torch.float32).sub_(keys.centre), dim=1)
    return norms.square_()


def tile_of(keys: StoredKeys, low: int, high: int, room: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (k, |k|^2, log count), written to the start of `room` (T or more, width + 2), and values, in its dtype."""
    width = keys.raw.shape[1]
    rows = room[: high - low]
    whole = rows[:, :width]
    whole.copy_(keys.raw[low:high])
    whole.sub_(keys.centre)
    if len(keys.roots) > 0:
        whole.mul_(keys.roots.to(room.dtype))
    rows[:, width] = torch.linalg.vector_norm(whole, dim=1).square_()
    if len(keys.log_counts) > 0:
        rows[:, width + 1] = keys.log_counts[low:high].to(room.dtype)
    else:
        rows[:, width + 1] = 0.0
    return rows, values_of(keys, low, high, room.dtype)


def rounding_of(length: Tensor, typical: float, precision: Tensor | float) -> Tensor:
    """Rounding of log-weights that are products in float32, (q k - |k|^2 / 2) / sigma^2, in nats.

    Args:
        length: of queries, float64.
        typical: length of a key.
        precision: 1 / sigma^2.
    """
    rounding: Tensor = torch.finfo(torch.float32).eps * (length * typical + typical**2 / 2) * precision
    return rounding


@dataclass(frozen=True)
class Sources:
    """Which training images some keys come from.

    Attributes:
        images: image of every window, those that one key stands for side by side, (M,) integers.
        bounds: where the windows of each key begin, and M at the end, int64 (K + 1,); None when each key is one window.
    """

    images: Tensor
    bounds: Tensor | None = None

    def counts(self, keys: Tensor) -> Tensor:
        """Number of equal windows that each key stands for, int64, of the shape of `keys`."""
        if self.bounds is None:
            return torch.ones_like(keys)
        return self.bounds[keys + 1] - self.bounds[keys]

    def add_shares(self, weights: Tensor, start: int, into: Tensor) -> None:
        """Add weights (B, T) of the keys from `start` on to their images' sums (B, N); equal windows share equally."""
        stop = start + weights.shape[1]
        if self.bounds is None:
            into.index_add_(1, self.images[start:stop], weights.to(into.dtype))
            return
        bounds = self.bounds[start : stop + 1]
        counts = bounds.diff()
        each = (weights.to(into.dtype) / counts).repeat_interleave(counts, dim=1)
        into.index_add_(1, self.images[int(bounds[0]) : int(bounds[-1])], each)


class Keys(Protocol):
    """Keys with their values, read by position, in the units of their store.

    Attributes:
        store: the images that they come from.
        width: numbers in a key.
        scale: stored units for each unit of the queries.
        typical_norm: root mean square length of a key, in units of the queries, by which rounding is judged.
        is_bytes: whether keys are whole numbers of eight bits, in a processor's memory, and all weights are one.
        roots: square roots of the metric's weights, float64 (width,); None where all are one.
    """

    store: PixelStore
    width: int
    scale: float
    typical_norm: float
    is_bytes: bool
    roots: Tensor | None

    def __len__(self) -> int: ...

    def tile(self, start: int, stop: int, out: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (k, |k|^2, log count), (T, width + 2), and values (T, V), in the dtype of `out`.

        The rows may be written to the start of `out`, (T or more, width + 2): fresh memory for every tile costs more
        than what is computed in it.
        """
        ...

    def read(self, start: int, stop: int) -> StoredKeys:
        """The same keys as they are stored."""
        ...

    def sources(self) -> Sources:
        """Which training images the keys come from."""
        ...

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Training image, row and column of the centre of each key.

        Args:
            keys: positions of keys, int64.
            row, column: pixel of the query, which is the answer where keys are whole images.
        """
        ...
