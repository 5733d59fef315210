"""How the kernels are compiled: what the identity of a library depends on, and what is said where it does not work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elsewhere.engine.kernels import build, loader
from tests.engine.kernels.compiling import needs_compiler

QUICK = ["-O0"]


def test_every_source_and_every_flag_changes_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in build.sources():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = build.identity(QUICK)
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    assert build.identity(QUICK) == before
    found = {before, build.identity([*QUICK, "-g"])}
    for path in build.sources():
        text = path.read_bytes()
        path.write_bytes(text + b"\n")
        found.add(build.identity(QUICK))
        path.write_bytes(text)
    assert len(found) == 2 + len(build.sources())
    assert {path.suffix for path in build.sources()} == {".c", ".h"}


def test_no_level_of_a_wheel_is_compiled_for_the_machine_that_builds_it() -> None:
    flags = {flag for some in build.levels().values() for flag in some}
    assert not {flag for flag in flags if "native" in flag}
    assert any("native" in flag for flag in build.all_levels()["native"])


@needs_compiler
def test_a_library_says_what_it_was_compiled_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    into = tmp_path / "new folder" / "kernels.so"
    assert build.compile_library(into, QUICK) == ""
    monkeypatch.setattr(build, "all_levels", lambda: {"quick": QUICK})
    found, fault = loader.load(into)
    assert found is not None, fault
    assert loader.ffi.string(found.kernels_identity()).decode() == build.identity(QUICK)
    assert not list(into.parent.glob("*.part"))


def test_without_a_compiler_that_is_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    level = next(iter(build.levels()))
    assert build.compile_levels([level], tmp_path) == []
    said = capsys.readouterr().err
    assert f"the kernels for {level} could not be compiled" in said
    assert "no-such-compiler" in said
    assert list(tmp_path.iterdir()) == []


@needs_compiler
def test_a_library_that_is_current_is_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "all_levels", lambda: {"quick": QUICK})
    (path,) = build.compile_levels(["quick"], tmp_path)
    before = path.stat().st_mtime_ns
    assert build.compile_levels(["quick"], tmp_path) == [path]
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"of other sources")
    assert build.compile_levels(["quick"], tmp_path) == [path]
    assert build.is_current(path, QUICK)


@needs_compiler
def test_what_the_compiler_says_is_passed_on(tmp_path: Path) -> None:
    fault = build.compile_library(tmp_path / "kernels.so", ["-fno-such-flag"])
    assert "no-such-flag" in fault
    assert list(tmp_path.iterdir()) == []


def test_the_variable_chooses_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(build.VARIABLE, raising=False)
    assert build.wanted() == list(build.levels())
    for named, expected in (("none", []), ("native", ["native"])):
        monkeypatch.setenv(build.VARIABLE, named)
        assert build.wanted() == expected
    monkeypatch.setenv(build.VARIABLE, "v9")
    with pytest.raises(ValueError, match=r"ELSEWHERE_KERNELS=v9 is no level: expected one of .*native"):
        build.wanted()


def test_it_runs_by_itself_with_the_standard_library_alone() -> None:
    # -S: no site-packages; -I: no PYTHONPATH.
    command = [sys.executable, "-I", "-S", str(build.FOLDER / "build.py"), "v9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "v9 is no level: expected one of" in done.stderr
