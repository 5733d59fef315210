"""The PCA-locality machine: what each number of an image sees is learnt from the covariance of the training images."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from torch import Tensor

from elsewhere.checks import check_choice, check_number, check_whole, checked
from elsewhere.engine import Layout, Metric, Region, Workspace
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.machines.machine import Data
from elsewhere.machines.spectrum import Spectrum, check_spectrum_memory
from elsewhere.schedules import check_level

Orientation = Literal["column", "row"]
ORIENTATIONS: tuple[Orientation, ...] = ("column", "row")
# Divisors of the published code below this are taken as 1.
SMALLEST_DIVISOR = 1e-6
# Loader batches of the published code have 256 or 512 images.
PUBLISHED_BATCH = 256


class PCALocality(SoftmaxMachine):
    """PCA locality (Lukoianov et al. 2025, "Locality in image diffusion models emerges from data statistics", arXiv
    2509.09672): a number of the image sees those that a Wiener filter would use for it.

    With W = U diag(l / (l + sigma^2)) U^T the Wiener filter of all training images and M[n, m] = W[n, m] / W[n, n],
    number m of x0hat has the weights

        softmax_j( -sum_n [ |M[n, m]| >= threshold * max |M| ] (x_n - x_jn)^2 / (2 sigma^2) )

    Every number (of R, G and B, too) has weights of its own; `els.explain` gives their mean over the channels.

    What published code does, and what this machine does:

    - Column m of W / diag decides for m, although "row-normalised" suggests the row (M[m, n]), which gives results that
      differ by rms .05 to .15 at middle noise. Default: the column, as published; `orientation="row"` is the other.
    - The threshold is relative to the largest entry of all, so that a few nearly constant pixels move it; where
      |W[n, n]| is below 1e-6 the divisor is 1. The same here, in float64. Published code works in float32, which
      changes up to 3 % of the entries of a mask of 998 images.
    - One softmax for each batch of the loader, and the mean of their results: it depends on the order of the images and
      differs from the softmax over all by rms .1 to .2. Default: the exact softmax; `published=True` does as published
      and says so in the repr.

    With a label the images of the class are averaged; the mask is that of all training images.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        threshold: 0 to 1; published .005 for MNIST and Fashion-MNIST, .05 for CIFAR-10, .02 for CelebA-HQ and AFHQ.
        published: the mean of one softmax for each batch of images; not with `orientation="row"`.
        batch: with `published`, images in a batch; None: 256.
        orientation: "column" or "row", see above.
        engine, memory, device: see `SoftmaxMachine`. The covariance needs 32 bytes of memory for every pair of numbers
            of an image.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: threshold, batch or orientation out of range; batch or a row without what it goes with; too little
            memory for the covariance; see `SoftmaxMachine` for the rest.

    Example:
        >>> import elsewhere as els
        >>> machine = els.PCALocality(els.load_images("fashion-mini", limit=50), threshold=0.02)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0).shape
        torch.Size([2, 1, 28, 28])
    """

    splits = False

    @checked
    def __init__(
        self,
        data: Data,
        threshold: float = 0.02,
        *,
        published: bool = False,
        batch: int | None = None,
        orientation: Orientation = "column",
        **settings: Any,
    ) -> None:
        self.threshold = check_number("threshold", threshold, 0, 1)
        check_choice("orientation", orientation, ORIENTATIONS)
        self.orientation: Orientation = orientation
        if batch is not None and not published:
            raise ValueError(f"batch={batch} goes with published=True: the exact softmax has no batches, leave it out")
        if published and orientation == "row":
            raise ValueError('orientation="row" is not what was published: leave out published or orientation')
        self.published = published
        self.batch = check_whole("batch", PUBLISHED_BATCH if batch is None else batch, 1) if published else None
        super().__init__(data, **settings)
        check_spectrum_memory(self.store, self.memory)
        # A machine of some of these images has the masks of all.
        self._learnt_from: Workspace = self.workspace

    def to(self, device: str | torch.device) -> Self:
        other = super().to(device)
        learnt = self._learnt_from
        other._learnt_from = other.workspace if learnt is self.workspace else learnt.to(device)
        return other

    def __repr__(self) -> str:
        return self._describe(*self._mask_settings())

    def _mask_settings(self) -> list[str]:
        settings = [f"threshold={self.threshold:g}"]
        if self.published:
            return [*settings, "published=True", f"batch={self.batch}"]
        return settings if self.orientation == "column" else [*settings, "orientation='row'"]

    def window_at(self, sigma: float) -> int:
        return 2 * max(self.image_size) - 1

    def layout(self, height: int, width: int, window: int) -> Layout:
        return Layout((Region(range(height), range(width), None),))

    def layout_at(self, height: int, width: int, sigma: float) -> Layout:
        region = Region(range(height), range(width), None)
        return Layout((region,), Metric.each(self.mask(sigma), (height, width)), split=self.batch)

    @checked
    def mask(self, sigma: float) -> Tensor:
        """Which numbers of an image the weights of each number depend on.

        Args:
            sigma: noise level.

        Returns:
            bool (C H W, C H W); column m belongs to number m of the flattened image.

        Raises:
            TypeError, ValueError: sigma is no number, or outside `schedules.SIGMAS`.
        """
        level = check_level(sigma)

        def make() -> Tensor:
            return learnt_mask(self._spectrum(), level, self.threshold, self.orientation)

        name = "mask", level, self.threshold, self.orientation
        return self._learnt_from.kept.get(name, make, lambda mask: mask.nbytes)

    def _spectrum(self) -> Spectrum:
        """Mean, variances and axes of all training images, made when first needed."""
        store = self._learnt_from.store
        name = "spectrum", None, True
        return self._learnt_from.kept.get(name, lambda: Spectrum.of(store, True), lambda made: made.nbytes)


def learnt_mask(spectrum: Spectrum, sigma: float, threshold: float, orientation: Orientation) -> Tensor:
    """The mask of `PCALocality`, bool (d, d), column m for number m.

    Args:
        spectrum: of the training images.
        sigma: noise level.
        threshold, orientation: see `PCALocality`.
    """
    values = spectrum.values
    wiener = (spectrum.vectors * (values / (values + sigma**2))) @ spectrum.vectors.T
    diagonal = wiener.diagonal()
    divisor = diagonal.where(diagonal.abs() >= SMALLEST_DIVISOR, 1.0)
    size = (wiener / divisor[:, None]).abs_()
    mask = size >= threshold * size.amax()
    return mask if orientation == "column" else mask.T.contiguous()
