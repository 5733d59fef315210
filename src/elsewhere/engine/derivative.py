"""The derivative of a softmax average with respect to its queries: a covariance of values and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from elsewhere.engine.jobs import Tile, Tiled, least
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.runner import cut, run
from elsewhere.engine.state import SoftmaxState


class DifferentiableJob(Tiled, Protocol):
    """A job whose queries keep what autograd needs to go back to x."""

    queries: Tensor
    scale: float

    def parts(self, gradient: Tensor) -> list[tuple[DifferentiableJob, Tensor]]:
        """The queries whose gradient (Q, V) is not zero, in parts whose sums are small enough to be held together."""
        ...

    def gather(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """Add the keys of a tile, times coefficients, to the sums of its queries, shaped as `queries`."""
        ...


@dataclass(frozen=True)
class Part:
    """Some queries of a job, and the gradient with respect to their means, float64 (Q, V)."""

    job: DifferentiableJob
    gradient: Tensor


def pull_back(parts: Sequence[Part], device: torch.device) -> list[Tensor]:
    """Carry gradients with respect to means back to the queries.

    With mean_i = sum_j w_ij v_j and coefficients c_ij = w_ij g_i . (v_j - mean_i), the gradient with respect to q_i is
    M sum_j c_ij (k_j - q_i) / sigma^2, with M the weights of the metric. The coefficients of a query sum to zero, so
    that q_i drops out.

    Every key is weighed twice: once for the totals, once for the coefficients. The order of the sums depends on the
    jobs alone, and with it every bit of the result.

    Args:
        parts: with jobs in float64, since differences of keys are divided by sigma^2.
        device: where the jobs are.

    Returns:
        For each part the gradient times sigma^2, shaped as `job.queries`. Queries of a `DenseJob` were multiplied by
        the square root of M before the job was made, which autograd knows of.
    """
    states = run([part.job for part in parts], device)
    work = [(number, *keys) for number, part in enumerate(parts) for keys in cut(part.job)]

    def some(piece: tuple[int, int, int]) -> Tensor:
        number, start, stop = piece
        return _sums(parts[number], states[number], start, stop)

    sums = [torch.zeros_like(part.job.queries) for part in parts]
    found = in_parallel(some, work) if device.type == "cpu" else map(some, work)
    for (number, *_), of_keys in zip(work, found, strict=True):
        sums[number] += of_keys
    return sums


def _sums(part: Part, state: SoftmaxState, start: int, stop: int) -> Tensor:
    """sum_j c_ij k_j over some keys for every query."""
    job, gradient = part.job, part.gradient
    total = state.log_total - job.offset
    against = (gradient * state.mean()).sum(1)
    sums = torch.zeros_like(job.queries)
    for tile in job.tiles(start, stop):
        shape = (*tile.logs.shape[:-1], -1)
        weights = tile.logs.sub_(total[tile.queries].view(shape)).clamp_(min=least(tile.logs.dtype)).exp_()
        of_mean, of_values = (some[tile.queries].view(shape) for some in (against, gradient))
        equation = "...v,tv->...t" if tile.values.ndim == 2 else "bpv,ptv->bpt"
        toward = torch.einsum(equation, of_values / job.scale, tile.values)
        job.gather(tile, toward.sub_(of_mean).mul_(weights), sums)
    return sums.div_(job.scale)
