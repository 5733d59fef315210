"""The exact engine: every key of every job, on all cores, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier, Thread

import torch

from elsewhere.engine.jobs import Job
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
    pieces = [_cut(job) for job in jobs]
    if device is not None and device.type != "cpu":
        return [merge_all(job.run(*piece) for piece in cut) for job, cut in zip(jobs, pieces, strict=True)]
    pool = _pool()
    futures = [[pool.submit(job.run, *piece) for piece in cut] for job, cut in zip(jobs, pieces, strict=True)]
    try:
        return [merge_all(_results(cut)) for cut in futures]
    finally:
        for future in (future for cut in futures for future in cut):
            future.cancel()


def _cut(job: Job[Found]) -> list[tuple[int, int]]:
    if len(job) == 0:
        raise ValueError("a softmax average needs at least one key")
    count = min(MOST_PIECES, len(job), -(-job.pairs // PIECE))
    edges = [len(job) * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def _results(futures: list[Future[Found]]) -> list[Found]:
    return [future.result() for future in futures]


_POOL: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    # One pool a process: after a fork the parent's threads are gone.
    process = os.getpid()
    if process not in _POOL:
        _POOL.clear()
        # Ctrl-C while an executor starts a thread leaves one that it does not know of, for which the process then waits
        # for ever at its end. Only the main thread is interrupted, so another one starts them all.
        starter = Thread(target=_start_pool, args=(process, max(1, torch.get_num_threads())))
        starter.start()
        starter.join()
    return _POOL[process]


def _start_pool(process: int, workers: int) -> None:
    pool = ThreadPoolExecutor(workers, "elsewhere", initializer=torch.set_num_threads, initargs=(1,))
    everyone = Barrier(workers)
    for _ in range(workers):
        pool.submit(everyone.wait)
    _POOL[process] = pool
