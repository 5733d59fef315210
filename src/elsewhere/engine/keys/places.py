"""Where windows lie in an image, and how far they reach."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Extent:
    """How far a window reaches from its centre, in pixels; less than its radius where the image ends."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.top + self.bottom + 1, self.left + self.right + 1

    def patch(self, radius: int) -> Tensor:
        """Steps down and right from the centre to the pixels of a patch, cut off where windows are, int64 (V, 2)."""
        down = torch.arange(-min(radius, self.top), min(radius, self.bottom) + 1, device="cpu")
        across = torch.arange(-min(radius, self.left), min(radius, self.right) + 1, device="cpu")
        return torch.cartesian_prod(down, across)

    def windows(self, images: Tensor, rows: range, columns: range) -> tuple[Tensor, Tensor]:
        """The windows centred on some rows and columns of images (N, C, H, W), which must lie inside the images.

        Returns:
            The part of the images that they cover, and the windows as a view (N, rows, columns, C, height, width).
        """
        cut = images[:, :, rows.start - self.top : rows.stop + self.bottom]
        cut = cut[:, :, :, columns.start - self.left : columns.stop + self.right]
        height, width = self.sides
        return cut, cut.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)


@dataclass(frozen=True)
class Places:
    """A rectangle of places in an image whose windows have the same extent.

    Attributes:
        rows, columns: the places.
        extent: how far a window reaches from each of them.
    """

    rows: range
    columns: range
    extent: Extent

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def is_line(self) -> bool:
        """Whether it is a single row or column, as along the edge of an image."""
        return len(self.rows) == 1 or len(self.columns) == 1
