"""Running jobs: on all cores, in bounded memory, with results that do not depend on the number of cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from threading import Lock

import torch

from elsewhere.engine.jobs import Job
from elsewhere.engine.pool import in_parallel
from elsewhere.engine.state import Merged, merge_all

# Pairs of query and key in a piece of work: about a tenth of a second. A job is cut into MOST_PIECES at most, because
# their states wait to be merged.
PIECE = 2**25
MOST_PIECES = 64

_REPORT: ContextVar[Callable[[int], None] | None] = ContextVar("report", default=None)


@contextmanager
def watched(report: Callable[[int], None]) -> Iterator[None]:
    """Report how far the calls of machines in this context are, also within a long step.

    A call D(x, sigma) of a machine weighs (pixels asked) times (keys each meets) pairs; pairs whose patches are pasted
    by a second pass count twice, and an index that is searched reports nothing.

    Args:
        report: called with the number of pairs weighed since the last time, after every piece of work of about a tenth
            of a second or more; by the threads that work, one at a time.

    Example:
        >>> import elsewhere as els
        >>> from elsewhere.engine import watched
        >>> machine = els.EquivariantLocalScore(els.load_images("pixel-faces", limit=1), window=7, borders="torus")
        >>> done = []
        >>> with watched(done.append):
        ...     x0 = machine(els.make_noise(1, (3, 48, 48)), sigma=1.0)
        >>> sum(done) == 48 * 48 * 32 * 32
        True
    """
    token = _REPORT.set(report)
    try:
        yield
    finally:
        _REPORT.reset(token)


def run(jobs: Sequence[Job[Merged]], device: torch.device | None = None) -> list[Merged]:
    """The result of every job.

    On a processor the jobs are cut into pieces that the cores share, one thread a piece, so that a tile stays in its
    core's own cache. The cut depends on the jobs alone and pieces are merged in order: the result is the same, bit
    for bit, whatever the number of cores. A job without `pairs` divides itself among the cores and runs alone.
    """
    alone = {index: job.run(0, len(job)) for index, job in enumerate(jobs) if not job.pairs and len(job)}
    pieces = [[] if index in alone else cut(job) for index, job in enumerate(jobs)]
    work = [(job, *piece) for job, own in zip(jobs, pieces, strict=True) for piece in own]

    report, reporting = _REPORT.get(), Lock()

    def done_by(piece: tuple[Job[Merged], int, int]) -> Merged:
        job, start, stop = piece
        result = job.run(start, stop)
        if report is not None:
            with reporting:
                report(job.pairs * stop // len(job) - job.pairs * start // len(job))
        return result

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
