"""Running jobs: on all cores, in bounded memory, with results that do not depend on the number of cores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from elsewhere.engine.jobs import Job
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.state import Merged, merge_all

# Pairs of query and key in a piece of work: about a tenth of a second. A job is cut into MOST_PIECES at most, because
# their states wait to be merged.
PIECE = 2**25
MOST_PIECES = 64


def run(jobs: Sequence[Job[Merged]], device: torch.device | None = None) -> list[Merged]:
    """The result of every job.

    On a processor the jobs are cut into pieces that the cores share, one thread a piece, so that a tile stays in its
    core's own cache. The cut depends on the jobs alone and pieces are merged in order: the result is the same, bit
    for bit, whatever the number of cores. A job without `pairs` divides itself among the cores and runs alone.
    """
    alone = {index: job.run(0, len(job)) for index, job in enumerate(jobs) if not job.pairs and len(job)}
    pieces = [[] if index in alone else cut(job) for index, job in enumerate(jobs)]
    work = [(job, *piece) for job, own in zip(jobs, pieces, strict=True) for piece in own]

    def done_by(piece: tuple[Job[Merged], int, int]) -> Merged:
        job, start, stop = piece
        return job.run(start, stop)

    # Merged when all are done: a thread more than there are cores would only get in their way.
    in_turn = device is not None and device.type != "cpu"
    done = map(done_by, work) if in_turn else iter(list(in_parallel(done_by, work)))
    return [alone[index] if index in alone else merge_all(next(done) for _ in own) for index, own in enumerate(pieces)]


def cut(job: Job[Merged]) -> list[tuple[int, int]]:
    """The keys of a job in ranges, one a piece.

    Raises:
        ValueError: a job without keys.
    """
    if len(job) == 0:
        raise ValueError("a softmax average needs at least one key")
    count = min(MOST_PIECES, len(job), -(-job.pairs // PIECE))
    edges = [len(job) * i // count for i in range(count + 1)]
    return list(pairwise(edges))
