"""The ideal score machine: the denoiser of the training set itself, which can only memorise."""

from __future__ import annotations

from elsewhere.engine import Layout
from elsewhere.machines.base import SoftmaxMachine


class IdealScore(SoftmaxMachine):
    """IS: the posterior mean under the training set (Kamb & Ganguli 2025, eq. 3).

    Query: the whole image. Keys and values: every training image. Its reverse process ends on a training image.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        engine, memory, device: see `SoftmaxMachine`.

    Example:
        >>> import elsewhere as els
        >>> machine = els.IdealScore(els.load_images("fashion-mini", limit=50))
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    def __repr__(self) -> str:
        return self._describe()

    def window_at(self, sigma: float) -> int:
        return 2 * max(self.image_size) - 1

    def layout(self, height: int, width: int, window: int) -> Layout:
        return Layout(value="image")
