"""The equivariant score machine: whole images, and no knowledge of where they are."""

from __future__ import annotations

from elsewhere.engine import Layout
from elsewhere.machines.ideal import IdealScore


class EquivariantScore(IdealScore):
    """ESM: equivariance without locality (Kamb & Ganguli 2025, section 3).

    Query: the whole image. Keys and values: every training image under every circular shift. It is IS on a training
    set of H W times as many images, computed by Fourier transforms: about as fast as IS reads so many pixels. Rolling
    the noise rolls the image; its reverse process ends on a rolled training image.

    `els.explain` gives every pixel the training pixel that the shift brings there.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        engine, memory, device: see `SoftmaxMachine`.

    Example:
        >>> import elsewhere as els
        >>> machine = els.EquivariantScore(els.load_images("fashion-mini", limit=50))
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    def layout(self, height: int, width: int, window: int) -> Layout:
        return Layout(value="image", shifts=True)
