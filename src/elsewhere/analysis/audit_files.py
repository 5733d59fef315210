"""The files of an audit: numbers as JSON and CSV, pictures, and the report."""

from __future__ import annotations

from pathlib import Path

from elsewhere.analysis.audit_report import distances_png, pairs_png, render_audit
from elsewhere.analysis.audit_result import AuditResult
from elsewhere.files import csv_text, json_text, save_all

FORMAT = "elsewhere.audit/2"
"""Version 1 called the column "proven" "settled"."""


def audit_json(found: AuditResult) -> str:
    """Settings, thresholds, summary and every image, as JSON text."""
    null = found.null
    content = {
        "format": FORMAT,
        "headline": found.headline,
        "settings": found.settings,
        "thresholds": found.thresholds(),
        "summary": found.summary(),
        "null": {
            "distance": null.nearest.distances[:, 0].tolist(),
            "aligned_distance": null.aligned.distances[:, 0].tolist(),
            "aligned_ratio": null.aligned_ratio.tolist(),
            "yoon": null.yoon.tolist(),
            "carlini": null.carlini.tolist(),
            "worst_tile": null.tiles.tolist(),
            "consistent": None if found.held_out is None else found.held_out.consistent.tolist(),
            "sources": None if found.held_out is None else found.held_out.sources.tolist(),
        },
        "images": found.rows(),
    }
    return json_text(content)


def audit_csv(found: AuditResult) -> str:
    """`AuditResult.rows` as CSV text with a header."""
    return csv_text(found.rows())


def save_audit(found: AuditResult, folder: str | Path) -> None:
    """Write report.html, results.json, results.csv, pairs.png and distances.png.

    All contents are made before the first file is written, and each file is written completely or not at all.

    Args:
        found: the audit.
        folder: created if missing.

    Raises:
        OSError: the folder cannot be created or written; the message names it.
    """
    report, pairs, distances = render_audit(found), pairs_png(found), distances_png(found)
    numbers, lines = audit_json(found), audit_csv(found)
    contents: dict[str, str | bytes] = {
        "results.json": numbers + "\n",
        "results.csv": lines,
        "pairs.png": pairs,
        "distances.png": distances,
        "report.html": report,
    }
    save_all(folder, contents, "the audit")
