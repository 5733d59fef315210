"""The local score machine: each pixel sees a window, and knows where it is."""

from __future__ import annotations

from elsewhere.engine import Layout
from elsewhere.machines.borders import own_places
from elsewhere.machines.windowed import WindowedMachine


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

    def layout(self, height: int, width: int, window: int) -> Layout:
        return Layout(own_places((height, width)), self.metric(window))
