"""Explain: the training patches that made each pixel of one step of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from elsewhere.analysis import explain
from elsewhere.analysis.mosaic_message import TOP, mosaic_message
from elsewhere.machines.table import AVERAGES
from elsewhere.studio.drawing import LARGEST_SEED, MOST_STEPS, Drawing, Runs
from elsewhere.studio.questions import Question
from elsewhere.studio.subjects import Subjects


def explain_step(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any] | None]:
    """Explain one step of one image of a run.

    Fields of the question: "draw" (see `drawing.draw`), "machine", "seed" (one of its seeds), "step", "top".

    Yields:
        {"mosaic": see `mosaic_message`}.
    """
    drawing = Drawing.read(question.part("draw"), subjects)
    machine = question.choice("machine", [name for name in drawing.machines if name in AVERAGES])
    seed = question.whole("seed", 0, LARGEST_SEED)
    if seed not in drawing.seeds:
        raise ValueError(f"seed must be one of those drawn, {list(drawing.seeds)}, got {seed}")
    index = question.whole("step", 0, min(drawing.steps, MOST_STEPS) - 1)
    top = question.whole("top", 1, TOP, TOP)
    question.finish()
    x, sigma = yield from runs.state(drawing, machine, index)
    one = x[drawing.seeds.index(seed)][None]
    mosaic = explain(drawing.denoiser(machine), one, sigma, top, drawing.label)
    yield {"mosaic": mosaic_message(mosaic)}
