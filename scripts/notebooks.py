"""Execute the notebooks and write their outputs into them: `python scripts/notebooks.py [--check] [NAME ...]`.

Every notebook runs in an empty folder, in a kernel of its own. A notebook is rewritten only if all of its cells ran
without an error and without a word on standard error. `--check` runs them and writes nothing. Needs nbclient and
ipykernel (extra `dev`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from elsewhere.files import write_text

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
LONGEST = 180
"""Seconds that a notebook may take: what the documentation promises."""
LARGEST = 400_000
"""Bytes of a notebook with its outputs: it is read in a browser and kept in git."""


def notebooks(names: list[str] | None = None) -> list[Path]:
    """The notebooks whose file names contain one of the names; all without any."""
    found = sorted(FOLDER.glob("*.ipynb"))
    return [path for path in found if not names or any(name in path.name for name in names)]


def execute(path: Path) -> Any:
    """The notebook with new outputs, executed in an empty folder.

    Raises:
        CellExecutionError: a cell failed; the message has its code and the traceback.
        CellTimeoutError: a cell took more than LONGEST seconds.
    """
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(book, timeout=LONGEST, kernel_name="python3", resources={"metadata": {"path": folder}})
        client.execute()
    return tidy(book)


def tidy(book: Any) -> Any:
    """The notebook without what changes from run to run and says nothing: times, versions, names of cells."""
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(book.cells):
        cell.id, cell.metadata = f"cell-{number:02}", {}
        if cell.cell_type == "code":
            # An empty markup is the place of a progress bar that is gone.
            cell.outputs = [output for output in cell.outputs if output.get("data", {}).get("text/html") != ""]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data.pop("image/jpeg", None)  # the same picture again
    return book


def faults(book: Any, text: str) -> Iterator[str]:
    """What is wrong with an executed notebook, in words.

    Args:
        book: the notebook.
        text: the same as it is in the file.
    """
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "its cells were not all executed in order"
    for cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {cell.execution_count} failed: {output.ename}: {output.evalue}"
            if output.output_type == "stream" and output.name == "stderr":
                yield f"cell {cell.execution_count} wrote to standard error: {output.text.strip()}"
    if len(text.encode()) > LARGEST:
        yield f"it has {len(text.encode())} bytes, more than {LARGEST}: show fewer or smaller pictures"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of file names; all notebooks without any")
    parser.add_argument("--check", action="store_true", help="execute, and write nothing")
    asked = parser.parse_args()
    wrong = 0
    for path in notebooks(asked.names):
        started = time.perf_counter()
        book = execute(path)
        text = nbformat.writes(book) + "\n"
        found = list(faults(book, text))
        wrong += bool(found)
        if not found and not asked.check:
            write_text(path, text)
        print(f"{path.name}: {time.perf_counter() - started:.1f} s, {len(text) // 1000} kB", *found, sep="\n  ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
