"""The board: every method on every network, and without one, measured in the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.board_cells import (
    CellStore,
    Contender,
    Question,
    ask_held_out,
    ask_network,
    measure_cell,
    pictures_of,
    weights_digest,
)
from elsewhere.analysis.board_files import board_json, save_board
from elsewhere.analysis.board_result import BoardResult, BoardRow, BoardSection
from elsewhere.analysis.checks import describe
from elsewhere.checks import check_choice, check_seed, check_type, check_whole, checked
from elsewhere.denoiser import DenoiserLike, Label, check_images, check_request
from elsewhere.optional import require
from elsewhere.progress import track
from elsewhere.samplers import NAMES as SAMPLERS
from elsewhere.samplers import SamplerName
from elsewhere.sampling import make_noise
from elsewhere.schedules import Schedule, cosine


class Board(BoardResult):
    """A `BoardResult` that can be written to files."""

    def to_json(self) -> str:
        """Everything except the pictures, as JSON text."""
        return board_json(self)

    @checked
    def save(self, folder: str | Path) -> None:
        """Write results.json, results.csv and report.html; see `save_board`.

        Raises:
            OSError: the folder cannot be created or written; the message names it.
        """
        save_board(self, folder)


@dataclass(frozen=True)
class BoardSubject:
    """What methods are measured on: a network, or held-out images without one.

    Attributes:
        name: of the network, or of the images.
        contenders: the methods.
        network: D(x, sigma, label=None), or None.
        shape: (C, H, W) of the images that the network draws; with `held_out` theirs is taken.
        held_out: images (B, C, H, W) in [-1, 1] that no method has seen; for subjects without a network.
        data: name and number of the training images, in words.
        label: class of every image or (B,), for the network and the methods.
    """

    name: str
    contenders: Sequence[Contender]
    network: DenoiserLike | None = None
    shape: tuple[int, int, int] | None = None
    held_out: Tensor | None = None
    data: str = ""
    label: Label = None

    def __post_init__(self) -> None:
        check_type("name", self.name, str)
        check_type("contenders", self.contenders, Sequence[Contender])
        names = [contender.name for contender in self.contenders]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"contenders must have one or more different names, got {', '.join(names) or 'none'}")
        if (self.network is None) == (self.held_out is None):
            raise ValueError(f"{self.name} must have either a network or held_out images: give one of them")
        if self.network is not None:
            check_type("network", self.network, DenoiserLike)
            check_type("shape", self.shape, tuple[int, int, int])
        if self.held_out is not None:
            check_images(self.held_out, "held_out")


@checked
def board(
    subjects: Sequence[BoardSubject],
    seeds: int = 16,
    *,
    seed: int = 0,
    schedule: Schedule | None = None,
    cache: str | Path | None = None,
    about: Mapping[str, str] | None = None,
    progress: bool = False,
    sampler: SamplerName = "euler",
) -> Board:
    """Measure every method on every subject.

    On a network, method and network draw from the same noise, and Pearson r, R^2 and MSE of their final images are
    taken; and at every noise level of the network's own path the rms of the difference of the two x0hat. Without a
    network, the rms of x0hat against held-out images at every noise level. A method that cannot be made or asked does
    not end the board: its row says why.

    Args:
        subjects: networks, or held-out images; see `BoardSubject`.
        seeds: images drawn on each network, 1 or more.
        seed: of the noise.
        schedule: noise levels; None: `schedules.cosine(20)`.
        cache: folder with one file for each finished measurement, with which an interrupted board continues. The name
            of a file has a hash of everything that its numbers depend on, so that changed settings are measured anew.
        about: further settings to store in the result, such as the command line.
        progress: show a bar with the time left.
        sampler: see `sample`, with `seed` for the noise that "ancestral" adds; network and methods draw with the same.

    Returns:
        A Board; `.save(folder)` writes the numbers and a page.

    Raises:
        TypeError, ValueError: no subjects, two of one name, a number out of range, labels that a network cannot take.
        ImportError: scipy, which computes the intervals, is not installed.

    Example:
        >>> import elsewhere as els
        >>> from elsewhere.analysis.scoreboard import BoardSubject, Contender, board
        >>> data = els.load_images("fashion-mini", limit=20)
        >>> methods = [Contender("IS", lambda: els.IdealScore(data)), Contender("LS", lambda: els.LocalScore(data, 5))]
        >>> subject = BoardSubject("a network", methods, els.LocalScore(data, 7), data.shape)
        >>> board([subject], 2, schedule=els.schedules.cosine(2))
        Board(1 section; best machine: a network: LS)
    """
    if not subjects:
        raise ValueError("subjects is empty: give one or more networks or sets of held-out images")
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        raise ValueError(f"subjects must have different names, got {', '.join(names)}")
    check_whole("seeds", seeds, 1)
    check_seed(seed)
    check_choice("sampler", sampler, SAMPLERS)
    require("scipy.stats", extra="board", purpose="the board")
    schedule = cosine() if schedule is None else schedule
    store = CellStore(None if cache is None else Path(cache))
    works = [_Work(subject, seeds, seed, schedule, store, sampler) for subject in subjects]
    total = sum(work.total for work in works)
    done = total - sum(work.left for work in works)
    for _ in track((tick for work in works for tick in work.run()), total, "board", progress, done=done):
        pass
    settings = {
        "seeds": seeds,
        "seed": seed,
        "schedule": schedule.name,
        "sigmas": list(schedule.sigmas),
        "sampler": sampler,
        "version": __version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        **({"about": dict(about)} if about else {}),
    }
    return Board(tuple(work.section() for work in works), settings)


class _Work:
    """The measurements of one subject: those that are kept, and those that are left."""

    def __init__(
        self, subject: BoardSubject, seeds: int, seed: int, schedule: Schedule, store: CellStore, sampler: SamplerName
    ) -> None:
        self.subject, self.schedule, self.store = subject, schedule, store
        self.sampler, self.seed = sampler, seed
        if subject.held_out is None:
            assert subject.network is not None
            assert subject.shape is not None
            self.noise = make_noise(seeds, subject.shape, seed)
            self.labels = check_request({"network": subject.network}, self.noise, subject.label, "noise")[1]
            content = weights_digest(subject.network)
        else:
            _, channels, height, width = subject.held_out.shape
            self.noise = make_noise(len(subject.held_out), (channels, height, width), seed)
            self.labels = None
            content = hashlib.sha256(subject.held_out.cpu().contiguous().numpy().tobytes()).hexdigest()
        self.common = {
            "subject": content,
            "data": subject.data,
            "sigmas": schedule.sigmas,
            "noise": hashlib.sha256(self.noise.numpy().tobytes()).hexdigest(),
            "labels": None if self.labels is None else self.labels.tolist(),
            "version": __version__,
            # Cells of earlier versions, which had no choice, are those of euler.
            **({} if sampler == "euler" or subject.network is None else {"sampler": sampler, "seed": seed}),
        }
        self.rows = {c.name: store.read(self._key(c)) for c in subject.contenders}
        steps = schedule.steps
        self._each = steps if subject.network is None else 2 * steps
        # The network's own path is only needed where something is left to be measured.
        self._target = store.read(self._target_key)
        self.total = self._each * len(subject.contenders)
        self.left = self._each * sum(row is None for row in self.rows.values())

    @property
    def _target_key(self) -> dict[str, Any]:
        return {**self.common, "name": f"target-{self.subject.name}"}

    def _key(self, contender: Contender) -> dict[str, Any]:
        return {**self.common, "name": f"{self.subject.name}-{contender.name}", "settings": contender.settings}

    def run(self) -> Iterator[None]:
        """Measure what is left; yields once for each call of a method."""
        missing = [c for c in self.subject.contenders if self.rows[c.name] is None]
        if not missing and self._target is not None:
            return
        question = self._ask()
        for contender in missing:
            row = yield from measure_cell(contender, question)
            self.rows[contender.name] = row
            self.store.write(self._key(contender), row)

    def _ask(self) -> Question:
        network = self.subject.network
        if network is None:
            assert self.subject.held_out is not None
            question = ask_held_out(self.subject.held_out.float(), self.noise, self.schedule)
            self._target = BoardRow("held-out images", kind="images")
        else:
            question = ask_network(network, self.noise, self.schedule, self.labels, self.sampler, self.seed)
            assert question.finals is not None
            self._target = BoardRow("network", "trained", "network", pictures=pictures_of(question.finals))
        self.store.write(self._target_key, self._target)
        return question

    def section(self) -> BoardSection:
        subject = self.subject
        # Words may have changed since a row was kept; they are no part of what was measured.
        rows = [
            replace(row, name=c.name, title=c.title, kind=c.kind)
            for c in subject.contenders
            if (row := self.rows[c.name]) is not None
        ]
        assert self._target is not None
        network = "" if subject.network is None else describe(subject.network)
        sigmas = self.schedule.sigmas[:-1]
        return BoardSection(
            subject.name,
            network,
            subject.data,
            sigmas,
            len(self.noise),
            tuple(rows),
            self._target,
            {"labels": self.common["labels"]},
        )
