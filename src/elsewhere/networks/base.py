"""What every network denoiser shares: large batches go through in pieces, so that memory stays bounded."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

import elsewhere.engine.pool  # noqa: F401  what a forked process needs is done there, for networks as for machines
from elsewhere.checks import checked
from elsewhere.denoiser import Denoiser
from elsewhere.gradients import check_constant

PIXELS_AT_ONCE = 2**16
"""Pixels of a piece, 83 images of 28 x 28: a layer of 128 feature maps then takes 32 MiB."""


class NetworkDenoiser(Denoiser):
    """A denoiser that asks a torch module, a bounded number of pixels at a time.

    It is differentiable in x; parameters are frozen, and nothing is recorded where x requires no gradients.
    """

    module: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @checked
    def to(self, device: str | torch.device) -> Self:
        """The same network with a copy of its weights on another device; this one stays where it is.

        Predictions come back to where x is.

        Raises:
            TypeError: not a device.
            ValueError: no such device here.
        """
        other = copy.copy(self)
        other.module = copy.deepcopy(self.module).to(device)
        return other

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        parameter = next(self.module.parameters(), None)
        device = x.device if parameter is None else parameter.device
        # Half precision is left for the result only: x reaches sigma = 1000 and beyond.
        x = x.to(device, torch.promote_types(x.dtype, torch.float32))
        sigma = sigma.to(device)
        check_constant(sigma, "sigma", self)
        at_once = max(1, PIXELS_AT_ONCE // x[0, 0].numel())
        labels = None if label is None else label.to(device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            return torch.cat(
                [
                    self._part(some, len(x))._predict(x[some], sigma[some], None if labels is None else labels[some])
                    for some in (slice(start, start + at_once) for start in range(0, len(x), at_once))
                ]
            )

    def _part(self, piece: slice, batch: int) -> Self:
        """The denoiser for a piece of a batch of so many images; one that is bound to images takes theirs."""
        return self

    @abstractmethod
    def _predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        """x0hat of a piece of a batch: x float32 or float64, sigma float64 (b,), all on the module's device."""
