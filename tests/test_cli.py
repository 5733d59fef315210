"""The commands as a user types them: what they write, what they say, and how they refuse."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

import elsewhere as els
from elsewhere.cli import app
from elsewhere.networks import NetworkSpec, save_network

SIDE = 8
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def run(line: str, **names: Any) -> Any:
    """Type a line; {names} in it stand for paths."""
    return CliRunner().invoke(app, [part.format(**names) for part in shlex.split(line)])


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small images, networks that fit them or do not, and files that are wrong in one way each."""
    home = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, SIDE, SIDE), dtype=np.uint8)
    labels = np.arange(12) % 3
    paths = {name: home / name for name in ("data.npz", "other.npz", "plain.npz", "colour.npz", "one.png", "text.txt")}
    np.savez(paths["data.npz"], images=images, labels=labels)
    np.savez(paths["other.npz"], images=images[::-1], labels=labels)
    np.savez(paths["plain.npz"], images=images)
    np.savez(paths["colour.npz"], images=rng.integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8))
    Image.fromarray(images[0]).save(paths["one.png"])
    paths["text.txt"].write_text("no image\n")
    photos = home / "photos"
    for name in ("cats", "dogs"):
        (photos / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(images[i]).resize((10 + i, 12)).save(photos / name / f"{i}.png")
    broken = home / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"not a picture")
    (home / "empty").mkdir()

    data = els.load_images(paths["data.npz"])
    networks = {}
    for name, padding in (("net", "zeros"), ("circular", "circular")):
        spec = NetworkSpec(
            "resnet", 1, (SIDE, SIDE), 3, {"width": 4, "blocks": 1, "padding": padding}, data.name, data.fingerprint()
        )
        torch.manual_seed(0)
        module = spec.build()
        torch.nn.init.normal_(module.leave.weight, std=0.1)  # type: ignore[union-attr,arg-type]
        networks[name] = home / f"{name}.safetensors"
        save_network(networks[name], module, spec)
    els.LocalitySchedule((10.0, 1.0, 0.1), (7, 5, 3)).save(home / "windows.json")
    (home / "even.json").write_text(
        json.dumps({"format": "elsewhere.locality/1", "sigmas": [10, 1], "windows": [4, 3], "details": {}})
    )
    return {
        **{name.split(".")[0]: path for name, path in paths.items()},
        **networks,
        "photos": photos,
        "broken": broken,
        "empty": home / "empty",
        "windows": home / "windows.json",
        "even": home / "even.json",
        "missing": home / "missing",
    }


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_data_says_what_is_in_a_set(world: dict[str, Path]) -> None:
    result = run("data {data}", **world)
    assert result.exit_code == 0
    facts = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in result.stdout.splitlines()}
    assert facts["images"] == "12"
    assert facts["size"] == "8 x 8 pixels, gray"
    assert facts["fingerprint"] == els.load_images(world["data"]).fingerprint()
    assert facts["classes"] == "0 (4), 1 (4), 2 (4)"


def test_data_lists_the_sets_with_their_licences() -> None:
    result = run("data")
    assert result.exit_code == 0
    clothes, faces, hands = result.stdout.splitlines()[1:]
    assert clothes.split()[:2] == ["fashion-mini", "4000"]
    assert "MIT" in clothes
    assert faces.split()[:2] == ["pixel-faces", "2000"]
    assert "CC0" in faces
    assert hands.split()[:2] == ["hands", "500"]
    assert "MIT" in hands


def test_data_saves_what_it_read_for_the_other_commands(world: dict[str, Path], tmp_path: Path) -> None:
    sheet, saved = tmp_path / "sheet.png", tmp_path / "deep" / "set.npz"
    result = run("data {photos} --size 8 --colour --out {sheet} --save {saved}", **world, sheet=sheet, saved=saved)
    assert result.exit_code == 0, result.stderr
    direct, again = els.load_images(world["photos"], size=8, gray=False), els.load_images(saved)
    assert again.fingerprint() == direct.fingerprint()
    assert again.classes == direct.classes == ("cats", "dogs")
    drawn = run(
        "sample {saved} --window 3 --label dogs --count 1 --steps 1 --out {out}", saved=saved, out=tmp_path / "o"
    )
    assert drawn.exit_code == 0, drawn.stderr
    assert json.loads((tmp_path / "o" / "run.json").read_text())["labels"] == [1]
    assert Image.open(sheet).width > 4 * SIDE
    assert names(tmp_path) == ["deep", "o", "sheet.png"]


def test_the_seed_picks_the_images_of_the_sheet(tmp_path: Path, world: dict[str, Path]) -> None:
    sheets = []
    for index, seed in enumerate(("", "--seed 1", "--seed 1", "--seed 2")):
        path = tmp_path / f"{index}.png"
        assert run(f"data {{data}} --count 4 {seed} --out {path}", **world).exit_code == 0
        sheets.append(path.read_bytes())
    assert sheets[1] == sheets[2]
    assert len(set(sheets)) == 3


@pytest.mark.parametrize(
    "options",
    [
        "--machine is",
        "--machine ls --window 3",
        "--machine els --locality {windows} --borders wrap",
        "--machine network --network {net}",
    ],
)
def test_sample_writes_what_the_library_draws(world: dict[str, Path], tmp_path: Path, options: str) -> None:
    out = tmp_path / "out"
    result = run(f"sample {{data}} {options} --label cycle --count 4 --steps 3 --seed 5 --out {out}", **world)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "" or "network" in options
    assert names(out) == ["grid.png", "images.npz", "run.json"]
    assert result.stdout.split() == [str(out / name) for name in names(out)]
    data = els.load_images(world["data"])
    denoiser = {
        "is": lambda: els.IdealScore(data),
        "ls": lambda: els.LocalScore(data, 3),
        "els": lambda: els.EquivariantLocalScore(data, els.LocalitySchedule.load(world["windows"]), "wrap"),
        "network": lambda: els.load_network(world["net"]),
    }[options.split()[1]]()
    noise = els.make_noise(4, data.shape, 5)
    expected = els.sample(denoiser, noise, els.schedules.cosine(3), torch.tensor([0, 1, 2, 0])).images
    with np.load(out / "images.npz") as arrays:
        assert arrays["images"].dtype == np.float32
        np.testing.assert_array_equal(arrays["images"], expected.clamp(-1, 1).numpy())
        assert arrays["labels"].tolist() == [0, 1, 2, 0]
    settings = json.loads((out / "run.json").read_text())
    assert settings["data"]["fingerprint"] == data.fingerprint()
    assert settings["seed"] == 5
    assert settings["denoiser"] == repr(denoiser)


def test_sample_draws_on_a_canvas_of_any_size(world: dict[str, Path], tmp_path: Path) -> None:
    for borders in ("aware", "wrap", "torus"):
        line = f"sample {{plain}} --borders {borders} --window 3 --size 11x20 --count 2 --steps 3 --seed 4"
        result = run(f"{line} --out {tmp_path}", **world)
        assert result.exit_code == 0, result.stderr
        machine = els.EquivariantLocalScore(els.load_images(world["plain"]), 3, borders)  # type: ignore[arg-type]
        expected = els.sample(machine, els.make_noise(2, (1, 11, 20), 4), els.schedules.cosine(3)).images
        with np.load(tmp_path / "images.npz") as arrays:
            np.testing.assert_array_equal(arrays["images"], expected.clamp(-1, 1).numpy())
        settings = json.loads((tmp_path / "run.json").read_text())
        assert settings["size"] == [11, 20]
        assert settings["data"]["shape"] == [1, SIDE, SIDE]


def test_one_number_resizes_the_training_images_as_elsewhere(world: dict[str, Path], tmp_path: Path) -> None:
    assert run(f"sample {{photos}} --size 6 --window 3 --count 1 --steps 1 --out {tmp_path}", **world).exit_code == 0
    settings = json.loads((tmp_path / "run.json").read_text())
    assert settings["size"] == [6, 6]
    assert settings["data"]["shape"] == [1, 6, 6]


def test_a_wide_canvas_makes_a_picture_of_reasonable_size(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"sample {{plain}} --window 1 --size 4x600 --count 3 --steps 1 --out {tmp_path}"
    assert run(line, **world).exit_code == 0
    assert Image.open(tmp_path / "grid.png").width < 700


def test_sample_keeps_the_trajectory_on_request(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"sample {{data}} --window 3 --count 2 --steps 3 --schedule karras --keep --label 1 --out {tmp_path}"
    assert run(line, **world).exit_code == 0
    with np.load(tmp_path / "trajectory.npz") as kept, np.load(tmp_path / "images.npz") as drawn:
        assert kept["states"].shape == (4, 2, 1, SIDE, SIDE)
        assert kept["predictions"].shape == (3, 2, 1, SIDE, SIDE)
        np.testing.assert_array_equal(kept["states"][-1].clip(-1, 1), drawn["images"])


def test_sample_says_which_windows_it_used_when_none_were_given(world: dict[str, Path], tmp_path: Path) -> None:
    assert run(f"sample {{data}} --count 1 --steps 3 --out {tmp_path}", **world).exit_code == 0
    settings = json.loads((tmp_path / "run.json").read_text())
    assert "published" in settings["windows"]
    assert settings["window_at_each_sigma"] == [17, 9, 5]


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


def test_calibrate_then_compare_with_its_windows(world: dict[str, Path], tmp_path: Path) -> None:
    found, agreed = tmp_path / "windows", tmp_path / "agreed"
    line = f"calibrate {{data}} {{circular}} --windows 3-5 --count 3 --steps 2 --out {found}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert {"locality.json", "scores.png", "windows.png", "cache.json"} == set(names(found))
    schedule = els.LocalitySchedule.load(found / "locality.json")
    assert set(schedule.windows) <= {3, 5}
    assert schedule.details["label"] == [0, 1, 2]
    assert "borders='wrap'" in schedule.details["machine"], "a circular network wraps"
    assert run(line, **world).stdout == result.stdout, "from the cache"
    tapered = run(f"{line}-tapered --taper", **world)
    assert tapered.exit_code == 0, tapered.stderr
    assert els.LocalitySchedule.load(tmp_path / "windows-tapered" / "locality.json").taper
    other = run(f"{line} --taper", **world)
    assert other.exit_code == 2, "the cache is of windows that are not tapered"

    line = f"compare {{data}} {{circular}} --locality {found}/locality.json --count 3 --steps 2 --out {agreed}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    content = json.loads((agreed / "results.json").read_text())
    assert list(content["settings"]["machines"]) == ["IS", "LS", "ELS"]
    assert content["settings"]["same_data"] is True
    assert content["windows"]["ELS"]["windows"] == list(schedule.windows)
    assert {row["label"] for row in content["table"]} == {"0", "1", "2"}
    assert {"report.html", "results.json", "results.csv", "grid.png", "scatter.png"} == set(names(agreed))


@pytest.mark.parametrize(("options", "criterion"), [("", "cosine"), ("--criterion least-squares", "least-squares")])
def test_calibrate_goes_by_the_criterion_asked_for(
    world: dict[str, Path], tmp_path: Path, options: str, criterion: str
) -> None:
    line = f"calibrate {{data}} {{net}} --windows 3-7 --count 3 --seed 2 --steps 4 {options} --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    found = els.LocalitySchedule.load(tmp_path / "locality.json")
    assert found.details["criterion"] == criterion
    data = els.load_images(world["data"])
    machine, noise = els.EquivariantLocalScore(data, 3), els.make_noise(3, data.shape, 2)
    few, labels = els.schedules.cosine(4), torch.tensor([0, 1, 2])
    by = {
        name: els.calibrate(
            machine,
            els.load_network(world["net"]),
            noise,
            schedule=few,
            label=labels,
            windows=[3, 5, 7],
            criterion=name,
        ).windows
        for name in ("cosine", "least-squares")
    }
    assert len(set(by.values())) == 2, "here the two disagree, or this would tell nothing"
    assert found.windows == by[criterion]
    assert [row.split()[1] for row in result.stdout.splitlines()[1:5]] == [str(window) for window in found.windows]


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
    assert names(tmp_path) == ["explanation.json", "mosaic.parquet", "mosaic.png"]
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
    assert names(tmp_path) == ["explanation.json", "mosaic.json", "mosaic.parquet", "mosaic.png", "run.png"]
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


def test_compare_on_other_images_needs_a_word(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"compare {{other}} {{net}} --machines is --count 1 --steps 1 --out {tmp_path}"
    assert run(line, **world).exit_code == 2
    result = run(line + " --any-data", **world)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: ")
    assert json.loads((tmp_path / "results.json").read_text())["settings"]["same_data"] is False


def test_the_demo_writes_one_report(world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elsewhere import choices, demo

    small = els.load_images(world["data"])
    monkeypatch.setattr(demo, "load_images", lambda name: small)
    monkeypatch.setattr(demo, "load_network", lambda name: els.load_network(world["net"]))
    schedule = els.LocalitySchedule.load(world["windows"])
    monkeypatch.setattr(choices, "shipped_locality", lambda network, machine: schedule)
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


@pytest.fixture
def everything_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    from elsewhere import results
    from elsewhere.engine import shelf
    from elsewhere.machines import base

    monkeypatch.setattr(base, "FEW", 100)
    monkeypatch.setattr(base, "A_NUMBER", 0)
    monkeypatch.setattr(shelf, "WORTH_KEEPING", 120)
    monkeypatch.setattr(results, "WORTH_KEEPING", 120)


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


@pytest.mark.usefixtures("everything_is_searched")
def test_index_builds_what_sample_finds(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    line = f"index {{data}} --locality {{windows}} --borders torus --label cycle --out {cache}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    header, *rows, origin, last = result.stdout.splitlines()
    assert header.split()[:2] == ["window", "class"]
    # Four images of each class, windows of 3, 5 and 7 at 64 places.
    assert [row.split()[:4] for row in rows] == [[str(w), str(c), "1", "256"] for c in range(3) for w in (3, 5, 7)]
    assert str(world["windows"]) in origin
    assert last.startswith("indexes: 9, ")
    assert last.endswith(f"9 kept in {cache}")
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(kept) == 9
    # One is lost: only that is made again.
    lost = min(kept)
    lost.unlink()
    assert run(line, **world).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir() if path != lost}.items() <= kept.items()
    assert lost.exists()
    monkeypatch.setenv("ELSEWHERE_CACHE", str(cache))
    monkeypatch.setattr("elsewhere.engine.shelf.build_index", None)
    drawn = tmp_path / "drawn"
    line = f"sample {{data}} --locality {{windows}} --borders torus --label 1 --engine fast --count 1 --out {drawn}"
    assert run(line, **world).exit_code == 0
    assert len(list(cache.iterdir())) == 9


def test_index_says_when_there_is_nothing_to_do(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSEWHERE_CACHE", str(tmp_path / "cache"))
    result = run("index {data} --network {circular}", **world)
    assert result.exit_code == 0, result.stderr
    assert "no indexes" in result.stdout
    assert names(tmp_path) == []


BAD = {
    "no such command": "smaple {data}",
    "no such option": "sample {data} --cuont 3",
    "option without its value": "sample {data} --count",
    "argument missing": "compare {data}",
    "argument too many": "data {data} {other}",
    "no such data": "sample {missing}",
    "misspelt name of a set": "sample fashion-mimi",
    "data that are one image": "sample {one}",
    "data that are no image": "sample {text}",
    "empty folder": "data {empty}",
    "folder with a broken image": "data {broken}",
    "images of several sizes": "sample {photos}",
    "zero size": "data {photos} --size 0",
    "split that is not there": "data {data} --split test",
    "limit of zero": "sample {data} --limit 0",
    "limit beyond the set": "sample {data} --limit 13",
    "unknown machine": "sample {data} --machine elss",
    "even window": "sample {data} --window 4",
    "window of zero": "sample {data} --window 0",
    "window of minus three": "sample {data} --window -3",
    "window of four thousand million": "sample {data} --window 4294967297",
    "window that is no number": "sample {data} --window seven",
    "window and locality": "sample {data} --window 3 --locality {windows}",
    "locality that is missing": "sample {data} --locality {missing}",
    "locality that is a folder": "sample {data} --locality {photos}",
    "locality that is no schedule": "sample {data} --locality {text}",
    "locality with an even window": "sample {data} --locality {even}",
    "window for the ideal machine": "sample {data} --machine is --window 3",
    "taper for the ideal machine": "sample {data} --machine is --taper",
    "taper for a network": "sample {data} --machine network --network {net} --taper",
    "taper without a window": "compare {data} {net} --taper",
    "taper for a file of windows": "sample {data} --taper --locality {windows}",
    "window for a network": "sample {data} --machine network --network {net} --window 3",
    "unknown borders": "sample {data} --borders mirror",
    "borders for the ideal machine": "sample {data} --machine is --borders aware",
    "borders for the local machine": "sample {data} --machine ls --window 3 --borders wrap",
    "borders for a network": "sample {data} --machine network --network {net} --borders wrap",
    "borders to calibrate the local machine": "calibrate {data} {net} --machine ls --borders aware",
    "borders to compare without els": "compare {data} {net} --machines is,ls --window 3 --borders wrap",
    "borders to explain the local machine": "explain {data} --machine ls --window 3 --borders wrap",
    "canvas that is no size": "sample {data} --size 64x",
    "canvas without pixels": "sample {data} --size 0x64",
    "canvas far too large": "sample {data} --size 64x9999999",
    "canvas for the ideal machine": "sample {data} --machine is --size 16x16",
    "canvas for the local machine": "sample {data} --machine ls --window 3 --size 16x16",
    "canvas beyond the places of a window": "sample {data} --window 17 --size 16x16",
    "canvas too small to grow on": "morphogenesis --side 8",
    "grow with a negative seed": "morphogenesis --seed -1",
    "no network for machine network": "sample {data} --machine network",
    "network for a machine": "sample {data} --network {net}",
    "count of zero": "sample {data} --count 0",
    "count far too large": "sample {data} --count 100000000",
    "negative seed": "sample {data} --seed -1",
    "seed beyond the range": "sample {data} --seed 99999999999",
    "zero steps": "sample {data} --steps 0",
    "steps that are no number": "sample {data} --steps 2.5",
    "more steps than the schedule has": "sample {data} --schedule linear --steps 1001",
    "unknown schedule": "sample {data} --schedule cosin",
    "label out of range": "sample {data} --label 3",
    "negative label": "sample {data} --label -1",
    "label that is no class": "sample {data} --label trouser",
    "label for a set without classes": "sample {plain} --window 3 --label 0",
    "label to cycle without classes": "sample {plain} --label cycle",
    "memory that is no size": "sample {data} --memory lots",
    "memory in an unknown unit": "sample {data} --memory 3XB",
    "too little memory": "sample {data} --window 3 --memory 1MB",
    "negative memory": "sample {data} --memory -1GB",
    "no such network": "compare {data} {missing}",
    "misspelt name of a network": "compare {data} fashion-resnt",
    "network file that is none": "compare {data} {text}",
    "network folder that is none": "compare {data} {photos}",
    "network of other images": "compare {other} {net}",
    "network of other colours": "sample {colour} --machine network --network {net}",
    "calibrate for other images": "calibrate {other} {net}",
    "unknown machines to compare": "compare {data} {net} --machines is,xs",
    "a machine compared twice": "compare {data} {net} --machines is,is",
    "no machines to compare": "compare {data} {net} --machines ''",
    "even windows to try": "calibrate {data} {net} --windows 2,4",
    "windows to try that are none": "calibrate {data} {net} --windows wide",
    "empty range of windows": "calibrate {data} {net} --windows 9-3",
    "calibrate a machine without windows": "calibrate {data} {net} --machine is",
    "unknown criterion": "calibrate {data} {net} --criterion best",
    "explain by a network": "explain {data} --machine network",
    "explain for other images": "explain {other} --network {net}",
    "explain for a missing network": "explain {data} --network {missing}",
    "explain with windows for the ideal machine": "explain {data} --machine is --window 3",
    "explain through an even window": "explain {data} --window 4",
    "no sources to name": "explain {data} --top 0",
    "too many sources to name": "explain {data} --top 1025",
    "explain a label that is no class": "explain {data} --label trouser",
    "explain no images": "explain {missing}",
    "explain on a canvas that is no size": "explain {data} --size 64x",
    "explain on a canvas for the local machine": "explain {data} --machine ls --window 3 --size 16x16",
    "explain on a canvas beyond the places of a window": "explain {data} --window 17 --size 16x16",
    "explain a pixel that is none": "explain {data} --window 3 --pixel 4",
    "explain a pixel that is a word": "explain {data} --window 3 --pixel middle",
    "explain a pixel before the first": "explain {data} --window 3 --pixel -1,0",
    "explain a pixel below the image": "explain {data} --window 3 --pixel 8,0",
    "explain a pixel beside the canvas": "explain {data} --window 3 --size 16x20 --pixel 0,20",
    "explain with unknown borders": "explain {data} --borders mirror",
    "unknown engine": "sample {data} --window 3 --engine quick",
    "tolerance of zero": "sample {data} --window 3 --tolerance 0",
    "tolerance far too large": "compare {data} {net} --tolerance 1",
    "tolerance that is no number": "explain {data} --window 3 --tolerance nan",
    "index no images": "index {missing}",
    "index through an even window": "index {data} --window 4",
    "index a label that is no class": "index {data} --window 3 --label trouser",
    "index a set without classes by class": "index {plain} --window 3 --label cycle",
    "index for other images": "index {other} --network {net} --window 3",
    "index with too little memory": "index {data} --window 3 --memory 1MB",
    "demo without seeds": "demo --count 0",
    "demo with a negative seed": "demo --seed -1",
    "unknown network to train": "train {data} --network resnot",
    "unknown padding": "train {data} --padding mirror",
    "circular padding for a unet": "train {data} --network unet --width 8 --padding circular",
    "learning rate of zero": "train {data} --learning-rate 0",
    "learning rate that is no number": "train {data} --learning-rate nan",
    "batch of zero": "train {data} --batch 0",
    "batch far too large": "train {data} --batch 1000000000",
    "width of zero": "train {data} --width 0",
    "width far too large": "train {data} --width 100000",
    "blocks far too many": "train {data} --blocks 100000",
    "unknown precision": "train {data} --precision fp8",
}


def assert_refused(result: Any, out: Path) -> None:
    lines = result.stderr.splitlines()
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Value error" not in lines[0]
    assert len(lines[0]) > 20, "too short to say what is wrong"
    assert result.stdout == ""
    assert names(out) == []


@pytest.mark.parametrize("line", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_writes_nothing(world: dict[str, Path], tmp_path: Path, line: str) -> None:
    out = tmp_path / "sheet.png" if line.startswith("data ") else tmp_path / "out"
    # Before the other options: "option without its value" must stay last.
    command, *rest = line.split(" ", 1)
    assert_refused(run(" ".join([command, f"--out {out}", *rest]), **world), tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sample x --engine quick", "Invalid value for '--engine': 'quick' is not one of 'auto', 'exact', 'fast'."),
        ("sample x --borders 'Value error, '", "Invalid value for '--borders': 'Value error, ' is not one of 'aware',"),
        ("anomalies feet", "Invalid value for 'SUBJECT': 'feet' is not one of 'hands', 'trousers', 'pullovers'."),
    ],
)
def test_a_value_that_is_no_choice_is_named_at_once(line: str, words: str) -> None:
    assert run(line).stderr.startswith(f"error: {words}")


@pytest.mark.parametrize(
    "line",
    [
        "demo --count 1",
        "morphogenesis --side 32",
        "sample {data} --window 3 --count 1 --steps 1",
        "train {data} --width 4 --blocks 1 --steps 1",
        "calibrate {data} {net} --windows 3 --count 1 --steps 1",
        "compare {data} {net} --window 3 --count 1 --steps 1",
        "explain {data} --window 3 --count 1 --steps 1",
        "index {data} --window 3",
        "data {data}",
    ],
)
@pytest.mark.parametrize("place", ["{text}/below", "/proc/nowhere/out"])
def test_a_place_that_cannot_be_written_is_refused(world: dict[str, Path], line: str, place: str) -> None:
    if place.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    before = sorted(world["text"].parent.iterdir())
    result = run(f"{line} --out {place}", **world)
    assert_refused(result, Path("/proc/nowhere"))
    assert sorted(world["text"].parent.iterdir()) == before


def test_a_file_is_no_folder_and_a_folder_no_file(world: dict[str, Path], tmp_path: Path) -> None:
    result = run("sample {data} --out {text}", **world)
    assert_refused(result, tmp_path)
    assert world["text"].read_text() == "no image\n"
    (tmp_path / "folder.png").mkdir()
    assert_refused(run(f"data {{data}} --out {tmp_path}/folder.png", **world), tmp_path / "folder.png")
    (tmp_path / "folder.png").rmdir()
    assert_refused(run(f"data {{data}} --out {tmp_path}/sheet.jpg", **world), tmp_path)
    assert_refused(run(f"data {{data}} --save {tmp_path}/images.npy", **world), tmp_path)
    assert_refused(run(f"data --out {tmp_path}/sheet.png", **world), tmp_path)


def test_the_place_is_checked_before_the_long_work(world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("worked first")

    monkeypatch.setattr("elsewhere.data.load_images", work)
    monkeypatch.setattr("elsewhere.demo.demo", work)
    monkeypatch.setattr("elsewhere.morphogenesis.tour.tour", work)
    for line in (
        "demo",
        "morphogenesis",
        "sample {data}",
        "train {data}",
        "calibrate {data} {net}",
        "compare {data} {net}",
        "explain {data}",
        "index {data}",
    ):
        assert run(f"{line} --out {{text}}", **world).exit_code == 2


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


def test_the_traceback_shows_on_request(world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run("--debug sample {missing}", **world).exception, FileNotFoundError)
    monkeypatch.setenv("ELSEWHERE_DEBUG", "1")
    assert isinstance(run("sample {missing}", **world).exception, FileNotFoundError)
    monkeypatch.setenv("ELSEWHERE_DEBUG", "0")
    assert isinstance(run("sample {missing}", **world).exception, SystemExit)


@pytest.mark.parametrize("fault", [AssertionError("a fault"), RuntimeError("mat1 and mat2 cannot be multiplied")])
def test_our_own_faults_are_not_dressed_up_as_bad_input(
    world: dict[str, Path], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise fault

    monkeypatch.setattr("elsewhere.data.load_images", fail)
    assert run("data {data}", **world).exception is fault


def too_much(*args: Any) -> None:
    torch.empty(2**60, dtype=torch.uint8)


def test_too_little_memory_is_one_line_and_leaves_nothing(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsewhere.networks.training.draw_batch", too_much)
    result = run(f"train {{data}} --width 4 --blocks 1 --steps 1 --out {tmp_path / 'new' / 'out'}", **world)
    assert_refused(result, tmp_path)
    assert f"out of memory ({2**60} bytes at once)" in result.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 3.00 GiB for an array with shape (9,)"), "out of memory (3.00 GiB at once):"),
        (MemoryError(), "out of memory:"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0"), "out of memory (20.00 MiB at once):"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "out of memory:"),
    ],
)
def test_every_way_of_saying_that_memory_is_short(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr("elsewhere.data.load_images", fail)
    result = run(f"sample {{data}} --out {tmp_path / 'out'}", **world)
    assert_refused(result, tmp_path)
    assert said in result.stderr


def test_every_command_and_option_is_explained() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name
        assert f"elsewhere {name} " in command.help, f"{name} has no example"
        options = {option for parameter in command.params for option in parameter.opts}
        # An index holds nothing random that a user would want otherwise.
        assert {"--out", "--seed"} - ({"--seed"} if name == "index" else set()) <= options, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("elsewhere ")


# What follows runs the program itself.


def start(line: str, *, watched: bool = False) -> tuple[subprocess.Popen[str], int | None]:
    """The program, with a terminal as its standard error when `watched`."""
    screen, stderr = pty.openpty() if watched else (None, subprocess.PIPE)
    child = subprocess.Popen(
        [sys.executable, "-m", "elsewhere", *shlex.split(line)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"},
        # A test run in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    if screen is not None:
        os.close(stderr)
    return child, screen


def wait_for(ready: Callable[[], bool], child: subprocess.Popen[str], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert child.poll() is None, "ended before it could be interrupted"
        assert time.monotonic() < limit, "never began"
        time.sleep(0.02)


def read(screen: int) -> Iterator[str]:
    """What appears on a terminal until it is closed."""
    while True:
        try:
            text = os.read(screen, 4096).decode(errors="replace")
        except OSError:
            return
        if not text:
            return
        yield text


@pytest.mark.parametrize(
    ("line", "bar"),
    [
        ("sample {data} --machine is --count 64 --steps 10000", "sampling"),
        ("compare {data} {net} --machines is --count 64 --steps 10000", "IS"),
    ],
)
def test_ctrl_c_leaves_nothing_half_done(world: dict[str, Path], tmp_path: Path, line: str, bar: str) -> None:
    out = tmp_path / "out"
    child, screen = start(f"{line} --out {out}".format(**world), watched=True)
    assert screen is not None
    seen, sent = "", False
    for text in read(screen):
        seen += text
        if not sent and bar in seen:
            child.send_signal(signal.SIGINT)
            sent = True
    os.close(screen)
    assert child.wait(60) == 130, seen
    assert "interrupted: nothing was written" in seen
    assert "left" in seen, "the bar says how long it takes"
    assert "Traceback" not in seen
    assert names(tmp_path) == []


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


WAITING = """
import threading, time, typer
from elsewhere.terminal import OneLineErrors
app = typer.Typer(cls=OneLineErrors)
@app.command()
def one() -> None:
    # As a compiled loop does, which does not hear of Ctrl-C.
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise KeyboardInterrupt
@app.command()
def two() -> None: ...
app()
"""


def test_a_second_ctrl_c_ends_what_the_first_waits_for() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING, "one"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert child.stderr is not None
    assert child.stderr.readline() == "interrupted: nothing was written\n"
    assert child.poll() is None, "nothing to wait for"
    child.send_signal(signal.SIGINT)
    assert child.stderr.read() == ""
    assert child.wait(60) == -signal.SIGINT


def test_the_installed_program(world: dict[str, Path], tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("elsewhere")
    if not program.exists():
        pytest.skip("not installed beside this Python")
    done = subprocess.run([program, "sample", "nowhere", "--out", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no images at 'nowhere'")
    assert len(done.stderr.splitlines()) == 1
    assert names(tmp_path) == []


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
