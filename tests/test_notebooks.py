"""The notebooks: every cell runs, and the outputs that are committed are those of a run without errors."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parents[1]
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks_script", ROOT / "scripts" / "notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()


def texts(book: Any) -> str:
    """All that a reader sees of the outputs, without the bytes of pictures."""
    found = []
    for cell in book.cells:
        for output in cell.get("outputs", []):
            found += [output.text] if output.output_type == "stream" else list(output.get("data", {}).values())
    return re.sub(r"(base64,)?[A-Za-z0-9+/=\n]{200,}", "", "\n".join(map(str, found)))


def pictures(book: Any) -> int:
    """Pictures in the outputs."""
    count = 0
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            count += str(data.get("text/html", "")).count("<img") or "image/png" in data
    return count


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_the_first_cell_to_the_last(path: Path) -> None:
    book = SCRIPT.execute(path)
    assert list(SCRIPT.faults(book, nbformat.writes(book))) == []


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_committed_outputs_are_those_of_a_run_without_errors(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    book = nbformat.reads(text, as_version=4)
    nbformat.validate(book)
    assert list(SCRIPT.faults(book, text)) == []
    assert text == nbformat.writes(SCRIPT.tidy(book)) + "\n"
    assert pictures(book) >= 3
    assert not re.search(r"/root/|/home/|/tmp/|site-packages", texts(book))
    # A title, and a sentence before every piece of code.
    assert book.cells[0].source.startswith("# ")
    for before, cell in zip(book.cells, book.cells[1:], strict=False):
        assert "code" not in (before.cell_type, cell.cell_type) or before.cell_type != cell.cell_type


def test_the_documentation_lists_every_notebook() -> None:
    page = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert len(BOOKS) == 7
    assert re.findall(r"\.\./notebooks/(\S+?\.ipynb)", page) == [path.name for path in BOOKS]


def test_faults_are_found() -> None:
    cell = nbformat.v4.new_code_cell
    failed = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    warned = nbformat.v4.new_output("stream", name="stderr", text="careful\n")
    book = nbformat.v4.new_notebook(cells=[cell("1", execution_count=1, outputs=[failed, warned]), cell("2")])
    found = " ".join(SCRIPT.faults(book, "x" * (SCRIPT.LARGEST + 1)))
    for part in ("not all executed", "ValueError: no", "standard error: careful", "more than 400000"):
        assert part in found


def test_outputs_are_tidied() -> None:
    bar = nbformat.v4.new_output("display_data", {"text/html": "", "text/plain": "<HTML object>"})
    picture = nbformat.v4.new_output("display_data", {"image/png": "AAAA", "image/jpeg": "BBBB"})
    cell = nbformat.v4.new_code_cell("1", execution_count=1, outputs=[bar, picture], metadata={"execution": {}})
    book = SCRIPT.tidy(nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}}))
    assert book.cells[0].outputs == [nbformat.v4.new_output("display_data", {"image/png": "AAAA"})]
    assert (book.cells[0].id, book.cells[0].metadata) == ("cell-00", {})
    assert set(book.metadata) == {"kernelspec", "language_info"}
