"""Draw: machines and the network denoise the same noise step by step."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elsewhere import schedules
from elsewhere.analysis import pearson_r, r_squared
from elsewhere.checks import check_choice, seen
from elsewhere.denoiser import Denoiser
from elsewhere.machines import LocalitySchedule
from elsewhere.machines.windowed import Window
from elsewhere.page.wire import pack
from elsewhere.sampling import Step, make_noise, reverse_process
from elsewhere.studio.questions import Question, whole_numbers
from elsewhere.studio.subjects import NETWORK, Subject, Subjects
from elsewhere.studio.turns import Working

MOST_SEEDS, MOST_STEPS, MOST_STROKES = 8, 50, 256
LARGEST_SEED = 2**31 - 1
LARGEST_WINDOW = 255
RECORDED_STEPS, RECORDED_TOP = (3, 7, 11, 15, 19), 4
"""Steps of the default drawing that an exported page can explain, and sources of each pixel: about 8 MB in all."""
KEPT_BYTES = 2**27
"""Memory for the states of past runs, from which steps are explained."""


@dataclass(frozen=True)
class Drawing:
    """A checked question of what to draw.

    Attributes:
        subject: training images and network.
        machines: names, the network first if it draws.
        seeds: one image each.
        label: class of all images, or None.
        steps: of the cosine schedule.
        window: None for the default windows.
        strokes: (row, column, radius, seed): discs whose noise is that of another seed.
        key: equal for equal noise, schedule and windows.
    """

    subject: Subject
    machines: tuple[str, ...]
    seeds: tuple[int, ...]
    label: int | None
    steps: int
    window: Window | None
    strokes: tuple[tuple[int, int, int, int], ...]
    key: str

    @classmethod
    def read(cls, question: Question, subjects: Subjects) -> Drawing:
        """Check a question.

        Raises:
            TypeError, ValueError: a field that is missing, unknown or out of range.
        """
        subject = subjects[question.text("subject")]
        names = question.items("machines", len(subject.drawers))
        for i, name in enumerate(names):
            check_choice(f"{question.name}.machines[{i}]", name, subject.drawers)
        if not names or len(set(names)) < len(names):
            raise ValueError("machines must be one or more names, each once")
        seeds = whole_numbers(question.items("seeds", MOST_SEEDS), "seeds", 0, LARGEST_SEED)
        if not seeds:
            raise ValueError("seeds must have one number or more")
        label = question.whole("label", 0, max(0, subject.classes - 1)) if question.has("label") else None
        if label is not None and not subject.classes:
            raise ValueError(f"label was given but {subject.name} has no classes: leave it out")
        steps = question.whole("steps", 1, MOST_STEPS, 20)
        window = read_window(question)
        side = max(subject.data.shape[1:])
        strokes = tuple(_stroke(stroke, side) for stroke in question.items("strokes", MOST_STROKES, ()))
        question.finish()
        fields = {name: value for name, value in question.fields.items() if name != "machines"}
        ordered = sorted(names, key=lambda name: name != NETWORK)
        return cls(subject, tuple(ordered), tuple(seeds), label, steps, window, strokes, Question(fields).key)

    @property
    def schedule(self) -> schedules.Schedule:
        return schedules.cosine(self.steps)

    def noise(self) -> Tensor:
        """(seeds, C, H, W): of each seed, with the strokes' discs taken from other seeds."""
        shape = self.subject.data.shape
        noise = torch.cat([make_noise(1, shape, seed) for seed in self.seeds])
        rows, columns = (torch.arange(side, device="cpu") for side in shape[1:])
        for row, column, radius, seed in self.strokes:
            disc = (rows[:, None] - row) ** 2 + (columns[None] - column) ** 2 <= radius**2
            noise = torch.where(disc, make_noise(1, shape, seed), noise)
        return noise

    def denoiser(self, machine: str) -> Denoiser:
        return self.subject.denoiser(machine, self.window)

    def process(self, machine: str) -> Iterator[Step]:
        """The reverse process of one machine."""
        label = (
            None if self.label is None else torch.full((len(self.seeds),), self.label, dtype=torch.int64, device="cpu")
        )
        x = self.noise() * self.schedule.sigmas[0]
        return reverse_process(self.denoiser(machine), x, self.schedule, label, machine)


def read_window(question: Question) -> Window | None:
    """The windows of a question: none, one side, or [[sigma, side], ...].

    Raises:
        TypeError, ValueError: anything else.
    """
    window = question.take("window")
    if window is None:
        return None
    if isinstance(window, int):
        side = question.whole("window", 1, LARGEST_WINDOW)
        if side % 2 == 0:
            raise ValueError(f"{question.name}.window must be an odd side in pixels, got {side}")
        return side
    pairs = window if isinstance(window, list) else []
    if not 1 <= len(pairs) <= MOST_STEPS or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"{question.name}.window must be an odd side, or 1 to {MOST_STEPS} pairs [sigma, side], got {seen(window)}"
        )
    sides = whole_numbers([side for _, side in pairs], f"{question.name}.window sides", 1, LARGEST_WINDOW)
    return LocalitySchedule(tuple(sigma for sigma, _ in pairs), tuple(sides))


def _stroke(stroke: Any, side: int) -> tuple[int, int, int, int]:
    if not isinstance(stroke, list) or len(stroke) != 4:
        raise ValueError("a stroke must be a list of row, column, radius and seed")
    row, column = whole_numbers(stroke[:2], "stroke", 0, side - 1)
    [radius] = whole_numbers(stroke[2:3], "stroke", 0, side)
    [seed] = whole_numbers(stroke[3:], "stroke", 0, LARGEST_SEED)
    return row, column, radius, seed


class Runs:
    """States of past runs, the least recently used ones forgotten: a step is explained without drawing anew."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._kept: OrderedDict[tuple[str, str, int], tuple[Tensor, float]] = OrderedDict()
        self._bytes, self._most = 0, most
        self._lock = threading.Lock()

    def keep(self, drawing: Drawing, machine: str, step: Step) -> None:
        """Keep the state before a step."""
        key = (drawing.key, machine, step.index)
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = (step.x.detach(), step.sigma)
            self._bytes += step.x.nbytes
            while self._bytes > self._most and len(self._kept) > 1:
                _, (x, _) = self._kept.popitem(last=False)
                self._bytes -= x.nbytes

    def state(self, drawing: Drawing, machine: str, index: int) -> Working[tuple[Tensor, float]]:
        """State and noise level before a step, drawn anew if it was forgotten."""
        with self._lock:
            found = self._kept.get((drawing.key, machine, index))
        if found is None:
            for step in itertools.islice(drawing.process(machine), index + 1):
                self.keep(drawing, machine, step)
                found = step.x.detach(), step.sigma
                yield None
        assert found is not None
        return found


def draw(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any]]:
    """Draw with several machines in step.

    Yields:
        {"start": noise levels}, then for each step and machine {"step", "machine", "sigma", "x", "x0"} with arrays
        (seeds, C, H, W), and "r" and "r2" of x0hat with the network's x0hat at this step if the network draws too.
    """
    drawing = Drawing.read(question, subjects)
    yield {"start": {"sigmas": list(drawing.schedule.sigmas), "seeds": list(drawing.seeds)}}
    processes = {machine: drawing.process(machine) for machine in drawing.machines}
    for _ in range(drawing.steps):
        theirs: Tensor | None = None
        for machine, process in processes.items():
            step = next(process)
            runs.keep(drawing, machine, step)
            message: dict[str, Any] = {
                "machine": machine,
                "step": step.index,
                "sigma": step.sigma,
                "x": pack(step.x, "float16"),
                "x0": pack(step.x0, "float16"),
            }
            if machine == NETWORK:
                theirs = step.x0
            elif theirs is not None:
                message |= agreement(step.x0, theirs)
            yield message


def agreement(images: Tensor, network: Tensor) -> dict[str, list[float]]:
    """Pearson r and R^2 of each image with the network's; NaN where undefined, which the page gets as null."""
    return {"r": pearson_r(images, network).tolist(), "r2": r_squared(images, network).tolist()}


def default_drawing(subject: Subject) -> dict[str, Any]:
    """The question that the page asks of a subject before anything is chosen."""
    return {
        "subject": subject.name,
        "machines": list(subject.defaults),
        "seeds": [0, 1, 2, 3],
        "label": 0 if subject.classes else None,
        "steps": 20,
    }


def recorded(subject: Subject) -> list[tuple[str, dict[str, Any]]]:
    """The questions of the draw view that an exported page can ask: its default drawing, explained at some steps."""
    drawing = default_drawing(subject)
    explained = [
        ("explain", {"draw": drawing, "machine": "els", "seed": seed, "step": step, "top": RECORDED_TOP})
        for seed in drawing["seeds"]
        for step in RECORDED_STEPS
    ]
    return [("about", {"subject": subject.name}), ("draw", drawing), *explained]
