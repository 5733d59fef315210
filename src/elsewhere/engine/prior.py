"""Log-weights that do not come from windows: of whole training images, and of the shifts between places."""

from __future__ import annotations

import torch
from torch import Tensor

from elsewhere.engine.keys.store import PixelStore
from elsewhere.engine.layout import Layout, Region

# Log-weight of a training image whose weight is 0: finite, since infinity minus infinity is NaN.
NO_WEIGHT = -1e30
# Numbers of training images that are held in float64 at once.
AT_ONCE = 2**24


def pedestal_logs(x: Tensor, store: PixelStore, sigma: float, pedestal: float) -> Tensor:
    """-pedestal |x - y|^2 / (2 sigma^2) for every training image y, but for a number that all of them share.

    Args:
        x: centred images (B, C, H, W).
        store: the training images, of the same size.
        sigma: noise level.
        pedestal: 0 or more.

    Returns:
        Float64 (B, N), differentiable in x.
    """
    flat = x.flatten(1).double()
    parts = []
    each = max(1, AT_ONCE // flat.shape[1])
    for start in range(0, len(store), each):
        images = store.centred(store.pixels[start : start + each], torch.float64).flatten(1) / store.scale
        # Without |x|^2, which all share.
        parts.append(flat @ images.T - images.square().sum(1) / 2)
    closeness = torch.cat(parts, 1)
    return closeness * (pedestal / sigma**2)


def shift_logs(shifts: Tensor, width: float, period: int | None) -> Tensor:
    """Log-weights of shifts along one axis under a normal prior, but for a constant, float64.

    Args:
        shifts: rows or columns between a pixel and its key, integers.
        width: standard deviation in pixels.
        period: side of the image where shifts go the shorter way round; None where they do not.
    """
    distance = shifts.abs().double()
    if period is not None:
        distance = torch.minimum(distance % period, period - distance % period)
    return -((distance / width) ** 2) / 2


def weight_logs(weights: Tensor) -> Tensor:
    """Logarithms of weights, float64; see `NO_WEIGHT` for that of 0."""
    return weights.double().log().clamp(min=NO_WEIGHT)


def _places(line: range) -> Tensor:
    return torch.arange(line.start, line.stop, device="cpu")


def place_logs(layout: Layout, region: Region, size: tuple[int, int]) -> Tensor | None:
    """Log-weights of the shifts from the places of a region's keys to its pixels, float64 (P, places)."""
    if layout.shift_width is None or region.places is None:
        return None
    down, right = (
        shift_logs(
            _places(pixels)[:, None] - (_places(places) - layout.padding),
            layout.shift_width,
            side if layout.wraps.x else None,
        )
        for pixels, places, side in (
            (region.rows, region.places.rows, size[0]),
            (region.columns, region.places.columns, size[1]),
        )
    )
    return (down[:, None, :, None] + right[None, :, None, :]).flatten(2).flatten(0, 1)
