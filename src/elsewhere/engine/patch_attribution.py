"""The attribution of patches pasted at their own places: which images the pixels on which they overlap come from."""

from __future__ import annotations

import torch

from elsewhere.engine.attribution import improve
from elsewhere.engine.by_number import NumberJob
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
        shares, entropy = self.log_total.new_zeros(batch, len(self.job)), self.log_total.new_zeros(batch * area)
        for tile in self.job.tiles(start, stop):
            weights = (tile.logs.double() - self.log_total[..., None]).exp_()
            pasted = weights.new_zeros(batch, area, weights.shape[2])
            for number, count in enumerate(self.patches.counts.tolist()):
                target = self.patches.targets[:, number]
                inside = target >= 0
                pasted.index_add_(1, target[inside], weights[:, inside], alpha=count)
            pasted /= self.coverage[:, None]
            shares[:, tile.start : tile.start + pasted.shape[2]] = pasted.sum(1)
            entropy += torch.special.entr(pasted).sum(2).flatten()
            logs = pasted.log_().flatten(0, 1)
            improve(top, Tile(slice(0, len(logs)), tile.start, logs, tile.values, tile.keys), logs)
        return Attribution(top, shares, shares.new_zeros(batch * area), entropy)


class MaskAttribution:
    """Weights of training images in every pixel, where each number pastes what a mask of its own has.

    As in `PatchAttribution` a pixel comes from the pixel at its own place. Channels count alike.

    Args:
        job: the average of single numbers.
        state: its result for all its keys.
        matrix: (C H W, C H W): column m says how much each number of an image counts where the answer for m is pasted.
        top: number of the largest weights to keep for each pixel.
    """

    def __init__(self, job: NumberJob, state: SoftmaxState, matrix: torch.Tensor, top: int) -> None:
        self.job, self.top = job, top
        self.log_total = (state.log_total - job.offset).view(len(job.x), -1)
        self.matrix = matrix.to(self.log_total)

    @property
    def pairs(self) -> int:
        return self.job.pairs

    def __len__(self) -> int:
        return len(self.job)

    def run(self, start: int, stop: int) -> Attribution:
        batch, channels, *size = self.job.shape
        area, images = size[0] * size[1], len(self.job.store)
        top = TopWeights.none(batch * area, self.top, self.log_total)
        shares = self.log_total.new_zeros(batch, images)
        entropy = self.log_total.new_zeros(batch * area)
        coverage = self.matrix.sum(1).view(channels, area).sum(0)
        for tile in self.job.tiles(start, stop):
            image = tile.queries.start // (channels * area)
            weights = (tile.logs[0].double() - self.log_total[image, :, None]).exp_()
            pasted = (self.matrix @ weights).view(channels, area, -1).sum(0) / coverage[:, None]
            shares[image, tile.start : tile.start + pasted.shape[1]] = pasted.sum(0)
            queries = slice(image * area, (image + 1) * area)
            entropy[queries] += torch.special.entr(pasted).sum(1)
            logs = pasted.log_()
            improve(top, Tile(queries, tile.start, logs, tile.values, tile.keys), logs)
        return Attribution(top, shares, self.log_total.new_zeros(batch * area), entropy)
