"""The entropy of a machine's weights: does it copy, or put together?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.checks import check_fields


@dataclass(frozen=True)
class WeightEntropy:
    """Entropy of the weights w_j of all windows that a pixel meets, H = -sum_j w_j log w_j, at one step.

    n equal weights have the entropy ln n; one weight that is all has 0. A pixel with little entropy comes from few
    windows. An image is copied where that holds for its pixels and they agree on one training image: then the entropy
    of `images`, its weights on whole training images, vanishes too (cf. BIRD, arXiv 2607.08041). Where pixels come
    from few windows each, but of many images, the machine puts together.

    Attributes:
        pixels: H of each pixel, in nats, float64 (B, H, W); NaN where it is not known.
        windows: number of windows that the pixel meets, equal ones counted each, int64 (B, H, W).
        images: entropy of each image's weights on the training images (`Mosaic.credits`), in nats, float64 (B,).
        compared: number of training images that each image was compared with, int64 (B,).
    """

    pixels: Tensor
    windows: Tensor
    images: Tensor
    compared: Tensor

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        shape = tuple(self.pixels.shape)
        pixels, images = float(self.pixel_shares.mean()), float(self.image_shares.mean())
        return f"WeightEntropy({shape}, {pixels:.3f} of ln windows a pixel, {images:.3f} of ln images an image)"

    @property
    def pixel_shares(self) -> Tensor:
        """H / ln n of each pixel, n windows: 0 (one window) to 1 (all alike), float64 (B, H, W); 0 where n is 1."""
        return _relative(self.pixels, self.windows)

    @property
    def image_shares(self) -> Tensor:
        """Entropy of each image's weights on training images, over ln N: 0 to 1, float64 (B,); 0 where N is 1."""
        return _relative(self.images, self.compared)


def entropy_of(shares: Tensor) -> Tensor:
    """Entropy in nats of weights (..., N) that sum to one up to rounding, (...,)."""
    nats: Tensor = torch.special.entr(shares / shares.sum(-1, keepdim=True).clamp(min=1e-300)).sum(-1)
    return nats


def _relative(nats: Tensor, count: Tensor) -> Tensor:
    # Rounding may leave [0, 1].
    return (nats / count.double().log().clamp(min=1e-300)).where(count > 1, torch.zeros_like(nats)).clamp(0, 1)
