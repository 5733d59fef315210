from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elsewhere.optional import require


def broken(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A library `brokenlib` whose parts are imported at their first use, and fail."""
    (folder / "brokenlib.py").write_text(f"def __getattr__(name):\n    if name == 'Part':\n        {text}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "brokenlib", raising=False)


def test_a_missing_library_is_named_with_its_extra() -> None:
    with pytest.raises(ImportError, match=r"a test needs the library nosuchlib, which is not installed: .*\[tests\]"):
        require("nosuchlib", extra="tests", purpose="a test")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "pip uninstall torchvision"),
        ("import nosuchlib", "No module named 'nosuchlib'.*pip install --upgrade brokenlib"),
        ("raise ImportError('it needs\\ntwo lines')", "it needs two lines"),
    ],
)
def test_a_library_that_fails_to_import_says_why_and_what_to_do(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path, monkeypatch, text)
    require("brokenlib", extra="tests", purpose="a test")
    with pytest.raises(ImportError, match=rf"a test needs .* is installed but cannot be imported .*{words}") as caught:
        require("brokenlib", extra="tests", purpose="a test", names=("Part",))
    assert caught.value.name is None, "the command line shows it in one line"
    assert "\n" not in str(caught.value)
