"""How far off Gaussians are: what was read of the last blocks is compared with what had been predicted of it.

What all these blocks have in common corrects the Gaussians of unread blocks, which are the most similar to them. What
differs from block to block says how far off averages may still be.
"""

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


def common_error(mean: Tensor, band: Tensor) -> Tensor:
    """What blocks hold beyond what Gaussians predict of them, relative to the predicted mass.

    The more it differs from block to block, the less of it is assumed of blocks that were not read: of a sum with
    standard error e, the share sum^2 / (sum^2 + e^2).

    Args:
        mean: the averages without the correction, float64 (Q, V).
        band: see `ScanResult`.

    Returns:
        Mass, at least -1, and mass times value, float64 (Q, 1 + V).
    """
    expected, _, missed, missed_squared = band[:, :4].unbind(1)
    mass = missed * _certain(missed, missed_squared)
    off, squares = _of_averages(mean, band)
    values = off * _certain(off, squares) + mean * mass[:, None]
    return torch.cat([mass[:, None], values], dim=1) / expected.clamp(min=1e-300)[:, None]


def _of_averages(mean: Tensor, band: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the blocks of a band of the errors of averages, times the total mass, and of their squares, (Q, V)."""
    missed, missed_squared = band[:, 2:4].unbind(1)
    off, mixed, off_squared = band[:, 4:].chunk(3, dim=1)
    squares = off_squared - 2 * mean * mixed + mean.square() * missed_squared[:, None]
    return off - mean * missed[:, None], squares.clamp(min=0)


def _certain(total: Tensor, squares: Tensor) -> Tensor:
    """The share of sums that is more than chance, from the squares of what is summed."""
    return total.square() / (total.square() + squares).clamp(min=1e-300)


def estimated_error(mean: Tensor, total: Tensor, band: Tensor, unread: Unread, settings: SearchSettings) -> Tensor:
    """How far off averages may be, the largest over channels, float64 (Q,).

    Args:
        mean: the averages, float64 (Q, V).
        total: all mass, relative to the reference, float64 (Q,).
        band: how good the Gaussians of the last blocks read were: see `ScanResult`.
        unread: what they stand for.
        settings: of the search.
    """
    expected, squared = band[:, :2].unbind(1)
    # Errors that all blocks have in common, and those that are independent from block to block.
    off, squares = _of_averages(mean, band)
    common, independent = off.abs().amax(1), squares.amax(1)
    independent *= (unread.squares / squared.clamp(min=1e-300)).clamp(min=1.0)
    independent += (settings.model_uncertainty * unread.uncertainty).square() * unread.squares
    off_by = settings.safety * independent.sqrt() + common * unread.mass / expected.clamp(min=1e-300)
    # Without blocks to compare, all that is not read may be wrong.
    error: Tensor = torch.where(expected > 0, off_by, unread.mass) / total
    return error
