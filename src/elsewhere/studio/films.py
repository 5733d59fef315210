"""Films: the steps of a drawing as an animated GIF."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from elsewhere.pictures import film_gif, grid
from elsewhere.studio.drawing import Drawing, Runs
from elsewhere.studio.questions import Question
from elsewhere.studio.subjects import Subjects

SCALE = 3
"""Pixels of the film for each pixel of an image."""
MILLISECONDS = 120
"""Duration of a frame; the last one stays longer."""
SHOWN = ("x0", "x")


def film(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any]]:
    """Draw with several machines in step, and join the steps into a film: a row for each machine, a column for a seed.

    Fields of the question: "draw" (see `drawing.draw`), and "shown", "x0" or "x".

    Yields:
        {"step"} for each step, then {"gif"}, the file in base64.
    """
    drawing = Drawing.read(question.part("draw"), subjects)
    shown = question.choice("shown", SHOWN, "x0")
    question.finish()
    processes = [drawing.process(machine) for machine in drawing.machines]
    frames = []
    for index in range(drawing.steps):
        rows = []
        for process in processes:
            step = next(process)
            rows.append(step.x0 if shown == "x0" else step.x / (1 + step.sigma**2) ** 0.5)
            yield {"step": index}
        frames.append(_frame(rows))
    yield {"gif": base64.b64encode(film_gif(frames, MILLISECONDS)).decode("ascii")}


def _frame(rows: list[Tensor]) -> Any:
    return grid(torch.cat(rows).clamp(-1, 1), len(rows[0]), SCALE)
