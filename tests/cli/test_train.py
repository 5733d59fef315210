"""`elsewhere train` as a user types it."""

from __future__ import annotations

import signal
from pathlib import Path

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


def test_the_train_flags_quoted_by_model_cards_are_still_there() -> None:
    quoted = (
        "network width blocks padding steps batch learning-rate precision checkpoint-every sample-every seed restart "
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
