"""Write the studio as a static site: the page, and the answers to the questions that it asks by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from elsewhere.files import json_text, save_all
from elsewhere.page.bundle import bundle, read
from elsewhere.progress import track
from elsewhere.studio.answers import ANSWERS, RECORDED
from elsewhere.studio.drawing import Runs
from elsewhere.studio.questions import Question, canonical
from elsewhere.studio.subjects import Subjects

STYLE = "studio.css"


def export_site(subjects: Subjects, folder: str | Path, *, progress: bool = False) -> list[Path]:
    """Write a page that shows recorded answers: it opens from the disk or from any web server, without a network.

    Args:
        subjects: the first one is recorded.
        folder: created if missing; files of the same names are replaced, each completely or not at all.
        progress: show a progress bar with the time left.

    Returns:
        The files written: index.html, studio.js, studio.css, answers.js, icon.svg.

    Raises:
        OSError: the folder cannot be written.
    """
    runs = Runs()
    questions = list(_questions(subjects))
    answers = {}
    for kind, question in track(questions, len(questions), "recording", progress):
        messages = ANSWERS[kind](Question(question), subjects, runs)
        answers[key_of(kind, question)] = [message for message in messages if message is not None]
    _only(answers, subjects.names[0])
    text = json_text(answers, None)
    # The page last: it is there only when everything that it reads is.
    contents = {
        "icon.svg": read("icon.svg"),
        STYLE: "\n".join(read(name) for name in stylesheets()),
        "studio.js": bundle("recorded.js") + "elsewhere.startRecorded(globalThis.ELSEWHERE_ANSWERS);\n",
        "answers.js": f"globalThis.ELSEWHERE_ANSWERS = {text};\n",
        "index.html": _page(),
    }
    save_all(folder, contents, "the exported studio")
    return [Path(folder) / name for name in contents]


def key_of(kind: str, question: Mapping[str, Any]) -> str:
    """The key under which an answer is found, as `keyOf` in source.js writes it."""
    return f"{kind} {canonical(question)}"


def stylesheets() -> list[str]:
    """Style sheets of the page, in the order of index.html."""
    parts = read("index.html").split('<link rel="stylesheet" href="')[1:]
    return [part.partition('"')[0] for part in parts]


def _questions(subjects: Subjects) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "about", {}
    for recorded in RECORDED:
        yield from recorded(subjects)


def _only(answers: dict[str, list[dict[str, Any]]], name: str) -> None:
    """Offer the recorded subject alone."""
    for key, messages in answers.items():
        if key.startswith("about "):
            for message in messages:
                message["subjects"] = [name]


def _page() -> str:
    head, _, rest = read("index.html").partition('<link rel="stylesheet"')
    _, _, rest = rest.partition('<script type="module" src="live.js"></script>')
    scripts = '<script src="answers.js"></script>\n<script src="studio.js"></script>'
    style = f'<link rel="stylesheet" href="{STYLE}">\n'
    body = rest.replace("</body>", f"{scripts}\n</body>")
    return head + style + body
