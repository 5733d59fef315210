"""How far off the averages of a search may be: what was read is compared with what had been predicted of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elsewhere.engine.search.settings import SearchSettings


@dataclass(frozen=True)
class Unread:
    """What Gaussians stand for, of some queries.

    Attributes:
        mass: relative to the reference, float64 (Q,).
        squares: sum of the squares of the masses of its blocks, float64 (Q,).
        uncertainty: see `Plan`.
    """

    mass: Tensor
    squares: Tensor
    uncertainty: Tensor


def estimated_error(mean: Tensor, total: Tensor, band: Tensor, unread: Unread, settings: SearchSettings) -> Tensor:
    """How far off averages may be, the largest over channels, float64 (Q,).

    Args:
        mean: the averages, float64 (Q, V).
        total: all mass, relative to the reference, float64 (Q,).
        band: how good the Gaussians of the last blocks read were: see `ScanResult`.
        unread: what they stand for.
        settings: of the search.
    """
    expected, squared, missed, missed_squared = band[:, :4].unbind(1)
    off, mixed, off_squared = band[:, 4:].chunk(3, dim=1)
    # Errors that are independent from block to block, and those that all blocks have in common.
    independent = (off_squared - 2 * mean * mixed + mean.square() * missed_squared[:, None]).clamp(min=0).amax(1)
    common = (off - mean * missed[:, None]).abs().amax(1)
    independent *= (unread.squares / squared.clamp(min=1e-300)).clamp(min=1.0)
    independent += (settings.model_uncertainty * unread.uncertainty).square() * unread.squares
    off_by = settings.safety * independent.sqrt() + common * unread.mass / expected.clamp(min=1e-300)
    # Without blocks to compare, all that is not read may be wrong.
    error: Tensor = torch.where(expected > 0, off_by, unread.mass) / total
    return error
