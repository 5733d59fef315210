"""What a job is: work on a number of keys whose results merge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from elsewhere.engine.keys.base import Sources
from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.patches import Canvas, Patches
from elsewhere.engine.state import Attribution, SoftmaxState

# Log-weights of a tile: so many float32 numbers stay in a core's own cache between its five passes (measured).
TILE = 400_000

Result = TypeVar("Result", covariant=True)


class Job(Protocol[Result]):
    """Work on a number of keys, any range of which can be done alone, with results that merge."""

    @property
    def pairs(self) -> int:
        """Queries times keys: how much work there is to divide among the cores; 0 for a job that divides itself."""
        ...

    def __len__(self) -> int:
        """Number of keys, or of groups of keys, that ranges count."""
        ...

    def run(self, start: int, stop: int) -> Result:
        """The result for the keys in a range."""
        ...


class AttributionJob(Job[Attribution], Protocol):
    """Finds where the weights of an average went, whose result is known."""

    def counts(self, keys: Tensor) -> Tensor:
        """Number of equal windows that each key stands for, int64, of the shape of `keys`."""
        ...

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Training image, row and column of the centre of each key: see `Keys.locate`."""
        ...


class Average(Job[SoftmaxState], Protocol):
    """A softmax average: what the planner makes of some pixels' queries.

    Attributes:
        count: number of queries, those of the first image, then those of the second, ...
    """

    count: int

    @property
    def keys_met(self) -> int:
        """Keys that a query meets, at most."""
        ...

    def attribution(self, state: SoftmaxState, batch: int, top: int) -> AttributionJob:
        """The job that finds where the weights of this one went.

        Args:
            state: the result of this job for all its keys.
            batch: number of images that the queries belong to, equally many each.
            top: number of the largest weights to keep for each query.
        """
        ...


class Pasting(Average, Protocol):
    """An average whose patches are pasted by a second pass."""

    def pasting(self, state: SoftmaxState, response: Metric) -> Job[SoftmaxState]:
        """The job of that pass: sums of the weights and of the values pasted on every position, the peak being 0.

        Args:
            state: the result of this job for all its keys.
            response: the patch.
        """
        ...


@dataclass(frozen=True)
class Step:
    """A job, and the pixels that its queries ask for.

    Attributes:
        job: its queries are those of the first image, then those of the second, ...
        pixels: flat positions, one for each query of an image, int64 (P,); None where a query is a whole image.
        patches: what a query returns, where that is more than its own pixel.
        canvas: where patches are pasted by a pass after the average, the flat position in the image of each position
            that this pass pastes on, int64.
        by_number: whether every channel of a pixel is a query of its own, those of the first channel first.
    """

    job: Average
    pixels: Tensor | None
    patches: Patches | None = None
    canvas: Tensor | None = None
    by_number: bool = False

    def write(self, state: SoftmaxState, out: Tensor, error: Tensor | None = None) -> None:
        """Write the means of a state into images (B, C, H, W), and the error of each into `error` (B, H, W)."""
        if error is not None and state.error is not None and self.pixels is not None:
            error.flatten(1)[:, self.pixels] = state.error.view(len(out), -1).to(error.dtype)
        if self.pixels is None:
            out[:] = state.mean().view(out.shape)
        elif self.by_number:
            out.flatten(2)[:, :, self.pixels] = state.mean().view(*out.shape[:2], len(self.pixels)).to(out.dtype)
        else:
            out.flatten(2)[:, :, self.pixels] = state.mean().view(len(out), len(self.pixels), -1).mT.to(out.dtype)

    def spread(self, state: SoftmaxState, images: SoftmaxState) -> None:
        """Write a state into that of whole images, (B, C, H, W) with one value each: see `Planner.states`."""
        weighted, (batch, channels) = images.weighted.squeeze(-1), images.peak.shape[:2]
        if self.pixels is None:
            weighted[:] = state.weighted.view(weighted.shape)
        elif self.by_number:
            weighted.flatten(2)[:, :, self.pixels] = state.weighted.view(batch, channels, -1)
        else:
            weighted.flatten(2)[:, :, self.pixels] = state.weighted.view(batch, -1, channels).mT
        for name in ("peak", "total", "error"):
            found, into = getattr(state, name), getattr(images, name).flatten(2)
            if found is None:
                continue
            if self.pixels is None:
                into[:] = found[:, None, None]
            else:
                into[:, :, self.pixels] = found.view(batch, channels if self.by_number else 1, -1).to(into.dtype)

    def paste(self, state: SoftmaxState, canvas: Canvas) -> None:
        """Paste the means of a state, which are patches."""
        assert self.patches is not None
        batch, channels = canvas.shape[:2]
        canvas.paste(self.patches, state.mean().view(batch, len(self.patches.targets), channels, -1))

    def gradient(self, gradient: Tensor) -> Tensor:
        """The part of a gradient with respect to images (B, C, H, W) that its queries have, (Q, V).

        Where patches overlap, the gradient is one with respect to the sums of what is pasted.
        """
        rows = gradient.flatten(2)
        if self.patches is not None:
            targets, counts = self.patches.targets, self.patches.counts
            found = rows[:, :, targets.clamp(min=0)] * (counts * (targets >= 0)).to(rows)
            return found.transpose(1, 2).flatten(0, 1).flatten(1)
        if self.by_number:
            return rows[:, :, self.pixels].reshape(-1, 1)
        return rows.flatten(1) if self.pixels is None else rows[:, :, self.pixels].mT.flatten(0, 1)


@dataclass(frozen=True)
class Tile:
    """Log-weights of some queries against some keys, without the job's `offset`, which all keys of a query share.

    Attributes:
        queries: which queries, consecutive ones.
        start: position of the first key.
        logs: (..., T), the leading axes being those of the queries; the reader may overwrite them.
        values: (T, V), or (P, T, V) where every pixel has its own, times the job's `scale`.
        keys: (T, width), or the parts of images (T, C, H, W) that windows are cut from, times the job's `scale`. They
            are overwritten when the next tile is read.
    """

    queries: slice
    start: int
    logs: Tensor
    values: Tensor
    keys: Tensor


class Tiled(Average, Protocol):
    """An average whose weights can be read tile by tile."""

    @property
    def offset(self) -> Tensor:
        """What the logs of the tiles lack, float64 (count,)."""
        ...

    def tiles(self, start: int, stop: int) -> Iterator[Tile]:
        """The log-weights of the keys in a range: for each query, keys come in order."""
        ...

    def sources(self) -> Sources:
        """Which training images the keys come from."""
        ...

    def locate(self, keys: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Training image, row and column of the centre of each key: see `Keys.locate`."""
        ...
