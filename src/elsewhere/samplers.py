"""The reverse process, one function a sampler, each written as the algorithm box of its paper.

All of them take a denoiser D(x, sigma), a state x at the first noise level and noise levels that decrease to 0, and
yield one `Step` for each level but the last. A variance-preserving sampler is the same thing in the scaled state x / a.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol, get_args

# The command line imports the names, and does without torch until it needs it.
if TYPE_CHECKING:
    from torch import Tensor

SamplerName = Literal["euler", "heun", "dpmpp-2m", "ancestral"]
Denoise = Callable[["Tensor", float], "Tensor"]


@dataclass(frozen=True)
class Step:
    """One step of a reverse process: the state before it, the posterior mean there, and the state after it."""

    index: int
    sigma: float
    x: Tensor
    x0: Tensor
    next_x: Tensor


class Sampler(Protocol):
    """A reverse process.

    Args:
        denoise: the posterior mean D(x, sigma).
        x: state at the first noise level, (B, C, H, W).
        sigmas: decreasing noise levels, the last one 0.
        noise: standard normal noise of the shape of x, new at every call; deterministic samplers do not call it.
    """

    def __call__(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Callable[[], Tensor]
    ) -> Iterator[Step]: ...


def euler(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Callable[[], Tensor]) -> Iterator[Step]:
    """Euler's method for the probability-flow ODE dx/dsigma = (x - D(x, sigma)) / sigma; DDIM with eta = 0 (Song,
    Meng & Ermon 2021, arXiv 2010.02502, eq. 12). Order 1, one call of the denoiser a step."""
    for i, (sigma, after) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        next_x = x0 + (after / sigma) * (x - x0)
        yield Step(i, sigma, x, x0, next_x)
        x = next_x


def heun(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Callable[[], Tensor]) -> Iterator[Step]:
    """Heun's method for the same ODE (Karras et al. 2022, arXiv 2206.00364, algorithm 1). Order 2, two calls a step,
    one in the last."""
    for i, (sigma, after) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        slope = (x - x0) / sigma
        next_x = x + (after - sigma) * slope
        if after > 0:
            slope_after = (next_x - denoise(next_x, after)) / after
            next_x = x + (after - sigma) * (slope + slope_after) / 2
        yield Step(i, sigma, x, x0, next_x)
        x = next_x


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Callable[[], Tensor]) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2): two-step exponential integrator in
    lambda = -log sigma. Order 2, one call a step. The first step, and the one to sigma = 0, where lambda is infinite,
    are of order 1."""
    before: tuple[Tensor, float] | None = None
    for i, (sigma, after) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        direction = x0
        if after > 0:
            h = math.log(sigma / after)
            if before is not None:
                x0_before, h_before = before
                r = h_before / h
                direction = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before
            before = x0, h
        # exp(-h) = after / sigma.
        next_x = (after / sigma) * x + (1 - after / sigma) * direction
        yield Step(i, sigma, x, x0, next_x)
        x = next_x


def ancestral(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Callable[[], Tensor]) -> Iterator[Step]:
    """Ancestral sampling: the next state is drawn from q(x' | x, x0) at x0 = D(x, sigma) (Ho et al. 2020, arXiv
    2006.11239, algorithm 2; Song et al. 2021, arXiv 2011.13456, appendix F; DDIM with eta = 1). One call a step."""
    for i, (sigma, after) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        ratio = after / sigma
        next_x = x0 + ratio**2 * (x - x0)
        if after > 0:
            next_x = next_x + after * math.sqrt(1 - ratio**2) * noise()
        yield Step(i, sigma, x, x0, next_x)
        x = next_x


SAMPLERS: dict[SamplerName, Sampler] = {"euler": euler, "heun": heun, "dpmpp-2m": dpmpp_2m, "ancestral": ancestral}
NAMES: tuple[SamplerName, ...] = get_args(SamplerName)
