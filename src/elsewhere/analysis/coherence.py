"""Copied patches: regions of neighbouring pixels that come from adjacent places of one training image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.analysis.mosaic import MosaicResult, read_windows
from elsewhere.checks import checked
from elsewhere.engine import PixelStore

CHUNK = 4_000_000
"""Pixels of windows read at once, which bounds the working memory."""


@checked
def regions(mosaic: MosaicResult) -> Tensor:
    """Regions of pixels whose top windows are adjacent in the same training image, int64 (B, H, W).

    Two neighbouring pixels belong to the same region if their top windows have the same training image and the same
    offset (position of the window minus position of the pixel). Identical windows count as the same window. Constant
    windows would continue everywhere, so each pixel made by one is a region of its own. If windows of x are periodic,
    pixels at opposite edges are neighbours; if those of the training images are, offsets count modulo their sides.

    Args:
        mosaic: from `explain`.

    Returns:
        For each pixel the flat position (row * W + column) of the first pixel of its region.

    Example:
        >>> import elsewhere as els
        >>> machine = els.IdealScore(els.load_images("fashion-mini", limit=20))
        >>> int(regions(els.explain(machine, els.make_noise(1, (1, 28, 28)), sigma=1.0)).max())
        0
    """
    return _regions(mosaic, plain(mosaic))


def plain(mosaic: MosaicResult) -> Tensor:
    """Pixels whose top window is constant (of one colour), bool (B, H, W)."""
    found = torch.empty_like(mosaic.image_ids[..., 0], dtype=torch.bool)
    for index, reader in enumerate(_readers(mosaic)):
        place = mosaic.positions[index, :, :, 0].flatten(0, 1)
        heaviest = mosaic.image_ids[index, :, :, 0].flatten(), place[:, 0], place[:, 1]
        found[index] = reader.test(_is_plain, *heaviest).view_as(found[index])
    return found


@checked
def coherence_length(mosaic: MosaicResult) -> Tensor:
    """Side, in pixels, of the copied patch that a typical pixel belongs to, float64 (B,).

    The square root of the mean size of a pixel's region, over all pixels whose top window is not constant (see
    `regions`): 1 if no two neighbours come from the same patch, sqrt(H W) if the image is a training image. NaN if all
    top windows are constant, because then patches cannot be distinguished.

    Args:
        mosaic: from `explain`.
    """
    is_plain = plain(mosaic)
    labels, counted = _regions(mosaic, is_plain).flatten(1), ~is_plain.flatten(1)
    sizes = torch.zeros_like(labels).scatter_add_(1, labels, torch.ones_like(labels)).gather(1, labels)
    return ((sizes * counted).sum(1).double() / counted.sum(1)).sqrt()


@dataclass(frozen=True)
class _Reader:
    """Reads training windows as one image of a mosaic uses them."""

    store: PixelStore
    window: int
    wraps: bool

    def test(self, test: Callable[..., Tensor], *places: Tensor) -> Tensor:
        """Apply a test to the windows at (image, row, column, ...), each (M,), in parts that fit the memory."""
        side = self.window if self.wraps else min(self.window, 2 * max(self.store.pixels.shape[2:]))
        many = max(1, CHUNK // (side**2 * self.store.pixels.shape[1]))
        parts = zip(*(torch.split(place, many) for place in places), strict=True)
        return torch.cat([test(self, *some) for some in parts])

    def read(self, *place: Tensor) -> tuple[Tensor, Tensor]:
        """See `read_windows`."""
        return read_windows(self.store.pixels, self.window, *place, wraps=self.wraps)


def _readers(mosaic: MosaicResult) -> list[_Reader]:
    """One for each image of the batch."""
    return [
        _Reader(mosaic.store, window, wraps.training)
        for window, wraps in zip(mosaic.windows, mosaic.wraps, strict=True)
    ]


def _regions(mosaic: MosaicResult, is_plain: Tensor) -> Tensor:
    batch, height, width = is_plain.shape
    below = _continue(mosaic, is_plain, (1, 0))
    right = _continue(mosaic, is_plain, (0, 1))
    labels = torch.arange(height * width, device=is_plain.device).view(1, height, width).repeat(batch, 1, 1)
    while True:
        before = labels
        labels = _spread(_spread(labels, below, 1), right, 2)
        # Pointer jumping: a region takes the label that its first pixel has taken.
        labels = labels.flatten(1).gather(1, labels.flatten(1)).view_as(labels)
        if torch.equal(labels, before):
            return labels


def _spread(labels: Tensor, joined: Tensor, axis: int) -> Tensor:
    """The smallest label of each pixel and of its neighbours along an axis that it is joined to; see `_continue`."""
    least = torch.minimum(labels, labels.roll(-1, axis))
    labels = torch.where(joined, least, labels)
    return torch.where(joined.roll(1, axis), torch.minimum(labels, least.roll(1, axis)), labels)


def _continue(mosaic: MosaicResult, is_plain: Tensor, step: tuple[int, int]) -> Tensor:
    """Whether each pixel and its next neighbour, down or to the right, are in one region, bool (B, H, W).

    If windows of x are periodic, the next neighbour of the last pixel is the first one; otherwise it has none.
    """
    move = torch.tensor(step, device=is_plain.device, dtype=torch.int64)
    image, place = mosaic.image_ids[..., 0], mosaic.positions[..., 0, :]
    axis = 1 + step.index(1)
    next_image, next_place = image.roll(-1, axis), place.roll(-1, axis)
    varied = ~(is_plain | is_plain.roll(-1, axis))
    joined = torch.empty_like(varied)
    sides = torch.tensor(mosaic.store.pixels.shape[2:], device=is_plain.device, dtype=torch.int64)
    for index, (reader, wraps) in enumerate(zip(_readers(mosaic), mosaic.wraps, strict=True)):
        if not wraps.x:
            varied[index].narrow(axis - 1, -1, 1).fill_(False)
        apart = place[index] + move - next_place[index]
        if reader.wraps:
            apart = apart % sides
        joined[index] = (image[index] == next_image[index]) & (apart == 0).all(-1) & varied[index]
        rest = varied[index] & ~joined[index]
        one, other = image[index][rest], next_image[index][rest]
        at, next_at = place[index][rest], next_place[index][rest]
        forth = _same_window(reader, (one, at + move), (other, next_at))
        back = _same_window(reader, (one, at), (other, next_at - move))
        joined[index, rest] = forth | back
    return joined


def _same_window(reader: _Reader, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """Whether windows, given by images (M,) and positions (M, 2), are equal and end at the same borders, bool (M,)."""
    return reader.test(_equal, one[0], *one[1].unbind(1), other[0], *other[1].unbind(1))


def _equal(reader: _Reader, *places: Tensor) -> Tensor:
    one, inside = reader.read(*places[:3])
    other, also_inside = reader.read(*places[3:])
    same = (inside == also_inside) & ((one == other) | ~inside)
    # A window centred outside an image does not exist.
    return same.flatten(1).all(1) & inside[:, 0, inside.shape[2] // 2, inside.shape[3] // 2]


def _is_plain(reader: _Reader, *places: Tensor) -> Tensor:
    pixels, inside = reader.read(*places)
    centre = pixels[:, :, pixels.shape[2] // 2, pixels.shape[3] // 2]
    return ((pixels == centre[:, :, None, None]) | ~inside).flatten(1).all(1)
