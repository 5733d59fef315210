"""Who answers for a part of the training images: this process, or a process that Ray runs."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from elsewhere.engine import SoftmaxState
from elsewhere.machines.base import Prepared, SoftmaxMachine
from elsewhere.optional import require
from elsewhere.phrases import count, gibibytes

AUTO = "auto"
"""The Ray cluster that this computer belongs to, or one of its own."""

# A question is asked this many times more when the process that works on it dies: what kills it each time, such as a
# lack of memory, then ends in an error instead of in processes started for ever.
RETRIES = 3
# Seconds in which the processes must have started; the first time, each imports torch from disk.
START = 300
# Seconds in which a cluster must answer.
ANSWER = 10


class Workers(Protocol):
    """Parts of a machine that answer together."""

    @property
    def processes(self) -> list[int]:
        """Numbers of the processes that answer, none where this one does."""
        ...

    def states(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> list[SoftmaxState]:
        """The answer of every part, in order: see `SoftmaxMachine.states`."""
        ...

    def prepare(self, labels: Sequence[int | None]) -> list[list[Prepared]]:
        """The indexes of every part: see `SoftmaxMachine.prepare`."""
        ...

    def close(self) -> None:
        """Free what was taken; they answer no more."""
        ...


class HereWorkers:
    """Parts that this process asks one after the other."""

    def __init__(self, parts: Sequence[SoftmaxMachine]) -> None:
        self.parts = list(parts)
        self.processes: list[int] = []

    def states(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> list[SoftmaxState]:
        return [part.states(x, sigma, label) for part in self.parts]

    def prepare(self, labels: Sequence[int | None]) -> list[list[Prepared]]:
        return [part.prepare(_present(part, labels)) for part in self.parts]

    def close(self) -> None:
        self.parts = []


class _Sent(NamedTuple):
    """A state as arrays: Ray sends these without copying."""

    peak: np.ndarray
    total: np.ndarray
    weighted: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, state: SoftmaxState) -> _Sent:
        assert state.error is not None
        return cls(*(each.cpu().numpy() for each in (state.peak, state.total, state.weighted, state.error)))

    def state(self) -> SoftmaxState:
        # Arrays that arrive are read-only, which torch warns of.
        return SoftmaxState(*(torch.from_numpy(np.array(each)) for each in self))


class _Worker:
    """What runs in a process of Ray's."""

    def __init__(self, part: SoftmaxMachine, threads: int) -> None:
        torch.set_num_threads(threads)
        self.part = part

    def ready(self) -> int:
        """The number of the process."""
        return os.getpid()

    def states(self, x: np.ndarray, sigma: np.ndarray, label: np.ndarray | None) -> _Sent:
        known = None if label is None else torch.from_numpy(np.array(label))
        return _Sent.of(self.part.states(torch.from_numpy(np.array(x)), torch.from_numpy(np.array(sigma)), known))

    def prepare(self, labels: Sequence[int | None]) -> list[Prepared]:
        return self.part.prepare(_present(self.part, labels))


class RayWorkers:
    """Parts that processes of a Ray cluster hold.

    A process that dies is started again, with the same part, and is asked again: Ray does both.

    Args:
        parts: a machine for each process.
        address: "auto", or that of a cluster, such as "10.0.0.5:6379".

    Raises:
        ImportError: Ray is not installed.
        ValueError: no cluster at the address, or one without the memory.
    """

    def __init__(self, parts: Sequence[SoftmaxMachine], address: str) -> None:
        # Read when Ray is imported: its processes otherwise write to standard error, each line for its developers.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        self._ray: Any = require("ray", extra="cluster", purpose="a machine on several processes")
        self._owns = not self._ray.is_initialized()
        if self._owns:
            _connect(self._ray, address)
        try:
            self._start(parts)
        except BaseException:
            self.close()
            raise

    def _start(self, parts: Sequence[SoftmaxMachine]) -> None:
        cpus = self._ray.cluster_resources().get("CPU", 1.0)
        needed = [part.store.nbytes + part.memory for part in parts]
        there = int(self._ray.cluster_resources().get("memory", 0))
        if sum(needed) > there:
            raise ValueError(
                f"{count(len(parts), 'shard')} need {gibibytes(sum(needed))} of memory together, the cluster has "
                f"{gibibytes(there)}: give the machine less memory, or the cluster more computers"
            )
        kind = self._ray.remote(max_restarts=-1, max_task_retries=RETRIES)(_Worker)
        threads = max(1, int(cpus) // len(parts))
        # Held for as long as processes may have to be started again with them.
        self._parts = [self._ray.put(part) for part in parts]
        self._actors = [
            # Memory decides where they run: machines that answer in turn would keep processors for nothing.
            kind.options(num_cpus=0, memory=size, scheduling_strategy="SPREAD").remote(part, threads)
            for part, size in zip(self._parts, needed, strict=True)
        ]
        waiting = [actor.ready.remote() for actor in self._actors]
        _, late = self._ray.wait(waiting, num_returns=len(waiting), timeout=START)
        if late:
            raise ValueError(
                f"{len(late)} of {count(len(parts), 'shard')} did not start within {START} s: the cluster has "
                f"{cpus:g} processors and {gibibytes(there)} of memory, which others may be using"
            )
        self._ask(waiting)

    @property
    def processes(self) -> list[int]:
        """Numbers of the processes that answer now."""
        found: list[int] = self._ask([actor.ready.remote() for actor in self._actors])
        return found

    def states(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> list[SoftmaxState]:
        question = self._ray.put(x.detach().cpu().numpy()), sigma.cpu().numpy()
        known = None if label is None else label.cpu().numpy()
        found: list[_Sent] = self._ask([actor.states.remote(*question, known) for actor in self._actors])
        return [sent.state() for sent in found]

    def prepare(self, labels: Sequence[int | None]) -> list[list[Prepared]]:
        found: list[list[Prepared]] = self._ask([actor.prepare.remote(list(labels)) for actor in self._actors])
        return found

    def close(self) -> None:
        for actor in getattr(self, "_actors", []):
            self._ray.kill(actor)
        self._actors, self._parts = [], []
        if self._owns and self._ray.is_initialized():
            self._ray.shutdown()
        self._owns = False

    def _ask(self, references: list[Any]) -> Any:
        """What some references stand for.

        Raises:
            RuntimeError: a process died again and again.
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(references)
        except errors.RayActorError as error:
            raise RuntimeError(
                f"a process with a part of the training images died {RETRIES + 1} times in one question: it may lack "
                "memory; give the machine less memory or more shards"
            ) from error
        except errors.RayTaskError as error:
            # What the machine itself raised, as if it had been asked here.
            raise error.cause from None


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address != AUTO:
            _look_for(address)
            ray.init(address=address, **quiet)
            return
        try:
            ray.init(include_dashboard=False, **quiet)
        except ValueError:
            # A cluster was found, which has settings of its own.
            ray.init(**quiet)
    except (ConnectionError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"no Ray cluster answers at {address!r} ({reason}): start one, or give 'auto'") from error


def _look_for(address: str) -> None:
    """Refuse an address at which nothing answers: Ray itself goes on trying for minutes.

    Raises:
        ValueError: no address.
        OSError: nothing answers there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16 or "/" in host:
        raise ValueError(f"cluster must be 'auto' or HOST:PORT, such as '10.0.0.5:6379', got {address!r}")
    socket.create_connection((host, int(port)), timeout=ANSWER).close()


def _present(part: SoftmaxMachine, labels: Sequence[int | None]) -> list[int | None]:
    """Those of the classes of which a part has images."""
    return [label for label in labels if label is None or len(part.workspace.chosen(label))]
