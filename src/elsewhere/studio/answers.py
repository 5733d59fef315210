"""Kinds of questions, and who answers them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from elsewhere import __version__
from elsewhere.studio import copied, drawing, films, fingers, patterns, sources, toy
from elsewhere.studio.drawing import MOST_SEEDS, RECORDED_TOP, Runs
from elsewhere.studio.questions import Question
from elsewhere.studio.subjects import Subjects

Answer = Callable[[Question, Subjects, Runs], Iterator[dict[str, Any] | None]]
"""A generator of messages. Each takes a fraction of a second, so that clients can take turns; None is a turn alone."""


def about(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any]]:
    """Describe the subject of a question (the first one by default), and the names of all."""
    subject = subjects[question.text("subject", subjects.names[0])]
    question.finish()
    yield {
        "version": __version__,
        "subjects": list(subjects.names),
        "subject": {**subject.about(), "drawing": drawing.default_drawing(subject)},
        "most_seeds": MOST_SEEDS,
        "recorded_top": RECORDED_TOP,
        "toy": toy.pictures(),
    }


ANSWERS: dict[str, Answer] = {
    "about": about,
    "draw": drawing.draw,
    "explain": sources.explain_step,
    "film": films.film,
    "toy": toy.toy,
    "fingers": fingers.fingers,
    "gallery": fingers.gallery,
    "grow": patterns.grow,
    "heal": patterns.heal,
    "copied": copied.copied,
}
Recorded = Callable[[Subjects], list[tuple[str, dict[str, Any]]]]
RECORDED: tuple[Recorded, ...] = (
    lambda subjects: drawing.recorded(subjects[subjects.names[0]]),
    toy.recorded,
    fingers.recorded,
    patterns.recorded,
    copied.recorded,
)
"""Questions of each view that an exported page can ask."""
