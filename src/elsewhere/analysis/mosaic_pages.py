"""The explanation view as a self-contained HTML page, and as a widget for notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elsewhere.analysis.explanation_result import ExplanationResult
from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_message import mosaic_message
from elsewhere.analysis.report import environment
from elsewhere.files import json_text, write_text
from elsewhere.optional import require
from elsewhere.page.bundle import bundle, read
from elsewhere.pictures import data_uri

MOST_SHOWN, TOP = 16, 6
"""Images of a page, and sources of each pixel: about half a megabyte for each image of 28 x 28."""


def write_explanation_page(found: ExplanationResult, path: str | Path, picture: Path) -> None:
    """Write a page with the explanation of the last step: without scripts it shows the picture and the table.

    Args:
        found: the explanation; the first MOST_SHOWN images are shown, and the page says so.
        path: the file, replaced if it exists.
        picture: a PNG that is embedded for readers without scripts.

    Raises:
        OSError: the file cannot be written.
    """
    batch = len(found.mosaic.x)
    entries = [
        {"title": f"Image {i}", "mosaic": mosaic_message(found.mosaic, i, TOP)} for i in range(min(batch, MOST_SHOWN))
    ]
    header, rows = found.table()
    text = (
        environment()
        .get_template("explanation.html.j2")
        .render(
            header=header,
            rows=rows,
            machine=found.settings.get("machine", "A machine"),
            data=found.settings.get("data") or "training images",
            warnings=found.warnings,
            left_out=batch - len(entries),
            picture=data_uri(picture.read_bytes()),
            style=read("style.css") + read("mosaic.css"),
            script=_inline(bundle("report.js")),
            entries=_inline(json_text(entries, None)),
        )
    )
    write_text(path, text)


def widget(mosaic: MosaicResult, index: int) -> Any:
    """The explanation view of one image as an anywidget.

    Raises:
        ImportError: anywidget is not installed (extra `notebook`).
    """
    anywidget = require("anywidget", extra="notebook", purpose="a widget", names=["AnyWidget"])
    traitlets = require("traitlets", extra="notebook", purpose="a widget", names=["Dict"])
    content = {
        "_esm": bundle("report.js") + "export default { render: elsewhere.render };\n",
        "_css": read("mosaic.css"),
        "message": traitlets.Dict().tag(sync=True),
    }
    kind = type("MosaicWidget", (anywidget.AnyWidget,), content)
    return kind(message=mosaic_message(mosaic, index))


def _inline(text: str) -> str:
    """Text that can stand inside of a script element."""
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")
