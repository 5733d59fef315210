"""How long a texture takes, and how much memory, before it is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import torch

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
SAMPLED = (1 / 6, 1 / 2, 5 / 6)
"""Where among the steps of a scale samples are taken: at low noise few patches matter, and a step takes
less than half."""


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
    """What drawing `count` images takes, from samples of some seconds in all.

    The samples are parts of three steps of the finest scale. Other work on the machine changes the time.

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
        count * (plan.work - done),
        _rate(finest, plan.settings.times[1:-1], plan.channels),
        BYTES_PER_NUMBER * numbers + engine + training,
    )


def _engine_bytes(plan: TexturePlan, count: int) -> int:
    """Of the states of a step at the finest scale, as measured from 144 to 1024 pixels a side, and a sixth more."""
    pieces = min(MOST_PIECES, count * plan.scales[-1].pairs // PIECE + 1)
    return 8 * (plan.channels + 2) * math.prod(plan.size) * count * (ARRAYS + pieces + torch.get_num_threads())


def _rate(scale: Scale, times: Sequence[float], channels: int) -> float:
    """Pairs a second at a scale, on average over the steps at some times.

    The samples are canvases of few rows, larger until they take long enough, that show the training image with noise.
    """
    window = scale.machine.window_at(1.0)
    height, width = scale.size
    keys = max(1, scale.pairs // _queries(scale, scale.size))
    levels = [times[int(place * len(times))] for place in SAMPLED]
    for attempt in range(MOST_SAMPLES):
        wanted = max(1, SAMPLE_PAIRS * 4**attempt // keys)
        # Twice to four times as wide as high, as the kernels run along rows: a strip would have edges only.
        columns = min(width, window - 1 + max(math.isqrt(4 * wanted), 8))
        rows = min(height, window - 1 + max(1, wanted // max(1, columns - window + 1)))
        seconds = _seconds(scale, levels[0], (channels, rows, columns))
        if seconds >= SAMPLE_SECONDS or (rows, columns) == (height, width):
            break
    taken = [[_seconds(scale, t, (channels, rows, columns)) for _ in range(AGAIN + 1)] for t in levels[1:]]
    taken.append([seconds, *(_seconds(scale, levels[0], (channels, rows, columns)) for _ in range(AGAIN))])
    middle = sum(sorted(some)[AGAIN // 2] for some in taken) / len(taken)
    return _queries(scale, (rows, columns)) * keys / middle


def _seconds(scale: Scale, t: float, shape: tuple[int, int, int]) -> float:
    """What a call at a time takes for a part of the canvas."""
    image = scale.machine.store.centred(scale.machine.store.pixels[:1], torch.float32) + scale.machine.store.offset
    rows, columns = (
        torch.arange(side, device="cpu") % whole for side, whole in zip(shape[1:], image.shape[2:], strict=True)
    )
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0), device="cpu", dtype=torch.float32)
    sigma = t / (1 - t)
    x = image[:, :, rows][:, :, :, columns] + sigma * noise
    start = perf_counter()
    scale.machine(x, sigma)
    return perf_counter() - start


def _queries(scale: Scale, size: tuple[int, int]) -> int:
    layout = scale.machine.layout_at(*size, 1.0)
    return sum(len(region) for region in layout.regions)
