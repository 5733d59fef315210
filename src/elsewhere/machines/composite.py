"""Patch composites: whole patches are denoised at their own places, and averaged where they overlap."""

from __future__ import annotations

from elsewhere.engine import Layout, Metric, Region
from elsewhere.machines.base import WindowedMachine


class PatchComposite(WindowedMachine):
    """PSPC: patch set posterior composites (Niedoba et al. 2024, arXiv 2411.19339), with square patches.

    Query: the patch at every place at which it lies wholly inside the image. Keys: the patches at the same place in
    every training image. Value: the whole patch; patches that overlap are averaged with equal weight. A patch that is
    larger than the image makes it the ideal machine. The published code adds mirrored training images; give them as
    data.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        window: side of the patches: see `WindowedMachine`. PSPC publishes 23, 15, 11, 7, 5, 3 for images of 32 pixels.
        taper: see `WindowedMachine`; not published.
        engine, memory, device: see `SoftmaxMachine`.

    Example:
        >>> import elsewhere as els
        >>> machine = els.PatchComposite(els.load_images("fashion-mini", limit=50), window=7)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    def layout(self, height: int, width: int, window: int) -> Layout:
        if window > min(height, width):
            return Layout(value="image")
        radius = window // 2
        inside = Region(range(radius, height - radius), range(radius, width - radius), None)
        return Layout((inside,), self.metric(window), response=Metric.square(window) if window > 1 else None)
