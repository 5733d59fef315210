"""The local score machine: each pixel sees a window, but knows where it is."""

from __future__ import annotations

import torch
from torch import Tensor

from elsewhere.engine import Frame, Line, SamePlace, Shifts
from elsewhere.machines.base import Question, WindowedMachine


class LocalScore(WindowedMachine):
    """LS: locality alone (Kamb & Ganguli 2025, section 3).

    Query: the window around a pixel, cut off at the border. Keys: the window at the same place in every training
    image. Value: its centre pixel. A window that covers the image from every pixel makes it the ideal machine.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        window, taper: see `WindowedMachine`; a window may exceed the image.
        engine, memory, device: see `SoftmaxMachine`.

    Example:
        >>> import elsewhere as els
        >>> machine = els.LocalScore(els.load_images("fashion-mini", limit=50), window=7)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0, label=3).shape
        torch.Size([2, 1, 28, 28])
    """

    def _questions(
        self, x: Tensor, sigma: Tensor, window: int, label: int | None, *, traced: bool
    ) -> list[list[Question]]:
        if self._slides(x, label):
            whole = Frame(*([Line(0, 0, side)] for side in x.shape[2:]))
            pixels = torch.arange(x[0, 0].numel(), device="cpu")
            job = Shifts(x, sigma, self._class_store(label), window, [whole], pixels, taper=self.taper)
            return [[Question(job, pixels)]]
        return [[same_place(self, x, sigma, window, label, torch.arange(x[0, 0].numel(), device=x.device))]]


def same_place(
    machine: WindowedMachine, x: Tensor, sigma: Tensor, window: int, label: int | None, pixels: Tensor
) -> Question:
    """What some pixels (flat positions) ask of the same places in the training images."""
    return Question(SamePlace(x, sigma, machine._class_store(label), window, pixels, machine.taper), pixels)
