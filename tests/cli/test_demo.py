"""`elsewhere demo` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import elsewhere as els
from tests.cli.typing_lines import names, run


def test_the_demo_writes_one_report(world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elsewhere import demo, factory

    small = els.load_images(world["data"])
    monkeypatch.setattr(demo, "load_images", lambda name: small)
    monkeypatch.setattr(demo, "load_network", lambda name: els.load_network(world["net"]))
    schedule = els.LocalitySchedule.load(world["windows"])
    monkeypatch.setattr(factory, "shipped_locality", lambda network, machine: schedule)
    result = run(f"demo --count 3 --out {tmp_path}")
    assert result.exit_code == 0, result.stderr
    assert names(tmp_path) == ["fashion-mini", "pixel-faces", "report.html"]
    assert result.stdout.count("Pearson r") == 2
    assert result.stdout.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"
    page = (tmp_path / "report.html").read_text()
    for scene in demo.SCENES:
        assert scene.title in page
        counts = json.loads((tmp_path / scene.data / "results.json").read_text())["settings"]["seeds"]
        assert counts == (3 if scene.share == 1 else 1)
