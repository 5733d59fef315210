"""Options that several commands share."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import elsewhere as els
from tests.cli.typing_lines import assert_refused, run


@pytest.mark.usefixtures("everything_is_searched")
def test_the_engine_is_chosen_and_said(world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE_CACHE", str(tmp_path / "cache"))
    data, drawn = els.load_images(world["data"]), {}
    for engine in ("auto", "exact", "fast"):
        out = tmp_path / engine
        line = f"sample {{data}} --window 3 --count 2 --steps 3 --engine {engine} --tolerance 0.01 --out {out}"
        result = run(line, **world)
        assert result.exit_code == 0, result.stderr
        settings = json.loads((out / "run.json").read_text())
        assert ("engine='fast', tolerance=0.01" in settings["denoiser"]) == (engine == "fast")
        with np.load(out / "images.npz") as arrays:
            drawn[engine] = arrays["images"]
    np.testing.assert_array_equal(drawn["auto"], drawn["exact"])
    machine = els.EquivariantLocalScore(data, 3, engine="fast", tolerance=0.01)
    expected = els.sample(machine, els.make_noise(2, data.shape, 0), els.schedules.cosine(3)).images
    np.testing.assert_array_equal(drawn["fast"], expected.numpy())
    for command in ("compare {data} {net} --machines els", "explain {data}"):
        out = tmp_path / command.split()[0]
        line = f"{command} --window 3 --count 1 --steps 1 --engine fast --tolerance 0.02 --out {out}"
        result = run(line, **world)
        assert result.exit_code == 0, result.stderr
        assert "tolerance=0.02" in "".join(path.read_text() for path in out.glob("*.json"))


@pytest.mark.parametrize(
    ("module", "line", "extra"),
    [
        ("accelerate", "train {data} --steps 1", "train"),
        ("diffusers", "train {data} --network unet --steps 1", "networks"),
        ("datasets", "data hf:someone/something", "datasets"),
        ("pyarrow", "explain {data} --parquet", "explain"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, line: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = run(f"{line} --out {tmp_path / 'out.png'}", **world)
    assert_refused(result, tmp_path)
    assert module in result.stderr
    assert f"elsewhere[{extra}]" in result.stderr


COMPUTING = (
    "sample {data} --window 3 --count 1 --steps 1",
    "sample {data} --machine network --network {net} --count 1 --steps 1",
    "compare {data} {net} --window 3 --machines els --count 1 --steps 1",
    "explain {data} --network {net} --window 3 --count 1 --steps 1",
    "calibrate {data} {net} --count 1 --steps 1 --windows 3,5",
)


@pytest.mark.parametrize("line", COMPUTING)
def test_a_device_reaches_machines_and_networks(
    line: str, world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    to = torch.Tensor.to

    def spy(tensor: torch.Tensor, *args: object, **settings: object) -> torch.Tensor:
        asked.extend(str(value) for value in args if str(value).startswith("cpu:0"))
        return to(tensor, *args, **settings)

    monkeypatch.setattr(torch.Tensor, "to", spy)
    result = run(f"{line} --device cpu:0 --out {tmp_path / 'out'}", **world)
    assert result.exit_code == 0, result.stderr
    assert asked


@pytest.mark.parametrize("line", [*COMPUTING, "board", "reproduce kamb"])
def test_a_device_that_is_not_there_is_refused_before_any_work(
    line: str, world: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("cuda:99", "nonsense"):
        result = run(f"{line} --device {name} --out {tmp_path / 'out'}", **world)
        assert_refused(result, tmp_path)
        assert f"--device '{name}' cannot be used here (" in result.stderr
        assert "): choose of cpu" in result.stderr
