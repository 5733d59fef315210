"""The same-place job: every pixel's window against the window at its own place in every training image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from elsewhere.engine.attribution import TiledAttribution
from elsewhere.engine.jobs import TILE, Tile
from elsewhere.engine.keys.base import Sources
from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.state import SoftmaxState, least

# Pixels beyond this many times (1 + sigma) are no images with noise: squared differences in float32 lose the keys.
FAR = 10.0


class SamePlaceJob:
    """Every pixel's window against the window at the same place in every image.

    Squared differences of whole images are summed over windows by two products with band matrices, so the cost of a
    pair does not grow with the window. At small sigma the differences themselves are squared, so that nothing cancels
    and float32 serves; at large sigma |x|^2, the same for all keys, is left out and added once at the end, so that the
    sums stay small. Outside the image query and key are both zero: a window ends at the border.

    Args:
        x: noisy images (B, C, H, W), centred as the store is.
        sigma: noise level.
        store: the training images, of the same size.
        metric: the window, of any size, and how much each of its pixels counts.
        pixels: flat positions of the pixels that are asked for, int64 (P,).
        reach: radius of the patch around the pixel that is averaged, C (2 reach + 1)^2 numbers, those outside the image
            equal to the store's centre; 0 for the pixel alone.
        image_logs: added to the log-weights of each training image, (B, N); None for 0.

    Attributes:
        queries: what the windows of these pixels see of x, so that autograd can take a gradient further back; nothing
            else here is recorded by it.
        scale: units of the tiles for each unit of the queries.
    """

    scale = 1.0

    def __init__(
        self,
        x: Tensor,
        sigma: float,
        store: PixelStore,
        metric: Metric,
        pixels: Tensor,
        reach: int = 0,
        image_logs: Tensor | None = None,
    ) -> None:
        # All that the windows of these pixels see.
        rows, columns = pixels // x.shape[3], pixels % x.shape[3]
        radius = metric.radius
        seen = tuple(slice(max(0, int(at.min()) - radius), int(at.max()) + radius + 1) for at in (rows, columns))
        queries = x[:, :, seen[0], seen[1]].contiguous()
        if bool((x.abs().amax() > FAR * (1 + sigma)).any()):
            queries = queries.double()
        self.queries = queries
        self.x = x = queries.detach()
        self.store = replace(store, pixels=store.pixels[:, :, seen[0], seen[1]])
        self.pixels = (rows - seen[0].start) * x.shape[3] + columns - seen[1].start
        self.precision = (1 / sigma) ** 2
        self.windows = metric.sums(x)
        self.reach, self.image_logs = reach, image_logs
        self.expand = sigma > 1
        self.count = len(x) * len(pixels)

    @property
    def pairs(self) -> int:
        return self.count * len(self.store)

    @property
    def keys_met(self) -> int:
        return len(self.store)

    def __len__(self) -> int:
        return len(self.store)

    @property
    def offset(self) -> Tensor:
        if not self.expand:
            return self.x.new_zeros(self.count, dtype=torch.float64)
        left_out = self._over_windows(self.x.square()[:, None]).double()
        return -(left_out * self.precision / 2).flatten()

    def sources(self) -> Sources:
        return Sources(torch.arange(len(self), device=self.x.device))

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return keys, row.expand(keys.shape), column.expand(keys.shape)

    def attribution(self, state: SoftmaxState, batch: int, top: int) -> TiledAttribution:
        return TiledAttribution(self, state, batch, len(self.store), top)

    def run(self, start: int, stop: int) -> SoftmaxState:
        state: SoftmaxState | None = None
        for tile in self.tiles(start, stop):
            state = _taken_in(state, tile.logs, tile.values, self.x.dtype)
        assert state is not None, "a job was run on an empty range"
        state = state.completed(self.offset.view(len(self.x), -1), 1.0)
        return SoftmaxState(state.peak.flatten(), state.total.flatten(), state.weighted.flatten(0, 1))

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        batch, channels, height, width = self.x.shape
        columns = max(1, TILE // (batch * channels * height * width))
        columns = max(1, columns // (2 * self.reach + 1) ** 2)
        prior = None if self.image_logs is None else self.image_logs.detach().to(self.x.dtype)
        for left in range(start, stop, columns):
            images = self.store.centred(self.store.pixels[left : min(left + columns, stop)], self.x.dtype)
            images = images / self.store.scale
            if self.expand:
                closeness = (2 * self.x[:, None] - images) * images
            else:
                closeness = -(self.x[:, None] - images).square_()
            logs = self._over_windows(closeness) * (self.precision / 2)
            if prior is not None:
                logs += prior[:, left : min(left + columns, stop), None]
            # Pixels first: (B, T, P) -> (B, P, T), each pixel with keys and values of its own.
            yield Tile(slice(0, self.count), left, logs.transpose(1, 2), self._values(images), images)

    def _values(self, images: Tensor) -> Tensor:
        """(P, T, V)."""
        if not self.reach:
            return images.flatten(2)[:, :, self.pixels].permute(2, 0, 1)
        # A patch may reach beyond what the windows see, which is then outside the image.
        windows = torch.nn.functional.unfold(images, 2 * self.reach + 1, padding=self.reach)
        return windows[:, :, self.pixels].permute(2, 0, 1)

    def parts(self, gradient: Tensor) -> list[tuple[SamePlaceJob, Tensor]]:
        """See `DifferentiableJob`."""
        return [(self, gradient)] if gradient.any() else []

    def gather(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """Add the keys of a tile, times coefficients (B, P, T), to sums over all windows, shaped as `queries`."""
        batch, _, keys = coefficients.shape
        spread = coefficients.new_zeros(batch, keys, self.x[0, 0].numel())
        spread[:, :, self.pixels] = coefficients.transpose(1, 2)
        spread = self.windows.spread(spread.view(batch, keys, *self.x.shape[2:]))
        if spread.shape[2] == 1:
            into += torch.einsum("bthw,tchw->bchw", spread[:, :, 0], tile.keys)
        else:
            into += torch.einsum("btchw,tchw->bchw", spread, tile.keys)

    def to_images(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """See `DifferentiableJob`."""
        into[:, tile.start : tile.start + coefficients.shape[2]] += coefficients.sum(1).to(into.dtype)

    def _over_windows(self, numbers: Tensor) -> Tensor:
        """Sums over the windows of the pixels that are asked for, (B, T, C, H, W) -> (B, T, P)."""
        return self.windows.over(numbers).flatten(2)[:, :, self.pixels]


def _taken_in(state: SoftmaxState | None, logs: Tensor, values: Tensor, dtype: torch.dtype) -> SoftmaxState:
    """The state with log-weights (..., T), which are overwritten, and values (P, T, V) of each query's own."""
    peak = logs.amax(-1)
    if state is not None:
        peak = torch.maximum(peak, state.peak.to(logs.dtype))
    weights = logs.sub_(peak[..., None]).to(dtype).clamp_(min=least(dtype)).exp_()
    weighted = (weights.unsqueeze(-2) @ values).squeeze(-2)
    tile = SoftmaxState(peak.double(), weights.sum(-1).double(), weighted.double())
    return tile if state is None else state.merge(tile)
