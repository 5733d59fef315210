"""`elsewhere anomalies` as a user types it."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import elsewhere as els
from elsewhere.anomalies import SUBJECTS, Subject
from elsewhere.cli import app
from elsewhere.networks import NetworkSpec, save_network
from tests.anomalies.lab_toys import count_bright, image_of

pytest.importorskip("skimage")
SIDE = 8


def run(line: str) -> Any:
    return CliRunner().invoke(app, shlex.split(line))


@pytest.fixture
def network(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network of a few images, which stand for the hands."""
    home = tmp_path_factory.mktemp("toys")
    images = torch.stack([image_of(i % 4, SIDE) for i in range(12)])
    np.savez(home / "toys.npz", images=((images[:, 0] + 1) * 127.5).numpy().astype(np.uint8))
    data = els.load_images(home / "toys.npz")
    spec = NetworkSpec("resnet", 1, (SIDE, SIDE), 0, {"width": 4, "blocks": 1}, data.name, data.fingerprint())
    torch.manual_seed(0)
    save_network(home / "net.safetensors", spec.build(), spec)
    toys = Subject("horns", str(home / "toys.npz"), None, str(home / "net.safetensors"), 2, count_bright)
    monkeypatch.setitem(SUBJECTS, "hands", toys)
    return home / "net.safetensors"


QUICK = "anomalies hands --windows 3,5 --large 9 --shrink 1 --count 3 --steps 4"


def test_rates_agreement_and_pictures(network: Path, tmp_path: Path) -> None:
    result = run(f"{QUICK} --out {tmp_path}")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("warning: 3 of the network's 3 images are far outside -1..1")
    assert {"drawn", "grid.png", "rates.png", "report.html", "results.json"} == {
        path.name for path in tmp_path.iterdir()
    }
    for words in ("wrong number of horns", "only network", "training images", "claim", str(tmp_path / "rates.png")):
        assert words in result.stdout
    content = json.loads((tmp_path / "results.json").read_text())
    names = {row["name"] for row in content["table"]}
    assert {"IS", "network", "LS fitted", "LS 3", "ELS 9", "ELS 9 to 5 at 1"} <= names
    assert content["settings"]["seed"] == 0
    # The pictures are those that the library draws.
    data = els.load_images(SUBJECTS["hands"].data)
    noise = els.make_noise(3, data.shape, 0)
    drawn = els.sample(els.LocalScore(data, 3), noise, els.schedules.cosine(4)).images
    with np.load(tmp_path / "drawn/LS-3.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], ((drawn + 1) * 127.5).round().clamp(0, 255).numpy())


def test_the_same_command_goes_on_with_more_pictures(network: Path, tmp_path: Path) -> None:
    some = f"{QUICK} --machines is,els --els-count 1 --out {tmp_path}"
    assert run(some).exit_code == 0
    before = json.loads((tmp_path / "results.json").read_text())["table"]
    assert run(some.replace("--count 3", "--count 5").replace("--els-count 1", "--els-count 2")).exit_code == 0
    after = json.loads((tmp_path / "results.json").read_text())["table"]
    for old, new in zip(before, after, strict=True):
        assert len(new["counts"]) == (2 if new["machine"] == "ELS" else 5)
        assert new["counts"][: len(old["counts"])] == old["counts"]


def test_a_network_trained_further_is_another_one(network: Path, tmp_path: Path) -> None:
    line = f"{QUICK} --machines network --out {tmp_path}"
    assert run(line).exit_code == 0
    assert run(line).exit_code == 0
    net = els.load_network(network)
    save_network(network, net.module, replace(net.spec, training={"step": 7}))  # type: ignore[attr-defined]
    result = run(line)
    assert result.exit_code == 2
    assert "network.npz was drawn with other settings" in result.stderr


BAD = {
    "no subject": "anomalies",
    "unknown subject": "anomalies feet",
    "unknown machine": "anomalies hands --machines is,xs",
    "a machine twice": "anomalies hands --machines is,is",
    "even windows": "anomalies hands --windows 4",
    "windows that are none": "anomalies hands --windows wide",
    "no windows": "anomalies hands --windows 9-3",
    "even large window": "anomalies hands --large 8",
    "late windows above the large one": "anomalies hands --windows 11 --large 9",
    "levels that are none": "anomalies hands --shrink low",
    "a level of zero": "anomalies hands --shrink 0",
    "a level that no run visits": "anomalies hands --shrink 1000",
    "no pictures": "anomalies hands --count 0",
    "no pictures of els": "anomalies hands --els-count 0",
    "missing network": "anomalies hands --network nowhere",
    "network of other images": "anomalies hands --network fashion-resnet",
    "missing windows": "anomalies hands --machines ls --locality nowhere.json",
    "zero steps": "anomalies hands --steps 0",
    "too little memory": "anomalies hands --memory 1MB",
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_writes_nothing(network: Path, tmp_path: Path, line: str) -> None:
    result = run(f"{line} --out {tmp_path / 'out'}")
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_pictures_drawn_otherwise_stop_the_command(network: Path, tmp_path: Path) -> None:
    line = f"{QUICK} --machines is --out {tmp_path}"
    assert run(line).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run(line.replace("--steps 4", "--steps 5"))
    assert result.exit_code == 2
    assert "drawn with other settings" in result.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("module", ["skimage.morphology", "scipy.stats"])
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = run(f"anomalies hands --machines is --count 1 --steps 1 --out {tmp_path / 'out'}")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert module in result.stderr
    assert "elsewhere[anomalies]" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_hands_are_shown_and_saved_like_any_images(tmp_path: Path) -> None:
    result = run(f"data hands:30 --out {tmp_path / 'sheet.png'} --save {tmp_path / 'hands.npz'}")
    assert result.exit_code == 0, result.stderr
    assert torch.equal(els.load_images(tmp_path / "hands.npz").images, els.load_images("hands", 30).images)
    assert run("data hands:none").exit_code == 2
