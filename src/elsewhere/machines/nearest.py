"""The nearest machine: the training image nearest to x."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from elsewhere.checks import checked
from elsewhere.engine import Layout
from elsewhere.gradients import check_constant
from elsewhere.machines.base import Estimate, TracedImages
from elsewhere.machines.ideal import IdealScore
from elsewhere.machines.machine import Data

# The softmax of one weight: at this noise level, squared distances that differ by 1e-6 differ by 50 nats, and
# log-weights in float64 are exact to 1e-6 of a nat.
ONE_WEIGHT = 1e-4


class Nearest(IdealScore):
    """Nearest: IS with the nearest training image alone, the limit of its softmax at low temperature (Lukoianov et al.
    2025, arXiv 2509.09672, who compare with it).

    The image that it returns minimises |x - x_j|, the distance that decides in IS. Published code compares the
    variance-preserving state x / sqrt(1 + sigma^2) with training images that are not scaled: `scaled=True`. With much
    noise that favours training images of small norm. The derivative in x is zero wherever it exists. Images at the
    same distance are averaged.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        scaled: compare the variance-preserving state, as published.
        engine, memory, device: see `SoftmaxMachine`.

    Example:
        >>> import elsewhere as els
        >>> machine = els.Nearest(els.load_images("fashion-mini", limit=50))
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    splits = False

    @checked
    def __init__(self, data: Data, scaled: bool = False, **settings: Any) -> None:
        self.scaled = scaled
        super().__init__(data, **settings)

    def __repr__(self) -> str:
        return self._describe("scaled=True") if self.scaled else self._describe()

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        check_constant(sigma, "sigma", self)
        # Constant between the boundaries: autograd gets zeros.
        return self.average(x.detach(), sigma.detach(), label).x0.to(x.device) + 0.0 * x

    def average(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Estimate:
        return super().average(self._compared(x, sigma), sigma, label)

    def trace(self, x: Tensor, sigma: Tensor, label: Tensor | None, top: int | None) -> Iterator[TracedImages]:
        return super().trace(self._compared(x.detach(), sigma), sigma, label, top)

    def _compared(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What is compared with training images."""
        if not self.scaled:
            return x
        return (x.double() / (1 + sigma[:, None, None, None] ** 2).sqrt()).to(x.dtype)

    def _groups(
        self, x: Tensor, sigma: Tensor, label: Tensor | None
    ) -> Iterator[tuple[Tensor, Layout, float, int | None]]:
        # Squared distances, and their rounding, grow with the noise of what is compared.
        yield from super()._groups(x, ONE_WEIGHT * (torch.ones_like(sigma) if self.scaled else 1 + sigma), label)
