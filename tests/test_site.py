"""The manual: what must fail does, and its pages need no other server.

Each test builds a small copy: the real configuration, hooks and theme, with a few pages and a package of one module.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = '''"""A package."""
__all__ = ["double"]
_MODULES = ()


def double(number: float) -> float:
    """Twice a number.

    Example:
        >>> double(2)
        4
    """
    return 2 * number


class Held:
    """A class that nobody exports."""

    def value(self) -> float:
        return 0.0


class Heir(Held):
    """A class that shows nothing of what it inherits."""
'''
Build = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A small project that builds."""
    if not os.environ.get("CI"):
        pytest.importorskip("mkdocs", reason="the extra `site` is not installed")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    config, _ = config.split("\nnav:\n")
    files = {
        "mkdocs.yml": config,
        "README.md": "# Readme\n",
        "CONTRIBUTING.md": "# Contributing\n\nSee [the start](docs/index.md#more).\n",
        "CHANGELOG.md": "# Changelog\n",
        "docs/index.md": "# Start\n\n## More\n\n[Help](../CONTRIBUTING.md), [code](../src/elsewhere/__init__.py).\n",
        "docs/reference/all.md": "# All\n\n::: elsewhere.double\n",
        "src/elsewhere/__init__.py": PACKAGE,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs/assets", tmp_path / "docs/assets")
    (tmp_path / "scripts").mkdir()
    for script in (ROOT / "scripts").glob("*site*.py"):
        shutil.copy(script, tmp_path / "scripts")
    (tmp_path / "src/elsewhere/page").mkdir()
    shutil.copy(ROOT / "src/elsewhere/page/icon.svg", tmp_path / "src/elsewhere/page")
    return tmp_path


def build(project: Path) -> subprocess.CompletedProcess[str]:
    """What `make site` runs."""
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"}
    python = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(python, cwd=project, env=environment, capture_output=True, text=True, timeout=120)


def faults(project: Path) -> list[str]:
    return list(runpy.run_path(str(ROOT / "scripts/check_site.py"))["faults"](project / "build/site"))


def add(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + text, encoding="utf-8")


def test_the_copy_builds_and_links_to_files_outside_docs_work(copy: Path) -> None:
    built = build(copy)
    assert built.returncode == 0, built.stderr
    assert not faults(copy)
    start = (copy / "build/site/index.html").read_text(encoding="utf-8")
    assert 'href="contributing.html"' in start
    assert 'href="files/src/elsewhere/__init__.py.txt"' in start
    assert "def double" in (copy / "build/site/files/src/elsewhere/__init__.py.txt").read_text(encoding="utf-8")
    assert 'href="index.html#more"' in (copy / "build/site/contributing.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("docs/index.md", "\n[away](missing.md)\n", "target is not found"),
        ("docs/index.md", "\n[away](reference/all.md#nothing)\n", "does not contain an anchor '#nothing'"),
        ("docs/index.md", "\n![picture](images/missing.png)\n", "target is not found"),
        ("docs/index.md", '\n--8<-- "README.md:nothing"\n', "nothing"),
        ("docs/reference/all.md", "\n::: elsewhere.triple\n", "elsewhere.triple could not be found"),
        ("docs/reference/all.md", "\n::: elsewhere.Held\n", "elsewhere.Held.value has no docstring"),
        ("docs/reference/all.md", "\n::: elsewhere.Heir\n", "elsewhere.Heir has methods of elsewhere.Held"),
        ("docs/reference/all.md", "\n::: elsewhere._MODULES\n", "elsewhere._MODULES has no docstring"),
        (
            "src/elsewhere/__init__.py",
            "\n__all__ = ['double', 'Held']\n",
            "elsewhere.Held is public but not in the reference",
        ),
        (
            "src/elsewhere/__init__.py",
            "\n\ndef double(number):\n    return 2 * number\n",
            "elsewhere.double has no docstring",
        ),
    ],
    ids=[
        "link",
        "anchor",
        "picture",
        "snippet",
        "unknown name",
        "method",
        "base",
        "constant",
        "unlisted name",
        "docstring",
    ],
)
def test_a_broken_copy_does_not_build(copy: Path, file: str, text: str, message: str) -> None:
    add(copy / file, text)
    built = build(copy)
    assert built.returncode != 0
    assert message in built.stderr + built.stdout


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ('<script src="https://example.org/a.js"></script>', "from another server"),
        ('<img src="//example.org/a.png">', "from another server"),
        ('<p style="background: url(https://example.org/a.png)">', "from another server"),
        ('<style>@import "https://example.org/a.css";</style>', "from another server"),
        ('<a href="missing.html">', "is not there"),
        ('<a href="index.html#nothing">', "no such anchor"),
        ('<img srcset="missing.png 2x">', "is not there"),
    ],
)
def test_the_check_of_the_built_site_finds(tmp_path: Path, html: str, message: str) -> None:
    add(tmp_path / "build/site/index.html", f'<h1 id="top">Start</h1><a href="#top">up</a>{html}')
    (fault,) = faults(tmp_path)
    assert message in fault


def test_the_check_of_the_built_site_passes_links_of_people(tmp_path: Path) -> None:
    add(
        tmp_path / "build/site/index.html",
        '<h1 id="top">Start</h1><a href="https://example.org">a</a><a href="#top">b</a>',
    )
    assert not faults(tmp_path)


def test_a_notebook_becomes_a_page_with_its_stored_outputs(copy: Path) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["printed\n"]},
        {"output_type": "stream", "name": "stderr", "text": ["a bar\n"]},
        {"output_type": "display_data", "data": {"image/png": pixel, "text/plain": "<Figure>"}},
        {
            "output_type": "execute_result",
            "data": {"text/html": "<table>\n\n<tr><td>cell of a table</td></tr></table>"},
        },
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Ten minutes\n", "\n", "See [the start](../docs/index.md).\n"]},
        {"cell_type": "code", "source": "raise SystemExit  # is not run", "outputs": outputs},
    ]
    add(copy / "notebooks/first.ipynb", json.dumps({"cells": cells, "nbformat": 4}))
    add(copy / "docs/index.md", "\n[Notebook](../notebooks/first.ipynb)\n")
    built = build(copy)
    assert built.returncode == 0, built.stderr
    assert not faults(copy)
    page = (copy / "build/site/notebooks/first.html").read_text(encoding="utf-8")
    assert all(text in page for text in ("Ten minutes", 'href="../index.html"', "printed", "cell of a table"))
    assert "a bar" not in page
    assert "Download this notebook" in page
    (picture,) = re.findall(r'src="(first-[^"]*png)"', page)
    assert (copy / "build/site/notebooks" / picture).read_bytes().startswith(b"\x89PNG")
    assert 'href="notebooks/first.html"' in (copy / "build/site/index.html").read_text(encoding="utf-8")


def test_pages_opened_from_the_disk_can_be_searched_and_load_nothing_from_elsewhere(copy: Path, browser) -> None:
    built = build(copy)
    assert built.returncode == 0, built.stderr
    context = browser.new_context()
    page = context.new_page()
    left: list[str] = []
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else left.append(request.url),
    )
    page.goto((copy / "build/site/reference/all.html").as_uri())
    assert "Examples" in page.inner_text("article")
    page.click(".md-search__input")
    page.keyboard.type("double")
    page.wait_for_selector(".md-search-result__link", timeout=20_000)
    assert "all.html" in page.get_attribute(".md-search-result__link", "href")
    context.close()
    assert not left


def test_every_page_is_in_the_navigation() -> None:
    """Checked here too, because it takes no build: pages of other changes must not be forgotten."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(re.findall(r"[\w/-]+\.md", nav))


def test_every_picture_is_shown_on_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    assert [path.name for path in (ROOT / "docs/images").iterdir() if f"images/{path.name})" not in pages] == []


def test_the_page_about_installing_lists_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs/how-to/install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(extras) - {"all", "site", "dev"}
