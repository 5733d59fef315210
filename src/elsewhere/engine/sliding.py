"""The sliding-window job: windows of x against windows of the training images by sums over shifted images.

|q - k|^2 needs the products of a window's pixels with those of a training window. For one shift between x and a
training image these are windows of one image of products, and neighbouring windows share nearly all of their sum: a
pair costs the same at any window (the trick of fast non-local means, Darbon et al. 2008). The kernel is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.engine.attribution import LONGER
from elsewhere.engine.kernels import loader
from elsewhere.engine.keys.base import rounding_of
from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.overlaps import AxisOverlap, RegionPair
from elsewhere.engine.runner import MOST_PIECES
from elsewhere.engine.state import Attribution, SoftmaxState, TopWeights

# Images of a piece of work: a multiple of those that a vector holds, which are 16 or fewer.
LANES = 16
# With fewer images much of each vector would be empty.
FEWEST_IMAGES = 16
# Largest rounding error of a log-weight, in nats, at which sums are float32. Less than for dense jobs, since sums run
# over a whole row and a whole column before they are computed afresh.
SLIDING_ROUNDING = 3e-5
# Tapered sums accumulate their own changes, and the rounding of them: for rows and columns longer than this that
# exceeds the limit above (measured: 1.4e-5 of x0hat at 32 pixels, 5e-5 at 96).
TAPERED_LENGTH = 64
# Radii at which squared differences may be summed afresh for every pair, in float32: where keys are near they are
# small, and so is their rounding. At radius 2 that pays only where products would be too coarse.
FRESH_RADII = (1, 2)
# Not below this noise level.
FRESH_SIGMA = 0.05
# Pixels of a patch that count less than this beside its centre are pasted at the edges of the canvas alone, where
# nothing nearer is: float32 rounding of a sum is as large.
FAR = 1e-7
# Share of the weight of a query that need not be pasted: that changes x0hat by at most as much times its range.
OMITTED = 1e-5


def able(store: PixelStore, metric: Metric) -> bool:
    """Whether the compiled kernels are there, and take these images and this metric."""
    return (
        store.pixels.device.type == "cpu"
        and store.pixels.dtype in (torch.uint8, torch.float32)
        and metric.profile is not None
        and loader.library() is not None
    )


def serves(store: PixelStore, metric: Metric) -> bool:
    """Whether the compiled kernel takes these images and this metric, and they fill its vectors."""
    return len(store) >= FEWEST_IMAGES and able(store, metric)


class SlidingJob:
    """Softmax averages of centre pixels over windows: see `DenseJob` for the formula.

    Args:
        x: noisy images (B, C, H', W'), centred as the store is, float32.
        sigma: noise level.
        store: the training images; `serves` holds for them and the metric.
        metric: square or tapered.
        regions: which windows meet; no pair twice.
        pixels: flat positions in x of the pixels that are asked for, all of which meet keys, int64 (P,).
        period: rows and columns after which x repeats itself, if it does. Then x begins a radius before the first
            pixels, and what follows the first period repeats it: those pixels stand for the first ones.
        log_counts: number of equal windows that each window stands for in an attribution, the logarithm, float32
            (N, H, W): -inf for windows that an equal one stands for; None where each stands for itself.
        image_logs: added to the log-weights of each training image, (B, N); None for 0.
        shift_logs: the log-weight of a shift of x against the training images, in pixels down (axis 0) or right
            (axis 1): called with an axis and its shifts, int64; None for 0.

    Attributes:
        most_pieces: into how many ranges it is cut at most.
    """

    most_pieces = MOST_PIECES

    def __init__(
        self,
        x: Tensor,
        sigma: float,
        store: PixelStore,
        metric: Metric,
        regions: Sequence[RegionPair],
        pixels: Tensor,
        period: tuple[int, int] | None = None,
        log_counts: Tensor | None = None,
        image_logs: Tensor | None = None,
        shift_logs: Callable[[int, Tensor], Tensor] | None = None,
    ) -> None:
        self.x = (x.double() * store.scale).contiguous()
        self.pixels = pixels
        self.store = store
        # The kernel reads memory as it lies.
        self.images = store.pixels.contiguous()
        self.radius = metric.radius
        self.taper = metric.is_tapered
        self.period = period
        self.log_counts = None if log_counts is None else log_counts.contiguous()
        self.image_logs = None if image_logs is None else image_logs.to("cpu", torch.float64)
        self.precision = torch.full((len(x),), 1 / sigma**2, dtype=torch.float64, device="cpu")
        self.count = len(x) * len(pixels)
        overlaps: list[AxisOverlap] = []
        axes: list[int] = []
        self._regions = np.zeros((len(regions), 4), np.int32)
        self._pairs_an_image = 0
        for region, into in zip(regions, self._regions, strict=True):
            into[:] = np.cumsum([len(overlaps), len(region.rows), 0, len(region.columns)])
            overlaps += [*region.rows, *region.columns]
            axes += [0] * len(region.rows) + [1] * len(region.columns)
            across, down = (sum(one.stop - one.start for one in some) for some in (region.columns, region.rows))
            self._pairs_an_image += across * down
        self._overlaps = np.array([(one.shift, one.start, one.stop) for one in overlaps], np.int32)
        self._overlap_logs: Tensor | None = None
        if shift_logs is not None:
            shifts = torch.tensor([one.shift for one in overlaps], dtype=torch.int64, device="cpu")
            of_rows = torch.tensor(axes, dtype=torch.int64, device="cpu") == 0
            self._overlap_logs = torch.where(of_rows, shift_logs(0, shifts), shift_logs(1, shifts)).contiguous()
        squares = _over_windows(x.double().square().sum(1), metric)
        self._squares = squares.flatten(1)[:, pixels]
        self._choose_sums(sigma, metric)

    def _choose_sums(self, sigma: float, metric: Metric) -> None:
        """Which images need sums in double, and which are summed afresh."""
        longest = max(self.store.image_size)
        limit = SLIDING_ROUNDING / max(1, longest / TAPERED_LENGTH) ** 1.5 if self.taper else SLIDING_ROUNDING
        coarse = self._rounding(metric) > limit
        able = sigma >= FRESH_SIGMA and self.radius in FRESH_RADII
        self.fresh = (coarse | (self.radius == 1)) & able
        self.wide = coarse & ~self.fresh
        doubtful = coarse & self.fresh
        if doubtful.any():
            far = torch.finfo(torch.float32).eps * self._farthest(doubtful) > SLIDING_ROUNDING
            self.wide |= far
            self.fresh &= ~far

    def _rounding(self, metric: Metric) -> Tensor:
        """Of log-weights that are products in float32, in nats, (B,)."""
        typical = self.store.spread * metric.total(self.store.channels) ** 0.5
        return rounding_of(self._squares.amax(1).sqrt(), typical, self.precision)

    def _farthest(self, chosen: Tensor) -> Tensor:
        """For some images the largest -log-weight that a pixel's best window among a few has, (B,)."""
        shape = len(self.x), self.x.shape[2] * self.x.shape[3]
        peak = torch.zeros(shape, dtype=torch.float64, device="cpu")
        weighted = peak.new_empty(*shape, self.x.shape[1])
        self.run_kernel(0, 1, only=chosen, peak=peak, total=torch.empty_like(peak), weighted=weighted)
        return -peak[:, self.pixels].amin(1)

    @property
    def pairs(self) -> int:
        return len(self.x) * self._pairs_an_image * len(self.store)

    def __len__(self) -> int:
        """Groups of LANES images."""
        return -(-len(self.store) // LANES)

    @property
    def offset(self) -> Tensor:
        """What the log-weights of the kernel lack, float64 (B, P)."""
        return (-self._squares * self.precision[:, None] / 2).masked_fill(self.fresh[:, None], 0)

    @property
    def keys_met(self) -> int:
        met = np.zeros(self.x.shape[2:], np.int64)
        for first_row, end_row, first_column, end_column in self._regions:
            met += np.outer(*(self._met(*some) for some in ((0, first_row, end_row), (1, first_column, end_column))))
        return int(met.max()) * len(self.store)

    def _met(self, axis: int, first: int, end: int) -> np.ndarray:
        """Number of rows (or columns) of a training image that each one of x meets, by some of the overlaps."""
        met = np.zeros(self.x.shape[2 + axis], np.int64)
        for shift, start, stop in self._overlaps[first:end]:
            met[start + shift : stop + shift] += 1
        start, period = self._repeats[axis]
        again = met[start:].copy()
        met[start:] = 0
        met[start - period : start - period + len(again)] += again
        return met

    @property
    def _repeats(self) -> list[tuple[int, int]]:
        """Row and column from which on x repeats itself, and the period; the end and 0 where it does not."""
        if self.period is None:
            return [(side, 0) for side in self.x.shape[2:]]
        return [(self.radius + side, side) for side in self.period]

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        height, width = self.store.image_size
        padding = self.store.padding
        return keys // (height * width), keys // width % height - padding, keys % width - padding

    def attribution(self, state: SoftmaxState, batch: int, top: int) -> SlidingAttribution:
        return SlidingAttribution(self, state, top)

    def pasting(self, state: SoftmaxState, response: Metric) -> SlidingPasting:
        """The job that pastes patches of this radius and weights, once the result of this one is known."""
        return SlidingPasting(self, state, response)

    def of_all_pixels(self, state: SoftmaxState) -> tuple[Tensor, Tensor]:
        """Peak and total of every pixel of x for a later pass, float64 (B, H W): those not asked for meet no key."""
        batch, _, rows, columns = self.x.shape
        peak = torch.zeros(batch, rows * columns, dtype=torch.float64, device="cpu")
        total = torch.ones_like(peak)
        peak[:, self.pixels] = state.peak.view(batch, -1) - self.offset
        total[:, self.pixels] = state.total.view(batch, -1)
        return peak, total

    def run(self, start: int, stop: int) -> SoftmaxState:
        batch, channels, rows, columns = self.x.shape
        peak = torch.empty(batch, rows * columns, dtype=torch.float64, device="cpu")
        total, weighted = torch.empty_like(peak), peak.new_empty(*peak.shape, channels)
        self.run_kernel(start, stop, peak=peak, total=total, weighted=weighted)
        peak, total, weighted = (found[:, self.pixels] for found in (peak, total, weighted))
        peak += self.offset
        return SoftmaxState(peak.flatten(), total.flatten(), weighted.flatten(0, 1) / self.store.scale)

    def images_of(self, start: int, stop: int) -> tuple[int, int]:
        """First training image of a range, and the one behind its last."""
        return start * LANES, min(stop * LANES, len(self.store))

    def regions_of(self, start: int, stop: int) -> np.ndarray:
        """The region pairs of a range, int32 (R, 4): see the struct `region_pair`."""
        return self._regions

    @property
    def _ways(self) -> Sequence[tuple[str, bool, Tensor]]:
        """Functions of the library, whether they sum afresh, and for which images they are called."""
        return (
            ("sliding_float", False, ~self.wide & ~self.fresh),
            ("sliding_float", True, self.fresh),
            ("sliding_double", False, self.wide),
        )

    def run_kernel(
        self,
        start: int,
        stop: int,
        *,
        top: int = 0,
        log_counts: Tensor | None = None,
        only: Tensor | None = None,
        response: Metric | None = None,
        further: Mapping[str, Any] = MappingProxyType({}),
        **arrays: Tensor,
    ) -> None:
        """Run the kernel over a range, for all images or `only` some; arrays (B, ...) are read and written.

        `further` fields of the task are passed as they are.
        """
        library = loader.library()
        assert library is not None
        first, end = self.images_of(start, stop)
        down, across = self._repeats
        regions = self.regions_of(start, stop)
        for name, fresh, chosen in self._ways:
            if only is not None:
                chosen = chosen & only
            if not chosen.any():
                continue
            x, precision = self.x[chosen], self.precision[chosen] / self.store.scale**2
            if self.taper:
                # The kernel has whole numbers for weights.
                precision = precision / (self.radius + 1) ** 2
            batch, channels, rows, columns = x.shape
            some = {field: array[chosen] for field, array in arrays.items()}
            counts, prior, profile = None, None, None
            near, box, least = 0, (0, 0, 0, 0), 0.0
            if self.image_logs is not None:
                logs = self.image_logs[chosen][:, first:end].contiguous()
                prior = loader.address(logs, torch.float64, batch, end - first)
            if response is not None and response.profile is not None:
                sides = response.profile.float().contiguous()
                profile = loader.address(sides, torch.float32, response.side)
                near, box, least = self.pasted(response)
            if log_counts is not None:
                counts = loader.address(log_counts, torch.float32, len(self.images), *self.images.shape[2:])
            task = loader.struct(
                "sliding_task",
                pixels=loader.address(self.images, self.images.dtype, *self.images.shape),
                first=first,
                count=end - first,
                is_byte=self.images.dtype == torch.uint8,
                channels=channels,
                height=self.images.shape[2],
                width=self.images.shape[3],
                centre=self.store.centre,
                x=loader.address(x, torch.float64, batch, channels, rows, columns),
                batch=batch,
                rows=rows,
                columns=columns,
                radius=self.radius,
                repeat_row=down[0],
                period_rows=down[1],
                repeat_column=across[0],
                period_columns=across[1],
                afresh=fresh,
                taper=self.taper,
                precision=loader.address(precision, torch.float64, batch),
                overlaps=loader.numbers(self._overlaps, "axis_overlap"),
                regions=loader.numbers(regions, "region_pair"),
                region_count=len(regions),
                top=top,
                log_counts=counts,
                image_logs=prior,
                overlap_logs=None
                if self._overlap_logs is None
                else loader.address(self._overlap_logs, torch.float64, len(self._overlaps)),
                reach=0 if response is None else response.radius,
                profile=profile,
                near=near,
                first_query_row=box[0],
                end_query_row=box[1],
                first_query_column=box[2],
                end_query_column=box[3],
                least=least,
                **further,
                **{field: loader.address(array, array.dtype, *array.shape) for field, array in some.items()},
            )
            if getattr(library, name)(task):
                raise MemoryError(f"not enough memory for a batch of {batch} images of {rows}x{columns} pixels")
            for field, array in some.items():
                arrays[field][chosen] = array

    def pasted(self, response: Metric) -> tuple[int, tuple[int, int, int, int], float]:
        """How near a patch counts inside the canvas, first and end row and column of all queries, the least weight.

        The box of a canvas whose queries are no rectangle is empty: there all of a patch is pasted.
        """
        assert response.profile is not None
        counts = response.profile[response.radius :] >= FAR * float(response.profile.max())
        columns = self.x.shape[3]
        row, column = self.pixels // columns, self.pixels % columns
        box = int(row.min()), int(row.max()) + 1, int(column.min()), int(column.max()) + 1
        if (box[1] - box[0]) * (box[3] - box[2]) != len(self.pixels):
            box = (0, 0, 0, 0)
        return int(counts.sum()) - 1, box, OMITTED / max(1, self.keys_met)


class SlidingAttribution:
    """The attribution pass of a `SlidingJob`: the same kernel again.

    Keys are counted through all places of the training images. Of windows with equal weights any may be kept.

    Args:
        job: what was averaged.
        state: its result for all its keys.
        top: number of the largest weights to keep for each query.
    """

    def __init__(self, job: SlidingJob, state: SoftmaxState, top: int) -> None:
        self.job = job
        self.top = top
        self.peak, self.total = job.of_all_pixels(state)

    @property
    def pairs(self) -> int:
        return -(-self.job.pairs // LONGER)

    def __len__(self) -> int:
        return len(self.job)

    def run(self, start: int, stop: int) -> Attribution:
        job = self.job
        peak, total = self.peak, self.total
        logs = torch.empty(*peak.shape, self.top, dtype=torch.float32, device="cpu")
        keys = torch.empty(logs.shape, dtype=torch.int64, device="cpu")
        shares = peak.new_zeros(len(peak), len(job.store))
        first, end = job.images_of(start, stop)
        some, entropy = peak.new_empty(len(peak), end - first), torch.empty_like(peak)
        job.run_kernel(
            start,
            stop,
            top=self.top,
            log_counts=job.log_counts,
            peak=peak,
            total=total,
            logs=logs,
            keys=keys,
            shares=some,
            entropy=entropy,
        )
        shares[:, first:end] = some
        # Heaps are in no order that means anything.
        keys, order = keys[:, job.pixels].flatten(0, 1).sort(dim=1)
        found = (
            logs[:, job.pixels].flatten(0, 1).gather(1, order).double() - total[:, job.pixels].flatten().log()[:, None]
        )
        found, order = found.sort(dim=1, descending=True, stable=True)
        top = TopWeights(found, keys.gather(1, order))
        unread = torch.zeros(len(found), dtype=torch.float64, device="cpu")
        return Attribution(top, shares, unread, entropy[:, job.pixels].flatten())

    def counts(self, keys: Tensor) -> Tensor:
        if self.job.log_counts is None:
            return torch.ones_like(keys)
        return self.job.log_counts.flatten()[keys].double().exp().round().long()

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.job.locate(keys, row, column)


class SlidingPasting:
    """The pasting pass of a `SlidingJob`: the same kernel again, which averages patches around centres of windows.

    Args:
        job: what was averaged.
        state: its result for all its keys.
        response: the patch: square or tapered, no larger than the window.
    """

    def __init__(self, job: SlidingJob, state: SoftmaxState, response: Metric) -> None:
        self.job = job
        self.response = response
        self.peak, self.total = job.of_all_pixels(state)

    @property
    def pairs(self) -> int:
        return self.job.pairs

    def __len__(self) -> int:
        return len(self.job)

    def run(self, start: int, stop: int) -> SoftmaxState:
        """Sums of the weights and of the values that are pasted on every pixel of x, (B * H W): the peak is 0."""
        job = self.job
        total = torch.empty_like(self.peak)
        weighted = total.new_empty(*total.shape, job.x.shape[1])
        job.run_kernel(
            start,
            stop,
            response=self.response,
            peak=self.peak,
            total=self.total,
            pasted_total=total,
            pasted=weighted,
        )
        return SoftmaxState(
            torch.zeros_like(total).flatten(), total.flatten(), weighted.flatten(0, 1) / job.store.scale
        )


def _over_windows(squares: Tensor, metric: Metric) -> Tensor:
    """Sums over windows that end at the borders, (B, H, W), in memory that does not grow with the square of a side."""
    assert metric.profile is not None
    for axis in (1, 2):
        size = squares.shape[axis]
        lines = squares.movedim(axis, -1)
        if metric.is_tapered:
            reach = min(metric.radius, size - 1)
            weights = metric.profile[metric.radius - reach : metric.radius + reach + 1].view(1, 1, -1)
            sums = torch.nn.functional.conv1d(lines.reshape(-1, 1, size), weights, padding=reach).view(lines.shape)
        else:
            at = torch.arange(size, device="cpu")
            running = torch.nn.functional.pad(lines.cumsum(-1), [1, 0])
            last, first = (at + metric.radius + 1).clamp(max=size), (at - metric.radius).clamp(min=0)
            sums = running[..., last] - running[..., first]
        squares = sums.movedim(-1, axis)
    return squares
