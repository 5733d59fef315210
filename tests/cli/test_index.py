"""`elsewhere index` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.typing_lines import names, run


@pytest.mark.usefixtures("everything_is_searched")
def test_index_builds_what_sample_finds(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    line = f"index {{data}} --locality {{windows}} --borders torus --label cycle --out {cache}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    header, *rows, origin, last = result.stdout.splitlines()
    assert header.split()[:2] == ["window", "class"]
    # Four images of each class, windows of 3, 5 and 7 at 64 places.
    assert [row.split()[:4] for row in rows] == [[str(w), str(c), "1", "256"] for c in range(3) for w in (3, 5, 7)]
    assert str(world["windows"]) in origin
    assert last.startswith("indexes: 9, ")
    assert last.endswith(f"9 kept in {cache}")
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(kept) == 9
    # One is lost: only that is made again.
    lost = min(kept)
    lost.unlink()
    assert run(line, **world).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir() if path != lost}.items() <= kept.items()
    assert lost.exists()
    monkeypatch.setenv("ELSEWHERE_CACHE", str(cache))
    monkeypatch.setattr("elsewhere.engine.search.cache.build_index", None)
    drawn = tmp_path / "drawn"
    line = f"sample {{data}} --locality {{windows}} --borders torus --label 1 --engine fast --count 1 --out {drawn}"
    assert run(line, **world).exit_code == 0
    assert len(list(cache.iterdir())) == 9


def test_index_says_when_there_is_nothing_to_do(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSEWHERE_CACHE", str(tmp_path / "cache"))
    result = run("index {data} --network {circular}", **world)
    assert result.exit_code == 0, result.stderr
    assert "no indexes" in result.stdout
    assert names(tmp_path) == []
