"""The explanation view as a part of reports: its script, its style, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_message import mosaic_message
from elsewhere.files import json_text
from elsewhere.page.bundle import bundle, read

TOP = 6
"""Sources of each pixel in a page: about half a megabyte for each image of 28 x 28."""
MOST_IN_REPORT, LARGEST_IN_REPORT = 4, 64 * 64
"""Images that another report explains, and their largest number of pixels: about 2 MB in all."""


def entries_of(mosaic: MosaicResult, titles: Sequence[str]) -> str:
    """The first images of a mosaic, with their titles, as `entries_text`."""
    return entries_text([(title, mosaic_message(mosaic, index, TOP)) for index, title in enumerate(titles)])


def entries_text(entries: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Titles and messages (see `mosaic_message`) as JSON text for `showMosaics` in report.js, to stand in a script."""
    return _inline(json_text([{"title": title, "mosaic": message} for title, message in entries], None))


def view_parts(needed: bool = True) -> dict[str, str]:
    """The script and the style of the view for a template, both empty where a page has nothing to explain.

    The style takes the page's colours --paper, --ink, --soft, --line, --accent and --accent-ink.
    """
    return {
        "view_script": _inline(bundle("report.js")) if needed else "",
        "view_style": read("controls.css") + read("mosaic.css") if needed else "",
    }


def _inline(text: str) -> str:
    """Text that can stand inside of a script element."""
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")
