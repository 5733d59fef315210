"""Files and tables of a reproduction."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from elsewhere.analysis.reproduce_result import Reproduction, Row, case_notes
from elsewhere.files import csv_text, json_text, save_all

FORMAT = "elsewhere.reproduction/1"
HEADER = ("network and images", "machine", "metric", "published", "ours", "95 % interval", "seeds", "note")


def table_rows(result: Reproduction) -> list[tuple[str, ...]]:
    """Rows of the printed table; a note that all measured rows of a case share is left to `shared_notes`, and what the
    other rows of a case need is said in the first of them."""
    shared = case_notes(result.rows)
    rows: list[tuple[str, ...]] = []
    said: set[tuple[str, str]] = set()
    for row in result.rows:
        note = "; ".join(note for note in row.notes if note not in shared.get(row.case, []))
        if not row.measured and (row.case, note) in said:
            note = ""
        said.add((row.case, note))
        rows.append(
            (
                row.case,
                row.method,
                row.metric,
                _number(row.published),
                _number(row.ours),
                "" if row.low is None else f"{_number(row.low)} to {_number(row.high)}",
                str(row.seeds or ""),
                note,
            )
        )
    return rows


def shared_notes(result: Reproduction) -> list[str]:
    """One sentence for each case that was run: how it differs from the published protocol."""
    return [f"{case}: {'; '.join(notes)}" for case, notes in case_notes(result.rows).items() if notes]


def describe_protocol(result: Reproduction) -> list[str]:
    """The protocol in lines: paper, sampling, seeds, metrics, notes."""
    protocol = result.protocol
    return [
        protocol["paper"],
        f"source of the numbers: {protocol['source']}",
        f"network: {protocol['network_run']}",
        f"machines: {protocol['machine_run']}",
        f"published: {protocol['statistic']} over {protocol['seeds']} seeds of {', '.join(protocol['metrics'])}; final "
        f"images {'clipped to [-1, 1]' if protocol['clamp'] else 'as drawn'}",
        *protocol["notes"],
    ]


def markdown(result: Reproduction) -> str:
    """The table with its notes as Markdown."""
    lines = [f"# {result.protocol['paper']}", "", *(f"- {line}" for line in describe_protocol(result)[1:]), ""]
    lines += ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(row) + " |" for row in table_rows(result)]
    return "\n".join([*lines, "", *(f"- {line}" for line in shared_notes(result))]) + "\n"


def reproduction_json(result: Reproduction) -> str:
    """Everything as JSON text."""
    rows = [asdict(row) for row in result.rows]
    return json_text({"format": FORMAT, "protocol": result.protocol, "settings": result.settings, "rows": rows})


def reproduction_csv(result: Reproduction) -> str:
    """The rows as CSV text with a header, without the values of single seeds."""
    return csv_text([_flat(row) for row in result.rows])


def save_reproduction(result: Reproduction, folder: str | Path) -> None:
    """Write results.json, results.csv and table.md, each completely or not at all.

    Raises:
        OSError: the folder cannot be created or written; the message names it.
    """
    contents = {
        "results.json": reproduction_json(result) + "\n",
        "results.csv": reproduction_csv(result),
        "table.md": markdown(result),
    }
    save_all(folder, contents, "the reproduction")


def _flat(row: Row) -> dict[str, object]:
    values = asdict(row)
    del values["values"]
    return values | {"notes": "; ".join(row.notes)}


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 0.01 or abs(value) >= 10 else f"{value:.3f}"
