"""Write the table of machines in docs/machines-and-formulas.md from `elsewhere.machines.table`.

python scripts/machine_docs.py
"""

from __future__ import annotations

import re
from pathlib import Path

from elsewhere.machines.table import MACHINES

TARGET = Path(__file__).resolve().parents[1] / "docs/machines-and-formulas.md"
HEAD = "| machine | query q_i | keys k_j | value v_j |\n|---|---|---|---|\n"


def table() -> str:
    """The table as Markdown, a row for every formula."""
    rows = []
    for entry in MACHINES:
        for formula in entry.formulas:
            setting = f", `{formula.setting}`" if formula.setting else ""
            name = f"`{entry.class_name}` ({entry.report_name}){setting}"
            rows.append(f"| {name} | {formula.query} | {formula.keys} | {formula.value} |\n")
    return HEAD + "".join(rows)


def render(page: str) -> str:
    """The page with the table as it should be."""
    return re.sub(rf"{re.escape(HEAD)}(\|.*\n)*", lambda _: table(), page)


if __name__ == "__main__":
    TARGET.write_text(render(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
    print(TARGET)
