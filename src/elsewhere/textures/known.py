"""Parts of an image in which nothing is missing, as training images."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_KEYS = 16
"""Windows of which nothing is missing that a scale needs, at least: from fewer, all that is drawn is a copy."""
LEFT_OUT = 0.05
"""Share of the clear windows that crops may leave out: where holes lie close together only small crops are clear, and
what the windows between them show would be drawn nowhere, which leaves seams."""


def clear_windows(missing: Tensor, window: int) -> Tensor:
    """Which windows of a side lie inside an image and have nothing missing, by their upper left corner.

    Args:
        missing: bool (H, W).
        window: side in pixels, at most those of the image.

    Returns:
        bool (H - window + 1, W - window + 1).
    """
    return _sums(missing, window) == 0


def clear_crops(image: Tensor, missing: Tensor, window: int) -> Tensor:
    """Crops (N, C, side, side) of an image in which nothing is missing, which hold nearly all of its clear windows.

    Where what is there is one rectangle, as in an image that was extended, it is that rectangle, (1, C, h, w).
    Otherwise crops of two windows a side, or of less where these would leave out more than `LEFT_OUT` of the clear
    windows, placed from the upper left on a grid of a quarter of a window wherever at least a quarter of the windows
    in them were in no crop before: windows that lie in two crops count twice.

    Args:
        image: (C, H, W).
        missing: bool (H, W).
        window: side in pixels.

    Raises:
        ValueError: fewer than `LEAST_KEYS` windows have nothing missing.
    """
    height, width = missing.shape
    if window > min(height, width) or int(clear_windows(missing, window).sum()) < LEAST_KEYS:
        raise ValueError(
            f"fewer than {LEAST_KEYS} windows of {window}x{window} pixels have nothing missing in {height}x{width} "
            "pixels: mask less of the image, or give a smaller window"
        )
    row, column = (~missing).nonzero().unbind(1)
    top, bottom, left, right = int(row.min()), int(row.max()) + 1, int(column.min()), int(column.max()) + 1
    if not bool(missing[top:bottom, left:right].any()):
        return image[None, :, top:bottom, left:right].contiguous()
    count = int(clear_windows(missing, window).sum())
    side = min(2 * window, height, width)
    while True:
        # A crop holds this many windows along each of its sides.
        across = side - window + 1
        clear, fresh = clear_windows(missing, side), clear_windows(missing, window)
        corners = _corners(clear, fresh, across, max(1, min(window // 4, across // 2)))
        if side == window or int(fresh.sum()) <= LEFT_OUT * count:
            break
        side -= 1
    return torch.stack([image[:, top : top + side, left : left + side] for top, left in corners])


def _corners(clear: Tensor, fresh: Tensor, across: int, step: int) -> list[tuple[int, int]]:
    """Upper left corners of crops, each with at least a quarter of windows that are in no crop before it.

    Args:
        clear: corners of crops in which nothing is missing, bool.
        fresh: corners of windows in which nothing is missing, bool; those found are cleared.
        across: windows along each side of a crop.
        step: of the grid.
    """
    corners = []
    rows, columns = (sorted({*range(0, length, step), length - 1}) for length in clear.shape)
    for top in rows:
        for left in columns:
            inside = fresh[top : top + across, left : left + across]
            if clear[top, left] and 4 * int(inside.sum()) >= inside.numel():
                inside.fill_(False)
                corners.append((top, left))
    return corners


def _sums(numbers: Tensor, window: int) -> Tensor:
    """Sums over all windows of a side, int64."""
    running = torch.nn.functional.pad(numbers.long().cumsum(0).cumsum(1), (1, 0, 1, 0))
    upper, lower = running[:-window], running[window:]
    return lower[:, window:] - lower[:, :-window] - upper[:, window:] + upper[:, :-window]
