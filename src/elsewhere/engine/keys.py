"""Keys and values read from a stack of images, tile by tile, without ever holding all windows in memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from elsewhere.engine import equal
from elsewhere.engine.kernels import loader
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.weighing import Keyed, multiplies_digits, tile_of

# Merging equal windows costs a sort; below this share of repeats it does not pay.
WORTH_MERGING = 0.05
SAMPLE = 32
# Windows of at most this many numbers are gathered number by number, larger ones as a whole: measured.
FEW = 16
# Keys looked up at once: what more need on their way is fresh memory every time, which takes longer than the work.
AT_ONCE = 2**15
_NONE = torch.empty(0, dtype=torch.float32, device="cpu")


@dataclass(frozen=True)
class PixelStore:
    """Images as they are stored, and the affine map to centred floats that the engine computes with.

    Distances do not change when a constant is subtracted from keys and queries alike, but the rounding of
    |q|^2 - 2 q k + |k|^2 does: with the mean pixel taken off, the terms that cancel are smaller.

    Attributes:
        pixels: (N, C, H, W), uint8 0..255 or floats in about [-1, 1].
        centre: the constant taken off, in stored units.
        scale: stored units for each unit of the [-1, 1] range.
        spread: root mean square of the centred pixels, in [-1, 1] units.
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
        mean = float(pixels.double().mean())
        return cls(pixels, mean, 1.0, float((pixels.double() - mean).square().mean().sqrt()))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def offset(self) -> float:
        """The centre in [-1, 1] units: what is taken off queries."""
        return self.centre / 127.5 - 1 if self.pixels.dtype == torch.uint8 else self.centre

    @property
    def whole(self) -> bool:
        """Whether pixels are whole numbers of eight bits, in a processor's memory."""
        return self.pixels.dtype == torch.uint8 and self.pixels.device.type == "cpu"

    def centred(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Stored pixels as floats with the centre taken off, in stored units: whole numbers when stored as uint8."""
        return pixels.to(dtype).sub_(self.centre) if pixels.dtype != dtype else pixels - self.centre

    def floats(self, pixels: Tensor) -> Tensor:
        """Stored pixels as floats in [-1, 1]."""
        dtype = torch.float64 if pixels.dtype == torch.float64 else torch.float32
        return self.centred(pixels, dtype) / self.scale + self.offset

    def take(self, index: Tensor) -> PixelStore:
        """The images of an index, with the same centre."""
        return replace(self, pixels=self.pixels[index])


@dataclass(frozen=True)
class Sources:
    """Which training images some keys come from.

    Attributes:
        images: image of every window, those that one key stands for side by side, (M,) integers.
        bounds: where the windows of each key begin, and M at the end, int64 (K + 1,); None when each is one window.
    """

    images: Tensor
    bounds: Tensor | None = None

    def counts(self, keys: Tensor) -> Tensor:
        """How many equal windows stand behind each key, int64, of the shape of `keys`."""
        if self.bounds is None:
            return torch.ones_like(keys)
        return self.bounds[keys + 1] - self.bounds[keys]

    def share(self, weights: Tensor, start: int, into: Tensor) -> None:
        """Add weights (B, T) of the keys from `start` on to their images' sums (B, N); equal windows share alike."""
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
        width: numbers in a key.
        scale: stored units for each unit of the queries.
        typical_norm: root mean square length of a key, in units of the queries, by which rounding is judged.
        whole: whether keys are whole numbers of eight bits, in a processor's memory.
    """

    width: int
    scale: float
    typical_norm: float
    whole: bool

    def __len__(self) -> int: ...

    def tile(self, start: int, stop: int, out: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (k, |k|^2, log count), (T, width + 2), and values (T, V), in the dtype of `out`.

        The rows may be written to the start of `out`, (T or more, width + 2): fresh memory for every tile costs more
        than what is computed in it.
        """
        ...

    def read(self, start: int, stop: int) -> Keyed:
        """The same keys as they are stored."""
        ...

    def sources(self) -> Sources:
        """Which training images the keys come from."""
        ...

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column of the centre of each key; the row and column asked from where keys are everywhere."""
        ...


def counting(off: Tensor, window: int, taper: bool) -> Tensor:
    """What pixels so far from the centre of a window of this side count along one axis, float64: one inside it.

    In a tapered window they count the less the farther away they are, down to nothing just outside: a triangle.
    """
    reach = window // 2 + 1
    return (1 - off.abs().double() / reach).clamp(min=0) if taper else (off.abs() < reach).double()


class ImageKeys:
    """Whole images: key and value are the flattened image."""

    def __init__(self, store: PixelStore) -> None:
        self.store = store
        self.scale = store.scale
        self.whole = store.whole
        self.width = store.pixels[0].numel()
        self.typical_norm = store.spread * math.sqrt(self.width)
        self._whole = torch.empty(0, dtype=torch.int64, device=store.pixels.device)

    def __len__(self) -> int:
        return len(self.store)

    def read(self, start: int, stop: int) -> Keyed:
        raw = self.store.pixels[start:stop].flatten(1)
        return Keyed(raw, _NONE, _NONE, self._whole, self.store.centre, _NONE)

    def tile(self, start: int, stop: int, out: Tensor) -> tuple[Tensor, Tensor]:
        keys = self.read(start, stop)
        return tile_of(keys, 0, len(keys.raw), out)

    def sources(self) -> Sources:
        return Sources(torch.arange(len(self), device=self.store.pixels.device))

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return keys, row.expand(keys.shape), column.expand(keys.shape)


@dataclass(frozen=True)
class Extent:
    """How far a window reaches from its centre, in pixels; less than its radius where the image ends."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.top + self.bottom + 1, self.left + self.right + 1

    def weights(self, window: int, channels: int) -> Tensor:
        """What each number of a tapered window counts that is cut off to this extent, float64 (width,)."""
        down, across = (
            counting(torch.arange(-before, after + 1, device="cpu"), window, taper=True)
            for before, after in ((self.top, self.bottom), (self.left, self.right))
        )
        return (down[:, None] * across).expand(channels, -1, -1).flatten()

    def windows(self, images: Tensor, rows: range, columns: range) -> tuple[Tensor, Tensor]:
        """The windows centred on some rows and columns of images (N, C, H, W), which must lie inside the images.

        Returns:
            The part of the images that they cover, and the windows as a view (N, rows, columns, C, height, width).
        """
        cut = images[:, :, rows.start - self.top : rows.stop + self.bottom]
        cut = cut[:, :, :, columns.start - self.left : columns.stop + self.right]
        height, width = self.sides
        return cut, cut.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)


class WindowKeys:
    """Windows centred on given rows and columns of every image; the value is the centre pixel.

    Args:
        store: the images.
        extent: how far the windows reach; they must lie inside the images.
        rows, columns: centres of the windows.
        merge: keep one of several equal windows, with its count. The average does not change.
        hold: copy the windows out of the images when they need no more than this number of bytes.
        weights: what the square of every number of a difference counts, float64 (width,); None for one each. Queries
            are to be multiplied by `roots`, as keys are.
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
        weights: Tensor | None = None,
    ) -> None:
        self.store = replace(store, pixels=store.pixels.contiguous())
        self.extent = extent
        self.grid = (len(rows), len(columns))
        self.first = (rows[0], columns[0])
        self.scale = store.scale
        self.whole = store.whole and weights is None
        self.width = store.pixels.shape[1] * extent.sides[0] * extent.sides[1]
        self.roots = None if weights is None else weights.sqrt()
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
        return image, i + self.first[0], j + self.first[1]

    def _place(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column (counted from the first row and column of the grid) of flat positions."""
        rows, columns = self.grid
        return flat // (rows * columns), flat // columns % rows, flat % columns

    def beside(self, keys: Tensor, down: int, right: int) -> Tensor:
        """Positions of the keys whose windows lie so many rows and columns from those of others, int64.

        -1 where there is none: outside the grid, or where another window stands for it.
        """
        image, row, column = self._place(keys if self.kept is None else self.kept[keys].long())
        row, column = row + down, column + right
        rows, columns = self.grid
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        flat = ((image * rows + row) * columns + column).where(inside, torch.zeros_like(image))
        return (flat if self.kept is None else self.numbers[flat].long()).masked_fill(~inside, -1)

    @cached_property
    def numbers(self) -> Tensor:
        """Of merged keys, which is the window at every place, -1 where another stands for it, int32 or int64."""
        assert self.kept is not None
        numbers = torch.full((self.places,), -1, dtype=self.kept.dtype, device=self.device)
        kept = self.kept

        def fill(keys: tuple[int, int]) -> None:
            numbers[kept[slice(*keys)].long()] = torch.arange(*keys, dtype=kept.dtype, device=self.device)

        self._for_all(fill)
        return numbers

    def read(self, start: int, stop: int) -> Keyed:
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
        # All windows of some images: a copy of a view takes half as long as to look for them one by one.
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
        if self.copies is not None or self.kept is not None or not self.whole or not multiplies_digits(self.width):
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

    def _keyed(self, raw: Tensor, log_counts: Tensor | None, norms: Tensor | None) -> Keyed:
        counts, lengths = (_NONE if known is None else known for known in (log_counts, norms))
        return Keyed(raw, counts, lengths, self.centres, self.store.centre, _NONE if self.roots is None else self.roots)

    @property
    def device(self) -> torch.device:
        return self.store.pixels.device

    @cached_property
    def centres(self) -> Tensor:
        """Positions of the centre pixel of every channel in a key, int64 (C,)."""
        height, width = self.extent.sides
        channels = torch.arange(self.width // (height * width), device=self.device)
        return (channels * height + self.extent.top) * width + self.extent.left

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
        if self.width <= FEW:
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
        if not self._repeats(self._cut[:: max(1, len(self._cut) // SAMPLE)]):
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

    def _all_equal(self, order: Tensor, representative: Tensor) -> bool:
        """Whether every window equals the one that would stand for it: a hash alone is no proof."""
        differ = (order != representative).nonzero().flatten()
        for block in torch.split(differ, max(1, 4_000_000 // self.width)):
            if not torch.equal(self._raw(order[block]), self._raw(representative[block])):
                return False
        return True


# On a processor NumPy copies bytes two to four times as fast as torch: measured.
def _packed(views: Tensor) -> Tensor:
    """The same numbers one behind another in memory."""
    if views.device.type != "cpu":
        return views.contiguous()
    return torch.from_numpy(np.ascontiguousarray(views.numpy()))


def _rows(table: Tensor, index: Tensor) -> Tensor:
    if table.device.type != "cpu":
        return table[index]
    return torch.from_numpy(table.numpy()[index.numpy()])
