"""Linear operators that degrade images, for `els.restore`: hidden pixels, blur, fewer pixels, or a user's own.

An operator is called with images (N, C, H, W) and returns measurements (N, C', H', W').
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from elsewhere.checks import check_choice, check_dense, check_fields, check_whole, checked, seen
from elsewhere.denoiser import check_images
from elsewhere.layout import plain

Edges = Literal["reflect", "wrap", "zeros"]
"""How an operator continues an image beyond its edges."""
EDGES: dict[Edges, str] = {"reflect": "reflect", "wrap": "circular", "zeros": "constant"}
"""The same in torch's words."""


@dataclass(frozen=True, eq=False)
class Operator:
    """A linear operator A that treats every channel alike.

    Attributes:
        name: what reports call it.
        forward: A, images (N, C, H, W) to measurements.
        pseudo_inverse: A^+, measurements to images, where it has a formula; else None.
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    pseudo_inverse: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, images: Tensor) -> Tensor:
        return self.forward(check_images(images, "images"))

    def __repr__(self) -> str:
        return self.name


@checked
def mask(missing: Tensor | np.ndarray) -> Operator:
    """Hide pixels: A x is x where `missing` is false, and 0 where it is true. A is its own pseudo-inverse.

    Args:
        missing: bool (H, W), true where pixels are hidden, as in `els.inpaint`.

    Raises:
        TypeError, ValueError: no bool array (H, W), or one that hides every pixel.

    Example:
        >>> import torch
        >>> hole = torch.zeros(4, 4, dtype=torch.bool)
        >>> hole[1:3, 1:3] = True
        >>> float(mask(hole)(torch.ones(1, 1, 4, 4)).sum())
        12.0
    """
    if not isinstance(missing, Tensor | np.ndarray) or missing.dtype not in (torch.bool, np.bool_):
        raise TypeError(f"missing must be a bool array, true where pixels are hidden, got {seen(missing)}")
    check_dense("missing", missing)
    hidden = plain(missing)
    if hidden.ndim != 2 or bool(hidden.all()):
        raise ValueError(f"missing must be (H, W) and leave a pixel, got {tuple(hidden.shape)}")

    def hide(images: Tensor) -> Tensor:
        if images.shape[2:] != hidden.shape:
            raise ValueError(
                f"missing must be of the images' size {tuple(images.shape[2:])}, got {tuple(hidden.shape)}"
            )
        return images.masked_fill(hidden.to(images.device), 0.0)

    return Operator(f"mask({int(hidden.sum())} of {hidden.numel()} pixels)", hide, hide)


@checked
def blur(kernel: Tensor | np.ndarray, edges: Edges = "reflect") -> Operator:
    """Convolve with a kernel.

    Args:
        kernel: floating point (h, w), sides odd.
        edges: how images go on outside: "reflect", "wrap" round, or "zeros", which is mid-gray.

    Raises:
        TypeError, ValueError: no such kernel, or unknown edges.

    Example:
        >>> import torch
        >>> blur(torch.full((3, 3), 1 / 9))(torch.ones(1, 1, 8, 8)).shape
        torch.Size([1, 1, 8, 8])
    """
    check_choice("edges", edges, EDGES)
    check_dense("kernel", kernel)
    try:
        weights = plain(kernel)
    except TypeError as error:
        raise TypeError(f"kernel must be floating point of at most 64 bits, got {seen(kernel)}") from error
    if not weights.is_floating_point():
        raise TypeError(f"kernel must be floating point, got {weights.dtype}")
    if weights.ndim != 2 or weights.shape[0] % 2 == 0 or weights.shape[1] % 2 == 0:
        raise ValueError(f"kernel must be (h, w) with odd sides, got shape {tuple(weights.shape)}")
    if not bool(weights.isfinite().all()) or not bool(weights.any()):
        raise ValueError("kernel must be finite and not all zeros")
    height, width = weights.shape

    def convolve(images: Tensor) -> Tensor:
        channels = images.shape[1]
        if edges != "zeros" and (height // 2 >= images.shape[2] or width // 2 >= images.shape[3]):
            raise ValueError(f"kernel must be smaller than the images, got {height}x{width} for {tuple(images.shape)}")
        around = (width // 2, width // 2, height // 2, height // 2)
        # A convolution turns its kernel round; conv2d does not.
        turned = weights.flip(0, 1).to(images).expand(channels, 1, height, width)
        return conv2d(pad(images, around, mode=EDGES[edges]), turned, groups=channels)

    return Operator(f"blur({height}x{width}, {edges})", convolve)


@checked
def downsample(factor: int) -> Operator:
    """The mean of every block of factor x factor pixels. Its pseudo-inverse repeats each mean over its block.

    Raises:
        TypeError, ValueError: factor is no integer of 2 or more.

    Example:
        >>> import torch
        >>> downsample(4)(torch.ones(1, 1, 28, 28)).shape
        torch.Size([1, 1, 7, 7])
    """
    factor = check_whole("factor", factor, 2)

    def average(images: Tensor) -> Tensor:
        if images.shape[2] % factor or images.shape[3] % factor:
            raise ValueError(f"factor must divide the images' sides {tuple(images.shape[2:])}, got {factor}")
        return avg_pool2d(images, factor)

    def repeat(means: Tensor) -> Tensor:
        return means.repeat_interleave(factor, 2).repeat_interleave(factor, 3)

    return Operator(f"downsample({factor})", average, repeat)
