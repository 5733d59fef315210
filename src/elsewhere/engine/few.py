"""Pasted patches where the noise is low: the few keys that matter to a query are found in one pass, weighed exactly.

The passes of `PositionJob` and `SlidingPasting` compute the log-weights of all pairs twice, and sum weights over
patches for all of them. At low noise nearly all weights are nothing. Here PatchMatch guesses a near key for every
query, one pass writes down the pairs whose log-weights are no further below that of the guess than `OMITTED` allows,
and only the patches of these are pasted. The share of the weight that is left out is at most `OMITTED`, whatever
PatchMatch found: a bad guess costs memory and time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from elsewhere.engine.kernels import loader
from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.layout import Layout
from elsewhere.engine.positions import PositionJob
from elsewhere.engine.runner import run
from elsewhere.engine.sliding import OMITTED
from elsewhere.engine.state import SoftmaxState

# For fewer pairs the two passes take a fraction of a second.
FEWEST_PAIRS = 2**24
# Share of the keys that matter to a query, at most, on average over some queries: with more, the two passes are as fast
# (measured on gravel: at a share of 1 in 100, 3.6 s against 5.2 s; at 1 in 30, 0.8 s against 0.4 s).
MOST_KEYS = 0.01
# Queries that are looked at to know how many keys matter.
SAMPLES = 64
# Pairs that there is room for, for each that the samples let expect: guesses are not the nearest keys.
ROOM = 4
# Bytes of a pair that was found, in a range and in all of them together.
PAIR = 16
# Rounds of PatchMatch: later ones change few guesses, and a guess need not be the best.
ROUNDS = 4
# Pairs that PatchMatch compares for a query in those rounds, about.
ATTEMPTS = 40
# Bands of rows for which keys are guessed, and patches pasted, at the same time.
BANDS = 4
# By how many nats log-weights that are products of floats may be off, generously.
ROUNDED = 0.5


@dataclass(frozen=True)
class Found:
    """Pairs of a query and a key, in any order.

    Attributes:
        queries: positions in x, int32 (F,).
        keys: positions in the training image, int32 (F,).
        lost: number of pairs that there was no room for.
    """

    queries: Tensor
    keys: Tensor
    lost: int = 0

    def merge(self, other: Found) -> Found:
        queries, keys = torch.cat([self.queries, other.queries]), torch.cat([self.keys, other.keys])
        return Found(queries, keys, self.lost + other.lost)


@dataclass(frozen=True)
class Guesses:
    """Squared distances to near keys, in stored units, float64 (rows * columns); infinite where none was guessed."""

    squares: Tensor

    def merge(self, other: Guesses) -> Guesses:
        return Guesses(torch.minimum(self.squares, other.squares))


def serves(layout: Layout, job: object) -> bool:
    """Whether every query of a job meets every key of one training image, by square windows without a prior."""
    return (
        isinstance(job, PositionJob)
        and len(layout.regions) == 1
        and layout.metric is not None
        and not layout.metric.is_tapered
        and layout.response is not None
        and len(job.store) == 1
        and len(job.x) == 1
        and not layout.has_prior
        and job.image_logs is None
        and job.pairs >= FEWEST_PAIRS
    )


def paste(job: PositionJob, response: Metric, memory: int) -> SoftmaxState | None:
    """What the patches of a job, for which `serves` holds, paste on every position of its x: see `SlidingPasting.run`.

    Args:
        job: it has not been run.
        response: the patch.
        memory: bytes that the pairs may take.

    Returns:
        None where many keys matter to a query: then two passes are as fast.
    """
    few = FewKeys(job, response)
    expected = few.expected()
    room = int(ROOM * len(job.pixels) * max(1.0, expected))
    if expected > MOST_KEYS * few.keys_met or room * PAIR > memory:
        return None
    (guesses,) = run([Guessing(few)])
    (found,) = run([Finding(few, guesses.squares, room)])
    if found.lost:
        return None
    (pasted,) = run([FewPasting(few, found)])
    return pasted


@dataclass(frozen=True)
class FewKeys:
    """The queries and keys of a job as rectangles, all of which meet."""

    job: PositionJob
    response: Metric

    @cached_property
    def x(self) -> Tensor:
        """float64 (C, rows, columns), in stored units without the centre."""
        return self.job.x[0].contiguous()

    @cached_property
    def keys(self) -> Tensor:
        """The training image, likewise."""
        return (self.job.images[0].double() - self.job.store.centre).contiguous()

    @property
    def precision(self) -> float:
        return float(self.job.precision[0]) / self.job.store.scale**2

    @property
    def queries(self) -> tuple[int, int, int, int]:
        """First row, end row, first column and end column of the queries."""
        return self.job.pasted(self.response)[1]

    @cached_property
    def places(self) -> tuple[int, int, int, int]:
        """The same of the keys."""
        first_row, end_row, first_column, end_column = self.job._regions[0]
        overlaps = self.job._overlaps
        rows, columns = overlaps[first_row:end_row], overlaps[first_column:end_column]
        sides = (rows[:, 1].min(), rows[:, 2].max(), columns[:, 1].min(), columns[:, 2].max())
        return tuple(int(side) for side in sides)  # type: ignore[return-value]

    @property
    def keys_met(self) -> int:
        top, bottom, left, right = self.places
        return (bottom - top) * (right - left)

    @property
    def band(self) -> float:
        """Nats below the largest log-weight below which all keys together have a share of `OMITTED` at most."""
        return math.log(self.keys_met / OMITTED)

    def expected(self) -> float:
        """Keys within the band of a query, on average over some queries."""
        radius = self.job.radius
        chosen = torch.linspace(0, len(self.job.pixels) - 1, SAMPLES, dtype=torch.float64, device="cpu").long()
        pixels = self.job.pixels[chosen]
        columns = self.x.shape[2]
        windows = torch.stack(
            [
                self.x[:, row - radius : row + radius + 1, column - radius : column + radius + 1]
                for row, column in zip((pixels // columns).tolist(), (pixels % columns).tolist(), strict=True)
            ]
        ).float()
        top, bottom, left, right = self.places
        keys = self.keys[:, top - radius : bottom + radius, left - radius : right + radius].float()[None]
        products = torch.nn.functional.conv2d(keys, windows)[0]
        squares = torch.nn.functional.conv2d(keys.square(), torch.ones_like(windows[:1]))[0]
        logs = (self.precision * (products - squares / 2)).flatten(1)
        return float((logs > logs.amax(1, keepdim=True) - self.band).sum(1).double().mean())

    @property
    def shapes(self) -> dict[str, int]:
        """Fields that tasks share."""
        return {
            "channels": self.x.shape[0],
            "rows": self.x.shape[1],
            "columns": self.x.shape[2],
            "height": self.keys.shape[1],
            "width": self.keys.shape[2],
            "radius": self.job.radius,
        }


@dataclass(frozen=True)
class Guessing:
    """A near key for every query, in bands of rows."""

    few: FewKeys

    @property
    def pairs(self) -> int:
        return len(self.few.job.pixels) * ATTEMPTS

    def __len__(self) -> int:
        return BANDS

    def run(self, start: int, stop: int) -> Guesses:
        few = self.few
        squares = torch.full((few.x[0].numel(),), torch.inf, dtype=torch.float64, device="cpu")
        nearest = torch.zeros(len(squares), dtype=torch.int32, device="cpu")
        first, end, left, right = few.queries
        for number in range(start, stop):
            top, bottom = (first + (end - first) * i // BANDS for i in (number, number + 1))
            found = torch.full_like(squares, torch.inf)
            task = loader.struct(
                "nearest_task",
                x=loader.address(few.x, torch.float64, *few.x.shape),
                keys=loader.address(few.keys, torch.float64, *few.keys.shape),
                **few.shapes,
                first_row=top,
                end_row=bottom,
                first_column=left,
                end_column=right,
                **dict(
                    zip(("first_key_row", "end_key_row", "first_key_column", "end_key_column"), few.places, strict=True)
                ),
                rounds=ROUNDS,
                nearest=loader.address(nearest, torch.int32, len(squares)),
                squares=loader.address(found, torch.float64, len(squares)),
            )
            _call("near_keys", task)
            columns = few.x.shape[2]
            squares[top * columns : bottom * columns] = found[top * columns : bottom * columns]
        return Guesses(squares)


@dataclass(frozen=True)
class Finding:
    """All pairs that matter, by the kernel along positions."""

    few: FewKeys
    squares: Tensor
    room: int

    @property
    def pairs(self) -> int:
        return self.few.job.pairs

    def __len__(self) -> int:
        return len(self.few.job)

    def run(self, start: int, stop: int) -> Found:
        few, job = self.few, self.few.job
        room = self.room * (stop - start) // len(job) + 1024
        queries, keys = (torch.empty(room, dtype=torch.int32, device="cpu") for _ in range(2))
        count = torch.zeros(1, dtype=torch.int64, device="cpu")
        # The kernel's log-weights lack the offset.
        peak = torch.zeros(1, few.x[0].numel(), dtype=torch.float64, device="cpu")
        peak[:, job.pixels] = -few.precision / 2 * self.squares[job.pixels] - job.offset
        job.run_kernel(
            start,
            stop,
            further={
                "band": few.band + ROUNDED,
                "room": room,
                "found": loader.address(count, torch.int64, 1),
                "found_queries": loader.address(queries, torch.int32, room),
                "found_keys": loader.address(keys, torch.int32, room),
            },
            peak=peak,
        )
        number = int(count)
        return Found(queries[:number].clone(), keys[:number].clone(), max(0, number - room))


@dataclass(frozen=True)
class FewPasting:
    """Weighs pairs exactly, and pastes their patches, in bands of queries."""

    few: FewKeys
    found: Found

    @property
    def pairs(self) -> int:
        # As many as two passes over all pairs weigh in all, less those of the guesses.
        return max(1, self.few.job.pairs - len(self.few.job.pixels) * ATTEMPTS)

    def __len__(self) -> int:
        return BANDS

    def run(self, start: int, stop: int) -> SoftmaxState:
        few = self.few
        positions = few.x[0].numel()
        total = torch.zeros(positions, dtype=torch.float64, device="cpu")
        weighted = total.new_zeros(positions, few.x.shape[0])
        assert few.response.profile is not None
        profile = few.response.profile.float().contiguous()
        _, _, least = few.job.pasted(few.response)
        count = len(self.found.queries)
        task = loader.struct(
            "few_task",
            x=loader.address(few.x, torch.float64, *few.x.shape),
            keys=loader.address(few.keys, torch.float64, *few.keys.shape),
            **few.shapes,
            found_queries=loader.address(self.found.queries, torch.int32, count),
            found_keys=loader.address(self.found.keys, torch.int32, count),
            count=count,
            first_query=positions * start // BANDS,
            end_query=positions * stop // BANDS,
            precision=few.precision,
            least=least,
            reach=few.response.radius,
            profile=loader.address(profile, torch.float32, len(profile)),
            pasted_total=loader.address(total, torch.float64, positions),
            pasted=loader.address(weighted, torch.float64, *weighted.shape),
        )
        _call("paste_few", task)
        return SoftmaxState(torch.zeros_like(total), total, weighted / few.job.store.scale)


def _call(name: str, task: object) -> None:
    library = loader.library()
    assert library is not None
    if getattr(library, name)(task):
        raise MemoryError("not enough memory to paste the patches of an image")
