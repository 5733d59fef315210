"""How much each pixel of a window counts in the squared distance between two windows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from elsewhere.engine.keys.places import Extent


@dataclass(frozen=True, eq=False)
class Metric:
    """Weights over a window: |q - k|^2 = sum_d w_d (q_d - k_d)^2, with d running over channels, rows and columns.

    Make one with `square`, `tapered` or `weighted`. One made with `each` is another thing: every number of the image
    that is asked for has weights of its own over the whole image.

    Attributes:
        side: side of the window in pixels, odd.
        weights: weight of each pixel, float64 (side, side), or (C, side, side) where channels differ; None where every
            weight is one.
        profile: weights along one axis, float64 (side,), where `weights` is its outer product with itself; else None.
        matrix: for `each`, (C H W, C H W): column m holds the weights of the query for number m of the image.
    """

    side: int
    weights: Tensor | None = None
    profile: Tensor | None = None
    matrix: Tensor | None = None

    @classmethod
    def square(cls, side: int) -> Metric:
        """Every pixel counts once."""
        return cls(side, None, torch.ones(side, dtype=torch.float64, device="cpu"))

    @classmethod
    def tapered(cls, side: int) -> Metric:
        """Weights fall linearly with the distance from the centre along either axis, to zero just outside."""
        offset = torch.arange(-(side // 2), side // 2 + 1, dtype=torch.float64, device="cpu")
        profile = 1 - offset.abs() / (side // 2 + 1)
        return cls(side, profile[:, None] * profile, profile)

    @classmethod
    def weighted(cls, weights: Tensor) -> Metric:
        """Any weights, 0 or more, (side, side) or (C, side, side), of an odd side.

        The sliding-window kernel takes square and tapered windows only: pairs of other windows cost more the larger the
        window is, some twenty times as much at a side of 15.
        """
        return cls(weights.shape[-1], weights.to("cpu", torch.float64))

    @classmethod
    def each(cls, matrix: Tensor, size: tuple[int, int]) -> Metric:
        """Weights of its own for every number of an image, at the same place: the distance that decides number m is
        sum_n matrix[n, m] (x_n - k_n)^2.

        Args:
            matrix: weights, 0 or more, of any dtype, (C H W, C H W), rows and columns as in a flattened image.
            size: H and W.

        Raises:
            ValueError: a matrix that is not square, or not of whole images of this size.
        """
        numbers = matrix.shape[-1]
        if tuple(matrix.shape) != (numbers, numbers) or numbers % (size[0] * size[1]):
            raise ValueError(f"matrix must be (C H W, C H W) for images of {size}, got {tuple(matrix.shape)}")
        return cls(2 * max(size) - 1, matrix=matrix)

    @property
    def radius(self) -> int:
        """Pixels from the centre of the window to its edge, `side // 2`."""
        return self.side // 2

    @property
    def is_square(self) -> bool:
        """Whether every pixel of the window counts once."""
        return self.weights is None and self.matrix is None

    @property
    def is_tapered(self) -> bool:
        """Whether the weights are a product of a profile over rows and the same profile over columns."""
        return self.weights is not None and self.profile is not None

    @cached_property
    def name(self) -> tuple[object, ...]:
        """Equal for equal metrics: what caches know a metric by."""
        if self.matrix is not None:
            numbers = self.matrix.to("cpu", torch.float64).contiguous().numpy()
            return "each", self.side, hashlib.blake2b(numbers.data, digest_size=16).hexdigest()
        if self.weights is None:
            return "square", self.side
        if self.profile is not None:
            return "tapered", self.side
        digest = hashlib.blake2b(self.weights.contiguous().numpy().data, digest_size=16)
        return "weighted", tuple(self.weights.shape), digest.hexdigest()

    def total(self, channels: int) -> float:
        """Sum of the weights over all numbers of a window."""
        if self.weights is None:
            return float(channels * self.side**2)
        return float(self.weights.sum()) * (1 if self.weights.ndim == 3 else channels)

    def within(self, extent: Extent, channels: int) -> Tensor | None:
        """Weight of each number of a window that is cut off to an extent, float64 (width,); None where all are one."""
        if self.weights is None:
            return None
        radius = self.radius
        rows = slice(radius - extent.top, radius + extent.bottom + 1)
        columns = slice(radius - extent.left, radius + extent.right + 1)
        return self.weights[..., rows, columns].expand(channels, -1, -1).flatten()

    def sums(self, like: Tensor) -> WindowSums:
        """What sums over the windows of images need that are shaped as `like` (..., C, H, W)."""
        return WindowSums.of(self, like)


@dataclass(frozen=True)
class WindowSums:
    """Weighted sums over the window around every pixel; a window ends at the borders of the image.

    Attributes:
        channels: C.
        down, across: band matrices (H, H) and (W, W) whose products sum along one axis, where weights are separable.
        kernel: else the weights, (1, C, side, side).
    """

    channels: int
    down: Tensor | None
    across: Tensor | None
    kernel: Tensor | None

    @classmethod
    def of(cls, metric: Metric, like: Tensor) -> WindowSums:
        channels, height, width = like.shape[-3:]
        if metric.profile is not None:
            down, across = (_band(metric.profile, size, like) for size in (height, width))
            return cls(channels, down, across, None)
        assert metric.weights is not None
        return cls(channels, None, None, metric.weights.expand(channels, -1, -1)[None].to(like))

    def over(self, numbers: Tensor) -> Tensor:
        """(..., C, H, W) -> (..., H, W): channels are summed too."""
        if self.down is not None and self.across is not None:
            return self.down @ numbers.sum(-3) @ self.across
        assert self.kernel is not None
        sums = torch.nn.functional.conv2d(
            numbers.reshape(-1, *numbers.shape[-3:]), self.kernel, padding=self.kernel.shape[-1] // 2
        )
        return sums.view(*numbers.shape[:-3], *numbers.shape[-2:])

    def spread(self, numbers: Tensor) -> Tensor:
        """The transpose of `over`: (..., H, W) -> (..., C, H, W), with C of one where all channels are alike."""
        if self.down is not None and self.across is not None:
            return (self.down.mT @ numbers @ self.across.mT).unsqueeze(-3)
        assert self.kernel is not None
        flat = numbers.reshape(-1, 1, *numbers.shape[-2:])
        spread = torch.nn.functional.conv_transpose2d(flat, self.kernel, padding=self.kernel.shape[-1] // 2)
        return spread.view(*numbers.shape[:-2], *spread.shape[1:])


def _band(profile: Tensor, size: int, like: Tensor) -> Tensor:
    """The matrix whose product sums over a window along one axis, (size, size)."""
    index = torch.arange(size, device=like.device)
    offset = index[:, None] - index
    radius = len(profile) // 2
    weights = profile.to(like.device)[(offset + radius).clamp(0, len(profile) - 1)]
    return weights.masked_fill(offset.abs() > radius, 0).to(like.dtype)
