"""`elsewhere sample` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elsewhere as els
from tests.cli.typing_lines import SIDE, names, run


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


@pytest.mark.parametrize("sampler", ["heun", "dpmpp-2m", "ancestral"])
def test_sample_draws_with_the_sampler_asked_for(world: dict[str, Path], tmp_path: Path, sampler: str) -> None:
    line = f"sample {{data}} --machine ls --window 3 --sampler {sampler} --count 2 --steps 3 --seed 5 --out {tmp_path}"
    assert run(line, **world).exit_code == 0
    data = els.load_images(world["data"])
    machine, noise = els.LocalScore(data, 3), els.make_noise(2, data.shape, 5)
    settings = json.loads((tmp_path / "run.json").read_text())
    # What run.json records is what makes the images again.
    schedule = els.schedules.Schedule(tuple(settings["sigmas"]))
    again = els.sample(machine, noise, schedule, sampler=settings["sampler"], seed=settings["seed"]).images
    assert settings["sampler"] == sampler
    with np.load(tmp_path / "images.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], again.clamp(-1, 1).numpy())


@pytest.mark.parametrize("away", ["", "--negative 2"])
def test_sample_guides_towards_a_class(world: dict[str, Path], tmp_path: Path, away: str) -> None:
    line = "sample {data} --machine ls --window 3 --label cycle --guidance 2.5 --count 3 --steps 3 --seed 5"
    result = run(f"{line} {away} --out {tmp_path}", **world)
    assert result.exit_code == 0, result.stderr
    data = els.load_images(world["data"])
    guided = els.guided(els.LocalScore(data, 3), 2.5, [0, 1, 2], [2, 2, 2] if away else None)
    expected = els.sample(guided, els.make_noise(3, data.shape, 5), els.schedules.cosine(3)).images
    settings = json.loads((tmp_path / "run.json").read_text())
    assert settings["denoiser"] == repr(guided)
    assert settings["labels"] == [0, 1, 2]
    with np.load(tmp_path / "images.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], expected.clamp(-1, 1).numpy())


def test_the_calibrated_machine_draws_and_its_file_draws_again(world: dict[str, Path], tmp_path: Path) -> None:
    coarse, fine = els.PatchSettings(7, keys="same place", pedestal=0.1), els.PatchSettings(3, taper=True, response=3)
    family = els.FamilyCalibration((5.0, 0.5), (coarse, fine), (0.0, 0.2), 0.1, {"kept": "everything"})
    family.save(tmp_path / "best.json")
    line = "sample {data} --machine best --label cycle --count 4 --steps 3 --seed 5"
    result = run(f"{line} --family {tmp_path}/best.json --out {tmp_path}/one", **world)
    assert result.exit_code == 0, result.stderr
    data = els.load_images(world["data"])
    noise = els.make_noise(4, data.shape, 5)
    expected = els.sample(family.machine(data), noise, els.schedules.cosine(3), torch.tensor([0, 1, 2, 0])).images
    (tmp_path / "best.json").unlink()
    result = run(f"{line} --family {tmp_path}/one/run.json --out {tmp_path}/two", **world)
    assert result.exit_code == 0, result.stderr
    for out in ("one", "two"):
        with np.load(tmp_path / out / "images.npz") as arrays:
            np.testing.assert_array_equal(arrays["images"], expected.clamp(-1, 1).numpy())
        assert els.FamilyCalibration.load(tmp_path / out / "run.json") == family


def test_a_machine_follows_the_padding_of_the_network_that_it_is_calibrated_to(
    world: dict[str, Path], tmp_path: Path
) -> None:
    line = f"sample {{data}} --network {{circular}} --window 3 --count 2 --steps 2 --seed 1 --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    data = els.load_images(world["data"])
    wraps = els.EquivariantLocalScore(data, 3, "wrap")
    expected = els.sample(wraps, els.make_noise(2, data.shape, 1), els.schedules.cosine(2)).images
    with np.load(tmp_path / "images.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], expected.clamp(-1, 1).numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--guidance 2", "--guidance 2 needs --label"),
        ("--label 1 --negative 2", "--negative 2 goes with --guidance"),
        ("--label 1 --guidance 2 --negative nine", "no class of"),
        ("--label 1 --guidance -2", "--guidance"),
        ("--sampler ddim", "--sampler"),
    ],
)
def test_guidance_that_makes_no_sense_is_refused(
    world: dict[str, Path], tmp_path: Path, options: str, message: str
) -> None:
    result = run(f"sample {{data}} --machine ls --window 3 --count 1 {options} --out {tmp_path}", **world)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--machine best", "best is calibrated to a network, and none was given: add --network"),
        ("--machine best --network {net}", "no calibrated family came with the network"),
        ("--machine best --family {windows}", "is not a calibrated family"),
        ("--machine best --window 3 --family {windows}", "the calibrated machine has no windows"),
        ("--machine is,ls", "--machine must be one name of is"),
        ("--machine network", "needs --network"),
    ],
)
def test_names_that_cannot_draw_are_refused_in_one_line(
    world: dict[str, Path], tmp_path: Path, options: str, message: str
) -> None:
    result = run(f"sample {{data}} {options} --count 1 --steps 1 --out {tmp_path}/out", **world)
    assert result.exit_code != 0
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
