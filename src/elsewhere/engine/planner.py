"""The planner: which kernel answers which pixels, in which groups, so that memory suffices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from elsewhere.engine import few, positions, sliding
from elsewhere.engine.by_number import NumberJob
from elsewhere.engine.dense import DenseJob, Prior
from elsewhere.engine.jobs import Average, Pasting, Step
from elsewhere.engine.keys.places import Extent
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.keys.windows import WindowKeys
from elsewhere.engine.layout import Layout, Region
from elsewhere.engine.patches import Canvas, Patches
from elsewhere.engine.precision import COARSE
from elsewhere.engine.prior import pedestal_logs, place_logs
from elsewhere.engine.runner import MOST_PIECES, run
from elsewhere.engine.same_place import SamePlaceJob
from elsewhere.engine.search.index import Index
from elsewhere.engine.search.job import SearchJob
from elsewhere.engine.search.settings import SEARCH, SearchSettings
from elsewhere.engine.shifts import ShiftJob
from elsewhere.engine.sliding import SlidingJob
from elsewhere.engine.sliding_plan import SlidingPlan
from elsewhere.engine.state import Attribution, SoftmaxState
from elsewhere.engine.workspace import Workspace, wrap

Engine = Literal["auto", "exact", "fast"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

# With engine="auto", windows are searched from this many pixels in the training images on: below, the exact engine
# answers in seconds without an index (benchmarks/fast_engine.py).
AUTO_PIXELS = 30_000_000
# Windows at fewer places than this are never searched: it would take longer (benchmarks/fast_engine.py).
SEARCH_PLACES = 1_000_000
# The sliding-window kernel costs the same whatever the window, a search does not: the break-even number of places
# grows by this many for each number in a window (benchmarks/fast_engine.py).
SEARCH_PLACES_A_NUMBER = 7_500
# Windows of up to this many numbers are weighed by a dense kernel as fast as by sliding sums
# (benchmarks/fast_engine.py).
SMALL_WINDOW = 49
# Bytes of a number of a query, or of a state that waits to be merged: float64, twice.
NUMBER = 16


@dataclass(frozen=True)
class Traced:
    """Where the weights of one step went, for some images of a batch.

    Attributes:
        step, state: the job, and its result.
        attribution: where the weights went; `attribution.shares` is (B, n), over the n training images of the class.
        counts: number of equal windows that each of the top keys stands for, int64 (Q, k).
        located: training image (of those n), row and column of the top keys, int64 (B, P, k) each.
    """

    step: Step
    state: SoftmaxState
    attribution: Attribution
    counts: Tensor
    located: tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Planner:
    """Chooses the kernels for a set of training images.

    Attributes:
        workspace: the training images.
        engine: "exact" weighs every key; "fast" searches an index where there are enough; "auto" is "fast" for large
            sets.
        tolerance: error of x0hat that a search may make.
        search: how an index is searched.
    """

    workspace: Workspace
    engine: Engine
    tolerance: float
    search: SearchSettings = field(default_factory=lambda: SEARCH)

    @property
    def device(self) -> torch.device:
        return self.workspace.store.pixels.device

    def searches(self, layout: Layout) -> bool:
        """Whether windows are searched if there are enough of them."""
        store = self.workspace.store
        if self.engine == "exact" or layout.metric is None or self.device.type != "cpu":
            return False
        # An index knows neither patches nor priors.
        if layout.response is not None or layout.has_prior or self.workspace.weights is not None:
            return False
        if layout.metric.matrix is not None:
            return False
        return self.engine == "fast" or store.pixels[:, 0].numel() >= AUTO_PIXELS

    def searched(self, region: Region, layout: Layout, label: int | None) -> bool:
        """Whether a region's keys are searched."""
        if region.places is None or not self.searches(layout):
            return False
        store = self.workspace.of_class(label)
        height, width = region.places.extent.sides
        assert layout.metric is not None
        slides = positions.kind_of(self.workspace.store, layout.metric)
        numbers = store.channels * height * width if slides else 0
        return len(store) * len(region.places) >= SEARCH_PLACES + SEARCH_PLACES_A_NUMBER * numbers

    def built(self, region: Region, layout: Layout, label: int | None) -> Index:
        """The index of a region's keys, from the cache or built now."""
        assert region.places is not None
        assert layout.metric is not None
        return self.workspace.built(region.places, layout.padding, label, layout.metric)

    def images_at_once(self, layout: Layout, image: Tensor, top: int = 0, training: int = 0) -> int:
        """Number of images (C, H, W) that are answered together.

        Args:
            layout: what is asked for.
            image: one of them.
            top, training: weights kept for each query, and number of training images, in an attribution.
        """
        side = 2 * max(self.workspace.store.image_size) - 1 if layout.metric is None else layout.metric.side
        window = image.shape[0] * min(side, 2 * max(image.shape[1:])) ** 2
        values = image.shape[0] * (2 * layout.reach + 1) ** 2
        if training and layout.response is not None and any(region.places is not None for region in layout.regions):
            return 1  # weights of all pairs of pixels are held
        a_pixel = NUMBER * (window + MOST_PIECES * (values + 2 + top))
        return max(1, self.workspace.memory // 4 // (a_pixel * image[0].numel() + 8 * MOST_PIECES * training))

    def average(self, layout: Layout, x: Tensor, sigma: float, label: int | None) -> tuple[Tensor, Tensor]:
        """Posterior mean of centred images (B, C, H, W), and its estimated error (B, H, W)."""
        if layout.response is None:
            found = self.states(layout, x, sigma, label)
            assert found.error is not None
            return found.mean().squeeze(-1).to(x.dtype), found.error[:, 0].to(x.dtype)
        canvas = Canvas(x)
        for steps in self.plan(layout, x, sigma, label):
            if not self._paste_few(layout, steps, canvas):
                self._paste(layout, steps, run([step.job for step in steps], self.device), canvas)
        return canvas.image(), x.new_zeros(x[:, 0].shape)

    def states(self, layout: Layout, x: Tensor, sigma: float, label: int | None) -> SoftmaxState:
        """What is seen of the average of every number of centred images, (B, C, H, W) with one value each.

        Those of two sets of training images merge into that of both together, if their stores have the same centre.
        Where patches are pasted there is none.
        """
        empty = x.new_zeros(x.shape, dtype=torch.float64)
        found = SoftmaxState(empty, empty.clone(), empty.new_zeros(*x.shape, 1), empty.clone())
        for steps in self.plan(layout, x, sigma, label):
            for step, state in zip(steps, run([step.job for step in steps], self.device), strict=True):
                step.spread(state, found)
        if layout.pedestal:
            # Weights of images came without the largest of them, which differs from one set of images to the next.
            found.peak.add_(self.pedestal(layout, x, sigma, label).amax(1)[:, None, None, None])
        return found

    def _paste(self, layout: Layout, steps: Sequence[Step], states: Sequence[SoftmaxState], canvas: Canvas) -> None:
        """Paste what some steps found: patches that they averaged, or those of a second pass."""
        again = [(step, state) for step, state in zip(steps, states, strict=True) if step.canvas is not None]
        for step, state in zip(steps, states, strict=True):
            if step.canvas is None:
                step.paste(state, canvas)
        assert layout.response is not None
        passes = [cast(Pasting, step.job).pasting(state, layout.response) for step, state in again]
        for (step, _), pasted in zip(again, run(passes, self.device), strict=True):
            assert step.canvas is not None
            batch = len(canvas.total)
            canvas.add(step.canvas, pasted.total.view(batch, -1), pasted.weighted.view(batch, len(step.canvas), -1))

    def _paste_few(self, layout: Layout, steps: Sequence[Step], canvas: Canvas) -> bool:
        """Paste what some steps find, where that is a single job to whose queries few keys matter; whether it was."""
        if len(steps) != 1 or not few.serves(layout, steps[0].job):
            return False
        step = steps[0]
        assert layout.response is not None
        assert step.canvas is not None
        pasted = few.paste(cast(positions.PositionJob, step.job), layout.response, self.workspace.memory // 4)
        if pasted is not None:
            canvas.add(step.canvas, pasted.total[None], pasted.weighted[None])
        return pasted is not None

    def coverage(self, layout: Layout, x: Tensor) -> Tensor:
        """How much is pasted on every pixel of images (B, C, H, W), float64 (H W)."""
        canvas = Canvas(x[:1, :1].detach())
        flat = torch.arange(x[0, 0].numel(), device=x.device).view(x.shape[2:])
        for region in layout.regions:
            pixels = region.pixels(flat)
            patches = self.patches(layout, region, pixels, x)
            assert patches is not None
            canvas.paste(patches, x.new_zeros(1, len(pixels), 1, len(patches.counts)))
        return canvas.total[0]

    def patches(self, layout: Layout, region: Region, pixels: Tensor, x: Tensor) -> Patches | None:
        """What the pixels of a region paste; None for themselves."""
        if layout.response is None:
            return None
        reach = layout.reach
        whole = Extent(reach, reach, reach, reach)
        extent = whole if region.places is None or self.own_place(region, x) else region.places.extent
        offsets = extent.patch(reach)
        return Patches.around(pixels, offsets, layout.response, (x.shape[2], x.shape[3]), wraps=layout.wraps.x)

    def trace(self, layout: Layout, x: Tensor, sigma: float, label: int | None, top: int | None) -> Iterator[Traced]:
        """Where the weights of every query went, where single pixels are averaged; `trace_patches` is for patches.

        Args:
            layout, x, sigma, label: as in `average`.
            top: number of the largest weights to keep for each query; None for all of them.

        Raises:
            ValueError: all weights need more than the memory.
        """
        for steps in self.plan(layout, x, sigma, label, traced=True):
            if top is None:
                queries = [1 if step.pixels is None else len(step.pixels) for step in steps]
                self.check_room(len(x) * sum(n * s.job.keys_met for n, s in zip(queries, steps, strict=True)))
            states = run([step.job for step in steps], self.device)
            passes = [
                step.job.attribution(state, len(x), min(top or step.job.keys_met, step.job.keys_met))
                for step, state in zip(steps, states, strict=True)
            ]
            for step, state, found, one in zip(steps, states, run(passes, self.device), passes, strict=True):
                pixels = torch.arange(x[0, 0].numel(), device=self.device) if step.pixels is None else step.pixels
                # One query may have asked for all pixels.
                keys = found.top.keys.view(len(x), -1, found.top.keys.shape[1]).expand(-1, len(pixels), -1)
                known = keys.clamp(min=0)
                row, column = (at[None, :, None] for at in (pixels // x.shape[3], pixels % x.shape[3]))
                yield Traced(step, state, found, one.counts(known) * (keys >= 0), one.locate(known, row, column))

    def counted(self, label: int | None) -> int:
        """Number of training images of a class whose weight is positive."""
        weights, chosen = self.workspace.weights, self.workspace.chosen(label)
        return len(chosen) if weights is None else int((weights[chosen] > 0).sum())

    def check_room(self, weights: int) -> None:
        """Refuse to keep so many weights if they need more than the memory.

        Raises:
            ValueError: they do.
        """
        # A log-weight and a position, sorted once.
        needed = 32 * weights
        if needed > self.workspace.memory:
            raise ValueError(
                f"top=None keeps every weight, here {needed} bytes of {self.workspace.memory}: give a number, or fewer "
                "images"
            )

    def plan(
        self,
        layout: Layout,
        x: Tensor,
        sigma: float,
        label: int | None,
        *,
        traced: bool = False,
        merge: bool = True,
    ) -> Iterator[list[Step]]:
        """The steps that answer centred images (B, C, H, W): together they cover every pixel once.

        They come in groups, so that not all queries need be in memory at the same time.

        Args:
            layout, sigma, label: what is asked for.
            x: the images.
            traced: whether an attribution follows, which needs to know of equal windows.
            merge: whether equal windows may be one key.
        """
        metric = layout.metric
        image_logs = self.image_logs(layout, x, sigma, label)
        if metric is None and layout.shifts:
            yield [Step(ShiftJob(x, sigma, self.workspace.of_class(label), image_logs), None)]
            return
        if metric is None:
            keys = self.workspace.image_keys(label)
            yield [Step(DenseJob(x.flatten(1), sigma, keys, prior=_prior(image_logs, len(x), 1, 1)), None)]
            return
        store = self.workspace.of_class(label)
        if metric.matrix is not None:
            pixels = torch.arange(x[0, 0].numel(), device=x.device)
            numbers = NumberJob(x, sigma, store, metric.matrix, layout.split, image_logs)
            yield [Step(numbers, pixels, by_number=True, canvas=None if layout.response is None else pixels)]
            return
        shared = [region for region in layout.regions if not self.own_place(region, x)]
        own = [region for region in layout.regions if self.own_place(region, x)]
        searched = [region for region in shared if self.searched(region, layout, label)]
        kind = self._sliding(layout, store, x, own=not shared, traced=traced)
        # Along the edges alone a shift brings few windows together, and sums over corners are long for a few pixels.
        few = store.channels * metric.side**2 <= SMALL_WINDOW
        small = bool(searched) and not traced and self.tolerance >= COARSE and few
        if small:
            shared, own = [*layout.regions], []
        elif kind is not None:
            slid = [region for region in layout.regions if region not in searched]
            if slid:
                plan = SlidingPlan(self.workspace, layout, x, sigma, label, traced, image_logs, kind)
                yield from plan.steps(slid)
            shared, own = searched, []
            if not shared:
                return
        flat = torch.arange(x[0, 0].numel(), device=x.device).view(x.shape[2:])
        for group in self.groups(shared, len(x), layout.reach):
            yield self.region_steps(group, layout, x, sigma, label, traced, image_logs, merge=merge)
        if own:
            yield [
                Step(
                    SamePlaceJob(x, sigma, store, metric, pixels, layout.reach, image_logs),
                    pixels,
                    self.patches(layout, own[0], pixels, x),
                )
                for pixels in _near_each_other(own, metric.radius, flat)
            ]

    def _sliding(
        self, layout: Layout, store: PixelStore, x: Tensor, *, own: bool, traced: bool
    ) -> type[SlidingJob] | None:
        """The sliding-window kernel that answers; None where windows are products or are compared at their own place.

        Args:
            layout, x: what is asked for.
            store: the training images of the class.
            own: whether every pixel meets its own place alone.
            traced: whether an attribution follows.
        """
        metric = layout.metric
        assert metric is not None
        if x.dtype != torch.float32 or (layout.response is not None and layout.response.profile is None):
            return None
        # Neither for an attribution nor for one shift alone is it worth while to sum shift by shift for few images.
        if own or traced:
            return SlidingJob if sliding.serves(store, metric) else None
        return positions.kind_of(store, metric)

    def region_steps(
        self,
        regions: Sequence[Region],
        layout: Layout,
        x: Tensor,
        sigma: float,
        label: int | None,
        traced: bool,
        image_logs: Tensor | None,
        *,
        merge: bool = True,
    ) -> list[Step]:
        """A step for each region whose pixels meet windows of other places; `merge`: whether equal ones may be one."""
        margin = layout.margin
        padded = wrap(x, margin)
        flat = torch.arange(x[0, 0].numel(), device=x.device).view(x.shape[2:])
        steps = []
        for region in regions:
            assert region.places is not None
            inside = (range(r.start + margin, r.stop + margin) for r in (region.rows, region.columns))
            queries = region.places.extent.windows(padded, *inside)[1]
            pixels, size = region.pixels(flat), (x.shape[2], x.shape[3])
            job = self._job(layout, queries, sigma, region, label, traced, image_logs, size, merge)
            steps.append(Step(job, pixels, self.patches(layout, region, pixels, x)))
        return steps

    def image_logs(self, layout: Layout, x: Tensor, sigma: float, label: int | None) -> Tensor | None:
        """Log-weights of whole training images, float64 (B, N); None where all are equal."""
        logs = self.workspace.weight_logs(label)
        found = None if logs is None else logs.expand(len(x), -1)
        if layout.pedestal:
            pedestal = self.pedestal(layout, x, sigma, label)
            # The largest becomes 0, so that sums in float32 lose no digits that matter.
            pedestal = pedestal - pedestal.detach().amax(1, keepdim=True)
            found = pedestal if found is None else pedestal + found
        return found

    def pedestal(self, layout: Layout, x: Tensor, sigma: float, label: int | None) -> Tensor:
        """Log-weights of training images by their distance as a whole, float64 (B, N): see `pedestal_logs`."""
        return pedestal_logs(x, self.workspace.of_class(label), sigma, layout.pedestal)

    def own_place(self, region: Region, x: Tensor) -> bool:
        """Whether the pixels of a region meet the windows at their own places alone."""
        if region.places is None:
            return True
        return region.is_own_place and tuple(x.shape[2:]) == self.workspace.store.image_size

    def _job(
        self,
        layout: Layout,
        queries: Tensor,
        sigma: float,
        region: Region,
        label: int | None,
        traced: bool,
        image_logs: Tensor | None,
        size: tuple[int, int],
        merge: bool,
    ) -> Average:
        """The job of query windows (B, rows, columns, C, h, w) against a region's keys."""
        assert region.places is not None
        assert layout.metric is not None
        grid = queries.shape[1], queries.shape[2]
        padding = layout.padding
        flat = queries.reshape(len(queries) * grid[0] * grid[1], -1)
        if self.searched(region, layout, label):
            index = self.workspace.index(region.places, padding, label, layout.metric)
            flat, memory = _weighted(flat, index.keys), self.workspace.memory
            return SearchJob(flat, sigma, index, self.tolerance, memory, grid, traced=traced, settings=self.search)
        # An attribution weighs the keys again, in full precision: the totals must be those.
        tolerance = self.tolerance if self.searches(layout) and not traced else 0.0
        # Equal windows of different images do not weigh the same where images have weights of their own.
        keys = self.workspace.window_keys(
            region.places,
            padding,
            label,
            layout.metric,
            reach=layout.reach,
            merge=merge and image_logs is None and not layout.has_prior,
        )
        prior = _prior(
            image_logs, len(queries), grid[0] * grid[1], len(region.places), place_logs(layout, region, size)
        )
        return DenseJob(_weighted(flat, keys), sigma, keys, tolerance, prior)

    def groups(self, regions: Sequence[Region], batch: int, reach: int) -> Iterator[list[Region]]:
        """Regions in groups whose queries and states need a quarter of the memory at most; large regions are cut."""
        group: list[Region] = []
        share = free = self.workspace.memory // 4
        channels = self.workspace.store.channels
        for region in regions:
            assert region.places is not None
            height, width = region.places.extent.sides
            values = channels * (2 * reach + 1) ** 2
            a_pixel = NUMBER * batch * (channels * height * width + MOST_PIECES * (values + 2))
            for rows, columns in _cut(region.rows, region.columns, max(1, share // a_pixel)):
                cost = a_pixel * len(rows) * len(columns)
                if group and cost > free:
                    yield group
                    group, free = [], share
                group.append(Region(rows, columns, region.places))
                free -= cost
        if group:
            yield group


def _weighted(queries: Tensor, keys: WindowKeys) -> Tensor:
    """Queries (Q, width) multiplied by the square roots of the metric's weights."""
    return queries if keys.roots is None else queries * keys.roots.to(queries.dtype)


def _prior(
    image_logs: Tensor | None, batch: int, queries: int, keys: int, place_logs: Tensor | None = None
) -> Prior | None:
    """The prior of so many queries of every image of a batch, against so many keys of every training image."""
    known = image_logs if image_logs is not None else place_logs
    if known is None:
        return None
    image, place = torch.arange(batch, device=known.device), torch.arange(queries, device=known.device)
    return Prior(image_logs, image.repeat_interleave(queries), keys, place_logs, place.repeat(batch))


def _near_each_other(regions: Sequence[Region], radius: int, flat: Tensor) -> list[Tensor]:
    """Flat positions of the pixels of regions, by the corner of the image that they lie near.

    All together where that is less for a job to look at.
    """
    height, width = flat.shape
    corners: dict[tuple[bool, bool], list[Region]] = {}
    for region in regions:
        corners.setdefault((region.rows.start < height / 2, region.columns.start < width / 2), []).append(region)
    seen = 0
    for some in corners.values():
        rows, columns = ({place for r in some for place in getattr(r, axis)} for axis in ("rows", "columns"))
        seen += (max(rows) - min(rows) + 1 + radius) * (max(columns) - min(columns) + 1 + radius)
    groups = list(corners.values()) if seen < height * width else [list(regions)]
    return [torch.cat([region.pixels(flat) for region in some]) for some in groups]


def _cut(rows: range, columns: range, most: int) -> Iterator[tuple[range, range]]:
    """A rectangle cut into bands of whole rows, or, where one row is too long, into parts of rows."""
    down, across = max(1, most // len(columns)), min(most, len(columns))
    for top in range(rows.start, rows.stop, down):
        for left in range(columns.start, columns.stop, across):
            yield range(top, min(top + down, rows.stop)), range(left, min(left + across, columns.stop))
