"""The explanation view as a widget for Jupyter, VS Code, Colab and other notebooks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from typing import Any

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_message import mosaic_message
from elsewhere.optional import require
from elsewhere.page.bundle import bundle, read


def step_title(step: int, sigma: float) -> str:
    """What the slider says of a step."""
    return f"step {step + 1}, sigma {sigma:.3g}"


def widget(titles: Sequence[str], mosaic_at: Callable[[int], MosaicResult], index: int, top: int) -> Any:
    """The explanation view of one image as an anywidget: with several steps a slider goes through them.

    A notebook stores the state of its widgets, so only the step that is shown is in it, compressed: the slider asks for
    another one, which is explained then.

    Args:
        titles: of the steps, one or more; the last one is shown first.
        mosaic_at: the mosaic of a step, by its number in `titles`.
        index: image of the batch.
        top: sources of each pixel, at most.

    Returns:
        A widget with the traits `titles`, `at` (number of the step that is asked for) and `step` (what is shown: the
        JSON object of number "at" and "mosaic", see `mosaic_message`, compressed by gzip).

    Raises:
        ImportError: anywidget is not installed (extra `notebook`).
    """
    anywidget = require("anywidget", extra="notebook", purpose="a widget", names=["AnyWidget"])
    traitlets = require("traitlets", extra="notebook", purpose="a widget", names=["List"])
    known: dict[int, bytes] = {}

    def answer(at: int) -> bytes:
        if at not in known:
            content = {"at": at, "mosaic": mosaic_message(mosaic_at(at), index, top)}
            # A fixed time, so that the same widget has the same state.
            known[at] = gzip.compress(json.dumps(content).encode(), mtime=0)
        return known[at]

    content = {
        "_esm": bundle("report.js") + "export default { render: elsewhere.render };\n",
        "_css": read("mosaic.css"),
        "titles": traitlets.List().tag(sync=True),
        "at": traitlets.Int().tag(sync=True),
        "step": traitlets.Bytes().tag(sync=True),
    }
    last = len(titles) - 1
    made = type("MosaicWidget", (anywidget.AnyWidget,), content)(titles=list(titles), at=last, step=answer(last))

    def send(change: Any) -> None:
        # A page may ask for anything.
        if 0 <= change["new"] <= last:
            made.step = answer(change["new"])

    made.observe(send, "at")
    return made
