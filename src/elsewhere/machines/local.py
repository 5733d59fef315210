"""The local score machine: each pixel sees a window, but knows where it is."""

from __future__ import annotations

import torch
from torch import Tensor

from elsewhere.engine import SamePlace
from elsewhere.machines.base import WindowedMachine


class LocalScore(WindowedMachine):
    """LS: locality alone (Kamb & Ganguli 2025, section 3).

    Query: the window around a pixel, cut off at the border. Keys: the window at the same place in every training
    image. Value: its centre pixel. A window that covers the image from every pixel makes it the ideal machine.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        window: odd side in pixels, or a LocalitySchedule; it may exceed the image.
        engine, memory, device: see `SoftmaxMachine`.

    Example:
        >>> import elsewhere as els
        >>> machine = els.LocalScore(els.load_images("fashion-mini", limit=50), window=7)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0, label=3).shape
        torch.Size([2, 1, 28, 28])
    """

    def _mean(self, x: Tensor, sigma: Tensor, window: int, label: int | None) -> Tensor:
        everywhere = torch.arange(x[0, 0].numel(), device=x.device)
        return same_place_mean(self, x, sigma, window, label, everywhere).view(x.shape)


def same_place_mean(
    machine: WindowedMachine, x: Tensor, sigma: Tensor, window: int, label: int | None, pixels: Tensor
) -> Tensor:
    """Posterior mean (B, C, P) of some pixels from the same places in the training images."""
    state = machine._run([SamePlace(x, sigma, machine._class_store(label), window, pixels)])[0]
    return state.mean().view(len(x), len(pixels), x.shape[1]).transpose(1, 2).to(x.dtype)
