"""Fair turns: generators of many clients, run one message at a time by one thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any, TypeVar

MOST_JOBS, MOST_OF_A_CLIENT = 200, 8
"""Jobs that wait or run: of all clients, and of one."""
BUFFER = 4
"""Messages that a job may be ahead of its reader: a slow reader does not fill the memory."""
LONGEST_MESSAGE = 30
"""Seconds that `stop` waits for the current message."""
T = TypeVar("T")
Working = Generator[None, None, T]
"""Long work in pieces: `result = yield from work()` in an answer lets others take a turn after each piece."""
LOGGER = logging.getLogger("elsewhere.studio")


class Busy(Exception):
    """Too many jobs: ask again later."""


class _Job:
    def __init__(self, client: str, messages: Iterator[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.client, self.messages, self.loop = client, messages, loop
        self.queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.room = threading.Semaphore(BUFFER)
        self.cancelled = False

    def put(self, kind: str, value: Any = None) -> None:
        try:
            self.loop.call_soon_threadsafe(self.queue.put_nowait, (kind, value))
        except RuntimeError:  # The loop was closed: the server is stopping.
            self.cancelled = True


class Turns:
    """Runs generators in one thread. Clients take turns: each turn is one message of one of the client's jobs.

    A message None is not sent: a generator gives it in the middle of long work, so that others can take a turn.
    """

    def __init__(self) -> None:
        self._clients: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._running: _Job | None = None
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="studio-turns", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the current message, and wait for that."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(LONGEST_MESSAGE)

    @property
    def jobs(self) -> int:
        """Jobs that wait or run."""
        with self._changed:
            return self._count()

    def _count(self) -> int:
        return sum(map(len, self._clients.values())) + (self._running is not None)

    async def run(self, client: str, messages: Iterator[Any]) -> AsyncGenerator[Any, None]:
        """The messages of a generator, as they come. Leaving this loop early closes the generator.

        Args:
            client: who takes the turns.
            messages: the generator; it runs in the thread of this object only.

        Raises:
            Busy: there are too many jobs.
            Exception: what the generator raises.
        """
        job = _Job(client, messages, asyncio.get_running_loop())
        with self._changed:
            # Jobs that were left wait for the current message to end, and count no more.
            jobs = [*self._clients.get(client, ()), *([self._running] if self._running else [])]
            own = sum(one.client == client and not one.cancelled for one in jobs)
            if own >= MOST_OF_A_CLIENT:
                raise Busy(f"{own} questions of this page are still being answered: wait for one of them to finish")
            if self._count() >= MOST_JOBS:
                raise Busy("too many pages ask at once: ask again in a minute, or close some of them")
            self._clients.setdefault(client, deque()).append(job)
            self._changed.notify_all()
        try:
            while True:
                kind, value = await job.queue.get()
                with self._changed:
                    job.room.release()
                    self._changed.notify_all()
                if kind == "end":
                    return
                if kind == "error":
                    raise value
                yield value
        finally:
            with self._changed:
                job.cancelled = True
                self._changed.notify_all()

    def _next(self) -> _Job | None:
        """The job whose turn it is, taken out of the queue: those that were left first; those of slow readers wait."""
        for jobs in self._clients.values():
            for job in jobs:
                if job.cancelled:
                    jobs.remove(job)
                    return job
        for client, jobs in self._clients.items():
            for job in jobs:
                if job.room.acquire(blocking=False):
                    jobs.remove(job)
                    self._clients.move_to_end(client)
                    return job
        return None

    def _work(self) -> None:
        while True:
            with self._changed:
                while (job := self._next()) is None and not self._stopped:
                    self._changed.wait()
                if self._stopped or job is None:
                    return
                self._running = job
            more = False
            if job.cancelled:
                _close(job.messages)
            else:
                try:
                    message = next(job.messages)
                    more = True
                    if message is None:
                        job.room.release()
                    else:
                        job.put("message", message)
                except StopIteration:
                    job.put("end")
                except Exception as error:
                    job.put("error", error)
            with self._changed:
                self._running = None
                if more:
                    self._clients.setdefault(job.client, deque()).append(job)
                elif not self._clients.get(job.client):
                    self._clients.pop(job.client, None)


def _close(messages: Iterator[Any]) -> None:
    close = getattr(messages, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception:
        # Nobody waits for this job any more, and the thread has to go on.
        LOGGER.exception("a question that was left did not end")
