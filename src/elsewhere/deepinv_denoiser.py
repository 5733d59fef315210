"""Denoisers for the library deepinv (Tachella et al. 2025, arXiv 2505.20160), which has images in [0, 1]."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from elsewhere.checks import check_dense, checked
from elsewhere.denoiser import DenoiserLike, Label, ask, check_fixed_label, check_images, check_request, check_sigma


class DeepinvDenoiser(nn.Module):
    """A module that deepinv's algorithms take as a denoiser: forward(y, sigma) with images in [0, 1].

    An image u in [0, 1] is x = 2 u - 1 in [-1, 1], and its noise sigma is 2 sigma there.

    Attributes:
        denoiser, label: as given to `as_deepinv`.
    """

    def __init__(self, denoiser: DenoiserLike, label: Tensor | None) -> None:
        super().__init__()
        self.denoiser, self.label = denoiser, label

    def forward(self, x: Tensor, sigma: Any, **others: Any) -> Tensor:
        """The posterior mean of images.

        Args:
            x: noisy images (B, C, H, W), about [0, 1].
            sigma: noise level of these, a number, or a tensor of one or of B numbers in any shape, as deepinv gives it.
            others: further arguments of deepinv's models, which have no meaning here.

        Returns:
            Images in [0, 1], (B, C, H, W).

        Raises:
            TypeError, ValueError: what the denoiser raises.
        """
        given = check_images(x)
        images = check_request({"denoiser": self.denoiser}, 2 * given - 1, self.label, "x")[0]
        if isinstance(sigma, Tensor):
            check_dense("sigma", sigma)
            sigma = sigma.flatten()
        levels = 2 * check_sigma(sigma, len(images), images)
        level: Any = float(levels[0]) if bool((levels == levels[0]).all()) else levels
        return (ask(self.denoiser, images, level, self.label) + 1) / 2


@checked
def as_deepinv(denoiser: DenoiserLike, label: Label = None) -> DeepinvDenoiser:
    """A machine or a network as a denoiser for deepinv: for plug-and-play priors, score-based sampling, and the rest.

    deepinv itself is not needed. `els.restore` in turn takes deepinv's linear operators: `operator=physics.A`, with
    images in [-1, 1] and the noise of those.

    Args:
        denoiser: D(x, sigma, label=None), on images in [-1, 1].
        label: class of every image or (B,), None for none.

    Raises:
        TypeError, ValueError: no denoiser, or classes that it does not have.

    Example:
        >>> import elsewhere as els
        >>> machine = els.EquivariantLocalScore(els.load_images("fashion-mini", limit=20), window=5)
        >>> els.as_deepinv(machine)(els.make_noise(1, (1, 28, 28)), 0.1).shape
        torch.Size([1, 1, 28, 28])
    """
    return DeepinvDenoiser(denoiser, check_fixed_label(label, denoiser))
