"""The largest sources of patches that are pasted from other places, from the largest weights of single pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.layout import Layout
from elsewhere.engine.prior import shift_logs
from elsewhere.engine.state import Attribution, TopWeights

# Numbers of float64 that are held at once in each of a few arrays: 32 MB.
AT_ONCE = 2**22


@dataclass(frozen=True)
class Found:
    """What a pass over the windows of single pixels found, for one image.

    Attributes:
        logs: log-weights of the largest weights of every pixel, float64 (H W, M), -inf for none.
        image, row, column: training image and place of their keys, int64 (H W, M).
        log_total: logarithm of the total weight of each pixel, float64 (H W,); inf for pixels that are not asked for.
        rows, columns: first and last row and column of the keys that each pixel meets, int64 (H W, 2).
        complete: whether all keys of a pixel are among these, bool (H W,).
        shares: sum over the pixels of the weights of each training image in what is pasted, float64 (1, N).
    """

    logs: Tensor
    image: Tensor
    row: Tensor
    column: Tensor
    log_total: Tensor
    rows: Tensor
    columns: Tensor
    complete: Tensor
    shares: Tensor


@dataclass(frozen=True)
class CandidateAttribution:
    """Weights of the largest sources of every pixel of one image on which patches are pasted.

    The weight of a training pixel in a pixel is a mean of the weights of the patches that bring it there. So a source
    is large only if one of these weights is large. The sources that the largest M weights of the patches around a pixel
    bring are the candidates; what each of them weighs is computed in full, in float64. No other source of the pixel
    weighs more than the mean of the M-th largest weights: by as much as this exceeds the smallest weight that is
    returned, a source may have been missed.

    Attributes:
        layout: what is asked for; its metric and its response have profiles.
        x: centred image (1, C, H, W).
        sigma: noise level.
        store: the training images.
        image_logs: log-weights of training images, (1, N); None for 0.
        coverage: how much is pasted on each pixel, float64 (H W).
        found: the largest weights of single pixels.
        top: number of sources to return for each pixel.
    """

    layout: Layout
    x: Tensor
    sigma: float
    store: PixelStore
    image_logs: Tensor | None
    coverage: Tensor
    found: Found
    top: int

    def run(self) -> Attribution:
        """The largest sources; `Attribution.missed` says how much larger one that is not among them may be."""
        rows, columns = self.x.shape[2:]
        side = self.profile.numel()
        # Candidates of a row of pixels, before equal ones are one.
        most = max(1, AT_ONCE // (columns * self.found.logs.shape[1] * side**2))
        parts = [self._band(first, min(first + most, rows)) for first in range(0, rows, most)]
        logs, keys, missed = (torch.cat(some) for some in zip(*parts, strict=True))
        return Attribution(TopWeights(logs, keys), self.found.shares, torch.zeros_like(missed), missed=missed)

    @property
    def profile(self) -> Tensor:
        """How much each pixel of a patch counts along one axis, float64 (side,)."""
        assert self.layout.response is not None
        assert self.layout.response.profile is not None
        return self.layout.response.profile.to(self.coverage)

    def _band(self, first: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights (P, top), keys (P, top) and `missed` (P,) of the pixels of some rows."""
        area = (end - first) * self.x.shape[3]
        pixel, source, lower, upper, bound = self._candidates(first, end)
        # A candidate that cannot be among the largest is left out.
        smallest = _largest(pixel, lower, self.top, area)[0][:, -1]
        able = upper >= smallest[pixel]
        pixel, source = pixel[able], source[able]
        weights = self._weights(pixel + first * self.x.shape[3], source)
        values, order = _largest(pixel, weights, self.top, area)
        keys = source[order.clamp(min=0)].where((order >= 0) & (values > 0), -1) if len(source) else order
        return values.log(), keys, (bound - values[:, -1]).clamp(min=0)

    def _candidates(self, first: int, end: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Pixels and sources that the largest weights bring to some rows, bounds of their weights, and of all others'.

        Returns:
            Pixel, counted from the first of the band, and source (C,) each, increasing; at least and at most what each
            weighs, float64 (C,); what no other source exceeds, float64 (P,).
        """
        found, (height, width) = self.found, self.x.shape[2:]
        lines, across = self.store.image_size
        places, wraps = lines * across, self.layout.wraps
        weights = found.logs.exp()
        least = weights[:, -1].masked_fill(found.complete, 0)
        at = torch.arange(height * width, device=weights.device)
        radius, area = self.profile.numel() // 2, (end - first) * width
        bound = weights.new_zeros(area)
        codes, known, others = [], [], []
        for down, count in enumerate(self.profile.tolist(), -radius):
            for right, also in enumerate(self.profile.tolist(), -radius):
                row, column = at // width + down, at % width + right
                there = torch.ones_like(at, dtype=torch.bool)
                row, column, there = _kept(row, column, there, height, width, wraps.x)
                there &= (row >= first) & (row < end)
                pixel, share = (row - first) * width + column, count * also / self.coverage[row * width + column]
                bound.index_add_(0, pixel[there], (least * share)[there])
                inside = there[:, None] & found.logs.isfinite()
                line, place, inside = _kept(
                    found.row + down, found.column + right, inside, lines, across, wraps.training
                )
                code = (pixel[:, None] * len(self.store) + found.image) * places + line * across + place
                codes.append(code[inside])
                known.append((weights * share[:, None])[inside])
                others.append((least * share)[:, None].expand_as(weights)[inside])
        code, which = torch.unique(torch.cat(codes), return_inverse=True)
        lower = weights.new_zeros(len(code)).index_add_(0, which, torch.cat(known))
        unknown = weights.new_zeros(len(code)).index_add_(0, which, torch.cat(others))
        pixel, source = code // (len(self.store) * places), code % (len(self.store) * places)
        return pixel, source, lower, lower + (bound[pixel] - unknown).clamp(min=0), bound

    def _weights(self, pixel: Tensor, source: Tensor) -> Tensor:
        """What some sources weigh in some pixels, float64 (C,)."""
        metric = self.layout.metric
        assert metric is not None
        assert metric.profile is not None
        radius, reach = metric.radius, self.profile.numel() // 2
        farthest = max(*self.x.shape[2:], *self.store.image_size) - 1
        far = radius + reach if any(self.layout.wraps) else min(radius + reach, farthest)
        steps = torch.arange(-far, far + 1, device=pixel.device)
        # Row q sums over the window around the pixel q steps away.
        offset = steps - torch.arange(-reach, reach + 1, device=pixel.device)[:, None] + radius
        within = (offset >= 0) & (offset < metric.side)
        band = metric.profile.to(self.coverage)[offset.clamp(0, metric.side - 1)].where(within, 0)
        each = max(1, AT_ONCE // (self.store.channels * len(steps) ** 2))
        chunks = zip(torch.split(pixel, each), torch.split(source, each), strict=True)
        found = [self._some_weights(*some, steps, band) for some in chunks]
        return torch.cat(found) if found else self.coverage.new_zeros(0)

    def _some_weights(self, pixel: Tensor, source: Tensor, steps: Tensor, band: Tensor) -> Tensor:
        (height, width), (lines, across) = self.x.shape[2:], self.store.image_size
        image, place = source // (lines * across), source % (lines * across)
        row, column, line, right = pixel // width, pixel % width, place // across, place % across
        mine, in_x = _around(row, column, steps, height, width, self.layout.wraps.x)
        theirs, in_image = _around(line, right, steps, lines, across, self.layout.wraps.training)
        flat, pixels = self.x[0].double().flatten(1), self.store.pixels.flatten(2)
        squares = self.coverage.new_zeros(mine.shape)
        for channel in range(self.store.channels):
            stored = pixels[:, channel].reshape(-1)[theirs + image[:, None, None] * (lines * across)]
            squares += (self.store.centred(stored, torch.float64) / self.store.scale - flat[channel][mine]).square_()
        # Outside an image, windows that meet are both cut off.
        squares *= in_x & in_image
        logs = (band @ squares @ band.T) * (-0.5 / self.sigma**2)
        if self.image_logs is not None:
            logs += self.image_logs.detach().double()[0, image, None, None]
        if self.layout.shift_width is not None:
            periods = (height, width) if self.layout.wraps.x else (None, None)
            for shift, period in zip((line - row, right - column), periods, strict=True):
                logs += shift_logs(shift, self.layout.shift_width, period)[:, None, None]
        # A patch around the pixel q steps away brings it its pixel -q.
        reach = steps.new_tensor(range(-(len(band) // 2), len(band) // 2 + 1))
        query, asked = _around(row, column, reach, height, width, self.layout.wraps.x)
        key, there = _around(line, right, reach, lines, across, self.layout.wraps.training)
        rows, columns = self.found.rows[query], self.found.columns[query]
        down, over = key // across, key % across
        met = asked & there & (down >= rows[..., 0]) & (down <= rows[..., 1])
        met &= (over >= columns[..., 0]) & (over <= columns[..., 1])
        weights = (logs - self.found.log_total[query]).exp_().where(met, 0)
        profile = self.profile.flip(0)
        return (weights * profile[:, None] * profile).sum((1, 2)) / self.coverage[pixel]


def _kept(
    row: Tensor, column: Tensor, there: Tensor, height: int, width: int, wraps: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Places within an image: those outside lie at the opposite edge, or are not there and moved inside."""
    if wraps:
        return row % height, column % width, there
    there = there & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return row.clamp(0, height - 1), column.clamp(0, width - 1), there


def _around(row: Tensor, column: Tensor, steps: Tensor, height: int, width: int, wraps: bool) -> tuple[Tensor, Tensor]:
    """Flat positions of the pixels around some, and whether they are inside, (C, S, S) each."""
    rows, columns = row[:, None, None] + steps[:, None], column[:, None, None] + steps
    there = torch.ones(1, 1, 1, dtype=torch.bool, device=row.device)
    rows, columns, there = _kept(rows, columns, there, height, width, wraps)
    return rows * width + columns, there.expand(len(row), len(steps), len(steps))


def _largest(pixel: Tensor, weights: Tensor, top: int, area: int) -> tuple[Tensor, Tensor]:
    """The largest weights of every pixel, decreasing, 0 for none, and their positions, -1 for none, (P, top) each."""
    order = weights.argsort(descending=True, stable=True)
    order = order[pixel[order].argsort(stable=True)]
    owner = pixel[order]
    starts = torch.searchsorted(owner, torch.arange(area, device=pixel.device))
    rank = torch.arange(len(order), device=pixel.device) - starts[owner]
    some = rank < top
    values = weights.new_zeros(area, top)
    positions = torch.full((area, top), -1, dtype=torch.int64, device=pixel.device)
    values[owner[some], rank[some]] = weights[order[some]]
    positions[owner[some], rank[some]] = order[some]
    return values, positions
