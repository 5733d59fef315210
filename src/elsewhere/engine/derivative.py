"""The derivative of a softmax average with respect to its queries: a covariance of values and keys."""

from __future__ import annotations

import torch
from torch import Tensor

from elsewhere.engine.exact import run
from elsewhere.engine.jobs import SamePlace, SharedKeys, least


def pull_back(job: SharedKeys | SamePlace, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Carry a gradient with respect to the means of a job back to its queries.

    With mean_i = sum_j w_ij v_j and coefficients c_ij = w_ij g_i . (v_j - mean_i), the gradient with respect to q_i is
    M sum_j c_ij (k_j - q_i) / sigma_i^2. The coefficients of a query sum to zero, so that q_i drops out. M is what the
    squares of differences count, one each unless windows are tapered.

    Every key is weighed twice, tile by tile: once for the totals, once for the coefficients.

    Args:
        job: in float64, since differences of keys are divided by sigma^2.
        gradient: with respect to each mean, float64 (Q, V), not all zero.

    Returns:
        The queries that have a gradient, as autograd knows them, and their gradient times sigma^2, but for the M of
        `SharedKeys`, by which its caller has multiplied queries.
    """
    if isinstance(job, SharedKeys):
        # A row of a Jacobian asks for one pixel of an image.
        asked = gradient.any(1).nonzero().flatten()
        if len(asked) < len(gradient):
            job, gradient = job.take(asked), gradient[asked]
    (state,) = run([job], gradient.device)
    total = state.log_total - job.offset
    against = (gradient * state.mean()).sum(1)
    sums = torch.zeros_like(job.queries)
    for tile in job.tiles(0, len(job)):
        shape = (*tile.logs.shape[:-1], -1)
        weights = tile.logs.sub_(total[tile.queries].view(shape)).clamp_(min=least(tile.logs.dtype)).exp_()
        of_mean, of_values = (some[tile.queries].view(shape) for some in (against, gradient))
        equation = "...v,tv->...t" if tile.values.ndim == 2 else "bpv,ptv->bpt"
        toward = torch.einsum(equation, of_values / job.scale, tile.values)
        job.gather(tile, toward.sub_(of_mean).mul_(weights), sums)
    return job.queries, sums.div_(job.scale)
