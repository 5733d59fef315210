"""`elsewhere train` as a user types it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elsewhere.networks import load_network
from tests.cli.typing_lines import COMMANDS, names, run, start, wait_for


def test_train_then_compare_from_the_command_line(world: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = f"train {{data}} --width 4 --blocks 1 --steps 2 --batch 4 --out {out}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert {"network.safetensors", "card.md", "loss.png", "samples.png"} <= set(names(out))
    assert str(out / "network.safetensors") in result.stdout.split()
    # The folder of a run is a network.
    agreed = tmp_path / "agreed"
    result = run(f"compare {{data}} {out} --machines is,els --window 3 --count 2 --steps 2 --out {agreed}", **world)
    assert result.exit_code == 0, result.stderr
    assert "Pearson r" in result.stdout
    assert str(agreed / "report.html") in result.stdout


def test_captions_are_learnt_from_the_command_line(world: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with np.load(world["data"]) as arrays:
        np.savez(tmp_path / "said.npz", **arrays, captions=np.array([f"number {i}" for i in range(12)]))
    out = tmp_path / "run"
    small = "--network unet --widths 4,8 --blocks 1 --steps 2 --batch 4"
    result = run(f"train {tmp_path / 'said.npz'} --captions {small} --out {out}")
    assert result.exit_code == 0, result.stderr
    network: Any = load_network(out)
    assert (network.text_model, network.spec.text_width) == ("all-MiniLM-L6-v2", 384)
    assert network.spec.options == {"widths": [4, 8], "layers": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--captions", "data.npz has no captions"),
        ("--text-model here", "--text-model here goes with --captions"),
        ("--widths 4,8", "--widths 4,8 is for a UNet"),
        ("--network unet --widths 4;8", "--widths must be numbers with commas between them, as in 32,64,64, got '4;8'"),
    ],
)
def test_options_of_words_and_widths_that_do_not_fit_are_refused(
    options: str, message: str, world: dict[str, Path], tmp_path: Path
) -> None:
    result = run(f"train {{data}} {options} --steps 1 --out {tmp_path / 'run'}", **world)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_train_flags_quoted_by_model_cards_are_still_there() -> None:
    quoted = (
        "network width widths blocks padding captions text-model steps batch learning-rate precision "
        "checkpoint-every sample-every seed restart "
        "limit out"
    )
    known = {option for parameter in COMMANDS["train"].params for option in parameter.opts}
    assert {f"--{name}" for name in quoted.split()} <= known


def test_ctrl_c_in_a_training_keeps_its_checkpoint(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"train {{data}} --width 4 --blocks 1 --batch 4 --steps 100000 --checkpoint-every 5 --out {tmp_path}"
    child, _ = start(line.format(**world))
    wait_for((tmp_path / "checkpoint.safetensors").exists, child)
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert errors.splitlines() == [errors.strip()]
    assert errors.startswith("interrupted: ")
    assert str(tmp_path) in errors
    assert output == ""
    assert [name for name in names(tmp_path) if name not in ("checkpoint.safetensors", "loss.jsonl")] == []
