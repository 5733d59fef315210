"""`elsewhere transition` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

import elsewhere as els
from tests.cli.typing_lines import assert_refused, names, run


def test_transition_writes_shares_and_goes_on_with_more_counts(world: dict[str, Path], tmp_path: Path) -> None:
    line = "transition {data} --machines is,els --window 3 --count 2 --steps 2 --out {out} --counts "
    first = run(line + "3", **world, out=tmp_path)
    assert first.exit_code == 0, first.stderr
    assert names(tmp_path) == ["points", "report.html", "results.csv", "results.json", "transition.png"]
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "points").iterdir()}
    second = run(line + "3,6", **world, out=tmp_path)
    assert second.exit_code == 0, second.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    found = els.Transition.load(tmp_path)
    assert [(point.name, point.count) for point in found.points] == [("IS", 3), ("IS", 6), ("ELS", 3), ("ELS", 6)]
    assert found.headline in second.stdout
    # Another window is another measurement.
    run(line.replace("--window 3", "--window 5") + "3", **world, out=tmp_path)
    assert len(list((tmp_path / "points").iterdir())) == 6


@pytest.mark.parametrize(
    "options", ["--counts ten", "--counts 2", "--counts 1000", "--machines best", "--machines none", "--family x"]
)
def test_transition_refuses_in_one_line(world: dict[str, Path], tmp_path: Path, options: str) -> None:
    assert_refused(run(f"transition {{data}} {options} --out {{out}}", **world, out=tmp_path / "o"), tmp_path / "o")
