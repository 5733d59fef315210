"""`elsewhere data` as a user types it, and what every command says of the images that it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import elsewhere as els
from elsewhere.cli import app
from tests.cli.typing_lines import COMMANDS, SIDE, names, run


def typed(*parts: object) -> Any:
    return CliRunner().invoke(app, [str(part) for part in parts])


READERS = {
    "attention",
    "sample",
    "train",
    "calibrate",
    "compare",
    "explain",
    "index",
    "audit",
    "data",
    "studio",
    "inpaint",
    "transition",
}


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
    clothes, faces, emoji, hands = result.stdout.splitlines()[1:]
    assert clothes.split()[:2] == ["fashion-mini", "4000"]
    assert "MIT" in clothes
    assert faces.split()[:2] == ["pixel-faces", "2000"]
    assert "CC0" in faces
    assert emoji.split()[:2] == ["emoji", "3641"]
    assert "OFL" in emoji
    assert hands.split()[:2] == ["hands", "500"]
    assert "MIT" in hands


def test_data_shows_the_first_captions() -> None:
    result = run("data emoji --limit 12")
    assert result.exit_code == 0
    facts = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in result.stdout.splitlines()}
    assert facts["captions"] == '"black medium-small square", "stadium", "egg", "canoe", "yawning face", ...'
    assert "captions" not in run("data fashion-mini --limit 2").stdout


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


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, a text file and a dangling link."""
    rng = np.random.default_rng(0)
    for number in range(4):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("?")
    (tmp_path / "photos" / "a" / "dead.png").symlink_to("nowhere")
    return tmp_path / "photos"


NOTE = "left out .txt files (1), dangling links (1)\n"


def test_what_is_left_out_is_said_on_stderr_in_one_line(photos: Path, tmp_path: Path) -> None:
    whole = typed("data", photos, "--save", tmp_path / "photos.npz")
    assert whole.exit_code == 0
    assert whole.stderr == f"note: {photos}: {NOTE}"
    assert "left out" in whole.stdout
    assert ".txt files (1), dangling links (1)" in whole.stdout
    drawn = typed("sample", photos, "--machine", "is", "--count", 1, "--steps", 2, "--out", tmp_path / "out")
    assert drawn.exit_code == 0
    assert drawn.stderr == f"note: {photos}: {NOTE}"
    assert typed("data", tmp_path / "photos.npz").stderr == ""


def test_a_limit_is_said_among_the_facts_and_missing_classes_on_stderr(photos: Path) -> None:
    result = typed("data", photos, "--limit", 3)
    assert "images beyond limit (1)" in result.stdout
    assert "beyond limit" not in result.stderr
    assert "classes beyond limit (1)" in typed("data", photos, "--limit", 1).stderr


def test_many_kinds_are_summed_up(photos: Path) -> None:
    for number in range(10):
        (photos / f"a.x{number}").write_text("?")
    assert typed("data", photos).stderr.endswith("6 more kinds (6)\n")


def test_every_command_that_reads_images_can_ignore_labels() -> None:
    options = {name: {o for p in command.params for o in p.opts} for name, command in COMMANDS.items()}
    # What has a limit reads images; published runs have no classes, so that `reproduce` leaves labels out anyway.
    assert {name for name, known in options.items() if "--limit" in known} == {*READERS, "reproduce"}
    assert {name for name, known in options.items() if "--ignore-labels" in known} == READERS


def test_labels_that_are_no_classes_can_be_ignored(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.eye(4))
    refused = typed("data", tmp_path / "a.npz")
    assert refused.exit_code == 2
    assert "--ignore-labels" in refused.stderr
    done = typed("data", tmp_path / "a.npz", "--ignore-labels")
    assert done.exit_code == 0
    assert "classes" not in done.stdout


def test_black_and_white_can_be_said_and_are_kept_in_what_is_saved(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2, (4, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=values)
    refused = typed("data", tmp_path / "a.npz")
    assert refused.exit_code == 2
    assert "--value-range 0,1" in refused.stderr
    for text, white in (("0,1", 255), ("0,255", 1)):
        assert typed("data", tmp_path / "a.npz", "--value-range", text, "--save", tmp_path / "b.npz").exit_code == 0
        saved = typed("data", tmp_path / "b.npz")
        assert saved.exit_code == 0
        assert f"0 to {white} of 0 to 255" in saved.stdout
    wrong = typed("data", tmp_path / "a.npz", "--value-range", "1")
    assert wrong.exit_code == 2
    assert "--value-range must be" in wrong.stderr
    assert "--value-range" in typed("data", "--value-range", "0,1").stderr


@pytest.mark.parametrize("size", [100_000, 20_000])
def test_sizes_beyond_reason_or_memory_are_refused_at_once(size: int) -> None:
    result = typed("data", "fashion-mini", "--size", size)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "--size" in result.stderr


def test_drawn_images_come_back_as_they_were_drawn(tmp_path: Path) -> None:
    bright = np.random.default_rng(0).integers(200, 256, (4, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=bright)
    done = typed("sample", tmp_path / "a.npz", "--machine", "is", "--count", 2, "--steps", 4, "--out", tmp_path / "out")
    assert done.exit_code == 0
    drawn = els.load_images(tmp_path / "out" / "images.npz")
    # No value is negative, and yet these are images in [-1, 1].
    assert int(drawn.images.min()) >= 190
