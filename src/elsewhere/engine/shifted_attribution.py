"""The attribution of patches that are pasted from other places: which training pixels each pixel comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine.dense import DenseJob
from elsewhere.engine.jobs import Step
from elsewhere.engine.layout import Wraps
from elsewhere.engine.same_place import SamePlaceJob
from elsewhere.engine.state import Attribution, SoftmaxState, TopWeights

# Arrays of all pairs of pixels that are held at once: weights, what is pasted, a moved copy, logarithms.
HELD = 4


@dataclass(frozen=True)
class _Part:
    """A job whose keys come image by image, with none merged.

    Attributes:
        job: of single pixels.
        log_total: logarithm of the total weight of each query, as the tiles count, float64 (P,).
        pixels: flat position in x of each query, int64 (P,).
        sources: flat position in the training images of each key of one image, int64 (K,); None where every query meets
            the pixel at its own place.
    """

    job: DenseJob | SamePlaceJob
    log_total: Tensor
    pixels: Tensor
    sources: Tensor | None


class ShiftedAttribution:
    """Weights of the pixels of training images in every pixel of one image.

    A patch around pixel i that comes from around place p brings the training pixel at p + o to the pixel i + o. So the
    weight of a training pixel in a pixel is the mean of the weights of all patches pasted there with the same shift:
    sums along the diagonals of the array of all pairs of pixels, one axis after the other.

    Args:
        steps: jobs that together ask for every pixel of one image once.
        states: their results for all their keys.
        profile: how much each pixel of a patch counts along one axis, (side,); both axes are multiplied.
        wraps: whether patches go on at the opposite edge.
        coverage: how much is pasted on each pixel, float64 (H W).
        size: height and width of x.
        training: the number of training images, their height and width.
        top: number of the largest weights to keep for each pixel; of equal weights any may be kept.
        memory: bytes that a piece of work may use.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        states: Sequence[SoftmaxState],
        profile: Tensor,
        wraps: Wraps,
        coverage: Tensor,
        size: tuple[int, int],
        training: tuple[int, int, int],
        top: int,
        memory: int,
    ) -> None:
        self.profile, self.wraps, self.coverage, self.top = profile, wraps, coverage, top
        self.images, self.shape = training[0], (*size, *training[1:])
        self.parts = [self._part(step, state) for step, state in zip(steps, states, strict=True)]
        needed = HELD * 8 * self.places * len(coverage)
        if needed > memory:
            raise ValueError(
                f"the weights of patches pasted from other places need {needed} bytes for each training image, and "
                f"memory has room for {memory}: give more memory, or explain the same machine with response=1"
            )
        self.at_once = memory // needed

    def _part(self, step: Step, state: SoftmaxState) -> _Part:
        job = step.job
        assert isinstance(job, DenseJob | SamePlaceJob)
        assert step.pixels is not None
        sources = None
        if isinstance(job, DenseJob):
            keys = torch.arange(len(job) // self.images, device=step.pixels.device)
            _, row, column = job.locate(keys, keys, keys)
            sources = row * self.shape[3] + column
        return _Part(job, state.log_total - job.offset, step.pixels, sources)

    @property
    def places(self) -> int:
        """Pixels of a training image, which are the keys of a pixel."""
        return self.shape[2] * self.shape[3]

    @property
    def pairs(self) -> int:
        return len(self.coverage) * self.places * self.images

    def __len__(self) -> int:
        return self.images

    def run(self, start: int, stop: int) -> Attribution:
        area = len(self.coverage)
        top = TopWeights.none(area, self.top, self.coverage)
        shares, entropy = self.coverage.new_zeros(1, self.images), self.coverage.new_zeros(area)
        for first in range(start, stop, self.at_once):
            end = min(first + self.at_once, stop)
            weights = self._weights(first, end)
            for axis, wide in enumerate(self.shape[:2]):
                weights = self._spread(weights, axis, wide)
            weights = weights.view(area, end - first, self.places) / self.coverage[:, None, None]
            shares[0, first:end] = weights.sum((0, 2))
            entropy += torch.special.entr(weights).sum((1, 2))
            logs, keys = weights.flatten(1).topk(min(self.top, (end - first) * self.places), dim=1)
            top = top.merge(TopWeights(logs.log(), (keys + first * self.places).where(logs > 0, -1)))
        return Attribution(top, shares, self.coverage.new_zeros(area), entropy)

    def _weights(self, first: int, end: int) -> Tensor:
        """Weights of patches of some training images, by their centres, float64 (H, W, n, H', W')."""
        weights = self.coverage.new_zeros(len(self.coverage), (end - first) * self.places)
        for part in self.parts:
            each = 1 if part.sources is None else len(part.sources)
            for tile in part.job.tiles(first * each, end * each):
                logs = tile.logs.flatten(0, -2).double()
                keys = torch.arange(tile.start, tile.start + logs.shape[1], device=logs.device)
                pixels = part.pixels[tile.queries, None]
                sources = pixels if part.sources is None else part.sources[keys % each]
                at = (keys // each - first) * self.places + sources
                weights[pixels, at] = (logs - part.log_total[tile.queries, None]).exp_()
        return weights.view(*self.shape[:2], end - first, *self.shape[2:])

    def _spread(self, weights: Tensor, axis: int, side: int) -> Tensor:
        """What is pasted along an axis: weights at i and p are added at i + o and p + o, for every o of a patch."""
        out, other = torch.zeros_like(weights), axis + 3
        theirs = self.shape[axis + 2]
        for number, count in enumerate(self.profile.tolist()):
            step = number - len(self.profile) // 2
            moved = weights
            if self.wraps.x:
                moved = moved.roll(step, axis)
            if self.wraps.training:
                moved = moved.roll(step, other)
            into = out
            for dim, length, turns in ((axis, side, self.wraps.x), (other, theirs, self.wraps.training)):
                if turns:
                    continue
                kept = max(0, length - abs(step))
                moved = moved.narrow(dim, max(0, -step), kept)
                into = into.narrow(dim, max(0, step), kept)
            into.add_(moved, alpha=count)
        return out
