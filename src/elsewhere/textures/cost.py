"""How long a texture takes, and how much memory, before it is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from elsewhere.engine.runner import MOST_PIECES, PIECE
from elsewhere.phrases import duration
from elsewhere.textures.plan import Scale, TexturePlan
from elsewhere.textures.process import BYTES_PER_NUMBER

SAMPLE_SECONDS = 0.5
"""A sample shorter than this is repeated with four times the pairs: shorter ones time the first call, not the work."""
SAMPLE_PAIRS = 2_000_000
MOST_SAMPLES = 5
AGAIN = 2
"""Further samples of the same size: the middle one of three counts, as other work may hold one up."""
ARRAYS = 13
"""Arrays of the size of a state that a step needs beside those of each piece of work; measured."""
SMALL = 2**24
"""Bytes for all else."""
SAMPLE_SIGMA = 2 / 3
"""Noise level of the sample: in the middle of a run, s = 0.4 and a = 0.6."""


@dataclass(frozen=True)
class Cost:
    """What drawing takes on this machine.

    Attributes:
        pairs: pairs of a window of the canvas and one of the image, in all calls for all images.
        rate: pairs a second, in a sample.
        memory: bytes, beside Python and torch themselves.
    """

    pairs: int
    rate: float
    memory: int

    @property
    def seconds(self) -> float:
        return self.pairs / self.rate

    def __str__(self) -> str:
        return (
            f"{self.pairs:.2g} pairs of patches at {self.rate / 1e6:.3g} million a second: about "
            f"{duration(self.seconds)}, and {self.memory / 2**20:.0f} MiB of memory beside Python's own"
        )


def estimate_cost(plan: TexturePlan, count: int, done: int = 0) -> Cost:
    """What drawing `count` images takes, from a sample of a few seconds at most.

    The sample is part of the finest scale. Other work on the machine changes the time.

    Args:
        plan: all scales.
        count: number of images.
        done: pairs for one image that need not be drawn again.
    """
    finest = plan.scales[-1]
    numbers = count * plan.channels * finest.size[0] * finest.size[1]
    engine = min(finest.machine.workspace.memory, _engine_bytes(plan, count))
    training = 12 * plan.channels * finest.training_pixels
    return Cost(
        count * (plan.work - done), _rate(finest, plan.channels), BYTES_PER_NUMBER * numbers + engine + training
    )


def _engine_bytes(plan: TexturePlan, count: int) -> int:
    """Of the states of a step at the finest scale, as measured from 144 to 1024 pixels a side, and a sixth more."""
    pieces = min(MOST_PIECES, count * plan.scales[-1].pairs // PIECE + 1)
    return 8 * (plan.channels + 2) * math.prod(plan.size) * count * (ARRAYS + pieces + torch.get_num_threads())


def _rate(scale: Scale, channels: int) -> float:
    """Pairs a second at a scale, from a canvas of few rows, larger until it takes long enough."""
    window = scale.machine.window_at(1.0)
    height, width = scale.size
    keys = max(1, scale.pairs // _queries(scale, scale.size))
    for attempt in range(MOST_SAMPLES):
        wanted = max(1, SAMPLE_PAIRS * 4**attempt // keys)
        # The canvas is wide, as the kernels run along rows.
        columns = min(width, window - 1 + max(wanted, 8))
        rows = min(height, window - 1 + max(1, wanted // max(1, columns - window + 1)))
        x = torch.randn(
            1, channels, rows, columns, generator=torch.Generator().manual_seed(0), device="cpu", dtype=torch.float32
        )
        seconds = _seconds(scale, x)
        if seconds >= SAMPLE_SECONDS or (rows, columns) == (height, width):
            break
    middle = sorted([seconds, *(_seconds(scale, x) for _ in range(AGAIN))])[AGAIN // 2]
    return _queries(scale, (rows, columns)) * keys / middle


def _seconds(scale: Scale, x: Tensor) -> float:
    start = perf_counter()
    scale.machine(SAMPLE_SIGMA * x, SAMPLE_SIGMA)
    return perf_counter() - start


def _queries(scale: Scale, size: tuple[int, int]) -> int:
    layout = scale.machine.layout_at(*size, 1.0)
    return sum(len(region) for region in layout.regions)
