"""The files of the board: numbers as JSON and CSV, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elsewhere.analysis.board_report import render_board
from elsewhere.analysis.board_result import REFERENCE, UNITS, BoardResult, BoardSection
from elsewhere.analysis.peak_memory import HOW
from elsewhere.files import csv_text, json_text, save_all

FORMAT = "elsewhere.board/1"


def board_json(result: BoardResult) -> str:
    """Everything except the pictures, as JSON text."""
    content = {
        "format": FORMAT,
        "units": UNITS,
        "memory": HOW,
        "reference": REFERENCE,
        "settings": result.settings,
        "table": result.table(),
        "sections": [_section(section) for section in result.sections],
    }
    return json_text(content)


def _section(section: BoardSection) -> dict[str, Any]:
    return {
        "name": section.name,
        "network": section.network,
        "data": section.data,
        "sigmas": section.sigmas,
        "seeds": section.seeds,
        **section.settings,
        "methods": {
            row.name: {
                "title": row.title,
                "kind": row.kind,
                "about": row.about,
                "not_measured": row.why,
                "summary": section.summary(row.name),
                "metrics": row.metrics,
                "paired": paired._asdict() if (paired := section.paired(row.name)) else None,
                "rms": row.rms,
                "relative_rms": section.relative(row.name),
                "seconds_an_image": row.seconds,
                "peak_memory_bytes": row.memory,
            }
            for row in section.ranked
        },
    }


def save_board(result: BoardResult, folder: str | Path) -> None:
    """Write results.json, results.csv and report.html, each completely or not at all.

    Args:
        result: the board.
        folder: created if missing.

    Raises:
        OSError: the folder cannot be created or written; the message names it.
    """
    contents: dict[str, str | bytes] = {
        "results.json": board_json(result) + "\n",
        "results.csv": csv_text(result.table()),
        "report.html": render_board(result),
    }
    save_all(folder, contents, "the board")
