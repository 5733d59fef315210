"""Windows of x against windows of the training images by sums over shifted images: a pair costs the same at any window.

|q - k|^2 needs the products of a window's pixels with those of a training window. For one shift between x and a
training image these are windows of one image of products, and neighbouring windows share nearly all of their sum: the
trick of fast non-local means (Darbon et al. 2008). The loop is compiled: kernels/shifts.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elsewhere.engine.kernels import loader
from elsewhere.engine.keys import PixelStore, counting
from elsewhere.engine.state import SoftmaxState
from elsewhere.engine.tracing import SecondLook, Top, Trace
from elsewhere.engine.weighing import rounding_of

# Images of a piece of work: a multiple of those that lie side by side in a vector, which are as many or fewer.
LANES = 16
# With fewer images much of each vector would be empty.
FEWEST = 16
# Largest rounding error of a log-weight, in nats, at which sums are float32: less than for `SharedKeys`, since sums run
# over a whole row and a whole column before they are fresh again.
ROUNDING = 3e-5
# Sums over tapered windows add up what they change by, and with it its rounding: from rows and columns this long on
# that is more than rounding allows for. Measured: 1.4e-5 of x0hat at 32 pixels, 5e-5 at 96.
TAPERED = 64
# Through windows of these radii, of 2 only where products would be too coarse, squared differences are added up anew
# for every pair, in float32: where keys are near they are small, and so is their rounding. Not below this noise level.
FRESH = (1, 2)
PLAIN = 0.05


@dataclass(frozen=True)
class Line:
    """Rows (or columns) of the training images that meet rows of x: start to stop - 1 meet start + shift, ..."""

    shift: int
    start: int
    stop: int


@dataclass(frozen=True)
class Frame:
    """Rows and columns that meet: the window of x around (row + row shift, column + column shift) has the key around
    (row, column), for every combination. A window ends where the training image ends."""

    rows: Sequence[Line]
    columns: Sequence[Line]


def meeting(ranges: Iterable[tuple[range, range]]) -> list[Line]:
    """Every row of x in a range with every row of the training images in the range beside it, as lines."""
    lines: list[Line] = []
    for asked, keys in ranges:
        for shift in range(asked.start - keys.stop + 1, asked.stop - keys.start):
            start, stop = max(keys.start, asked.start - shift), min(keys.stop, asked.stop - shift)
            before = next((line for line in lines if line.shift == shift and line.stop == start), None)
            if before is not None:
                lines.remove(before)
                start = before.start
            lines.append(Line(shift, start, stop))
    return lines


def compiled(store: PixelStore) -> bool:
    """Whether the loop is there, and serves these images."""
    return (
        len(store) >= FEWEST
        and store.pixels.device.type == "cpu"
        and store.pixels.dtype in (torch.uint8, torch.float32)
        and loader.library() is not None
    )


class Shifts:
    """x0hat_i = sum_j softmax_j(-|q_i - k_j|^2 / (2 sigma^2)) v_j, v_j being the centre of k_j: see `SharedKeys`.

    Args:
        x: noisy images (B, C, H', W'), centred as the store is, float32.
        sigma: noise level of each image, float64 (B,).
        store: the training images, for which `compiled` holds.
        window: odd side of the windows.
        frames: which windows meet; no pair twice.
        pixels: flat positions in x to answer for, all of which are met, int64 (P,).
        period: rows and columns after which x repeats itself, if it does. Then it begins a radius before the first
            pixels, and those behind the first period are those of the first once more, met in their place.
        taper: whether pixels of a window count the less the farther they are from its centre: see `counting`.
    """

    def __init__(
        self,
        x: Tensor,
        sigma: Tensor,
        store: PixelStore,
        window: int,
        frames: Sequence[Frame],
        pixels: Tensor,
        period: tuple[int, int] | None = None,
        taper: bool = False,
    ) -> None:
        self.x = (x.double() * store.scale).contiguous()
        self.pixels = pixels
        self.store = store
        # The loop reads memory as it lies.
        self.images = store.pixels.contiguous()
        self.radius = window // 2
        self.taper = taper
        self.period = period
        self.precision = 1 / sigma.double().square()
        self.count = len(x) * len(pixels)
        lines: list[Line] = []
        self._frames = np.zeros((len(frames), 4), np.int32)
        self._each = 0
        for frame, into in zip(frames, self._frames, strict=True):
            into[:] = np.cumsum([len(lines), len(frame.rows), 0, len(frame.columns)])
            lines += [*frame.rows, *frame.columns]
            across, down = (sum(line.stop - line.start for line in some) for some in (frame.columns, frame.rows))
            self._each += across * down
        self._lines = np.array([(line.shift, line.start, line.stop) for line in lines], np.int32)
        squares = self._over_windows(x.double().square().sum(1))
        self._squares = squares.flatten(1)[:, pixels]
        width = x.shape[1] * float(counting(torch.arange(window, device="cpu") - self.radius, window, taper).sum()) ** 2
        longest = max(store.pixels.shape[2:])
        limit = ROUNDING / max(1, longest / TAPERED) ** 1.5 if taper else ROUNDING
        coarse = rounding_of(self._squares.amax(1).sqrt(), store.spread * width**0.5, self.precision) > limit
        able = (sigma >= PLAIN) & (self.radius in FRESH)
        self.fresh = able & (coarse | (self.radius == 1))
        self.wide = coarse & ~self.fresh
        doubtful = coarse & self.fresh
        if doubtful.any():
            far = torch.finfo(torch.float32).eps * self._farthest(doubtful) > ROUNDING
            self.wide |= far
            self.fresh &= ~far

    def _farthest(self, chosen: Tensor) -> Tensor:
        """Of some images the least log-weight, less its sign, that a pixel's best window among a few has, (B,)."""
        shape = len(self.x), self.x.shape[2] * self.x.shape[3]
        peak = torch.zeros(shape, dtype=torch.float64, device="cpu")
        weighted = peak.new_empty(*shape, self.x.shape[1])
        self.loop(0, 1, only=chosen, peak=peak, total=torch.empty_like(peak), weighted=weighted)
        return -peak[:, self.pixels].amin(1)

    def _over_windows(self, squares: Tensor) -> Tensor:
        """Sums over windows that end at the borders, (B, H, W)."""
        for axis in (1, 2):
            size = squares.shape[axis]
            if self.taper:
                reach = min(self.radius, size - 1)
                weights = counting(torch.arange(-reach, reach + 1, device="cpu"), 2 * self.radius + 1, taper=True)
                lines = squares.movedim(axis, -1)
                sums = torch.nn.functional.conv1d(lines.reshape(-1, 1, size), weights.view(1, 1, -1), padding=reach)
                squares = sums.view(lines.shape).movedim(-1, axis)
                continue
            at = torch.arange(size, device="cpu")
            sums = torch.nn.functional.pad(squares.movedim(axis, -1).cumsum(-1), [1, 0])
            last, first = (at + self.radius + 1).clamp(max=size), (at - self.radius).clamp(min=0)
            squares = (sums[..., last] - sums[..., first]).movedim(-1, axis)
        return squares

    @property
    def pairs(self) -> int:
        return len(self.x) * self._each * len(self.store)

    def __len__(self) -> int:
        """Images, as many at a time as a vector holds."""
        return -(-len(self.store) // LANES)

    @property
    def offset(self) -> Tensor:
        """What the log-weights of the loop lack, float64 (B, P)."""
        return (-self._squares * self.precision[:, None] / 2).masked_fill(self.fresh[:, None], 0)

    @property
    def most(self) -> int:
        """Windows that a query meets, at most."""
        met = np.zeros(self.x.shape[2:], np.int64)
        for first_row, end_row, first_column, end_column in self._frames:
            met += np.outer(*(self._met(*some) for some in ((0, first_row, end_row), (1, first_column, end_column))))
        return int(met.max()) * len(self.store)

    def _met(self, axis: int, first: int, end: int) -> np.ndarray:
        """How many rows (or columns) of a training image each one of x meets, by some of the lines."""
        met = np.zeros(self.x.shape[2 + axis], np.int64)
        for shift, start, stop in self._lines[first:end]:
            met[start + shift : stop + shift] += 1
        turn, period = self._turns[axis]
        again = met[turn:].copy()
        met[turn:] = 0
        met[turn - period : turn - period + len(again)] += again
        return met

    @property
    def _turns(self) -> list[tuple[int, int]]:
        """Row and column from which on x repeats itself, and the period; nowhere where there is none."""
        if self.period is None:
            return [(side, 0) for side in self.x.shape[2:]]
        return [(self.radius + side, side) for side in self.period]

    def run(self, start: int, stop: int) -> SoftmaxState:
        batch, channels, rows, columns = self.x.shape
        peak = torch.empty(batch, rows * columns, dtype=torch.float64, device="cpu")
        total, weighted = torch.empty_like(peak), peak.new_empty(*peak.shape, channels)
        self.loop(start, stop, peak=peak, total=total, weighted=weighted)
        peak, total, weighted = (found[:, self.pixels] for found in (peak, total, weighted))
        peak += self.offset
        return SoftmaxState(peak.flatten(), total.flatten(), weighted.flatten(0, 1) / self.store.scale)

    def images_of(self, start: int, stop: int) -> tuple[int, int]:
        """First training image of a range, and the one behind its last."""
        return start * LANES, min(stop * LANES, len(self.store))

    def loop(
        self,
        start: int,
        stop: int,
        *,
        top: int = 0,
        log_counts: Tensor | None = None,
        only: Tensor | None = None,
        **arrays: Tensor,
    ) -> None:
        """Run the compiled loop over a range, for all images or `only` some; arrays (B, ...) are read and written."""
        library = loader.library()
        assert library is not None
        first, end = self.images_of(start, stop)
        down, across = self._turns
        ways = (
            ("shifts_float", False, ~self.wide & ~self.fresh),
            ("shifts_float", True, self.fresh),
            ("shifts_double", False, self.wide),
        )
        for name, fresh, chosen in ways:
            if only is not None:
                chosen = chosen & only
            if not chosen.any():
                continue
            x, precision = self.x[chosen], self.precision[chosen] / self.store.scale**2
            if self.taper:
                # The loop counts in whole numbers.
                precision = precision / (self.radius + 1) ** 2
            batch, channels, rows, columns = x.shape
            some = {field: array[chosen] for field, array in arrays.items()}
            counts = None
            if log_counts is not None:
                counts = loader.address(log_counts, torch.float32, len(self.images), *self.images.shape[2:])
            task = loader.struct(
                "task",
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
                turn_row=down[0],
                period_rows=down[1],
                turn_column=across[0],
                period_columns=across[1],
                fresh=fresh,
                taper=self.taper,
                precision=loader.address(precision, torch.float64, batch),
                lines=loader.numbers(self._lines, "line"),
                frames=loader.numbers(self._frames, "frame"),
                frame_count=len(self._frames),
                top=top,
                log_counts=counts,
                **{field: loader.address(array, array.dtype, *array.shape) for field, array in some.items()},
            )
            if getattr(library, name)(task):
                raise MemoryError(f"not enough memory for a batch of {batch} images of {rows}x{columns} pixels")
            for field, array in some.items():
                arrays[field][chosen] = array


class ShiftsTracing(SecondLook):
    """The second look at the windows of `Shifts`, the same loop again: see `Tracing`.

    Keys are counted through all places of the training images. Of windows with equal weights any may be named.

    Args:
        job: what was averaged.
        state: the state of all its windows.
        top: how many of the largest weights to keep for each query.
        log_counts: how many equal windows each window stands for, the logarithm, float32 (N, H, W): -inf for those that
            another one stands for, which are not named; None where each stands for itself.
    """

    def __init__(self, job: Shifts, state: SoftmaxState, top: int, log_counts: Tensor | None) -> None:
        super().__init__(job)
        self.job = job
        self.top = top
        self.log_counts = None if log_counts is None else log_counts.contiguous()
        self.total = state.total.view(len(job.x), -1)
        self.peak = state.peak.view(len(job.x), -1) - job.offset

    def run(self, start: int, stop: int) -> Trace:
        job = self.job
        batch, _, rows, columns = job.x.shape
        # Pixels that are not answered for are not met.
        peak = torch.zeros(batch, rows * columns, dtype=torch.float64, device="cpu")
        total = torch.ones_like(peak)
        peak[:, job.pixels], total[:, job.pixels] = self.peak, self.total
        logs = torch.empty(batch, rows * columns, self.top, dtype=torch.float32, device="cpu")
        keys = torch.empty(logs.shape, dtype=torch.int64, device="cpu")
        shares = peak.new_zeros(batch, len(job.store))
        first, end = job.images_of(start, stop)
        some = peak.new_empty(batch, end - first)
        job.loop(
            start,
            stop,
            top=self.top,
            log_counts=self.log_counts,
            peak=peak,
            total=total,
            logs=logs,
            keys=keys,
            shares=some,
        )
        shares[:, first:end] = some
        # Heaps are in no order that means anything.
        keys, order = keys[:, job.pixels].flatten(0, 1).sort(dim=1)
        found = logs[:, job.pixels].flatten(0, 1).gather(1, order).double() - self.total.flatten().log()[:, None]
        found, order = found.sort(dim=1, descending=True, stable=True)
        return Trace(Top(found, keys.gather(1, order)), shares)

    def counts(self, keys: Tensor) -> Tensor:
        if self.log_counts is None:
            return torch.ones_like(keys)
        return self.log_counts.flatten()[keys].double().exp().round().long()

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        height, width = self.job.images.shape[2:]
        return keys // (height * width), keys // width % height, keys % width
