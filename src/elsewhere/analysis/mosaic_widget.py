"""The explanation view as a widget for Jupyter, VS Code, Colab and other notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_message import mosaic_message
from elsewhere.optional import require
from elsewhere.page.bundle import bundle, read


def widget(mosaics: Sequence[MosaicResult], index: int, top: int) -> Any:
    """The explanation view of one image as an anywidget: with several mosaics a slider goes through them.

    Args:
        mosaics: of one step, or of several steps of a run.
        index: image of the batch.
        top: sources of each pixel, at most.

    Raises:
        ImportError: anywidget is not installed (extra `notebook`).
    """
    anywidget = require("anywidget", extra="notebook", purpose="a widget", names=["AnyWidget"])
    traitlets = require("traitlets", extra="notebook", purpose="a widget", names=["List"])
    content = {
        "_esm": bundle("report.js") + "export default { render: elsewhere.render };\n",
        "_css": read("mosaic.css"),
        "steps": traitlets.List().tag(sync=True),
    }
    kind = type("MosaicWidget", (anywidget.AnyWidget,), content)
    steps = [
        {
            "title": f"step {mosaic.step + 1}, sigma {mosaic.sigmas[index]:.3g}",
            "mosaic": mosaic_message(mosaic, index, top),
        }
        for mosaic in mosaics
    ]
    return kind(steps=steps)
