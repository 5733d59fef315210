"""The derivative of a softmax average with respect to its queries: a covariance of values and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from elsewhere.engine.jobs import Tile, Tiled
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.runner import cut, run
from elsewhere.engine.state import SoftmaxState, least


class DifferentiableJob(Tiled, Protocol):
    """A job whose queries keep what autograd needs to go back to x."""

    queries: Tensor
    scale: float

    @property
    def image_logs(self) -> Tensor | None:
        """Log-weights of training images that autograd knows of, (B, N); None where there are none."""
        ...

    def to_images(self, tile: Tile, coefficients: Tensor, into: Tensor) -> None:
        """Add coefficients of the keys of a tile to the sums of their training images, (B, N)."""
        ...

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


class Pulled(NamedTuple):
    """Gradients that belong to a job.

    Attributes:
        queries: the gradient times sigma^2, shaped as `job.queries`. Queries of a `DenseJob` were multiplied by the
            square root of the metric's weights before the job was made, which autograd knows of.
        image_logs: the gradient, (B, N), if the job has them.
    """

    queries: Tensor
    image_logs: Tensor | None


def pull_back(parts: Sequence[Part], device: torch.device) -> list[Pulled]:
    """Carry gradients with respect to means back to the queries.

    With mean_i = sum_j w_ij v_j and coefficients c_ij = w_ij g_i . (v_j - mean_i), the gradient with respect to q_i is
    M sum_j c_ij (k_j - q_i) / sigma^2, with M the weights of the metric. The coefficients of a query sum to zero, so
    that q_i drops out. The gradient with respect to the log-weight of a training image is the sum of the coefficients
    of its keys.

    Every key is weighed twice: once for the totals, once for the coefficients. The order of the sums depends on the
    jobs alone, and with it every bit of the result.

    Args:
        parts: with jobs in float64, since differences of keys are divided by sigma^2.
        device: where the jobs are.

    Returns:
        The gradients of each part.
    """
    states = run([part.job for part in parts], device)
    work = [(number, *keys) for number, part in enumerate(parts) for keys in cut(part.job)]

    def some(piece: tuple[int, int, int]) -> Pulled:
        number, start, stop = piece
        return _sums(parts[number], states[number], start, stop)

    sums = [_zeros(part.job) for part in parts]
    found = in_parallel(some, work) if device.type == "cpu" else map(some, work)
    for (number, *_), of_keys in zip(work, found, strict=True):
        sums[number].queries.add_(of_keys.queries)
        into = sums[number].image_logs
        if into is not None and of_keys.image_logs is not None:
            into.add_(of_keys.image_logs)
    return sums


def _zeros(job: DifferentiableJob) -> Pulled:
    logs = job.image_logs
    return Pulled(torch.zeros_like(job.queries), None if logs is None else torch.zeros_like(logs))


def _sums(part: Part, state: SoftmaxState, start: int, stop: int) -> Pulled:
    """sum_j c_ij k_j over some keys for every query, and the sums of c_ij for every training image."""
    job, gradient = part.job, part.gradient
    total = state.log_total - job.offset
    against = (gradient * state.mean()).sum(1)
    sums = _zeros(job)
    for tile in job.tiles(start, stop):
        shape = (*tile.logs.shape[:-1], -1)
        weights = tile.logs.sub_(total[tile.queries].view(shape)).clamp_(min=least(tile.logs.dtype)).exp_()
        of_mean, of_values = (some[tile.queries].view(shape) for some in (against, gradient))
        equation = "...v,tv->...t" if tile.values.ndim == 2 else "bpv,ptv->bpt"
        toward = torch.einsum(equation, of_values / job.scale, tile.values)
        coefficients = toward.sub_(of_mean).mul_(weights)
        job.gather(tile, coefficients, sums.queries)
        if sums.image_logs is not None:
            job.to_images(tile, coefficients, sums.image_logs)
    sums.queries.div_(job.scale)
    return sums
