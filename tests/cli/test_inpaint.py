"""`elsewhere inpaint` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import elsewhere as els
from tests.cli.typing_lines import SIDE, assert_refused, names, run

SHORT = "--steps 2 --rounds 2 --count 2 --seed 5"


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 22), dtype=np.uint8)).save(path)
    return path


def read(path: Path) -> torch.Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(np.asarray(picture).copy())


@pytest.mark.parametrize("machine", ["els", "ls", "is", "network"])
def test_with_training_images_a_machine_draws(world: dict[str, Path], tmp_path: Path, machine: str) -> None:
    options = {"network": "--network {net}", "is": ""}.get(machine, "--window 3")
    line = f"inpaint {{data}}:4 --box 2,2,3x4 --machine {machine} {options} {SHORT} --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert names(tmp_path) == ["inpaint.json", "inpaint.png", "variant-1.png", "variant-2.png"]
    assert "1 of the training images equal IMAGE" in result.stderr
    data = els.load_images(world["data"])
    keep = torch.arange(12) != 4
    rest = els.ImageSet(data.images[keep])
    denoiser = {
        "els": lambda: els.EquivariantLocalScore(rest, 3),
        "ls": lambda: els.LocalScore(rest, 3),
        "is": lambda: els.IdealScore(rest),
        "network": lambda: els.load_network(world["net"]),
    }[machine]()
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[2:5, 2:6] = True
    image = data.scaled()[[4, 4]]
    for number, one in enumerate(
        els.inpaint(denoiser, image, mask, els.schedules.cosine(2), seed=5, rounds=2).images, 1
    ):
        assert torch.equal(read(tmp_path / f"variant-{number}.png"), els.data.to_uint8(one)[0])
    found = json.loads((tmp_path / "inpaint.json").read_text())
    shown = {"network": "network"}.get(machine, machine.upper())
    assert list(found["errors"]) == ([shown] if machine == "is" else [shown, "IS"])
    assert result.stdout.count("\n") == 4 + 1 + len(found["errors"])
    assert list(found["errors"]) == [line.split()[0] for line in result.stdout.splitlines()[1 : -4 or None]]


@pytest.mark.parametrize("options", ["--box 6,7,5x6", "--box 2,2,17x18 --keep", "--extend 3", "--mask {mask}"])
def test_without_training_images_the_image_is_completed_from_its_own_patches(
    photo: Path, tmp_path: Path, options: str
) -> None:
    mask = np.zeros((20, 22), np.uint8)
    mask[3:9, 4:12] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    result = run(f"inpaint {photo} {options} --window 5 {SHORT} --out {out}", mask=tmp_path / "mask.png")
    assert result.exit_code == 0, result.stderr
    assert "pairs of patches at" in result.stderr
    original, found = read(photo), read(out / "variant-1.png")
    assert not torch.equal(found, read(out / "variant-2.png"))
    if "--extend" in options:
        assert found.shape == (26, 28)
        assert torch.equal(found[3:-3, 3:-3], original)
        assert json.loads((out / "inpaint.json").read_text())["errors"] == {"own patches": None}
        return
    missing = torch.from_numpy(mask > 0)
    if "--box" in options:
        missing = torch.zeros(20, 22, dtype=torch.bool)
        missing[6:11, 7:13] = True
    if "--keep" in options:
        missing = torch.ones(20, 22, dtype=torch.bool)
        missing[2:19, 2:20] = False
    assert torch.equal(found[~missing], original[~missing])
    assert float((found != original)[missing].double().mean()) > 0.5


def test_there_is_no_comparison_where_sizes_differ(world: dict[str, Path], photo: Path, tmp_path: Path) -> None:
    line = f"inpaint {photo} --data {{plain}} --box 6,7,5x6 --window 3 {SHORT} --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert "no comparison to IS" in result.stderr
    assert list(json.loads((tmp_path / "inpaint.json").read_text())["errors"]) == ["ELS"]
    result = run(f"inpaint {{plain}}:1 --box 1,1,2x2 --window 3 --no-is {SHORT} --out {tmp_path}", **world)
    assert list(json.loads((tmp_path / "inpaint.json").read_text())["errors"]) == ["ELS"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{one}", "give one of --mask, --box and --extend, got none"),
        ("{one} --mask {missing}", "no such file"),
        ("{one} --mask {text}", "is no image by its name"),
        ("{missing} --box 0,0,2x2", "no image at"),
        ("{text} --box 0,0,2x2", "is no image by its name"),
        ("{data}:99 --box 0,0,2x2", "has 12 images, numbered from 0"),
        ("{one} --box 0,0,2x2 --machine ls", "--machine must come with --data"),
        ("{one} --box 0,0,2x2 --label 1 --size 8", "--label and --size must come with --data"),
        ("{one} --box 0,0,8x8", "--box leaves nothing of the image"),
        ("{one} --box 0,0,2x2 --window 7", "fewer than 16 windows of 7x7 pixels have nothing missing"),
        ("{colour}:0 --data {plain} --box 0,0,2x2", "is in colour"),
        ("{one} --box 0,0,2x2 --restart", "--restart must come with --data"),
        ("{data}:0 --box 0,0,2x2 --machine ls --window 3 --extend 1", "got --box and --extend"),
        ("{data}:0 --extend 1 --machine ls --window 3", "draws 8x8 pixels only"),
    ],
)
def test_bad_lines_are_refused(world: dict[str, Path], tmp_path: Path, line: str, said: str) -> None:
    result = run(f"inpaint {line} --steps 2 --count 1 --out {tmp_path / 'out'}", **world)
    assert result.exit_code == 2
    assert said in result.stderr, result.stderr
    assert names(tmp_path) == []
    if "note:" not in result.stderr:
        assert_refused(result, tmp_path)


def test_the_time_is_said_and_a_stopped_run_goes_on(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"inpaint {{data}}:4 --box 2,2,3x4 --window 3 {SHORT.replace('--steps 2', '--steps 4')} --out"
    whole = run(f"{line} {tmp_path / 'whole'}", **world)
    # Three steps twice and the last once.
    assert "note: 7 calls each of ELS and IS: about " in whole.stderr

    def stop(items: Iterator[Any], *args: Any, **kwargs: Any) -> Iterator[Any]:
        yield next(items)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("elsewhere.kept_edits.track", stop)
        stopped = run(f"{line} {tmp_path / 'parts'}", **world)
    assert stopped.exit_code == 130
    assert "unfinished work is kept: the same command goes on there" in stopped.stderr
    assert names(tmp_path / "parts") == ["unfinished.npz"]
    again = run(f"{line} {tmp_path / 'parts'}", **world)
    assert "note: 14% were drawn before (--restart begins again)" in again.stderr
    assert names(tmp_path / "parts") == names(tmp_path / "whole")
    for name in ("inpaint.png", "variant-1.png", "variant-2.png"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_mask_goes_with_the_photograph_that_is_shrunk(photo: Path, tmp_path: Path) -> None:
    mask = np.zeros((20, 22), np.uint8)
    mask[6:12, 8:16] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    line = f"inpaint {photo} --mask {tmp_path}/mask.png --longest 18 --window 3 {SHORT}"
    assert run(f"{line} --out {tmp_path}/out").exit_code == 0
    assert json.loads((tmp_path / "out/inpaint.json").read_text())["size"] == [16, 18]
    Image.fromarray(mask[:9]).save(tmp_path / "mask.png")
    result = run(f"{line} --out {tmp_path}/other")
    assert "is 9x22 pixels (height x width), the image is 16x18 after resizing, 20x22 before" in result.stderr
