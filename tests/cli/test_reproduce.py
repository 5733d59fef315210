"""`elsewhere reproduce` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.typing_lines import assert_refused, run


def test_without_data_every_row_says_what_it_needs(tmp_path: Path) -> None:
    result = run(f"reproduce kamb --out {tmp_path}")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("needs --data") == 10
    assert "median over 100 seeds of pearson_r" in result.stdout
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 30


@pytest.mark.parametrize("paper", ["studio", "golddiff", "pspc", "nda"])
def test_every_paper_is_listed(paper: str, tmp_path: Path) -> None:
    result = run(f"reproduce {paper} --out {tmp_path}")
    assert result.exit_code == 0, result.stderr
    assert "arXiv" in result.stdout
    assert "needs --data" in result.stdout


def test_rows_with_data_and_network_are_measured(world: dict[str, Path], tmp_path: Path) -> None:
    line = "reproduce kamb --data mnist={data} --network mnist/resnet={net} --seeds 2 --machines LS,IS"
    result = run(f"{line} --out {tmp_path}", **world)
    assert result.exit_code == 0, result.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    measured = {row["method"] for row in rows if row["ours"] is not None}
    assert measured == {"LS", "IS"}
    assert "mnist/resnet: a network of our own" in result.stdout


BAD = {
    "no name": ("--data {data}", "--data must be SET=SOURCE"),
    "no source": ("--data mnist=", "--data must be SET=SOURCE"),
    "another set": ("--data imagenet={data}", "--data must name rows of kamb: "),
    "twice": ("--data mnist={data} --data mnist={other}", "--data mnist=... was given twice"),
    "another row": ("--network mnist={net}", "--network must name rows of kamb: "),
    "another machine": ("--machines els", "--machines must name rows of kamb: ELS, LS or IS"),
    "missing data": ("--data mnist={missing} --network mnist/unet={net}", "no images at"),
    "other images": ("--data mnist={other} --network mnist/unet={net}", "the network was trained on"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lines_are_refused(case: str, world: dict[str, Path], tmp_path: Path) -> None:
    options, message = BAD[case]
    out = tmp_path / "out"
    result = run(f"reproduce kamb {options} --out {out}", **world)
    assert message in result.stderr
    assert_refused(result, out)
