"""What a machine says: which pixels meet which keys, with what metric, and what is averaged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

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
        response: the patch around the centre of a window that is pasted in place of the centre pixel alone, and how much
            each of its pixels counts where patches overlap: square or tapered, no larger than the window. Then regions
            may leave out pixels, as long as patches cover all.
        pedestal: beta, 0 or more: beta |x - y|^2 over the whole image is added to every squared distance to a key of
            the training image y. So it acts as a prior on training images that depends on x.
        temperature: by which log-weights are divided, above 0.
        shifts: for whole images: they meet every circular shift of every training image.
        split: for a metric that differs from number to number: the mean of one softmax for each so many training images
            in the order of the set, instead of one softmax over all; None for one over all.
    """

    regions: tuple[Region, ...] = ()
    metric: Metric | None = None
    wraps: Wraps = NO_WRAPS
    value: Value = "centre"
    response: Metric | None = None
    pedestal: float = 0.0
    temperature: float = 1.0
    shifts: bool = False
    split: int | None = None

    @property
    def reach(self) -> int:
        """Radius of the patches that are pasted, 0 for single pixels."""
        return 0 if self.response is None else self.response.radius

    @property
    def padding(self) -> int:
        """Pixels by which the training images are wrapped on every side."""
        return self.metric.radius if self.metric is not None and self.wraps.training else 0

    @property
    def margin(self) -> int:
        """Pixels by which x is wrapped on every side."""
        return self.metric.radius if self.metric is not None and self.wraps.x else 0
