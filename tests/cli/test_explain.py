"""`elsewhere explain` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import elsewhere as els
from tests.cli.typing_lines import names, run


@pytest.mark.parametrize(
    ("options", "machine"),
    [
        ("--machine is", lambda data: els.IdealScore(data)),
        ("--machine ls --window 3", lambda data: els.LocalScore(data, 3)),
        ("--window 3 --network {circular}", lambda data: els.EquivariantLocalScore(data, 3, "wrap")),
        ("--window 3 --borders torus", lambda data: els.EquivariantLocalScore(data, 3, "torus")),
        ("--window 5 --taper", lambda data: els.EquivariantLocalScore(data, 5, taper=True)),
    ],
)
def test_explain_writes_what_the_library_finds(
    world: dict[str, Path], tmp_path: Path, options: str, machine: Callable[[els.ImageSet], Any]
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    line = f"explain {{data}} {options} --label 1 --count 1 --steps 2 --seed 3 --top 2 --parquet --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert names(tmp_path) == ["explanation.html", "explanation.json", "mosaic.parquet", "mosaic.png"]
    data, few = els.load_images(world["data"]), els.schedules.cosine(2)
    drawn = els.sample(machine(data), els.make_noise(1, data.shape, 3), few, 1, keep=True)
    *_, last = els.explain_run(machine(data), drawn, 2, 1)
    expected = last.table()
    found = parquet.read_table(tmp_path / "mosaic.parquet").to_pydict()
    for name, values in expected.items():
        assert found[name] == values.tolist()
    assert set(found["step"]) == {1}
    assert ("Pearson r" in result.stdout) == ("--network" in options)
    content = json.loads((tmp_path / "explanation.json").read_text())
    assert content["settings"]["about"]["seed"] == "3"
    assert content["images"][0]["credits"]


def test_explain_shows_every_step_on_request(world: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    line = f"explain {{colour}} --window 3 --count 1 --steps 2 --every-step --parquet --json --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert names(tmp_path) == [
        "explanation.html",
        "explanation.json",
        "mosaic.json",
        "mosaic.parquet",
        "mosaic.png",
        "run.png",
    ]
    found = parquet.read_table(tmp_path / "mosaic.parquet").to_pydict()
    assert set(zip(found["step"], found["sigma"], strict=True)) == set(enumerate(els.schedules.cosine(2).sigmas[:-1]))
    rows = json.loads((tmp_path / "mosaic.json").read_text())["rows"]
    assert rows == [list(row) for row in zip(*found.values(), strict=True)]
    assert set(result.stdout.split()) >= {str(tmp_path / name) for name in names(tmp_path)}


def test_explain_shows_the_pixel_that_was_chosen(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elsewhere.analysis import explanation_files

    asked = []
    draw = explanation_files.mosaic_figure
    monkeypatch.setattr(explanation_files, "mosaic_figure", lambda m, pixel, **kw: asked.append(pixel) or draw(m, **kw))
    line = f"explain {{data}} --window 3 --size 8x20 --count 1 --steps 1 --out {tmp_path}"
    assert run(f"{line} --pixel 7,19", **world).exit_code == 0
    assert run(line, **world).exit_code == 0
    assert asked == [(7, 19), None]


@pytest.mark.parametrize("borders", ["aware", "torus"])
def test_explain_draws_on_a_canvas_of_any_size(world: dict[str, Path], tmp_path: Path, borders: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    line = f"explain {{data}} --borders {borders} --window 3 --size 11x20 --count 1 --steps 2 --top 2 --parquet"
    result = run(f"{line} --out {tmp_path}", **world)
    assert result.exit_code == 0, result.stderr
    machine, few = els.EquivariantLocalScore(els.load_images(world["data"]), 3, borders), els.schedules.cosine(2)
    drawn = els.sample(machine, els.make_noise(1, (1, 11, 20), 0), few, keep=True)
    expected = els.explain(machine, drawn.states[-2], few.sigmas[-2], 2).table()
    found = parquet.read_table(tmp_path / "mosaic.parquet").to_pydict()
    assert found["column"] == expected["column"].tolist()
    assert found["weight"] == expected["weight"].tolist()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("explain {data} --machine wiener", "--machine wiener: its answer is no average of training images"),
        ("explain {data} --machine network --network {net}", "--machine network: a trained network is no average"),
        ("explain {data} --machine network:a", "--machine network:a: a trained network is no average"),
        ("explain {data} --machine all", "--machine must be one name of is"),
        ("compare {data} {net} --machines is,network", "--machines network: every machine is compared with NETWORK"),
    ],
)
def test_names_that_a_command_cannot_take_are_refused_with_a_reason(
    world: dict[str, Path], tmp_path: Path, line: str, message: str
) -> None:
    result = run(f"{line} --count 1 --steps 1 --out {tmp_path}/out", **world)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_calibrated_machine_is_explained(world: dict[str, Path], tmp_path: Path) -> None:
    one = els.PatchSettings(5, taper=True, response=3)
    family = els.FamilyCalibration((1.0,), (one,), (0.2,))
    family.save(tmp_path / "best.json")
    line = f"explain {{data}} --machine best --family {tmp_path}/best.json --count 1 --steps 2 --out {tmp_path}/out"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert "of it without weights" in result.stdout
    assert els.FamilyCalibration.load(tmp_path / "out/explanation.json") == family


def test_the_run_of_the_sampler_asked_for_is_explained(world: dict[str, Path], tmp_path: Path) -> None:
    line = "explain {data} --machine ls --window 3 --sampler heun --count 1 --steps 3 --seed 5 --label none"
    result = run(f"{line} --json --out {tmp_path}", **world)
    assert result.exit_code == 0, result.stderr
    data = els.load_images(world["data"])
    machine, noise = els.LocalScore(data, 3), els.make_noise(1, data.shape, 5)
    drawn = els.sample(machine, noise, els.schedules.cosine(3), sampler="heun", keep=True)
    mosaic = els.explain(machine, drawn.states[-2], drawn.sigmas[-2], 8)
    # The last step of every sampler ends at the prediction, so what is explained is the image.
    assert torch.allclose(mosaic.x0, drawn.images, atol=1e-6)
    found = json.loads((tmp_path / "explanation.json").read_text())
    assert found["settings"]["sampler"] == "heun"
    rows = json.loads((tmp_path / "mosaic.json").read_text())["rows"]
    weights = [row[-2] for row in rows if row[2:6] == [0, 0, 0, 0]]
    assert weights == pytest.approx([float(mosaic.weights[0, 0, 0, 0])], rel=1e-5)
