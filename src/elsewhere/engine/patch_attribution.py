"""The attribution of pasted patches: which training images the pixels on which they overlap come from."""

from __future__ import annotations

import torch

from elsewhere.engine.attribution import improve
from elsewhere.engine.jobs import Tile
from elsewhere.engine.patches import Patches
from elsewhere.engine.same_place import SamePlaceJob
from elsewhere.engine.state import Attribution, SoftmaxState, TopWeights


class PatchAttribution:
    """Weights of training images in every pixel: the mean of the weights of all patches that are pasted on it.

    Patches and their keys lie at the same place, so that a pixel comes from the pixel at its own place in each image.

    Args:
        job: the average, of single pixels: its weights are those of the patches.
        state: its result for all its keys.
        patches: what is pasted.
        coverage: how much is pasted on each pixel, float64 (H W).
        top: number of the largest weights to keep for each pixel.
    """

    def __init__(
        self, job: SamePlaceJob, state: SoftmaxState, patches: Patches, coverage: torch.Tensor, top: int
    ) -> None:
        self.job, self.patches, self.coverage, self.top = job, patches, coverage, top
        self.log_total = (state.log_total - job.offset).view(-1, len(patches.targets))

    @property
    def pairs(self) -> int:
        return self.job.pairs

    def __len__(self) -> int:
        return len(self.job)

    def run(self, start: int, stop: int) -> Attribution:
        batch, area = len(self.log_total), len(self.coverage)
        top = TopWeights.none(batch * area, self.top, self.log_total)
        shares = self.log_total.new_zeros(batch, len(self.job))
        for tile in self.job.tiles(start, stop):
            weights = (tile.logs.double() - self.log_total[..., None]).exp_()
            pasted = weights.new_zeros(batch, area, weights.shape[2])
            for number, count in enumerate(self.patches.counts.tolist()):
                target = self.patches.targets[:, number]
                inside = target >= 0
                pasted.index_add_(1, target[inside], weights[:, inside], alpha=count)
            pasted /= self.coverage[:, None]
            shares[:, tile.start : tile.start + pasted.shape[2]] = pasted.sum(1)
            logs = pasted.log_().flatten(0, 1)
            improve(top, Tile(slice(0, len(logs)), tile.start, logs, tile.values, tile.keys), logs)
        return Attribution(top, shares, shares.new_zeros(batch * area))
