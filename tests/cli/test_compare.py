"""`elsewhere compare` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import elsewhere as els
from elsewhere.machines.table import DEFAULTS, MACHINES, TABLE
from tests.cli.typing_lines import run


def test_compare_on_other_images_needs_a_word(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"compare {{other}} {{net}} --machines is --count 1 --steps 1 --out {tmp_path}"
    assert run(line, **world).exit_code == 2
    result = run(line + " --any-data", **world)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: ")
    assert json.loads((tmp_path / "results.json").read_text())["settings"]["same_data"] is False


def test_all_of_them_draw_with_the_sampler_asked_for(world: dict[str, Path], tmp_path: Path) -> None:
    line = "compare {data} {net} --machines is --sampler heun --count 2 --steps 3 --seed 4 --label none"
    assert run(f"{line} --out {tmp_path}", **world).exit_code == 0
    settings = json.loads((tmp_path / "results.json").read_text())
    data = els.load_images(world["data"])
    noise, schedule = els.make_noise(2, data.shape, 4), els.schedules.cosine(3)
    one, other = (
        els.sample(denoiser, noise, schedule, sampler="heun").images
        for denoiser in (els.IdealScore(data), els.load_network(world["net"]))
    )
    assert settings["settings"]["sampler"] == "heun"
    mse = (one - other).square().mean((1, 2, 3)).tolist()
    assert [row["mse"] for row in settings["table"] if row["name"] == "IS"] == pytest.approx(mse, rel=1e-5)


def test_all_machines_are_compared_if_asked_for_and_else_the_usual_ones(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"compare {{data}} {{net}} --window 3 --count 1 --steps 2 --out {tmp_path}"
    for words, names in (("", DEFAULTS), (" --machines all", TABLE)):
        result = run(line + words, **world)
        assert result.exit_code == 0, result.stderr
        settings = json.loads((tmp_path / "results.json").read_text())["settings"]
        assert list(settings["machines"]) == [TABLE[name].report_name for name in names]
    assert all(entry.report_name in (tmp_path / "report.html").read_text() for entry in MACHINES)


def test_a_machine_without_weights_is_drawn_and_not_explained(world: dict[str, Path], tmp_path: Path) -> None:
    assert run(f"sample {{data}} --machine wiener --count 1 --steps 2 --out {tmp_path}", **world).exit_code == 0
    result = run(f"explain {{data}} --machine wiener --count 1 --steps 2 --out {tmp_path}", **world)
    assert result.exit_code == 2
    assert "wiener" in result.stderr


@pytest.mark.parametrize("away", ["", "--negative 2"])
def test_machines_and_network_are_guided_alike(world: dict[str, Path], tmp_path: Path, away: str) -> None:
    line = "compare {data} {net} --machines ls --window 3 --label 1 --guidance 2.5 --count 2 --steps 3 --seed 4"
    result = run(f"{line} {away} --out {tmp_path}", **world)
    assert result.exit_code == 0, result.stderr
    settings = json.loads((tmp_path / "results.json").read_text())
    data = els.load_images(world["data"])
    noise, schedule = els.make_noise(2, data.shape, 4), els.schedules.cosine(3)
    one, other = (
        els.sample(els.guided(denoiser, 2.5, 1, 2 if away else None), noise, schedule).images
        for denoiser in (els.LocalScore(data, 3), els.load_network(world["net"]))
    )
    mse = (one - other).square().mean((1, 2, 3)).tolist()
    assert [row["mse"] for row in settings["table"] if row["name"] == "LS"] == pytest.approx(mse, rel=1e-5)
    assert "scale=2.5, label=1" in settings["settings"]["machines"]["LS"]
    assert "scale=2.5, label=1" in settings["settings"]["network"]


def test_guidance_without_a_class_is_refused(world: dict[str, Path], tmp_path: Path) -> None:
    result = run(f"compare {{data}} {{net}} --machines is --label none --guidance 2 --out {tmp_path}", **world)
    assert result.exit_code == 2
    assert "--guidance 2 needs --label" in result.stderr
