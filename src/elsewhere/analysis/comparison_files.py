"""The files of a comparison: numbers as JSON and CSV, pictures, and the report."""

from __future__ import annotations

from pathlib import Path

from elsewhere.analysis.comparison_result import ComparisonResult
from elsewhere.analysis.report import grid_png, render_report, scatter_png
from elsewhere.files import csv_text, json_text, save_all

FORMAT = "elsewhere.comparison/1"


def comparison_json(result: ComparisonResult) -> str:
    """Everything except the images, as JSON text."""
    content = {
        "format": FORMAT,
        "settings": result.settings,
        "warnings": result.warnings,
        "closest": result.closest,
        "summary": result.summary(),
        "beats": {a: {b: result.beats(a, b) for b in result.machines if b != a} for a in result.machines},
        "windows": {
            name: {
                "sigmas": s.sigmas,
                "windows": s.windows,
                "taper": s.taper,
                "criterion": s.details.get("criterion"),
            }
            for name, s in result.windows.items()
        },
        "table": result.table(),
    }
    return json_text(content)


def comparison_csv(result: ComparisonResult) -> str:
    """`ComparisonResult.table` as CSV text with a header."""
    return csv_text(result.table())


def save_comparison(result: ComparisonResult, folder: str | Path) -> None:
    """Write results.json, results.csv, grid.png, report.html and, for two machines or more, scatter.png; of latents,
    which are no pictures, the first two.

    All contents are made before the first file is written, and each file is written completely or not at all.

    Args:
        result: the comparison.
        folder: created if missing.

    Raises:
        OSError: the folder cannot be created or written; the message names it.
    """
    if not result.drawn:
        numbers = comparison_json(result) + "\n"
        save_all(folder, {"results.json": numbers, "results.csv": comparison_csv(result)}, "the comparison")
        return
    scatter = scatter_png(result)
    report, picture = render_report({result.title: result}), grid_png(result)
    numbers, lines = comparison_json(result), comparison_csv(result)
    contents: dict[str, str | bytes] = {"results.json": numbers + "\n", "results.csv": lines, "grid.png": picture}
    contents |= {} if scatter is None else {"scatter.png": scatter}
    save_all(folder, contents | {"report.html": report}, "the comparison")
