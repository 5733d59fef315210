"""What every network denoiser shares: large batches go through in pieces, so that memory stays bounded."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from elsewhere.denoiser import Denoiser

PIXELS_AT_ONCE = 2**16
"""Pixels of a piece, 83 images of 28 x 28: a layer of 128 feature maps then takes 32 MiB."""


class NetworkDenoiser(Denoiser):
    """A denoiser that asks a torch module, without gradients and a bounded number of pixels at a time."""

    module: nn.Module

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        device = next(self.module.parameters()).device
        # Half precision is left for the result only: x reaches sigma = 1000 and beyond.
        x = x.to(device, torch.promote_types(x.dtype, torch.float32))
        sigma = sigma.to(device)
        out = x.new_empty(x.shape)
        with torch.no_grad():
            at_once = max(1, PIXELS_AT_ONCE // x[0, 0].numel())
            for start in range(0, len(x), at_once):
                some = slice(start, start + at_once)
                out[some] = self._predict(x[some], sigma[some], None if label is None else label[some].to(device))
        return out

    @abstractmethod
    def _predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        """x0hat of a piece of a batch: x float32 or float64, sigma float64 (b,), all on the module's device."""
