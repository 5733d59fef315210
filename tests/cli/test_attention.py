"""`elsewhere attention` as a user types it, and training with attention."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.typing_lines import names, run


def test_networks_with_and_without_attention_are_trained_and_measured(world: dict[str, Path], tmp_path: Path) -> None:
    shape = "--network unet --widths 8,8 --blocks 1 --normalise --steps 1 --batch 2"
    for name, levels in (("attention", "--attention 1,middle"), ("convolution", "")):
        result = run(f"train {{data}} --ignore-labels {shape} {levels} --out {tmp_path / name}", **world)
        assert result.exit_code == 0, result.output
    card = (tmp_path / "attention" / "card.md").read_text()
    assert '"attention": [1, "middle"]' in card
    out = tmp_path / "out"
    both = f"{tmp_path / 'attention'} {tmp_path / 'convolution'}"
    line = f"attention {{data}} {both} --ignore-labels --machines is --windows 3,5 --count 2 --steps 2 --out {out}"
    result = run(line, **world)
    assert result.exit_code == 0, result.output
    assert {"report.html", "results.json", "results.csv", "gap.png", "attention.png", "where.png"} <= set(names(out))
    found = json.loads((out / "results.json").read_text())
    assert [network["name"] for network in found["networks"]] == ["attention", "convolution", "IS"]
    assert [bool(network["layers"]) for network in found["networks"]] == [True, False, False]
    assert str(out / "report.html") in result.stdout


def test_a_transformer_is_trained_and_measured(world: dict[str, Path], tmp_path: Path) -> None:
    result = run(f"train {{data}} --network dit --width 16 --blocks 1 --steps 2 --batch 2 --out {tmp_path}", **world)
    assert result.exit_code == 0, result.output
    result = run(f"attention {{data}} {tmp_path} --windows 3 --count 2 --steps 1 --out {tmp_path / 'out'}", **world)
    assert result.exit_code == 0, result.output
    [network] = json.loads((tmp_path / "out" / "results.json").read_text())["networks"]
    assert [layer["name"] for layer in network["layers"]] == ["inner.transformer_blocks.0.attn1"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("attention {data}", "NETWORK"),
        ("attention {data} nosuch", "no network at 'nosuch'"),
        ("attention {data} {net} {net}", "NETWORK must be different networks"),
        ("attention {data} {net} --windows 4", "--windows must be odd sides of 1 pixel or more, got 4"),
        ("attention {data} {net} --windows x", "--windows must be odd sides"),
        ("attention {data} {net} --machines network", "name them after DATA"),
        ("attention {data} {net} --machines best", "its windows belong to one network"),
        ("attention {data} {net} --count 9999", "--count must be at most half"),
        ("train {data} --attention 1", "--attention 1 is for a UNet"),
        ("train {data} --network dit --attention 1", "--attention 1 is for a UNet, not for a dit"),
        ("train {data} --network dit --width 40", "width must be a multiple of 16, got 40"),
        ("train {data} --normalise", "--normalise is for a UNet"),
        ("train {data} --network unet --widths 8,8 --attention 2", "attention must name levels of 0, 1, middle"),
        ("train {data} --network unet --widths 4,4 --attention 1", "heads of 8 feature maps"),
        ("train {data} --network unet --widths 8,8 --attention x", "got 'x'"),
    ],
)
def test_bad_lines_are_refused(world: dict[str, Path], tmp_path: Path, line: str, words: str) -> None:
    result = run(f"{line} --out {tmp_path}", **world)
    assert result.exit_code == 2
    assert words in result.stderr
