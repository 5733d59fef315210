"""What the documentation says is so: commands parse, examples run, links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from typer.main import get_command

import elsewhere as els
from elsewhere.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
CARDS = sorted((ROOT / "src/elsewhere/networks/shipped").glob("*.md"))
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def documented_commands() -> Iterator[tuple[str, str]]:
    """Where a command line is quoted, and the line."""
    for page in [*PAGES, *CARDS]:
        for block in (*blocks(page, "bash"), *blocks(page, "")):
            yield from ((page.name, line) for line in block.splitlines() if line.startswith("elsewhere "))
    for name, command in COMMANDS.items():
        examples = re.findall(r"^ +(elsewhere \w.*)$", command.help, re.MULTILINE)
        yield from ((f"{name} --help", line) for line in examples)


@pytest.mark.parametrize(("where", "line"), list(documented_commands()))
def test_documented_commands_parse(where: str, line: str) -> None:
    _, name, *arguments = shlex.split(line, comments=True)
    assert name in COMMANDS, where
    # Raises what the user would see; nothing is run.
    COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_has_gaps(page: Path) -> None:
    assert not re.findall(r"@[A-Z]+@|TODO|TBD|XXX", page.read_text(encoding="utf-8"))


def test_there_are_documented_commands() -> None:
    quoted = [line.split()[1] for _, line in documented_commands()]
    assert set(quoted) == set(COMMANDS)
    assert sum(where == "README.md" for where, _ in documented_commands()) >= 6


def test_the_page_of_the_command_line_is_what_help_prints() -> None:
    render = runpy.run_path(str(ROOT / "scripts/command_line_docs.py"))["render"]
    page = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    assert page == render(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_the_documentation_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Few images and few windows: the point is that the lines run.
    monkeypatch.setattr(els, "load_images", partial(els.load_images, limit=40), raising=False)
    monkeypatch.setattr(els, "calibrate", partial(els.calibrate, windows=[3]), raising=False)
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


def test_every_public_name_is_there() -> None:
    for name in els.__all__:
        assert getattr(els, name).__doc__, name
    assert set(els.__all__) <= set(dir(els))
    with pytest.raises(AttributeError, match="no attribute 'load_image'"):
        els.load_image  # noqa: B018


def test_the_parts_of_the_package_are_there_without_an_import_of_their_own() -> None:
    """The pages say `els.testing.check_denoiser`; that must not depend on what was used before."""
    code = "import elsewhere as els; print(els.testing.check_denoiser, els.analysis.regions, els.networks.save_network)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_names_of_the_contract() -> None:
    contract = "IdealScore LocalScore EquivariantLocalScore load_images sample schedules load_network calibrate compare"
    assert {*contract.split(), "explain"} <= set(els.__all__)


def test_the_versions_agree() -> None:
    assert f"## [{els.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {els.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_says_when_python_is_missing_or_too_old(tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.1" && exit\nexit 1\n')
    old.chmod(0o755)
    for python, message in ((tmp_path / "none", "was not found"), (old, "Python 3.9.1")):
        made = subprocess.run(
            ["make", "demo", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"], cwd=ROOT, capture_output=True, text=True
        )
        assert made.returncode != 0
        assert message in made.stdout + made.stderr
        assert not (tmp_path / "venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_the_commands() -> None:
    made = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {f"make {name}" for name in ("demo", "test", "lint", "docs", "benchmark", "clean")} <= {
        " ".join(line.split()[:2]) for line in made.stdout.splitlines()
    }
