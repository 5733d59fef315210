"""`elsewhere compare` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.typing_lines import run


def test_compare_on_other_images_needs_a_word(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"compare {{other}} {{net}} --machines is --count 1 --steps 1 --out {tmp_path}"
    assert run(line, **world).exit_code == 2
    result = run(line + " --any-data", **world)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: ")
    assert json.loads((tmp_path / "results.json").read_text())["settings"]["same_data"] is False
