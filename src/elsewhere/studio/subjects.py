"""Subjects of the studio: sets of training images, each with the network that was trained on it, if there is one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from elsewhere import factory
from elsewhere.data import ImageSet, load_images
from elsewhere.denoiser import Denoiser
from elsewhere.machines import LocalitySchedule
from elsewhere.machines.table import AVERAGES, TABLE
from elsewhere.machines.windowed import Window
from elsewhere.networks import load_network

DEFAULTS = ("is", "ls", "els", "wiener")
"""Machines that draw unless the page asks for others."""
MACHINES = (*DEFAULTS, "pca", "smoothed", "composite", "nearest")
"""Machines that the page offers: those that take seconds on the embedded sets."""
NETWORK = "network"
MOST_BYTES = 2**28
"""Bytes of all pictures that open pages have added."""
MOST_ADDED = 64
"""Sets that open pages have added."""
MOST_MACHINES = 32
"""Machines of a subject that are kept."""
MEMORY = 2**28
"""Working memory of a machine in bytes: several clients draw at once."""


@dataclass
class Subject:
    """Training images, a network, and machines that draw from them.

    Attributes:
        name: unique in a studio.
        data: the training images.
        network: D(x, sigma, label), or None.
        network_name: "" without a network.
    """

    name: str
    data: ImageSet
    network: Denoiser | None = None
    network_name: str = ""
    _machines: dict[Any, Denoiser] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def drawers(self) -> tuple[str, ...]:
        """Names of what can draw: machines, and "network" where there is one."""
        return (*MACHINES, *self._network)

    @property
    def defaults(self) -> tuple[str, ...]:
        """Those that draw unless a question names others."""
        return (*DEFAULTS, *self._network)

    @property
    def _network(self) -> tuple[str, ...]:
        return () if self.network is None else (NETWORK,)

    @property
    def classes(self) -> int:
        """Number of classes that can be asked for; 0 for none."""
        known = getattr(self.network, "num_classes", None)
        own = self.data.num_classes if self.data.labels is not None else 0
        return own if known is None else min(own, known)

    def windows(self, machine: str) -> LocalitySchedule | None:
        """The windows of a machine where a question does not set them, None for machines without windows."""
        if not TABLE[machine].windows:
            return None
        window = factory.choose_window(machine, self.network_name, None, None)[0]
        assert isinstance(window, LocalitySchedule)
        return window

    def denoiser(self, name: str, window: Window | None = None) -> Denoiser:
        """The machine or the network of a name, kept for the next question.

        Args:
            name: one of `drawers`.
            window: for machines with windows; None for the default ones.
        """
        if name == NETWORK:
            assert self.network is not None
            return self.network
        entry = TABLE[name]
        sides = (window or self.windows(name)) if entry.windows else None
        key = (name, sides if isinstance(sides, int | None) else (sides.sigmas, sides.windows, sides.taper))
        with self._lock:
            if key not in self._machines:
                if len(self._machines) >= MOST_MACHINES:
                    self._machines.pop(next(iter(self._machines)))
                borders = factory.borders_of(self.network)
                self._machines[key] = entry.make(self.data, sides, borders, memory=MEMORY)
            return self._machines[key]

    def about(self) -> dict[str, Any]:
        """What the page needs to know to offer this subject."""
        windows = self.windows("els")
        assert windows is not None
        return {
            "name": self.name,
            "images": len(self.data),
            "shape": list(self.data.shape),
            "classes": list(self.data.classes) or [str(i) for i in range(self.data.num_classes)],
            "class_count": self.classes,
            "drawers": list(self.drawers),
            "explained": [name for name in MACHINES if name in AVERAGES],
            "titles": {name: TABLE[name].title for name in MACHINES},
            "network": self.network_name,
            "fingerprint": self.data.fingerprint(),
            "windows": [list(pair) for pair in zip(windows.sigmas, windows.windows, strict=True)],
        }


def own_subject(data: ImageSet, network: Denoiser | None = None, source: str = "") -> Subject:
    """A user's images, and the network that was trained on them; for an embedded set the shipped one by default.

    Args:
        data: the images.
        network: None takes the shipped network of an embedded set.
        source: name or path of the network.
    """
    if network is None and data.name in factory.NETWORK_OF and not data.is_part:
        source = factory.NETWORK_OF[data.name]
        network = load_network(source)
    return Subject(data.name, data, network, source)


class Added:
    """The subjects that open pages have added."""

    def __init__(self) -> None:
        self.found: dict[str, Subject] = {}

    def add(self, subject: Subject) -> None:
        """Keep a subject.

        Raises:
            ValueError: there are MOST_ADDED, or all of them together would need more than MOST_BYTES.
        """
        total = sum(one.data.images.nbytes for one in self.found.values()) + subject.data.images.nbytes
        if total > MOST_BYTES or len(self.found) >= MOST_ADDED:
            raise ValueError("open pages have added too many pictures: close some of them, or add fewer")
        self.found[subject.name] = subject

    def remove(self, name: str) -> None:
        """Forget a subject."""
        self.found.pop(name, None)


class Subjects:
    """All subjects of a studio; embedded ones are read when they are first asked for.

    Attributes:
        names: those of all, the user's own first, in the same order whatever was read.
        added: what open pages have added; not listed.
    """

    def __init__(self, own: Sequence[Subject] = ()) -> None:
        self._found = {subject.name: subject for subject in own}
        self.names = tuple(dict.fromkeys((*self._found, *factory.NETWORK_OF)))
        self.added = Added()
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Subject:
        with self._lock:
            if name in self.added.found:
                return self.added.found[name]
            if name not in self._found:
                if name not in factory.NETWORK_OF:
                    raise ValueError(
                        f"subject must be one of {', '.join(self.names)}, or pictures that an open page has added, got "
                        f"{name[:60]!r}"
                    )
                self._found[name] = own_subject(load_images(name))
            return self._found[name]
