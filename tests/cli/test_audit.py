"""`elsewhere audit` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import elsewhere as els
from tests.cli.typing_lines import SIDE, names, run


def test_audit_finds_the_copies_that_were_planted(world: dict[str, Path], tmp_path: Path) -> None:
    data = els.load_images(world["data"])
    made, out = tmp_path / "made.npz", tmp_path / "out"
    fresh = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE), dtype=np.uint8)
    copies = data.images[[3, 5], 0].numpy()
    np.savez(made, images=np.concatenate([fresh, copies[:1], copies[1:, :, ::-1]]))
    result = run(f"audit {{data}} {made} --shift 2 --pixels 1 --out {out}", **world)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert "Among 4 generated images: 1 copy and 1 near copy of training images." in result.stdout
    assert names(out) == ["distances.png", "pairs.png", "report.html", "results.csv", "results.json"]
    content = json.loads((out / "results.json").read_text())
    assert [image["verdict"] for image in content["images"]][2:] == ["copy", "near copy"]
    assert content["images"][3]["mirrored"]
    assert "images whose pixels were traced: 1 of 4" in result.stdout
    spread = content["summary"]["pixels"]["generated"]
    share, sources = (spread[name]["median"] for name in ("consistent", "sources"))
    lines = [line.split() for line in result.stdout.splitlines()]
    median, only = f"{share:.1%}", f"{sources:.0f}"
    assert ["locally", "consistent", "pixels", median, "-", "-"] in lines
    assert ["effective", "number", "of", "sources", only, "-", "-"] in lines
    assert content["settings"]["shift"] == 2
    assert content["settings"]["training"]["fingerprint"] == data.fingerprint()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{data} {colour}", "are 8 x 8 gray, the generated images colour.npz 8 x 8 colour"),
        ("{data} {plain} --by-class", "by_class needs labels, and plain.npz has none"),
        ("{data} {plain} --shift 4", "shift must be less than half the shorter side of the images"),
        ("{data} {plain} --window 4", "window must be odd"),
        ("{data} {plain} --memory 1MB", "memory must be at least 67108864 bytes"),
        ("{data} {plain} --limit 2", "3 training images or more"),
        ("{data} {missing}", "no images at"),
        ("{data} {broken}", "a.png"),
    ],
)
def test_audit_refuses_in_one_line(world: dict[str, Path], tmp_path: Path, options: str, words: str) -> None:
    out = tmp_path / "out"
    result = run(f"audit {options} --out {out}", **world)
    assert result.exit_code == 2
    *notes, error = result.stderr.splitlines()
    assert words in error
    assert all(line.startswith("note: ") for line in notes)
    assert not out.exists()
