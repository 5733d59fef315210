"""A machine whose training images are split: every part answers, and the states of the softmax averages merge."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType
from typing import Self

from torch import Tensor

from elsewhere.checks import check_whole, checked, seen
from elsewhere.checks.ranges import MIN_MEMORY
from elsewhere.cluster.workers import HereWorkers, RayWorkers, Workers
from elsewhere.data import ImageSet
from elsewhere.denoiser import Denoiser
from elsewhere.engine import SoftmaxState
from elsewhere.machines.base import Prepared, SoftmaxMachine
from elsewhere.machines.windowed import Window
from elsewhere.phrases import count

MOST_SHARDS = 10_000


class Distributed(Denoiser):
    """A softmax machine whose training images are split into shards: see `distributed`, which makes one.

    It ends its processes when it is closed, at the end of a `with` block, or with the program.

    Attributes:
        machine: the machine that was split.
        bounds: positions of the images at which shards begin, and their number at the end.
        cluster: address of the Ray cluster, "auto", or None for this process.
    """

    @checked
    def __init__(self, machine: SoftmaxMachine, bounds: Sequence[int], cluster: str | None = None) -> None:
        machine.check_splits()
        ends = [check_whole("each of bounds", bound, 0, len(machine)) for bound in bounds]
        if len(ends) < 2 or ends[0] != 0 or ends[-1] != len(machine) or any(low >= up for low, up in pairwise(ends)):
            raise ValueError(f"bounds must rise from 0 to {count(len(machine), 'image')}, got {seen(bounds)}")
        self.machine = machine
        self.bounds = tuple(ends)
        self.cluster = cluster
        self.channels = machine.channels
        self.size = machine.size
        self.num_classes = machine.num_classes
        memory = max(MIN_MEMORY, machine.memory // (len(ends) - 1))
        parts = [machine.part(start, stop, memory) for start, stop in pairwise(self.bounds)]
        self._workers: Workers | None = HereWorkers(parts) if cluster is None else RayWorkers(parts, cluster)

    def __repr__(self) -> str:
        where = "this process" if self.cluster is None else f"Ray, {self.cluster}"
        return f"Distributed({self.machine!r}, {count(len(self.bounds) - 1, 'shard')} in {where})"

    def __len__(self) -> int:
        return len(self.machine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def data(self) -> ImageSet | None:
        """The training images; None where they came as an array."""
        return self.machine.data

    @property
    def processes(self) -> list[int]:
        """Numbers of the processes that hold the shards now, on the computers where they run; none where this process
        answers."""
        return self._open().processes

    @property
    def window(self) -> Window | None:
        """The window of the machine; None where it has none."""
        return getattr(self.machine, "window", None)

    def close(self) -> None:
        """End the processes; the machine answers no more. Closing twice does no harm."""
        if self._workers is not None:
            self._workers.close()
        self._workers = None

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        if x.requires_grad:
            raise ValueError(f"{self!r} records no gradient: give x.detach(), or use its machine alone")
        state = merge_in_tree(self._open().states(x, sigma, label))
        low, high = self.machine.range
        return state.mean().squeeze(-1).clamp_(low, high).to(x.device, x.dtype)

    @checked
    def prepare(self, labels: Sequence[int | None] = (None,)) -> list[list[Prepared]]:
        """Build the indexes of every shard, or read them from the cache: see `SoftmaxMachine.prepare`.

        Returns:
            For every shard its indexes; a shard without images of a class has none for it.

        Raises:
            TypeError, ValueError: not labels, or closed.
        """
        for label in labels:
            if label is not None:
                check_whole("each of labels", label, 0, max(0, self.num_classes - 1))
        return self._open().prepare(labels)

    def _open(self) -> Workers:
        if self._workers is None:
            raise ValueError(f"{self!r} is closed: make another one")
        return self._workers


@checked
def distributed(machine: SoftmaxMachine, shards: int, *, cluster: str | None = None) -> Distributed:
    """Split a machine's training images among processes, which answer together as the machine itself does.

    Each process holds a shard: a part of the images, and of the index where the machine searches one. A question goes
    to all of them, and the states of their softmax averages (largest log-weight, sum of weights, weighted sum) merge to
    that of the whole; answers differ from the machine's own by the rounding of float32 alone (or by its `tolerance`
    where an index is searched), and do not depend on which process is ready first. A process that dies is started again
    and answers the question anew.

    Args:
        machine: IS, ESM, LS, ELS, or a `PatchScore` without pasted patches. Its `memory` is shared out among the
            shards, 64 MiB or more each.
        shards: number of parts, 1 to 10,000 and no more than there are images.
        cluster: None asks the parts one after the other in this process, so that less memory is needed at a time;
            "auto" uses processes of Ray on the cluster that this computer belongs to, or on this computer alone; or the
            address of a Ray cluster. Ray comes with the extra `cluster`.

    Returns:
        A denoiser D(x, sigma, label=None), without gradients. Close it, or use it in a `with` block.

    Raises:
        ImportError: a cluster is asked for and Ray is not installed.
        TypeError: not a softmax machine.
        ValueError: shards out of range, a machine whose states do not merge (Nearest, SmoothedIdeal, PCALocality,
            GoldenSubset, PatchComposite, pasted patches), no cluster at the address, or one with too little memory.

    Example:
        >>> import elsewhere as els
        >>> machine = els.EquivariantLocalScore(els.load_images("fashion-mini", limit=30), window=5)
        >>> with els.distributed(machine, shards=3) as split:
        ...     x0 = split(els.make_noise(2, (1, 28, 28)), sigma=1.0)
        >>> bool((x0 - machine(els.make_noise(2, (1, 28, 28)), sigma=1.0)).abs().max() < 1e-5)
        True
    """
    shards = check_whole("shards", shards, 1, MOST_SHARDS)
    if shards > len(machine):
        raise ValueError(f"shards must be {count(len(machine), 'image')} or fewer, one image each, got {shards}")
    bounds = [len(machine) * number // shards for number in range(shards + 1)]
    return Distributed(machine, bounds, cluster)


def merge_in_tree(states: Sequence[SoftmaxState]) -> SoftmaxState:
    """States merged in pairs of neighbours, then pairs of these, ...: rounding grows with the logarithm of their
    number, and the result depends on their order alone."""
    found = list(states)
    while len(found) > 1:
        pairs = [found[at : at + 2] for at in range(0, len(found), 2)]
        found = [pair[0].merge(pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    if not bool((found[0].total > 0).all()):
        raise ValueError("no shard has an image of the class that was asked for")
    return found[0]
