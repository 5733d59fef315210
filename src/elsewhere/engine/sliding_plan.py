"""Plans sliding-window jobs: which rows and columns meet, in bands that memory has room for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine.jobs import Step
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.layout import Layout, Region
from elsewhere.engine.overlaps import AxisOverlap, RegionPair, axis_overlaps
from elsewhere.engine.prior import shift_logs
from elsewhere.engine.sliding import SlidingJob
from elsewhere.engine.workspace import Workspace, wrap


@dataclass(frozen=True)
class SlidingPlan:
    """Plans sliding-window jobs, whose states need a quarter of the memory at most.

    Attributes:
        workspace: the training images.
        layout, x, sigma, label, traced: see `Planner.plan`.
        image_logs: see `SlidingJob`.
        kind: which kernel.
    """

    workspace: Workspace
    layout: Layout
    x: Tensor
    sigma: float
    label: int | None
    traced: bool
    image_logs: Tensor | None = None
    kind: type[SlidingJob] = SlidingJob

    def steps(self, regions: Sequence[Region]) -> Iterator[list[Step]]:
        """In bands of rows."""
        metric = self.layout.metric
        assert metric is not None
        margin = self.layout.margin
        x = wrap(self.x, margin)
        workspace = self.workspace
        store = workspace.wrapped(self.layout.padding, self.label)
        batch, channels, height, width = x.shape
        a_pixel = (channels + 2) * (8 * self.kind.most_pieces * batch + 64 * torch.get_num_threads())
        share = workspace.memory // 4
        # Equal windows need not weigh the same where images or shifts have weights of their own.
        alike = self.image_logs is None and not self.layout.has_prior
        log_counts = self._log_counts(regions) if self.traced and alike else None
        # Queries that reach beyond an edge go on at the opposite one.
        periodic = self._periodic(x, store, regions[0], share // a_pixel, log_counts) if margin else None
        if periodic is not None:
            pixels = torch.arange(periodic.count // batch, device="cpu")
            yield [Step(periodic, pixels, canvas=self._canvas(periodic, 0))]
            return
        most = max(1, share // (a_pixel * width))
        for top in range(0, height - 2 * margin, most):
            band = range(top, min(top + most, height - 2 * margin))
            # What the windows of the band see of x.
            low = max(0, band.start + margin - metric.radius)
            high = min(height, band.stop + margin + metric.radius)
            parts = [part for part in (region.within(band) for region in regions) if part.rows]
            here = torch.zeros(len(band), width - 2 * margin, dtype=torch.bool, device="cpu")
            for part in parts:
                here[part.rows.start - top : part.rows.stop - top, part.columns.start : part.columns.stop] = True
            row, column = here.nonzero().unbind(1)
            inside = (row + top + margin - low) * width + column + margin
            pairs = _region_pairs(parts, margin - low, margin)
            some = x[:, :, low:high]
            job = self.kind(
                some,
                self.sigma,
                store,
                metric,
                pairs,
                inside,
                log_counts=log_counts,
                image_logs=self.image_logs,
                shift_logs=self._shift_logs(low),
            )
            yield [Step(job, (row + top) * (width - 2 * margin) + column, canvas=self._canvas(job, low))]

    def _shift_logs(self, first: int) -> Callable[[int, Tensor], Tensor] | None:
        """See `SlidingJob`, for an x that begins with a row of the image with its margin."""
        layout = self.layout
        width = layout.shift_width
        if width is None:
            return None
        # How far a pixel and its own place are apart in x and the training images as they are padded.
        own = (layout.margin - layout.padding - first, layout.margin - layout.padding)
        sides: Sequence[int | None] = self.x.shape[2:] if layout.wraps.x else (None, None)
        return lambda axis, shifts: shift_logs(shifts - own[axis], width, sides[axis])

    def _canvas(self, job: SlidingJob, first: int) -> Tensor | None:
        """Where the pixels of a job's x lie in the image, if patches are pasted on them, int64 (H' W').

        Args:
            job: its x is part of the image with the margin around it.
            first: row of that with which the job's x begins.
        """
        if self.layout.response is None:
            return None
        height, width = self.x.shape[2:]
        row = (torch.arange(first, first + job.x.shape[2], device="cpu") - self.layout.margin) % height
        column = (torch.arange(job.x.shape[3], device="cpu") - self.layout.margin) % width
        return (row[:, None] * width + column).flatten()

    def _periodic(
        self, x: Tensor, store: PixelStore, region: Region, most: int, log_counts: Tensor | None
    ) -> SlidingJob | None:
        """The job of all pixels of images that wrap, whose shifts meet all places of the training images.

        Without wrapping, shifts near the edges meet few places, and each has sums to begin with. None where a place
        would be met twice, and where more pixels than `most` were to be held.
        """
        places, metric = region.places, self.layout.metric
        assert places is not None
        assert metric is not None
        margin = metric.radius
        period = len(region.rows), len(region.columns)
        met = len(places.rows), len(places.columns)
        sides = [side + more - 1 for side, more in zip(x.shape[2:], met, strict=True)]
        if any(more > side for more, side in zip(met, period, strict=True)) or math.prod(sides) > most:
            return None
        for axis, (side, turn) in enumerate(zip(sides, period, strict=True), 2):
            index = torch.arange(side, device="cpu")
            x = x.index_select(axis, index.where(index < turn + 2 * margin, index - turn))
        overlaps = [
            [AxisOverlap(margin - line.start + shift, line.start, line.stop) for shift in range(turn)]
            for line, turn in zip((places.rows, places.columns), period, strict=True)
        ]
        row, column = (torch.arange(margin, margin + turn, device="cpu") for turn in period)
        inside = (row[:, None] * sides[1] + column).flatten()
        return self.kind(
            x,
            self.sigma,
            store,
            metric,
            [RegionPair(*overlaps)],
            inside,
            period,
            log_counts,
            self.image_logs,
            self._shift_logs(0),
        )

    def _log_counts(self, regions: Sequence[Region]) -> Tensor | None:
        """See `Workspace.log_counts`: of the interior, of which there is one; along edges nothing is merged."""
        for region in regions:
            if region.places is not None and self.workspace.merges(region.places, self.label):
                return self.workspace.log_counts(region.places, self.layout.padding, self.label)
        return None


def _region_pairs(regions: Sequence[Region], down: int, right: int) -> list[RegionPair]:
    """Which rows and columns meet, x lying further down and right than the regions say."""
    of_rows: dict[tuple[range, range], list[tuple[range, range]]] = {}
    own: list[RegionPair] = []
    for region in regions:
        places = region.places
        if places is None:
            axes = ((region.rows, down), (region.columns, right))
            own.append(RegionPair(*([AxisOverlap(by, line.start, line.stop)] for line, by in axes)))
            continue
        met = _moved(region.columns, right), places.columns
        of_rows.setdefault((_moved(region.rows, down), places.rows), []).append(met)
    # Rows that meet the same columns go together.
    together: dict[tuple[tuple[range, range], ...], list[tuple[range, range]]] = {}
    for rows_met, columns_met in of_rows.items():
        together.setdefault(tuple(columns_met), []).append(rows_met)
    return own + [RegionPair(axis_overlaps(rows), axis_overlaps(columns)) for columns, rows in together.items()]


def _moved(places: range, by: int) -> range:
    return range(places.start + by, places.stop + by)
