"""One cell of the board: what a method is asked, how the answers are measured, and where finished cells are kept."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elsewhere.analysis.board_result import METRICS, BoardRow
from elsewhere.analysis.checks import describe
from elsewhere.analysis.metrics import mse, pearson_r, r_squared
from elsewhere.analysis.peak_memory import PeakMemory
from elsewhere.checks import check_type
from elsewhere.denoiser import DenoiserLike, ask, check_request
from elsewhere.files import entry, json_object, json_text, write_text
from elsewhere.pictures import data_uri, image_png
from elsewhere.samplers import SamplerName
from elsewhere.sampling import reverse_process
from elsewhere.schedules import Schedule
from elsewhere.wording import one_line

FORMAT = "elsewhere.board-cell/1"
PICTURES = 4
"""Images of every method on the page: the first ones, to avoid selection."""


@dataclass(frozen=True)
class Contender:
    """A method on the board, made only when it is measured.

    Attributes:
        name: in tables, such as "ELS".
        make: makes the denoiser.
        settings: everything that sets the method apart from others of its name: a finished measurement is used again
            if they, the network, the images and the noise are the same.
        title: in words, such as "equivariant local".
        kind: "machine"; or "network", for a network in place of a machine.
    """

    name: str
    make: Callable[[], DenoiserLike]
    settings: str = ""
    title: str = ""
    kind: str = "machine"

    def __post_init__(self) -> None:
        for name in ("name", "settings", "title", "kind"):
            check_type(name, getattr(self, name), str)
        if not self.name.strip():
            raise ValueError(f"name must not be empty, got {self.name!r}")
        if not callable(self.make):
            raise TypeError(f"make must be callable without arguments, got {type(self.make).__name__}")


@dataclass(frozen=True)
class Question:
    """What all methods of a section are asked.

    Attributes:
        sigmas: noise levels of `states`.
        states: noisy images, one (B, C, H, W) a level.
        answers: what x0hat is compared with, one (B, C, H, W) a level.
        schedule: noise levels of the drawing.
        noise: from which images are drawn, (B, C, H, W); None without a network.
        finals: the network's images (B, C, H, W); None without a network.
        labels: class of every image, int64 (B,), or None.
        sampler, seed: of the drawing; see `sample`.
    """

    sigmas: tuple[float, ...]
    states: Sequence[Tensor]
    answers: Sequence[Tensor]
    schedule: Schedule
    noise: Tensor | None = None
    finals: Tensor | None = None
    labels: Tensor | None = None
    sampler: SamplerName = "euler"
    seed: int = 0

    @property
    def calls(self) -> int:
        """Number of calls of a method that one cell takes."""
        return len(self.sigmas) * (1 if self.noise is None else 2)


def ask_network(
    network: DenoiserLike,
    noise: Tensor,
    schedule: Schedule,
    labels: Tensor | None,
    sampler: SamplerName = "euler",
    seed: int = 0,
) -> Question:
    """The network's own path, its answers there, and its images."""
    _, labels = check_request({"network": network}, noise, labels)
    x = noise * schedule.sigmas[0]
    steps = list(reverse_process(network, x, schedule, labels, "network", sampler=sampler, seed=seed))
    states, answers = [step.x for step in steps], [step.x0 for step in steps]
    return Question(schedule.sigmas[:-1], states, answers, schedule, noise, steps[-1].next_x, labels, sampler, seed)


def ask_held_out(images: Tensor, noise: Tensor, schedule: Schedule) -> Question:
    """Held-out images (B, C, H, W) under the same noise (B, C, H, W) at every level."""
    states = [images + sigma * noise for sigma in schedule.sigmas[:-1]]
    return Question(schedule.sigmas[:-1], states, [images] * len(states), schedule)


def measure_cell(contender: Contender, question: Question) -> Generator[None, None, BoardRow]:
    """Yields once a call, `question.calls` times in all, and returns the row.

    Whatever an attempt raises becomes the row's `why`: one method that does not apply to a network, or runs out of
    memory, must not end the board. Ctrl-C is no Exception and passes.
    """
    done = 0
    row = BoardRow(contender.name, contender.title, contender.kind)
    attempt = _attempt(row, contender, question)
    try:
        while True:
            try:
                next(attempt)
            except StopIteration as end:
                row = end.value
                break
            done += 1
            yield
    except Exception as error:
        text = one_line(str(error) or "no message")
        row = replace(
            row, why=text if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {text}"
        )
    # The bar counts the calls that a failed method has left.
    for _ in range(question.calls - done):
        yield
    return row


def _attempt(row: BoardRow, contender: Contender, question: Question) -> Generator[None, None, BoardRow]:
    metrics: dict[str, tuple[float, ...]] = {}
    with PeakMemory() as peak:
        started = time.perf_counter()
        denoiser = contender.make()
        images, asked = question.states[0], question.noise
        check_request({contender.name: denoiser}, images, question.labels)
        if asked is not None and question.finals is not None:
            x = asked * question.schedule.sigmas[0]
            steps = reverse_process(
                denoiser, x, question.schedule, question.labels, contender.name, sampler=question.sampler,
                seed=question.seed,
            )  # fmt: skip
            for step in steps:
                x = step.next_x
                yield
            images = x
            metrics = _metrics(images, question.finals)
            seconds = (time.perf_counter() - started) / len(images)
        started, squares = time.perf_counter(), []
        for sigma, state, answer in zip(question.sigmas, question.states, question.answers, strict=True):
            x0 = ask(denoiser, state, sigma, question.labels, contender.name)
            squares.append(float(mse(x0, answer).mean()))
            if asked is None:
                images = x0
            yield
        if asked is None:
            seconds = (time.perf_counter() - started) / len(question.sigmas) / len(images)
    return replace(
        row,
        about=describe(denoiser),
        metrics=metrics,
        rms=tuple(square**0.5 for square in squares),
        seconds=seconds,
        memory=peak.nbytes,
        pictures=() if asked is None else pictures_of(images),
    )


def _metrics(images: Tensor, finals: Tensor) -> dict[str, tuple[float, ...]]:
    with warnings.catch_warnings():
        # Undefined values are counted in the tables.
        warnings.simplefilter("ignore")
        found = [metric(images, finals) for metric in (pearson_r, r_squared, mse)]
    return {name: tuple(values.tolist()) for name, values in zip(METRICS, found, strict=True)}


def pictures_of(images: Tensor) -> tuple[str, ...]:
    """The first images as data URIs; none where they have other than 1 or 3 channels."""
    if images.shape[1] not in (1, 3):
        return ()
    return tuple(data_uri(image_png(image.detach().cpu().clamp(-1, 1))) for image in images[:PICTURES])


class CellStore:
    """Finished rows, one file each: a process that is killed loses the cell that it was measuring and no other.

    Args:
        folder: where the files are; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def path(self, key: Mapping[str, Any]) -> Path | None:
        """The file of a cell; its name has a hash of everything that the numbers depend on."""
        if self.folder is None:
            return None
        digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True, default=str).encode()).hexdigest()
        name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in str(key.get("name")))
        return self.folder / f"{name[:40]}-{digest[:24]}.json"

    def read(self, key: Mapping[str, Any]) -> BoardRow | None:
        """A finished row; None where there is none, or its file cannot be used."""
        path = self.path(key)
        if path is None or not path.is_file():
            return None
        try:
            return _row_of(entry(json_object(path.read_bytes(), FORMAT), "row"))
        except (TypeError, ValueError, OSError):
            return None  # it is measured again, and the file replaced

    def write(self, key: Mapping[str, Any], row: BoardRow) -> None:
        """Keep a row, unless it was not measured: the next run tries again."""
        path = self.path(key)
        if path is not None and not row.why:
            write_text(path, json_text({"format": FORMAT, "key": dict(key), "row": asdict(row)}) + "\n")


def _row_of(content: Any) -> BoardRow:
    values = dict(content)
    nan = float("nan")
    values["metrics"] = {
        name: tuple(nan if value is None else float(value) for value in numbers)
        for name, numbers in dict(values["metrics"]).items()
    }
    for name in ("rms", "pictures"):
        values[name] = tuple(values[name])
    return BoardRow(**values)


def weights_digest(denoiser: object) -> str:
    """SHA-256 of a network's weights, or its repr where it has none."""
    module = getattr(denoiser, "module", None)
    if not isinstance(module, torch.nn.Module):
        return describe(denoiser)
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
