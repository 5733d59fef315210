"""The demonstration in small: its files, its figures and its film."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.morphogenesis import PATTERNS, GrayScott, disc, films, study, tour
from elsewhere.schedules import karras


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps on small canvases: the point is that everything is there and agrees."""
    fast = {name: PATTERNS[name] for name in ("spots", "stripes", "labyrinth")}
    for module in (study, tour):
        monkeypatch.setattr(module, "SIDE", 24)
        monkeypatch.setattr(module, "PATTERNS", fast)
        monkeypatch.setattr(module, "growth_schedule", lambda: karras(2, 0.2, 4.0))
    steps = study.simulate

    def simulate(system: GrayScott, size: tuple[int, int], count: int = 1, seed: int = 0) -> object:
        return steps(system, size, count, seed, steps=600)

    for module in (study, tour):
        monkeypatch.setattr(module, "simulate", simulate)
    monkeypatch.setattr(study, "STEPS", 20)
    monkeypatch.setattr(study, "REMEMBERED", 2)
    monkeypatch.setattr(tour, "WOUNDS", dict.fromkeys(study.WOUNDS, disc((24, 24), 4)))
    monkeypatch.setattr(tour, "FRAMES", 3)
    monkeypatch.setattr(tour, "FILM_SIDE", 16)
    monkeypatch.setattr(tour, "FILM_STEPS", 100)
    monkeypatch.setattr(tour, "GROWN", 2)


@pytest.mark.usefixtures("small")
def test_a_large_canvas_is_announced_with_the_time_that_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tour, "LARGE", 32)
    monkeypatch.setattr(tour, "perf_counter", iter([100.0, 102.0]).__next__)
    result = CliRunner().invoke(app, ["morphogenesis", "--out", str(tmp_path), "--side", "240", "--seed", "3"])
    assert result.exit_code == 0, result.output
    # Two seconds for 24 x 24 pixels are 200 for a hundred times as many.
    assert result.stderr == "note: large.png of 240x240 pixels takes about 3 min on this machine\n"


@pytest.mark.usefixtures("small")
def test_the_command_writes_pictures_a_film_and_the_figures_it_prints(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["morphogenesis", "--out", str(tmp_path), "--side", "32", "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(tour.FILES)
    assert result.stdout.splitlines()[-len(tour.FILES) :] == [str(tmp_path / name) for name in tour.FILES]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures["growth"]) == ["spots", "stripes", "labyrinth"]
    assert len(figures["growth"]["spots"]["grown"]) == 2
    ways = figures["healing"][0]["filled"]
    assert {"intact", "wounded", "mean", "noise", "IS", "ELS", "reaction-diffusion"} == set(ways)
    assert ways["intact"][0]["error"] == 0
    assert f"{ways['ELS'][0]['error']:.3f}" in result.stdout
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 3  # type: ignore[attr-defined]
    with Image.open(tmp_path / "large.png") as large:
        assert large.size == (24 + tour.GAP + 32, 32)


@pytest.mark.usefixtures("small")
def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tour.tour(tmp_path / name, seed=3, side=16)
    for name in tour.FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_colours_run_along_the_ramp() -> None:
    values = torch.tensor([-1.0, -1 / 3, 1 / 3, 1.0, 7.0]).view(1, 1, 1, 5)
    colours = ((films.coloured(values)[0, :, 0].T + 1) * 127.5).round().int().tolist()
    assert colours == [list(colour) for colour in (*films.RAMP, films.RAMP[-1])]


def test_a_film_rests_on_its_last_frame_and_needs_one(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), (shade, 0, 90)) for shade in (0, 120, 240)]
    films.save_film(tmp_path / "film.gif", frames, milliseconds=50, last=700)
    with Image.open(tmp_path / "film.gif") as film:
        times = []
        for i in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(i)
            times.append(film.info["duration"])
        assert times == [50, 50, 700]
        assert film.info["loop"] == 0
    with pytest.raises(ValueError, match="frames is empty"):
        films.save_film(tmp_path / "none.gif", [])
    assert not (tmp_path / "none.gif").exists()


def test_a_side_that_is_too_small_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="side must be 16 pixels or more, got 15"):
        tour.tour(tmp_path, side=15)


def test_unknown_patterns_are_refused() -> None:
    with pytest.raises(ValueError, match="name must be one of spots, stripes, labyrinth, holes, got 'dots'"):
        study.grow("dots", 1)
