"""The job of whole images under every circular shift, by Fourier transforms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine.attribution import TiledAttribution
from elsewhere.engine.jobs import TILE, Tile
from elsewhere.engine.keys.base import Sources, rounding_of
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.precision import ROUNDING
from elsewhere.engine.state import SoftmaxState, least, merge_all


@dataclass(frozen=True)
class ShiftedSources(Sources):
    """As `Sources`, where every image has as many keys, one after the other."""

    shifts: int = 1

    def add_shares(self, weights: Tensor, start: int, into: Tensor) -> None:
        shares = weights.view(len(weights), -1, self.shifts).sum(2)
        first = start // self.shifts
        into[:, first : first + shares.shape[1]] += shares


class ShiftJob:
    """Every image x against every circular shift S_s of every training image k_j: key and value are S_s k_j.

    |x - S_s k_j|^2 = |x|^2 + |k_j|^2 - 2 (x * k_j)(s), where the correlation x * k_j has all shifts in one Fourier
    transform; and the weighted sum of shifts is a convolution, which is summed over training images before it is
    transformed back. An image costs two transforms instead of H W products. In float64 where float32 would round
    log-weights by more than `ROUNDING`.

    Args:
        x: noisy images (B, C, H, W), centred as the store is.
        sigma: noise level.
        store: the training images, of the same size.

    Attributes:
        queries: the flattened images, so that autograd can take a gradient further back.
        scale: units of the tiles for each unit of the queries.
    """

    scale = 1.0

    def __init__(self, x: Tensor, sigma: float, store: PixelStore) -> None:
        self.queries = x.flatten(1)
        self.precision = (1 / sigma) ** 2
        lengths = self.queries.detach().double().norm(dim=1)
        typical = store.spread * self.queries.shape[1] ** 0.5
        rounding = rounding_of(lengths, typical, self.precision)
        wide = x.dtype == torch.float64 or float(rounding.max()) > ROUNDING
        self.x = x.detach().double() if wide else x.detach()
        self.spectrum = torch.fft.rfft2(self.x)
        self.store = store
        self.count = len(x)
        self.shifts = x.shape[2] * x.shape[3]

    @property
    def pairs(self) -> int:
        # A transform costs as much as some tens of products for each shift.
        return self.count * len(self.store) * self.shifts * 32

    @property
    def keys_met(self) -> int:
        return len(self.store) * self.shifts

    def __len__(self) -> int:
        return len(self.store)

    @property
    def offset(self) -> Tensor:
        norms: Tensor = self.x.double().square().sum((1, 2, 3))
        return norms * (-self.precision / 2)

    def sources(self) -> ShiftedSources:
        return ShiftedSources(torch.arange(len(self.store), device=self.x.device), shifts=self.shifts)

    def counts(self, keys: Tensor) -> Tensor:
        return torch.ones_like(keys)

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The pixel of the training image that a shift brings to a pixel of x."""
        height, width = self.x.shape[2:]
        down, right = keys % self.shifts // width, keys % width
        return keys // self.shifts, (row - down) % height, (column - right) % width

    def attribution(self, state: SoftmaxState, batch: int, top: int) -> TiledAttribution:
        return TiledAttribution(_WithoutValues(self), state, batch, len(self.store), top)

    def run(self, start: int, stop: int) -> SoftmaxState:
        size = self.x.shape[2:]
        found = []
        for _, images in self._images(start, stop):
            keys = torch.fft.rfft2(images)
            logs = self._logs(images, keys)
            peak = logs.amax(1)
            weights = logs.sub_(peak[:, None]).clamp_(min=least(logs.dtype)).exp_()
            spread = torch.fft.rfft2(weights.view(self.count, len(images), *size))
            mixed = torch.stack([(one[:, None] * keys).sum(0) for one in spread])
            weighted = torch.fft.irfft2(mixed, s=size).flatten(1)
            found.append(SoftmaxState(peak.double(), weights.sum(1).double(), weighted.double()))
        return merge_all(found).completed(self.offset, 1.0)

    def _images(self, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
        at_once = max(1, TILE // (self.shifts * max(self.count, self.x.shape[1])))
        for left in range(start, stop, at_once):
            pixels = self.store.pixels[left : min(left + at_once, stop)]
            yield left, self.store.centred(pixels, self.x.dtype) / self.store.scale

    def _logs(self, images: Tensor, keys: Tensor) -> Tensor:
        """Without the offset, (B, T * shifts)."""
        size = self.x.shape[2:]
        products = torch.stack([(one * keys.conj()).sum(1) for one in self.spectrum])
        logs: Tensor = torch.fft.irfft2(products, s=size).flatten(2)
        logs -= images.square().sum((1, 2, 3))[:, None] / 2
        return logs.mul_(self.precision).flatten(1)

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        """One training image a tile, its shifts written out: for gradients."""
        height, width = self.x.shape[2:]
        row, column = (torch.arange(side, device=self.x.device) for side in (height, width))
        # [shift down, shift right, row, column] -> flat position of the pixel that comes there.
        from_row = (row[None, :] - row[:, None]) % height
        from_column = (column[None, :] - column[:, None]) % width
        place = (from_row[:, None, :, None] * width + from_column[None, :, None, :]).view(self.shifts, -1)
        for left, images in self._images(start, stop):
            for number, image in enumerate(images.flatten(2)):
                shifted = image[:, place].transpose(0, 1).flatten(1)
                logs = self.x.flatten(1) @ shifted.T - image.square().sum() / 2
                yield Tile(slice(0, self.count), (left + number) * self.shifts, logs * self.precision, shifted, shifted)

    def parts(self, gradient: Tensor) -> list[tuple[ShiftJob, Tensor]]:
        """See `DifferentiableJob`."""
        return [(self, gradient)] if gradient.any() else []

    def gather(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """Add the keys of a tile, times coefficients (B, T), to the sums of its queries, shaped as `queries`."""
        into[tile.queries].addmm_(coefficients.to(into.dtype), tile.keys.to(into.dtype))


class _WithoutValues:
    """The tiles of a `ShiftJob` as an attribution reads them: log-weights alone, which transforms give."""

    def __init__(self, job: ShiftJob) -> None:
        self.job = job
        self.count, self.pairs, self.keys_met, self.offset = job.count, job.pairs, job.keys_met, job.offset
        self.run, self.attribution = job.run, job.attribution
        self.sources, self.locate = job.sources, job.locate

    def __len__(self) -> int:
        return len(self.job)

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        for left, images in self.job._images(start, stop):
            logs = self.job._logs(images, torch.fft.rfft2(images))
            yield Tile(slice(0, self.job.count), left * self.job.shifts, logs, logs[:0], logs[:0])
