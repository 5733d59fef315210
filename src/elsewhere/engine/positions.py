"""The position job: windows of x against windows of few training images, by sliding sums along positions.

It answers what `SlidingJob` answers, with another kernel: a vector holds neighbouring positions of x, not training
images, so that it is full where there are few of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere.engine import sliding
from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.sliding import SlidingAttribution, SlidingJob
from elsewhere.engine.state import SoftmaxState

# With more training images than this, a kernel that puts these side by side is faster (benchmarks/few_images.py).
MOST_IMAGES = 3
# For few training images, windows of up to this many numbers are weighed faster by products: with a window of 3 in
# colour 1.8 to 2.6 times as fast (benchmarks/few_images.py).
SMALL_WINDOW = 27
# Largest rounding error of a log-weight, in nats, at which products are float32.
ROUNDING = 1e-5
# Ranges that a job is cut into at most: their states wait to be merged, and canvases may be large.
MOST_RANGES = 16


def kind_of(store: PixelStore, metric: Metric) -> type[SlidingJob] | None:
    """The sliding-window kernel that is fastest where pixels meet windows at many places; None for products."""
    small = store.channels * metric.side**2 <= SMALL_WINDOW
    if not sliding.able(store, metric) or (small and not sliding.serves(store, metric)):
        return None
    return PositionJob if len(store) <= MOST_IMAGES else SlidingJob


class PositionJob(SlidingJob):
    """Softmax averages of centre pixels over windows of few training images: see `SlidingJob` for the arguments.

    Ranges count groups of shifts down the rows, each with about as many pairs as the others.
    """

    most_pieces = MOST_RANGES

    def __init__(
        self, x: Tensor, sigma: float, store: PixelStore, metric: Metric, *geometry: Any, **settings: Any
    ) -> None:
        self._given = (x, sigma, store, metric, *geometry), settings
        super().__init__(x, sigma, store, metric, *geometry, **settings)

    def _choose_sums(self, sigma: float, metric: Metric) -> None:
        self.wide = self._rounding(metric) > ROUNDING
        self.fresh = torch.zeros_like(self.wide)

    @property
    def _ways(self) -> Sequence[tuple[str, bool, Tensor]]:
        return ("positions_float", False, ~self.wide), ("positions_double", False, self.wide)

    def __len__(self) -> int:
        """Groups of shifts down the rows."""
        return len(self._bounds) - 1

    @cached_property
    def _bounds(self) -> list[int]:
        """Where the groups begin among the shifts down the rows of all regions, and the end."""
        pairs = []
        for first_row, end_row, first_column, end_column in self._regions:
            across = np.diff(self._overlaps[first_column:end_column, 1:]).sum()
            pairs.append(np.diff(self._overlaps[first_row:end_row, 1:])[:, 0].astype(np.int64) * across)
        done = np.concatenate([[0], np.concatenate(pairs).cumsum()])
        bounds = np.unique(np.searchsorted(done, np.linspace(0, done[-1], MOST_RANGES + 1)))
        return [int(bound) for bound in bounds]

    def images_of(self, start: int, stop: int) -> tuple[int, int]:
        return 0, len(self.store)

    def regions_of(self, start: int, stop: int) -> np.ndarray:
        begin, end = self._bounds[start], self._bounds[stop]
        sizes = self._regions[:, 1] - self._regions[:, 0]
        before = sizes.cumsum() - sizes
        regions = self._regions.copy()
        regions[:, 0] = self._regions[:, 0] + np.clip(begin - before, 0, sizes)
        regions[:, 1] = self._regions[:, 0] + np.clip(end - before, 0, sizes)
        return np.ascontiguousarray(regions[regions[:, 1] > regions[:, 0]])

    def attribution(self, state: SoftmaxState, batch: int, top: int) -> SlidingAttribution:
        # The kernel along positions has no attribution pass.
        arguments, settings = self._given
        return SlidingJob(*arguments, **settings).attribution(state, batch, top)
