"""Kinds of questions, and who answers them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from elsewhere import __version__
from elsewhere.studio import drawing
from elsewhere.studio.drawing import MOST_SEEDS, MOST_STEPS, Runs, draw
from elsewhere.studio.questions import Question
from elsewhere.studio.sources import explain_step
from elsewhere.studio.subjects import Subjects

Answer = Callable[[Question, Subjects, Runs], Iterator[dict[str, Any]]]
"""A generator of messages. Each message takes a fraction of a second, so that clients can take turns."""


def about(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any]]:
    """Describe the subject of a question (the first one by default), and the names of all."""
    name = question.choice("subject", subjects.names, subjects.names[0])
    question.finish()
    yield {
        "version": __version__,
        "subjects": list(subjects.names),
        "subject": subjects[name].about(),
        "most_seeds": MOST_SEEDS,
        "most_steps": MOST_STEPS,
    }


ANSWERS: dict[str, Answer] = {"about": about, "draw": draw, "explain": explain_step}

RECORDED: tuple[Callable[[Subjects], list[tuple[str, dict[str, Any]]]], ...] = (
    lambda subjects: drawing.recorded(subjects[subjects.names[0]]),
)
"""Questions of each view that an exported page can ask."""
