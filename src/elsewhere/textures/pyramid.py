"""Images at several scales: averages of pixels on the way down, linear interpolation on the way up."""

from __future__ import annotations

import torch
from torch import Tensor

Size = tuple[int, int]


def halved(size: Size, times: int) -> Size:
    """Height and width after halving both sides so many times, rounded, 1 or more."""
    height, width = (max(1, round(side / 2**times)) for side in size)
    return height, width


def shrink(images: Tensor, size: Size) -> Tensor:
    """Images (..., H, W) at a smaller size: the mean over the pixels, or parts of pixels, that become one."""
    rows, columns = (_means(side, smaller, images) for side, smaller in zip(images.shape[-2:], size, strict=True))
    return rows @ images @ columns.mT


def enlarge(images: Tensor, size: Size, *, wraps: bool) -> Tensor:
    """Images (..., H, W) at a larger size, by linear interpolation between the centres of pixels.

    Args:
        images: the images.
        size: height and width.
        wraps: whether the image goes on at the opposite edge; otherwise the pixels at the edge go on beyond it.
    """
    rows, columns = (
        _between(side, larger, wraps, images) for side, larger in zip(images.shape[-2:], size, strict=True)
    )
    return rows @ images @ columns.mT


def blend(fine: Tensor, coarse: Tensor, *, wraps: bool) -> Tensor:
    """The fine structure of one image on the coarse structure of another: up(coarse) + fine - up(down(fine)).

    Args:
        fine: (B, C, H, W).
        coarse: (B, C, h, w), smaller.
        wraps: see `enlarge`.
    """
    height, width = fine.shape[-2:]
    difference = coarse - shrink(fine, (coarse.shape[-2], coarse.shape[-1]))
    return fine + enlarge(difference, (height, width), wraps=wraps)


def _means(side: int, smaller: int, like: Tensor) -> Tensor:
    """The matrix (smaller, side) that averages: pixel i covers pixels from i to i + 1 times side / smaller."""
    edges = torch.arange(smaller + 1, dtype=torch.float64, device="cpu") * (side / smaller)
    pixels = torch.arange(side, dtype=torch.float64, device="cpu")
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return (covered.clamp(min=0) * (smaller / side)).to(like)


def _between(side: int, larger: int, wraps: bool, like: Tensor) -> Tensor:
    """The matrix (larger, side) that interpolates."""
    places = (torch.arange(larger, dtype=torch.float64, device="cpu") + 0.5) * (side / larger) - 0.5
    low = places.floor()
    share = places - low
    matrix = torch.zeros(larger, side, dtype=torch.float64, device="cpu")
    for index, weight in ((low, 1 - share), (low + 1, share)):
        known = index.long() % side if wraps else index.long().clamp(0, side - 1)
        matrix.scatter_add_(1, known[:, None], weight[:, None])
    return matrix.to(like)
