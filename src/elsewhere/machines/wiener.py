"""The Wiener machine: the best linear denoiser, the posterior mean of a Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from elsewhere.checks import check_number, check_whole, checked
from elsewhere.gradients import check_constant
from elsewhere.machines.machine import DEFAULT_MEMORY, Data, Machine
from elsewhere.machines.spectrum import Spectrum, check_spectrum_memory


class Wiener(Machine):
    """Wiener: D(x, sigma) = mu + U diag(l / (l + sigma^2)) U^T (x - mu) (Wiener 1949; for diffusion models Wang &
    Vastola 2023, "The hidden linear structure in score-based models and its application").

    mu is the mean and U diag(l) U^T the covariance of the training images, all numbers of an image together. It is
    linear in x, so that it has no weights to explain, and differentiable any number of times.

    Without shrinkage it keeps x only along axes in which training images differ: where they are no more than an image
    has numbers, the other axes stay at mu at every noise level. `shrinkage=g` takes the covariance
    (1 - g) S + g v I, with v the mean variance of a number (Ledoit & Wolf 2004): then all of x comes through when
    sigma goes to 0.

    Published with the divisor N - 1 in Analytic Diffusion Studio, which this machine agrees with up to the float32 of
    its singular value decomposition, and as the Gaussian of Patch Score Composites with the divisor N.

    Args:
        data: an ImageSet, or floats (N, C, H, W) in [-1, 1].
        rank: keep so many axes of the largest variance, 1 or more; None: all.
        shrinkage: g, 0 to 1, after the choice of axes.
        unbiased: the divisor of the covariance is N - 1; False: N.
        memory: bytes that may be used beside the images: 32 for every pair of numbers of an image, 64 MiB or more.
        device: where to compute; default: where the data are.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: rank or shrinkage out of range; too little memory for the covariance; data as in `IdealScore`.

    Example:
        >>> import elsewhere as els
        >>> machine = els.Wiener(els.load_images("fashion-mini", limit=50), shrinkage=0.05)
        >>> machine(els.make_noise(2, (1, 28, 28)), sigma=1.0, label=3).shape
        torch.Size([2, 1, 28, 28])
    """

    @checked
    def __init__(
        self,
        data: Data,
        rank: int | None = None,
        shrinkage: float = 0.0,
        *,
        unbiased: bool = True,
        memory: int = DEFAULT_MEMORY,
        device: str | torch.device | None = None,
    ) -> None:
        self.rank = None if rank is None else check_whole("rank", rank, 1)
        self.shrinkage = check_number("shrinkage", shrinkage, 0, 1)
        self.unbiased = unbiased
        super().__init__(data, memory, device)
        check_spectrum_memory(self.store, self.memory)

    def __repr__(self) -> str:
        settings = [] if self.rank is None else [f"rank={self.rank}"]
        settings += [f"shrinkage={self.shrinkage:g}"] if self.shrinkage else []
        return self._describe(*settings, *([] if self.unbiased else ["unbiased=False"]))

    def _spectrum(self, label: int | None = None) -> Spectrum:
        """Mean, variances and axes of all images or those of a class, made when first needed.

        Raises:
            ValueError: a class without images.
        """

        def make() -> Spectrum:
            return Spectrum.of(self.workspace.of_class(label), self.unbiased)

        return self.workspace.kept.get(("spectrum", label, self.unbiased), make, lambda spectrum: spectrum.nbytes)

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        check_constant(sigma, "sigma", self)
        device = self.store.pixels.device
        wide = x.to(device, torch.float64 if x.dtype == torch.float64 else torch.float32)
        classes = [None] * len(x) if label is None else label.tolist()
        rows: list[Tensor] = [wide[0]] * len(x)
        for chosen in dict.fromkeys(classes):
            members = [index for index, one in enumerate(classes) if one == chosen]
            found = self._filtered(wide[members].flatten(1), sigma[members].to(device), chosen)
            for index, row in zip(members, found, strict=True):
                rows[index] = row.view(x.shape[1:])
        return torch.stack(rows)

    def _filtered(self, x: Tensor, sigma: Tensor, label: int | None) -> Tensor:
        """Flattened images (B, d) of one class."""
        mean, values, vectors = self._axes(label, x.dtype)
        along = self.shrinkage * self._spectrum(label).variance
        noise = sigma[:, None] ** 2
        # What comes through along the axes, and across them.
        kept, rest = values / (values + noise), along / (along + noise)
        off = x - mean
        factors = (kept - rest).to(x.dtype)
        return mean + rest.to(x.dtype) * off + (off @ vectors * factors) @ vectors.T

    def _axes(self, label: int | None, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (d,) and axes (d, k) in a dtype, and the variances along them, float64 (k,)."""
        spectrum = self._spectrum(label)
        values, vectors = spectrum.values[: self.rank], spectrum.vectors[:, : self.rank]
        values = (1 - self.shrinkage) * values + self.shrinkage * spectrum.variance
        if dtype == torch.float64:
            return spectrum.mean, values, vectors

        def make() -> Tensor:
            return vectors.float()

        name = "axes", label, self.unbiased, self.rank
        return spectrum.mean.float(), values, self.workspace.kept.get(name, make, lambda axes: axes.nbytes)
