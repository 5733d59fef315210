"""One thread a core for work on processors: each works alone, so that what it reads stays in its core's own cache."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Done = TypeVar("Done")


def in_parallel(work: Callable[[Piece], Done], pieces: Iterable[Piece]) -> Iterator[Done]:
    """What `work` makes of each piece, in the order of the pieces, whichever was ready first."""
    pool = _pool()
    # Each thread has modes of its own: a tensor made in inference mode cannot be written to by one that is not in it.
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def alike(piece: Piece) -> Done:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return work(piece)

    futures = deque(pool.submit(alike, piece) for piece in pieces)
    try:
        while futures:
            # Taken off first: what was handed over need not be kept until the last piece is done.
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()


_POOL: list[ThreadPoolExecutor] = []


def _pool() -> ThreadPoolExecutor:
    if not _POOL:
        # Ctrl-C while an executor starts a thread leaves one that it does not know of, for which the process then waits
        # for ever at its end. Only the main thread is interrupted, so another one starts them all, and is waited for
        # after Ctrl-C as well: an executor refuses to start threads once the process ends.
        starter = Thread(target=_start_pool, args=(max(1, torch.get_num_threads()),))
        try:
            starter.start()
            starter.join()
        finally:
            if starter.is_alive():
                starter.join()
    return _POOL[0]


def _start_pool(workers: int) -> None:
    pool = ThreadPoolExecutor(workers, "elsewhere", initializer=torch.set_num_threads, initargs=(1,))
    everyone = Barrier(workers)
    for _ in range(workers):
        pool.submit(everyone.wait)
    _POOL.append(pool)


def _after_fork() -> None:
    """A forked process has none of its parent's threads, neither ours nor torch's, which torch would wait for."""
    _POOL.clear()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
