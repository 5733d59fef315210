"""Commands with --autoencoder, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import elsewhere as els
from tests.cli.typing_lines import names, run
from tests.latents.latent_toys import pictures, tiny


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("latents")
    pictures().save(home / "data.npz")
    tiny().module.save_pretrained(home / "vae")  # type: ignore[operator]
    tiny(seed=1).module.save_pretrained(home / "other")  # type: ignore[operator]
    return {"data": home / "data.npz", "vae": home / "vae", "other": home / "other"}


def test_sample_writes_the_pictures_that_the_library_draws(files: dict[str, Path], tmp_path: Path) -> None:
    line = "sample {data} --autoencoder {vae} --window 3 --borders wrap --label cycle --count 2 --steps 3"
    result = run(f"{line} --out {tmp_path}", **files)
    assert result.exit_code == 0, result.stderr
    latents = els.encode(els.load_images(files["data"]), els.load_autoencoder(files["vae"]))
    machine = els.Decoded(els.EquivariantLocalScore(latents, 3, "wrap"))
    noise = els.make_noise(2, latents.shape)
    expected = els.sample(machine, noise, els.schedules.cosine(3), torch.tensor([0, 1])).images
    with np.load(tmp_path / "images.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], expected.clamp(-1, 1).numpy())
    settings = json.loads((tmp_path / "run.json").read_text())
    assert settings["data"]["autoencoder"] == "vae"
    assert settings["size"] == [16, 16]


def test_training_calibrating_comparing_and_explaining_work_on_latents(files: dict[str, Path], tmp_path: Path) -> None:
    net, windows = tmp_path / "net", tmp_path / "windows"
    few = "--count 2 --steps 2 --autoencoder {vae}"
    for line in (
        f"train {{data}} --autoencoder {{vae}} --steps 2 --batch 4 --width 4 --blocks 1 --out {net}",
        f"calibrate {{data}} {net} {few} --windows 1,3 --out {windows}",
        f"compare {{data}} {net} {few} --locality {windows / 'locality.json'} --machines is,els --out {tmp_path / 'c'}",
        f"explain {{data}} --network {net} {few} --window 3 --pixel 15,0 --out {tmp_path / 'e'}",
        f"sample {{data}} {few} --machine is --size 32x16 --out {tmp_path / 's'}",
    ):
        result = run(line, **files)
        if "--size" in line:
            # The ideal machine draws the size of its images alone.
            assert result.exit_code == 2
            continue
        assert result.exit_code == 0, result.stderr
    assert "grid.png" in names(tmp_path / "c")
    assert "mosaic.png" in names(tmp_path / "e")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--autoencoder {other} --machine network --network {net}", "was trained on latents of vae with other weights"),
        ("--machine network --network {net}", "the network draws 4 channels, data.npz has 3: give --autoencoder"),
        ("--autoencoder {vae} --window 3 --size 18x16", "images are 18x16 pixels, vae divides sides by 4"),
        ("--autoencoder {vae} --gray", "images have 1 channel, vae takes 3"),
        ("--autoencoder nowhere", "no autoencoder at 'nowhere'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    options: str, message: str, files: dict[str, Path], tmp_path: Path
) -> None:
    net = tmp_path / "net"
    if "{net}" in options:
        assert (
            run(
                f"train {{data}} --autoencoder {{vae}} --steps 1 --batch 4 --width 4 --blocks 1 --out {net}", **files
            ).exit_code
            == 0
        )
    result = run(f"sample {{data}} {options} --out {tmp_path / 'out'}", net=net, **files)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error")]) == 1
    assert not (tmp_path / "out").exists()
