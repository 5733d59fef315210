"""Windows as keys, read from a stack of images tile by tile, without ever holding all of them in memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.engine.kernels import loader
from elsewhere.engine.keys import equal
from elsewhere.engine.keys.base import EMPTY, Sources, StoredKeys, tile_of
from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.keys.places import Extent
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.processor import multiplies_bytes

# Merging equal windows costs a sort; below this share of repeats it does not pay.
WORTH_MERGING = 0.05
# Images on which the share of repeats is estimated.
IMAGES_SAMPLED = 32
# Windows of at most this many numbers are gathered number by number, larger ones as a whole (measured).
SMALL_WINDOW = 16
# Keys looked up at once: fresh memory for more of them takes longer than the work.
AT_ONCE = 2**15


class WindowKeys:
    """Windows centred on given rows and columns of every image.

    Args:
        store: the images.
        extent: how far the windows reach; they must lie inside the images.
        rows, columns: centres of the windows.
        merge: keep one of several equal windows, with its count. The average does not change.
        hold: copy the windows out of the images when they need no more than this number of bytes.
        metric: how much each pixel of a window counts; None for once each. Queries must be multiplied by `roots`.
        reach: radius of the patch around the centre that is averaged, no more than that of the window; it is cut off
            where the window is.

    Attributes:
        roots: square roots of the weights of the metric, float64 (width,); None where all are one.
    """

    def __init__(
        self,
        store: PixelStore,
        extent: Extent,
        rows: range,
        columns: range,
        *,
        merge: bool = False,
        hold: int = 0,
        metric: Metric | None = None,
        reach: int = 0,
    ) -> None:
        self.store = replace(store, pixels=store.pixels.contiguous())
        self.extent = extent
        self.grid = (len(rows), len(columns))
        self.first = (rows[0], columns[0])
        self.scale = store.scale
        self.reach = reach
        self.width = store.channels * extent.sides[0] * extent.sides[1]
        weights = None if metric is None else metric.within(extent, store.channels)
        self.is_bytes = store.is_bytes and weights is None
        self.roots = None if weights is None else weights.sqrt().to(store.pixels.device)
        self.typical_norm = store.spread * math.sqrt(self.width if weights is None else float(weights.sum()))
        # Windows are views: they are only ever copied a tile at a time.
        cut, _ = extent.windows(self.store.pixels, rows, columns)
        self._cut = cut
        # Whether equal windows are found exactly, without a hash.
        self._exact = False
        self.kept: Tensor | None = None
        self.log_counts: Tensor | None = None
        if merge:
            self._merge_equal()
        self.copies: Tensor | None = None
        if self.nbytes_of_copies <= hold:
            self.copies = self._copied()

    def __len__(self) -> int:
        return len(self.kept) if self.kept is not None else self.places

    @property
    def places(self) -> int:
        """Number of windows before merging."""
        return len(self.store) * self.grid[0] * self.grid[1]

    @property
    def nbytes(self) -> int:
        """Bytes held beside the images."""
        tensors = (self.kept, self.log_counts, self.copies)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)

    def merged(self) -> WindowKeys:
        """The same windows, one of several equal ones with its count."""
        other = copy.copy(self)
        other.copies = None
        other._merge_equal()
        return other

    def arranged(self, order: Tensor) -> WindowKeys:
        """The same keys in another order, an int64 permutation."""
        kept = order if self.kept is None else self.kept[order]
        return self.replaced(
            kept.to(torch.int32) if self.places < 2**31 else kept,
            None if self.log_counts is None else self.log_counts[order],
        )

    def replaced(self, kept: Tensor, log_counts: Tensor | None) -> WindowKeys:
        """Other windows of the same places: flat positions, and log counts unless each stands for itself alone."""
        other = copy.copy(self)
        other.kept, other.log_counts = kept, log_counts
        other.copies = None
        other.__dict__.pop("numbers", None)
        return other

    @property
    def nbytes_of_copies(self) -> int:
        """Bytes that `copied` needs."""
        return len(self) * self.width * self.store.pixels.element_size()

    def copied(self) -> WindowKeys:
        """The same keys with their windows copied out of the images, one after another: faster to read by far."""
        other = copy.copy(self)
        other.copies = self._copied()
        return other

    def _copied(self) -> Tensor:
        """Stored pixels of all keys, (K, width)."""
        copies = self.store.pixels.new_empty((len(self), self.width))

        def fill(keys: tuple[int, int]) -> None:
            copies[slice(*keys)] = self.raw(*keys)

        self._for_all(fill)
        return copies

    def _for_all(self, work: Callable[[tuple[int, int]], None]) -> None:
        """Work on ranges of keys, some at a time, until all are done."""
        for _ in in_parallel(work, pairwise([*range(0, len(self), AT_ONCE), len(self)])):
            pass

    def sources(self) -> Sources:
        places = self.grid[0] * self.grid[1]
        if self.kept is None:
            return Sources(torch.arange(self.places, device=self.device) // places)
        if self.log_counts is None:
            return Sources(self.kept // places)
        # Sorted again: who only draws need not hold the places of all windows.
        order, starts = equal.groups(self._cut, self.extent.sides, self._exact)
        by_key = order[starts].argsort()[self.kept.argsort().argsort()]
        counts = starts.diff(append=starts.new_tensor([len(order)]))[by_key]
        bounds = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        # Where the group of each key begins in `order`, less where it begins in the order of the keys.
        shift = (starts[by_key] - bounds[:-1]).repeat_interleave(counts)
        order = order[torch.arange(len(order), device=order.device) + shift]
        return Sources((order // (self.grid[0] * self.grid[1])).to(torch.int32), bounds)

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image, i, j = self._place(keys if self.kept is None else self.kept[keys].long())
        return image, i + self.first[0] - self.store.padding, j + self.first[1] - self.store.padding

    def _place(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column (counted from the first row and column of the grid) of flat positions."""
        rows, columns = self.grid
        return flat // (rows * columns), flat // columns % rows, flat % columns

    def shifted(self, keys: Tensor, down: int, right: int) -> Tensor:
        """Positions of the keys whose windows lie some rows and columns away from those of others, int64.

        -1 where there is none: outside the grid, or where an equal window is kept in its place.
        """
        image, row, column = self._place(keys if self.kept is None else self.kept[keys].long())
        row, column = row + down, column + right
        rows, columns = self.grid
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        flat = ((image * rows + row) * columns + column).where(inside, torch.zeros_like(image))
        return (flat if self.kept is None else self.numbers[flat].long()).masked_fill(~inside, -1)

    @cached_property
    def numbers(self) -> Tensor:
        """Number of the key at every place, -1 where an equal window is kept in its place, int32 or int64."""
        assert self.kept is not None
        numbers = torch.full((self.places,), -1, dtype=self.kept.dtype, device=self.device)
        kept = self.kept

        def fill(keys: tuple[int, int]) -> None:
            numbers[kept[slice(*keys)].long()] = torch.arange(*keys, dtype=kept.dtype, device=self.device)

        self._for_all(fill)
        return numbers

    def read(self, start: int, stop: int) -> StoredKeys:
        return self._keyed(self.raw(start, stop), self._log_counts(start, stop), self._norms(start, stop))

    def tile(self, start: int, stop: int, out: Tensor) -> tuple[Tensor, Tensor]:
        keys = self.read(start, stop)
        return tile_of(keys, 0, len(keys.raw), out)

    def raw(self, start: int, stop: int) -> Tensor:
        """Stored pixels of consecutive keys, (stop - start, width)."""
        if self.copies is not None:
            return self.copies[start:stop]
        if self.kept is not None:
            return self._raw(self.kept[start:stop].long())
        # All windows of some images: copying a view takes half as long as gathering them one by one (measured).
        each = self.grid[0] * self.grid[1]
        first = start // each
        views = self._windows(first, -(-stop // each))[1]
        return _packed(views).view(-1, self.width)[start - first * each : stop - first * each]

    def _windows(self, first: int, end: int) -> tuple[Tensor, Tensor]:
        """See `Extent.windows`, for some of the images."""
        rows, columns = (range(at, at + count) for at, count in zip(self.first, self.grid, strict=True))
        return self.extent.windows(self.store.pixels[first:end], rows, columns)

    def _norms(self, start: int, stop: int) -> Tensor | None:
        """|k|^2 of consecutive keys, float32, where it is known or cheaper to have from images than from windows."""
        if self.copies is not None or self.kept is not None or not self.is_bytes or not multiplies_bytes(self.width):
            return None
        each = self.grid[0] * self.grid[1]
        first = start // each
        cut, _ = self._windows(first, -(-stop // each))
        squares = cut.float().sub_(self.store.centre).square_().sum(1)
        height, width = self.extent.sides
        at = torch.arange(squares.shape[2], device="cpu")[:, None] - torch.arange(self.grid[1], device="cpu")
        lines = squares @ ((at >= 0) & (at < width)).float()
        sums = torch.stack([lines[:, row : row + height].sum(1) for row in range(self.grid[0])], dim=1)
        return sums.flatten()[start - first * each : stop - first * each]

    def some(self, index: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """As `tile`, for keys at any positions, int64 (T,)."""
        log_counts = None if self.log_counts is None else self.log_counts[index]
        return tile_of(self._keyed(self.raw_at(index), log_counts, None), 0, len(index), out)

    def raw_at(self, index: Tensor) -> Tensor:
        """Stored pixels of the keys at any positions, int64 (T,): (T, width)."""
        if self.copies is not None:
            return self.copies[index]
        return self._raw(index if self.kept is None else self.kept[index].long())

    def _keyed(self, raw: Tensor, log_counts: Tensor | None, norms: Tensor | None) -> StoredKeys:
        counts, lengths = (EMPTY if known is None else known for known in (log_counts, norms))
        return StoredKeys(
            raw, counts, lengths, self.values, self.store.centre, EMPTY if self.roots is None else self.roots
        )

    @property
    def device(self) -> torch.device:
        return self.store.pixels.device

    @cached_property
    def centres(self) -> Tensor:
        """Positions of the centre pixel of every channel in a key, int64 (C,)."""
        height, width = self.extent.sides
        channels = torch.arange(self.store.channels, device=self.device)
        return (channels * height + self.extent.top) * width + self.extent.left

    @cached_property
    def values(self) -> Tensor:
        """Positions of the values in a key, those of the patch for one channel after the other, int64 (V,)."""
        down, across = self.extent.patch(self.reach).to(self.device).unbind(1)
        return (self.centres[:, None] + down * self.extent.sides[1] + across).flatten()

    def _raw(self, flat: Tensor) -> Tensor:
        """Stored pixels of the windows at flat positions, int64 (T,): (T, width)."""
        pixels = self.store.pixels
        library = loader.library() if pixels.device.type == "cpu" else None
        if library is not None:
            return self._gathered(library, flat.contiguous())
        _, channels, height, width = pixels.shape
        image, row, column = self._place(flat)
        lines, across = self.extent.sides
        corner = (image * (channels * height) + row) * width + column + self.corner
        if self.width <= SMALL_WINDOW:
            return torch.take(pixels, corner[:, None] + self._offsets)
        # All windows at every place of the memory, also those that run over an edge, which are never asked for.
        last = ((channels - 1) * height + lines - 1) * width + across - 1
        shape, stride = (pixels.numel() - last, channels, lines, across), (1, height * width, width, 1)
        return _rows(pixels.as_strided(shape, stride), corner).flatten(1)

    def _gathered(self, library: Any, flat: Tensor) -> Tensor:
        pixels = self.store.pixels
        if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < self.places:
            raise IndexError(f"positions from {int(flat.min())} to {int(flat.max())} of {self.places} windows")
        found = pixels.new_empty((len(flat), self.width))
        shapes = [np.array(sizes, np.int64) for sizes in (pixels.shape[1:], self.grid, self.extent.sides)]
        library.copy_windows(
            loader.address(pixels, pixels.dtype, *pixels.shape),
            pixels.element_size(),
            *(loader.numbers(sizes, "int64_t") for sizes in shapes),
            self.corner,
            loader.address(flat, torch.int64, len(flat)),
            len(flat),
            loader.address(found, pixels.dtype, *found.shape),
        )
        return found

    @property
    def corner(self) -> int:
        """Where the first window of an image begins, in pixels."""
        return (self.first[0] - self.extent.top) * self.store.pixels.shape[3] + self.first[1] - self.extent.left

    @cached_property
    def _offsets(self) -> Tensor:
        """Where the pixels of a window lie in memory, counted from its first, int64 (width,)."""
        _, channels, height, width = self.store.pixels.shape
        lines, across = self.extent.sides
        line = torch.arange(channels, device="cpu")[:, None] * height + torch.arange(lines, device="cpu")
        return (line[..., None] * width + torch.arange(across, device="cpu")).flatten().to(self.device)

    def _log_counts(self, start: int, stop: int) -> Tensor | None:
        return None if self.log_counts is None else self.log_counts[start:stop]

    def _repeats(self, some: Tensor) -> bool:
        """Whether enough windows of a few images are equal for merging all of them to pay."""
        found = equal.hashes(some, self.extent.sides).flatten()
        return len(torch.unique(found)) < (1 - WORTH_MERGING / 2) * len(found)

    def _merge_equal(self) -> None:
        if not self._repeats(self._cut[:: max(1, len(self._cut) // IMAGES_SAMPLED)]):
            return
        for exact in (False, True):
            order, starts = equal.groups(self._cut, self.extent.sides, exact)
            if len(starts) > (1 - WORTH_MERGING) * len(order):
                return
            counts = starts.diff(append=starts.new_tensor([len(order)]))
            representative = order[starts].repeat_interleave(counts)
            if exact or self._all_equal(order, representative):
                break
        # In the order of the images, so that neighbouring keys stay neighbours in memory.
        kept, by_position = order[starts].sort()
        self.kept = kept.to(torch.int32) if self.places < 2**31 else kept
        self.log_counts = counts[by_position].double().log()
        self._exact = exact

    def labels(self) -> Tensor:
        """A number for every window, before merging, the same for equal windows and for no others, int64 (M,)."""
        return (equal.names if self._exact else equal.hashes)(self._cut, self.extent.sides).flatten()

    def _all_equal(self, order: Tensor, representative: Tensor) -> bool:
        """Whether every window equals the one that would be kept for it: equal hashes alone are no proof."""
        differ = (order != representative).nonzero().flatten()
        for block in torch.split(differ, max(1, 4_000_000 // self.width)):
            if not torch.equal(self._raw(order[block]), self._raw(representative[block])):
                return False
        return True


# On a processor NumPy copies bytes two to four times as fast as torch (measured).
def _packed(views: Tensor) -> Tensor:
    """The same numbers one behind another in memory."""
    if views.device.type != "cpu":
        return views.contiguous()
    return torch.from_numpy(np.ascontiguousarray(views.numpy()))


def _rows(table: Tensor, index: Tensor) -> Tensor:
    if table.device.type != "cpu":
        return table[index]
    return torch.from_numpy(table.numpy()[index.numpy()])
