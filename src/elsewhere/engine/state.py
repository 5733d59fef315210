"""The mergeable state of a softmax average: the joint at which tiles, shards, processes and machines meet."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor


def least(dtype: torch.dtype) -> float:
    """Log-weights this far below the largest count as equal.

    exp of less than -80 is denormal or zero in float32, and some hundred times slower to compute than exp of more.
    """
    return -80.0 if dtype == torch.float32 else -700.0


class Mergeable(Protocol):
    """What is known from some keys, and can be joined with what is known from the keys after them."""

    def merge(self, other: Self) -> Self: ...


Merged = TypeVar("Merged", bound=Mergeable)


@dataclass(frozen=True)
class SoftmaxState:
    """What has been seen of sum_j exp(l_j) v_j / sum_j exp(l_j), for many queries at once.

    Attributes:
        peak: largest log-weight l_j seen, float64 (...,), -inf when nothing was.
        total: sum_j exp(l_j - peak), float64 (...,).
        weighted: sum_j exp(l_j - peak) v_j, float64 (..., V).
        error: how far off the average is estimated to be, (...,); None where every key was weighed.
    """

    peak: Tensor
    total: Tensor
    weighted: Tensor
    error: Tensor | None = None

    @classmethod
    def of(cls, logs: Tensor, values: Tensor) -> SoftmaxState:
        """What is seen of keys with log-weights (Q, T), which are overwritten, and values (T, V)."""
        peak = logs.amax(-1)
        weights = logs.sub_(peak[:, None]).clamp_(min=least(logs.dtype)).exp_()
        return cls(peak.double(), weights.sum(-1).double(), (weights.to(values.dtype) @ values).double())

    def merge(self, other: SoftmaxState) -> SoftmaxState:
        """The state of both sets of keys together; commutative and associative but for rounding."""
        peak = torch.maximum(self.peak, other.peak)
        # Nothing seen on either side: -inf - -inf would be NaN.
        anchor = torch.where(peak.isinf(), torch.zeros_like(peak), peak)
        mine, theirs = (self.peak - anchor).exp(), (other.peak - anchor).exp()
        total = self.total * mine + other.total * theirs
        error = None
        if self.error is not None or other.error is not None:
            parts = ((self.error, self.total * mine), (other.error, other.total * theirs))
            error = sum((off * mass / total for off, mass in parts if off is not None), torch.zeros_like(total))
        return SoftmaxState(peak, total, self.weighted * mine[..., None] + other.weighted * theirs[..., None], error)

    def take(self, index: Tensor) -> SoftmaxState:
        """The states of some queries, int64 (Q,)."""
        error = None if self.error is None else self.error[index]
        return SoftmaxState(self.peak[index], self.total[index], self.weighted[index], error)

    def completed(self, offset: Tensor, scale: float) -> SoftmaxState:
        """The state with `offset` added to all log-weights and values divided by `scale`."""
        return SoftmaxState(self.peak + offset, self.total, self.weighted / scale, self.error)

    def mean(self) -> Tensor:
        """The softmax average, float64 (..., V)."""
        return self.weighted / self.total[..., None]

    @property
    def log_total(self) -> Tensor:
        """log sum_j exp(l_j), float64 (...,)."""
        return self.peak + self.total.log()


@dataclass(frozen=True)
class TopWeights:
    """The largest weights of each query, in decreasing order; of equal ones those whose keys come first.

    Attributes:
        logs: log-weights, float64 (Q, k), -inf where there are fewer keys than k.
        keys: positions of their keys, int64 (Q, k), -1 where there is none.
    """

    logs: Tensor
    keys: Tensor

    @classmethod
    def none(cls, count: int, k: int, like: Tensor) -> TopWeights:
        """Those of no keys at all."""
        logs = torch.full((count, k), -math.inf, dtype=torch.float64, device=like.device)
        return cls(logs, torch.full((count, k), -1, dtype=torch.int64, device=like.device))

    def merge(self, other: TopWeights) -> TopWeights:
        """Those of both sets of keys, those of `other` coming after these."""
        logs, keys = torch.cat([self.logs, other.logs], 1), torch.cat([self.keys, other.keys], 1)
        logs, order = logs.sort(dim=1, descending=True, stable=True)
        k = self.logs.shape[1]
        return TopWeights(logs[:, :k], keys.gather(1, order[:, :k]))


@dataclass(frozen=True)
class Attribution:
    """Where the weights of some keys went.

    Attributes:
        top: the largest weights of every query.
        shares: sum over the queries of an image of the weights that each training image has, float64 (B, N).
        unread: share of each query's weights whose keys were not read one by one, float64 (Q,): zero but for a search.
        entropy: -sum_j w_j log w_j over these keys, every window of several equal ones by itself, in nats, float64
            (Q,); None where it is not known.
        missed: by how much a key that is not in `top` may weigh more than the last one in it, at most, float64 (Q,);
            None where `top` has the largest weights for certain.
    """

    top: TopWeights
    shares: Tensor
    unread: Tensor
    entropy: Tensor | None = None
    missed: Tensor | None = None

    def merge(self, other: Attribution) -> Attribution:
        """Of both sets of keys, those of `other` coming after these."""
        return Attribution(
            self.top.merge(other.top),
            self.shares + other.shares,
            self.unread + other.unread,
            self.entropy + other.entropy if self.entropy is not None and other.entropy is not None else None,
        )


def merge_all(states: Iterable[Merged]) -> Merged:
    """Merge states in the order given, so that the result does not depend on which was ready first."""
    return reduce(lambda one, other: one.merge(other), states)


def stack(states: list[SoftmaxState]) -> SoftmaxState:
    """The states of one query after another; the error is None unless all have one."""
    errors = [state.error for state in states if state.error is not None]
    return SoftmaxState(
        torch.cat([state.peak for state in states]),
        torch.cat([state.total for state in states]),
        torch.cat([state.weighted for state in states]),
        torch.cat(errors) if len(errors) == len(states) else None,
    )
