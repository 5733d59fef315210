"""The golden-subset machine: an approximation that weighs the nearest of some training images only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from elsewhere.checks import check_choice, check_number, check_seed, checked
from elsewhere.engine import Workspace
from elsewhere.machines.base import Estimate, SoftmaxMachine, TracedImages
from elsewhere.machines.ideal import IdealScore
from elsewhere.machines.machine import Data
from elsewhere.machines.pca_locality import PCALocality

Averaged = Literal["pca", "ideal"]
AVERAGED: tuple[Averaged, ...] = ("pca", "ideal")
# Side in pixels of the pooled images in which the nearest are looked for first, as published.
POOLED = 16
# Images whose distances are computed together: a tile of some MiB.
ROWS = 4096


class GoldenSubset(PCALocality):
    """Golden subset, an approximation of `PCALocality` or IS (GoldDiff, 2026, arXiv 2602.16498): fewer training images
    where there is much noise, the nearest ones where there is little.

    With N images, k_max = largest N, k_min = smallest N and g = sigma / sqrt(1 + sigma^2), each image x is compared

    1. with a random choice of m = k_max + (N - k_max) (1 - g) training images, the same for every x;
    2. of these, with the min(k_max, m) nearest when both are pooled to 16 x 16 pixels;
    3. of these, with the k = max(k_min, k_max - (k_max - k_min) (1 - g)) nearest in full, which the exact formula
       then averages. The mask is that of all training images.

    Its error against the exact machine is as large as the difference between machines (`benchmarks/family.py --golden`,
    Fashion-MNIST, noisy images outside the set). Against `PCALocality` the rms of x0hat is .03, .12, .10, .10, .10,
    .08, .06 at sigma 20, 5, 2, 1, .5, .2, .08 with 6,000 training images and .01, .04, .10, .07, .06, .06, .04 with
    60,000, 2 to 7 and 5 to 8 times as fast. Against IS, which is as fast, it is up to .37 and .19: the nearest images
    are seldom among those looked at. It decreases with the number of training images.

    No bound is known, and `estimate` gives none: its `error` is that of the average over the subset. The derivative
    in x is that of the average over the subset as well.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        threshold: of the mask, see `PCALocality`.
        average: "pca", or "ideal" for that of IS.
        smallest, largest: shares of the training images, 0 < smallest <= largest <= 1; published 1/20 and 1/10, and
            1/15 and 1/7.5 for AFHQ.
        seed: of the random choice.
        orientation, engine, memory, device: see `PCALocality`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an argument out of range; see `PCALocality` for the rest.

    Example:
        >>> import elsewhere as els
        >>> machine = els.GoldenSubset(els.load_images("fashion-mini", limit=200), average="ideal")
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    @checked
    def __init__(
        self,
        data: Data,
        threshold: float = 0.02,
        *,
        average: Averaged = "pca",
        smallest: float = 1 / 20,
        largest: float = 1 / 10,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        check_choice("average", average, AVERAGED)
        self.averaged = average
        self.smallest = check_number("smallest", smallest, 0, 1)
        self.largest = check_number("largest", largest, 0, 1)
        if not 0 < self.smallest <= self.largest:
            raise ValueError(f"smallest must be above 0 and at most largest, got {smallest:g} and {largest:g}")
        self.seed = check_seed(seed)
        super().__init__(data, threshold, **settings)

    def __repr__(self) -> str:
        mask = self._mask_settings() if self.averaged == "pca" else ["average='ideal'"]
        shares = [f"smallest={self.smallest:.3g}", f"largest={self.largest:.3g}", f"seed={self.seed}"]
        return self._describe(*mask, *shares, "approximate")

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        rows = []
        for index, part, _ in self._parts(x, sigma, label):
            rows.append(part.predict(x[index], sigma[index], None))
        return torch.cat(rows)

    def average(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Estimate:
        found = [part.average(x[index], sigma[index], None) for index, part, _ in self._parts(x, sigma, label)]
        self.last_error = torch.cat([each.error for each in found])
        return Estimate(torch.cat([each.x0 for each in found]), self.last_error)

    def trace(self, x: Tensor, sigma: Tensor, label: Tensor | None, top: int | None) -> Iterator[TracedImages]:
        for index, part, subset in self._parts(x, sigma, label):
            members = torch.arange(index.start, index.stop, device=subset.device)
            for traced in part.trace(x[index], sigma[index], None, top):
                yield replace(traced, images=members, training=subset[traced.training])

    @checked
    def subset(self, x: Tensor, sigma: float, label: int | None = None) -> Tensor:
        """The training images that one image is averaged over.

        Args:
            x: noisy image (C, H, W).
            sigma: noise level.
            label: class, or None.

        Returns:
            Their positions, int64 (k,), increasing.

        Raises:
            TypeError, ValueError: arguments that a call of the machine would refuse; a class without images.
        """
        images, levels, labels = self.check(x[None], sigma, label)
        return self._subset(images[0].detach(), levels.item(), None if labels is None else int(labels))

    def _subset(self, x: Tensor, sigma: float, label: int | None) -> Tensor:
        """`subset` of checked arguments."""
        workspace = self.workspace
        workspace.of_class(label)  # refuses a class without images
        known = workspace.chosen(label)
        count = len(known)
        most, least = (max(1, round(share * count)) for share in (self.largest, self.smallest))
        quiet = 1 - sigma / (1 + sigma**2) ** 0.5
        looked_at = round(most + (count - most) * quiet)
        kept = max(least, round(most - (most - least) * quiet))
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(count, generator=generator, device="cpu").to(known.device)
        chosen = known[order[:looked_at].sort().values]
        pooled = self._pooled()
        small = _pool(x[None].to(pooled), self.image_size).flatten()
        chosen = chosen[_nearest(small, pooled, chosen, min(most, looked_at))]
        images = self.store.floats(self.store.pixels[chosen]).flatten(1)
        own = torch.arange(len(chosen), device=chosen.device)
        return chosen[_nearest(x.to(images).flatten(), images, own, min(kept, len(chosen)))].sort().values

    def _pooled(self) -> Tensor:
        """All training images pooled, float32 (N, numbers)."""

        def make() -> Tensor:
            store = self.store
            parts = [_pool(store.floats(some), self.image_size) for some in torch.split(store.pixels, ROWS)]
            return torch.cat(parts).flatten(1).float()

        return self.workspace.kept.get(("pooled", POOLED), make, lambda pooled: pooled.nbytes)

    def _parts(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Iterator[tuple[slice, SoftmaxMachine, Tensor]]:
        """For each image of the batch: where it is, a machine of its subset, and the subset."""
        kind: type[SoftmaxMachine] = PCALocality if self.averaged == "pca" else IdealScore
        classes = [None] * len(x) if label is None else label.tolist()
        for index, (level, chosen) in enumerate(zip(sigma.tolist(), classes, strict=True)):
            subset = self._subset(x[index].detach(), level, chosen)
            weights = None if self.workspace.weights is None else self.workspace.weights[subset]
            workspace = Workspace(self.store.take(subset), None, self.memory, None, weights)
            yield slice(index, index + 1), self._sharing(kind, workspace), subset


def _pool(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Means over parts of images (B, C, H, W), 16 x 16 or as many as there are pixels."""
    return torch.nn.functional.adaptive_avg_pool2d(images, (min(POOLED, size[0]), min(POOLED, size[1])))


def _nearest(query: Tensor, keys: Tensor, chosen: Tensor, count: int) -> Tensor:
    """Positions in `chosen` of the keys nearest to a query (d,), of those chosen from keys (N, d)."""
    parts = [(keys[some] - query).square().sum(1) for some in torch.split(chosen, ROWS)]
    return torch.cat(parts).topk(count, largest=False).indices
