"""The exact engine: every key of every job, on all cores, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from elsewhere.engine.jobs import Job
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.state import Found, merge_all

# About a tenth of a second of work; a job is never cut into more than MOST_PIECES, whose states wait to be merged.
PIECE = 2**25
MOST_PIECES = 64


def run(jobs: Sequence[Job[Found]], device: torch.device | None = None) -> list[Found]:
    """The state of every job.

    On a processor the jobs are cut into pieces that the cores share, one thread a piece, so that a tile stays in its
    core's own cache. The cut depends on the jobs alone and pieces are merged in order: the result is the same, bit
    for bit, whatever the number of cores.
    """
    pieces = [cut(job) for job in jobs]
    if device is not None and device.type != "cpu":
        return [merge_all(job.run(*piece) for piece in own) for job, own in zip(jobs, pieces, strict=True)]
    work = [(job, *piece) for job, own in zip(jobs, pieces, strict=True) for piece in own]
    # Merged when all are done: a thread more than there are cores would only get in their way.
    done = iter(list(in_parallel(lambda piece: piece[0].run(piece[1], piece[2]), work)))
    return [merge_all(next(done) for _ in own) for own in pieces]


def cut(job: Job[Found]) -> list[tuple[int, int]]:
    """The keys of a job in ranges, one a piece.

    Raises:
        ValueError: a job without keys.
    """
    if len(job) == 0:
        raise ValueError("a softmax average needs at least one key")
    count = min(MOST_PIECES, len(job), -(-job.pairs // PIECE))
    edges = [len(job) * i // count for i in range(count + 1)]
    return list(pairwise(edges))
