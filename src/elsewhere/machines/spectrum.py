"""Mean, eigenvalues and eigenvectors of training images: what Wiener filters and PCA locality are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine import PixelStore

# So many rows of bytes around 128 have sums of products below 2^24, which float32 adds without rounding.
ROWS = 1024
BYTE_CENTRE = 128
# Eigenvalues below this share of the largest are rounding of float64.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Spectrum:
    """The principal axes of some images of d = C H W numbers, float64.

    Attributes:
        mean: of every number, (d,), in [-1, 1].
        values: variances along the axes, decreasing, without those that are zero, (k,).
        vectors: the axes, orthonormal columns, (d, k).
        variance: mean variance of a number: the sum of all eigenvalues over d.
    """

    mean: Tensor
    values: Tensor
    vectors: Tensor
    variance: float

    @classmethod
    def of(cls, store: PixelStore, unbiased: bool) -> Spectrum:
        """Of all images of a store, by one eigendecomposition in float64 of the smaller of two matrices: the
        covariance (d, d), or the products of the images with each other (N, N).

        Args:
            store: the images.
            unbiased: the divisor is N - 1 rather than N.
        """
        count, numbers = len(store), store.pixels[0].numel()
        divisor = max(1, count - 1) if unbiased else count
        if count < numbers:
            images = store.floats(store.pixels).flatten(1).double()
            mean = images.mean(0)
            images -= mean
            values, vectors = torch.linalg.eigh(images @ images.T / divisor)
            kept = values > ROUNDING * values.amax().clamp(min=1e-30)
            vectors = torch.linalg.qr(images.T @ vectors[:, kept].flip(1)).Q
            values = values[kept].flip(0)
            return cls(mean, values, vectors, float(images.square().sum()) / divisor / numbers)
        mean, covariance = _moments(store, divisor)
        values, vectors = torch.linalg.eigh(covariance)
        kept = values > ROUNDING * values.amax().clamp(min=1e-30)
        variance = float(covariance.diagonal().mean())
        return cls(mean, values[kept].flip(0), vectors[:, kept].flip(1).contiguous(), variance)

    @property
    def nbytes(self) -> int:
        return 8 * (self.vectors.numel() + self.values.numel() + self.mean.numel())


def check_spectrum_memory(store: PixelStore, memory: int) -> None:
    """Check that an eigendecomposition of these images fits into some bytes, before it begins.

    Raises:
        ValueError: it does not.
    """
    count, numbers = len(store), store.pixels[0].numel()
    # The matrix, its eigenvectors, and what LAPACK works in, twice as large.
    needed = 8 * (4 * min(count, numbers) ** 2 + (2 * count * numbers if count < numbers else 0))
    if needed > memory:
        raise ValueError(
            f"memory must be {needed >> 20} MiB or more for the covariance of {count} images of {numbers} numbers, "
            f"got {memory >> 20} MiB: give more, or smaller or fewer images"
        )


def _moments(store: PixelStore, divisor: int) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d), float64, in units of [-1, 1]."""
    pixels = store.pixels.flatten(1)
    numbers = pixels.shape[1]
    products = torch.zeros(numbers, numbers, dtype=torch.float64, device=pixels.device)
    sums = torch.zeros(numbers, dtype=torch.float64, device=pixels.device)
    is_bytes = pixels.dtype == torch.uint8
    centre = BYTE_CENTRE if is_bytes else store.centre
    for some in torch.split(pixels, ROWS):
        rows = some.to(torch.float32 if is_bytes else torch.float64) - centre
        products += rows.T @ rows
        sums += rows.sum(0).double()
    mean = sums / len(pixels)
    covariance = (products - torch.outer(mean, sums)) / (divisor * store.scale**2)
    offset = centre / 127.5 - 1 if is_bytes else centre
    return mean / store.scale + offset, covariance
