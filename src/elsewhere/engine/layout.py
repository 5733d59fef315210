"""What a machine says: which pixels meet which keys, with what metric, and what is averaged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.keys.places import Places

Value = Literal["centre", "image"]


class Wraps(NamedTuple):
    """Whether windows that reach over an edge go on at the opposite one: in x, and in the training images."""

    x: bool
    training: bool


NO_WRAPS = Wraps(False, False)


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels of x whose queries meet the same keys.

    Attributes:
        rows, columns: of x.
        places: their keys are the windows at these places of every training image, counted in the images as they are
            wrapped; None where every pixel meets the window at its own place.
    """

    rows: range
    columns: range
    places: Places | None

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def is_own_place(self) -> bool:
        """Whether every pixel meets the window at its own place alone."""
        if self.places is None:
            return True
        return len(self.places) == 1 and (self.rows, self.columns) == (self.places.rows, self.places.columns)

    def pixels(self, flat: Tensor) -> Tensor:
        """The entries of an array (H, W) that belong to its pixels, (P,)."""
        return flat[self.rows.start : self.rows.stop, self.columns.start : self.columns.stop].flatten()

    def within(self, band: range) -> Region:
        """The part of it that lies in some rows of x, perhaps empty."""
        return replace(self, rows=range(max(self.rows.start, band.start), min(self.rows.stop, band.stop)))


@dataclass(frozen=True)
class Layout:
    """What the pixels of an image ask for.

    Attributes:
        regions: together they hold every pixel once. Empty where the query is the whole image, which meets whole
            training images.
        metric: the window, and how much each of its pixels counts; None for whole images.
        wraps: whether windows wrap round the edges. Queries that wrap reach over every edge by the radius of the
            window; training images that wrap are padded by as much.
        value: what is averaged, without the centre of the store: the centre pixel of a window, or the whole image.
        response: the patch around the centre of a window that is pasted in place of the centre pixel alone, and how
            much each of its pixels counts where patches overlap: square or tapered, no larger than the window; or of
            a matrix, where the metric has one. Then regions may leave out pixels, as long as patches cover all.
        pedestal: beta, 0 or more: beta |x - y|^2 over the whole image is added to every squared distance to a key of
            the training image y. So it acts as a prior on training images that depends on x.
        temperature: by which log-weights are divided, above 0.
        shift_width: standard deviation in pixels, along either axis, of a normal prior over the shift between a pixel
            and the place of its key; the shorter way round where windows of x wrap. None where all shifts count alike.
        shifts: for whole images: they meet every circular shift of every training image.
        split: for a metric that differs from number to number: the mean of one softmax for each so many training images
            in the order of the set, instead of one softmax over all; None for one over all.
    """

    regions: tuple[Region, ...] = ()
    metric: Metric | None = None
    wraps: Wraps = NO_WRAPS
    value: Value = "centre"
    shifts: bool = False
    split: int | None = None
    response: Metric | None = None
    pedestal: float = 0.0
    temperature: float = 1.0
    shift_width: float | None = None

    @property
    def reach(self) -> int:
        """Radius of the patches that are pasted, 0 for single pixels."""
        return 0 if self.response is None else self.response.radius

    @property
    def has_prior(self) -> bool:
        """Whether equal windows at different places or of different images may count differently."""
        return bool(self.pedestal) or self.shift_width is not None

    def windows_met(self, size: tuple[int, int], training: tuple[int, int]) -> Tensor:
        """Number of windows of one training image that each pixel meets, int64 (H, W); patches: at most.

        Args:
            size: height and width of x.
            training: those of the training images.
        """
        if self.metric is None or self.metric.matrix is not None:
            return torch.full(size, training[0] * training[1] if self.shifts else 1, dtype=torch.int64, device="cpu")
        if self.response is not None:
            # A pixel has patches from all around it.
            own = all(region.is_own_place for region in self.regions)
            return torch.full(size, 1 if own else training[0] * training[1], dtype=torch.int64, device="cpu")
        met = torch.zeros(size, dtype=torch.int64, device="cpu")
        for region in self.regions:
            rows, columns = (slice(some.start, some.stop) for some in (region.rows, region.columns))
            met[rows, columns] = 1 if region.places is None or region.is_own_place else len(region.places)
        return met

    @property
    def padding(self) -> int:
        """Pixels by which the training images are wrapped on every side."""
        return self.metric.radius if self.metric is not None and self.wraps.training else 0

    @property
    def margin(self) -> int:
        """Pixels by which x is wrapped on every side."""
        return self.metric.radius if self.metric is not None and self.wraps.x else 0
