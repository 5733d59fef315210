"""The smoothed ideal machine: the ideal one averaged over noisy copies of its input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from elsewhere.checks import check_number, check_seed, check_whole, checked
from elsewhere.engine import Attribution, SoftmaxState, TopWeights
from elsewhere.machines.base import Estimate, TracedImages
from elsewhere.machines.ideal import IdealScore
from elsewhere.machines.machine import Data

MOST_COPIES = 1024
# In units of the variance-preserving state, whose noise has a standard deviation of 1 at most.
LARGEST_NOISE = 10.0
# Bytes of a number of a copy: the copy, its answer, and sums in float64.
BYTES = 64


class SmoothedIdeal(IdealScore):
    """Smoothed ideal: the mean of IS at x + noise * sqrt(1 + sigma^2) * e_m over several perturbations e_m (Scarvelis
    et al. 2023, "Closed-form diffusion models", arXiv 2310.12395).

    The perturbations are standard normal in units of the variance-preserving state x / sqrt(1 + sigma^2), as
    published. Published code draws fresh ones at every step and keeps the 200 nearest training images, which is wrong
    at high noise. Here they come from `seed`, are the same for every image and noise level, and come in pairs e, -e,
    so that this is a denoiser whose answers can be repeated; every training image is weighed.

    Each copy costs as much as IS. Weights that `els.explain` returns are means over the copies.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        noise: standard deviation of the perturbations, 0 to 10; published .1, and 1 for MNIST.
        copies: number of perturbations, even, 2 to 1024; published 10.
        seed: of the perturbations.
        engine, memory, device: see `SoftmaxMachine`.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: noise or copies out of range, or copies odd; see `SoftmaxMachine` for the rest.

    Example:
        >>> import elsewhere as els
        >>> machine = els.SmoothedIdeal(els.load_images("fashion-mini", limit=50), noise=0.1, copies=4)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    @checked
    def __init__(self, data: Data, noise: float = 0.1, copies: int = 8, seed: int = 0, **settings: Any) -> None:
        self.noise = check_number("noise", noise, 0, LARGEST_NOISE)
        self.copies = check_whole("copies", copies, 2, MOST_COPIES)
        if self.copies % 2:
            raise ValueError(f"copies must be even, since perturbations come in pairs e, -e, got {copies}")
        self.seed = check_seed(seed)
        super().__init__(data, **settings)
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.copies // 2, *self.store.pixels.shape[1:])
        half = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        self._perturbations = torch.cat([half, -half]).to(self.store.pixels.device)

    def __repr__(self) -> str:
        return self._describe(f"noise={self.noise:g}", f"copies={self.copies}", f"seed={self.seed}")

    def to(self, device: str | torch.device) -> Self:
        other = super().to(device)
        other._perturbations = self._perturbations.to(device)
        return other

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        ideal = self._sharing(IdealScore)
        return torch.cat([self._mean(ideal.predict(*copies)) for copies in self._copied(x, sigma, label)])

    def average(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Estimate:
        ideal = self._sharing(IdealScore)
        found = torch.cat([self._mean(ideal.average(*copies).x0) for copies in self._copied(x, sigma, label)])
        self.last_error = found.new_zeros(found[:, 0].shape)
        return Estimate(found, self.last_error)

    def trace(self, x: Tensor, sigma: Tensor, label: Tensor | None, top: int | None) -> Iterator[TracedImages]:
        ideal = self._sharing(IdealScore)
        for index in range(len(x)):
            chosen = None if label is None else label[index : index + 1]
            [(copies, levels, labels)] = self._copied(x[index : index + 1], sigma[index : index + 1], chosen)
            # One copy at a time: all of its weights are needed.
            alone = [slice(one, one + 1) for one in range(self.copies)]
            found = [
                traced
                for one in alone
                for traced in ideal.trace(copies[one], levels[one], None if labels is None else labels[one], None)
            ]
            yield _merged(found, x.new_tensor([index], dtype=torch.int64), top)

    def _copied(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Perturbed copies of some images at a time, those of one image together, with their sigma and label."""
        at_once = max(1, self.memory // 4 // (BYTES * self.copies * x[0].numel()))
        for left in range(0, len(x), at_once):
            some = slice(left, left + at_once)
            size = self.noise * (1 + sigma[some, None, None, None, None] ** 2).sqrt()
            steps = (size * self._perturbations.to(sigma)).to(x.dtype)
            copies = (x[some, None].to(steps.device) + steps).flatten(0, 1)
            levels = sigma[some].repeat_interleave(self.copies)
            yield copies, levels, None if label is None else label[some].repeat_interleave(self.copies)

    def _mean(self, copies: Tensor) -> Tensor:
        return copies.view(-1, self.copies, *copies.shape[1:]).mean(1)


def _merged(found: Sequence[TracedImages], images: Tensor, top: int | None) -> TracedImages:
    """The traces of an image's copies, each with all weights, as one whose weights are the means."""
    parts = [traced.part for traced in found]
    mean = torch.stack([part.state.mean() for part in parts]).mean(0)
    one = torch.ones_like(mean[:, 0])
    weights = torch.zeros_like(parts[0].attribution.shares)
    for part in parts:
        weights.scatter_add_(1, part.attribution.top.keys, part.attribution.top.logs.exp())
    weights /= len(parts)
    logs, keys = weights.log().sort(dim=1, descending=True, stable=True)
    largest = TopWeights(logs[:, :top], keys[:, :top])
    shares = torch.stack([part.attribution.shares for part in parts]).mean(0)
    # Of whole images every pixel has the same.
    located = tuple(
        keys[:, None, :top].expand(-1, at.shape[1], -1) if number == 0 else at[..., : largest.keys.shape[1]]
        for number, at in enumerate(parts[0].located)
    )
    image, row, column = located
    part = replace(
        parts[0],
        state=SoftmaxState(torch.zeros_like(one), one, mean),
        attribution=Attribution(largest, shares, torch.zeros_like(one), torch.special.entr(weights).sum(1)),
        counts=torch.ones_like(image),
        located=(image, row, column),
    )
    return replace(found[0], images=images, part=part)
