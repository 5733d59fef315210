"""Keys and values read from a stack of images, tile by tile, without ever holding all windows in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

# Merging equal windows costs a sort; below this share of repeats it does not pay.
WORTH_MERGING = 0.05


@dataclass(frozen=True)
class PixelStore:
    """Images as they are stored, and the affine map to centred floats that the engine computes with.

    Distances do not change when a constant is subtracted from keys and queries alike, but the rounding of
    |q|^2 - 2 q k + |k|^2 does: with the mean pixel taken off, the terms that cancel are smaller.

    Attributes:
        pixels: (N, C, H, W), uint8 0..255 or floats in about [-1, 1].
        centre: the constant taken off, in stored units.
        scale: stored units for each unit of the [-1, 1] range.
        spread: root mean square of the centred floats.
    """

    pixels: Tensor
    centre: float
    scale: float
    spread: float

    @classmethod
    def of(cls, pixels: Tensor) -> PixelStore:
        """A store of uint8 0..255 or of floats, centred on its mean pixel."""
        if pixels.dtype == torch.uint8:
            # A whole number, so that padding with it is exact in uint8.
            levels = torch.bincount(pixels.flatten(), minlength=256).double()
            value = torch.arange(256, device=pixels.device)
            centre = round(float((levels * value).sum() / levels.sum()))
            spread = float(((levels * (value - centre) ** 2).sum() / levels.sum()).sqrt()) / 127.5
            return cls(pixels, centre, 127.5, spread)
        centre = float(pixels.double().mean())
        return cls(pixels, centre, 1.0, float((pixels.double() - centre).square().mean().sqrt()))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def offset(self) -> float:
        """The centre in [-1, 1] units: what is taken off queries."""
        return self.centre / 127.5 - 1 if self.pixels.dtype == torch.uint8 else self.centre

    def floats(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Stored pixels as centred floats in [-1, 1] units."""
        return pixels.to(dtype).sub_(self.centre).div_(self.scale) if pixels.dtype != dtype else pixels - self.centre

    def take(self, index: Tensor) -> PixelStore:
        """The images of an index, with the same centre."""
        return replace(self, pixels=self.pixels[index])


class Keys(Protocol):
    """Keys with their values, read by position.

    Attributes:
        typical_norm: root mean square length of a key, by which rounding errors are judged.
    """

    typical_norm: float

    def __len__(self) -> int: ...

    def tile(self, start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys (T, width), values (T, V), and log counts (T,) or None when every key counts once."""
        ...


class ImageKeys:
    """Whole images: key and value are the flattened image."""

    def __init__(self, store: PixelStore) -> None:
        self.store = store
        self.typical_norm = store.spread * math.sqrt(store.pixels[0].numel())

    def __len__(self) -> int:
        return len(self.store)

    def tile(self, start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
        keys = self.store.floats(self.store.pixels[start:stop], dtype).flatten(1)
        return keys, keys, None


class WindowKeys:
    """Windows centred on given rows and columns of every image; the value is the centre pixel.

    Outside the image a window holds the centre of the store, that is zero after centring: where a query is zero
    outside too, the outside adds nothing to a distance.

    Args:
        store: the images.
        window: odd side of the windows.
        rows, columns: centres of the windows; both ranges are contiguous.
        merge: keep one of several equal windows, with its count. The average does not change.
    """

    def __init__(
        self, store: PixelStore, window: int, rows: Sequence[int], columns: Sequence[int], merge: bool = False
    ) -> None:
        count, channels, height, width = store.pixels.shape
        radius = window // 2
        self.store = store
        self.width = channels * window * window
        self.typical_norm = store.spread * math.sqrt(self.width)
        self.grid = (len(rows), len(columns))
        top, bottom = max(0, radius - rows[0]), max(0, rows[-1] + radius - height + 1)
        left, right = max(0, radius - columns[0]), max(0, columns[-1] + radius - width + 1)
        pixels = store.pixels
        if top or bottom or left or right:
            pixels = F.pad(pixels, (left, right, top, bottom), value=store.centre)
        first_row, first_column = rows[0] - radius + top, columns[0] - radius + left
        cut = pixels[:, :, first_row : first_row + len(rows) + 2 * radius]
        cut = cut[:, :, :, first_column : first_column + len(columns) + 2 * radius]
        # (N, rows, columns, C, k, k): a view; windows are only ever copied a tile at a time.
        self.windows = cut.unfold(2, window, 1).unfold(3, window, 1).permute(0, 2, 3, 1, 4, 5)
        self.radius = radius
        self.kept: Tensor | None = None
        self.log_counts: Tensor | None = None
        if merge:
            self._merge_equal(cut, window)

    def __len__(self) -> int:
        return len(self.kept) if self.kept is not None else len(self.store) * self.grid[0] * self.grid[1]

    @property
    def places(self) -> int:
        """Number of windows before merging."""
        return len(self.store) * self.grid[0] * self.grid[1]

    @property
    def nbytes(self) -> int:
        """Bytes held beside the images."""
        held = (tensor for tensor in (self.kept, self.log_counts) if tensor is not None)
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def locate(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column (counted from the first row and column of the grid) of flat positions."""
        rows, columns = self.grid
        return flat // (rows * columns), flat // columns % rows, flat % columns

    def tile(self, start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
        device = self.windows.device
        flat = torch.arange(start, stop, device=device) if self.kept is None else self.kept[start:stop].long()
        raw = self.windows[self.locate(flat)]
        keys = self.store.floats(raw, dtype)
        values = keys[:, :, self.radius, self.radius]
        counts = None if self.log_counts is None else self.log_counts[start:stop].to(dtype)
        return keys.flatten(1), values, counts

    def _merge_equal(self, cut: Tensor, window: int) -> None:
        for seed in range(3):
            labels = _window_hash(cut, window, seed).flatten()
            order = labels.argsort(stable=True)
            ordered = labels[order]
            first = torch.ones_like(ordered, dtype=torch.bool)
            first[1:] = ordered[1:] != ordered[:-1]
            starts = first.nonzero().flatten()
            if len(starts) > (1 - WORTH_MERGING) * len(labels):
                return
            counts = starts.diff(append=starts.new_tensor([len(labels)]))
            representative = order[starts].repeat_interleave(counts)
            if self._all_equal(order, representative):
                # In the order of the images, so that neighbouring keys stay neighbours in memory.
                kept, by_position = order[starts].sort()
                self.kept = kept.to(torch.int32) if self.places < 2**31 else kept
                self.log_counts = counts[by_position].float().log()
                return
        raise AssertionError("three 64-bit hashes in a row collided")

    def _all_equal(self, order: Tensor, representative: Tensor) -> bool:
        """Whether every window equals the one that would stand for it: a hash alone is no proof."""
        differ = (order != representative).nonzero().flatten()
        for block in differ.split(max(1, 4_000_000 // self.width)):
            one, other = self.windows[self.locate(order[block])], self.windows[self.locate(representative[block])]
            if not torch.equal(one, other):
                return False
        return True


def _window_hash(cut: Tensor, window: int, seed: int) -> Tensor:
    """A random linear hash (modulo 2^64) of every window, (N, rows, columns), in 2 * window passes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randint(-(2**63), 2**63 - 1, shape, generator=generator).to(cut.device) | 1

    across, down = draw(cut.shape[1], window), draw(window)
    rows, columns = cut.shape[2] - window + 1, cut.shape[3] - window + 1
    # Bits, not values: floats that differ anywhere differ in their bits (-0.0 was normalised to 0.0 on the way in).
    bits = cut if cut.dtype == torch.uint8 else cut.contiguous().view(_BITS[cut.dtype])
    lines = torch.zeros((len(cut), cut.shape[2], columns), dtype=torch.int64, device=cut.device)
    for channel in range(cut.shape[1]):
        for j in range(window):
            lines += bits[:, channel, :, j : j + columns].long() * across[channel, j]
    out = torch.zeros((len(cut), rows, columns), dtype=torch.int64, device=cut.device)
    for i in range(window):
        out += lines[:, i : i + rows] * down[i]
    return out


_BITS = {torch.float64: torch.int64, torch.float32: torch.int32}
