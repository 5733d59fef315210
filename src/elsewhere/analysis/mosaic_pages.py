"""The explanation view as a self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from elsewhere.analysis.explanation_result import ExplanationResult
from elsewhere.analysis.mosaic_view import entries_of, view_parts
from elsewhere.analysis.named_sources import pixel_rows
from elsewhere.analysis.report import environment
from elsewhere.files import write_text
from elsewhere.page.bundle import read
from elsewhere.pictures import data_uri

MOST_SHOWN = 16
"""Images of a page: about half a megabyte for each image of 28 x 28."""


def write_explanation_page(
    found: ExplanationResult, path: str | Path, picture: Path, pixel: tuple[int, int] | None = None
) -> None:
    """Write a page with the explanation of the last step: without scripts it shows the picture and the table.

    Args:
        found: the explanation; the first MOST_SHOWN images are shown, and the page says so.
        path: the file, replaced if it exists.
        picture: a PNG that is embedded for readers without scripts.
        pixel: row and column of the pixel whose sources are named, where training images have captions.

    Raises:
        OSError: the file cannot be written.
    """
    batch = len(found.mosaic.x)
    titles = [f"Image {i}" for i in range(min(batch, MOST_SHOWN))]
    header, rows = found.table()
    named_header, named_rows = pixel_rows(found.pixel_sources(pixel))
    text = (
        environment()
        .get_template("explanation.html.j2")
        .render(
            header=header,
            rows=rows,
            named_header=named_header,
            named_rows=named_rows,
            prompt=found.settings.get("prompt"),
            machine=found.settings.get("machine", "A machine"),
            data=found.settings.get("data") or "training images",
            warnings=found.warnings,
            left_out=batch - len(titles),
            picture=data_uri(picture.read_bytes()),
            style=read("style.css"),
            **view_parts(),
            entries=entries_of(found.mosaic, titles),
        )
    )
    write_text(path, text)
