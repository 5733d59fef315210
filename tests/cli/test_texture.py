"""`elsewhere texture` as a user types it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import elsewhere as els
from elsewhere.textures.plan import plan_texture
from elsewhere.textures.unfinished import fingerprint, load_unfinished
from tests.cli.typing_lines import assert_refused, names, run, start

SHORT = "--window 5 --steps 3 --finish 0"


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (14, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("options", ["", "--tileable", "--longest 12 --gray", "--scales 1 --fold 0.2"])
def test_texture_writes_what_the_library_draws(photo: Path, tmp_path: Path, options: str) -> None:
    out = tmp_path / "out"
    result = run(f"texture {photo} --size 12x15 {SHORT} {options} --seed 3 --out {out}")
    assert result.exit_code == 0, result.stderr
    assert names(out) == ["beside.png", "texture.json", "texture.png"]
    assert result.stdout.splitlines()[-3:] == [str(out / f"{n}") for n in ("texture.png", "beside.png", "texture.json")]
    # Before the work, and on standard error.
    assert result.stderr.startswith("note: ")
    assert "pairs of patches at" in result.stderr
    assert "MiB of memory" in result.stderr
    gray = "--gray" in options
    data = els.data.load_picture(photo, longest=12 if gray else None, gray=gray or None)
    settings = els.TextureSettings(
        window=5, steps=3, finish=0, tileable="--tileable" in options,
        scales=1 if "--scales" in options else None, fold=0.2 if "--fold" in options else 0.12,
    )  # fmt: skip
    expected = els.data.to_uint8(els.texture(data, (12, 15), settings, seed=3).images[0])
    with Image.open(out / "texture.png") as picture:
        found = np.asarray(picture)
    np.testing.assert_array_equal(found, expected[0] if gray else expected.permute(1, 2, 0))
    assert json.loads((out / "texture.json").read_text())["image"]["fingerprint"] == data.fingerprint()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{missing}", "no image at"),
        ("{text}", "is no image by its name"),
        ("{photos}", "is a folder"),
        ("{one} --window 9", "--window must be at most 8 pixels"),
        ("{one} --window 5 --scales 3", "--scales must be at most 1"),
        ("{one} --window 4", "must be odd"),
        ("{one} --window 5 --size 4x9", "--window must be at most 4 pixels"),
        ("{one} --size 0x9", "--size must be"),
        ("{one} --window 5 --size 20000x20000 --count 10000", "of 20000x20000 pixels needs"),
    ],
)
def test_bad_lines_are_refused(world: dict[str, Path], tmp_path: Path, line: str, said: str) -> None:
    result = run(f"texture {line} --out {tmp_path / 'out'}", **world)
    assert_refused(result, tmp_path)
    assert said in result.stderr


def test_results_do_not_replace_the_image(photo: Path) -> None:
    before = photo.read_bytes()
    result = run(f"texture {photo} {SHORT} --out {photo.parent}")
    assert result.exit_code == 2
    assert "is the folder of" in result.stderr
    assert photo.read_bytes() == before


def test_ctrl_c_keeps_unfinished_work_and_the_same_command_goes_on(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = f"texture {photo} --size 40x40 --window 5 --steps 1000 --finish 0 --scales 1 --out {out}"
    child, _ = start(line)
    assert child.stderr is not None
    # The estimate is said just before the work begins.
    said = child.stderr.readline()
    assert "pairs of patches" in said
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert errors == "interrupted: unfinished work is kept: the same command goes on there\n"
    assert names(out) == ["unfinished.npz"]
    # A little of the rest, in this process.
    state = np.load(out / "unfinished.npz")
    assert state["place"][1] > 0
    data, settings = els.data.load_picture(photo), els.TextureSettings(window=5, steps=1000, finish=0, scales=1)
    plan = plan_texture(data.scaled(), (40, 40), settings, 10**9)
    assert load_unfinished(out / "unfinished.npz", plan, 1, fingerprint(plan, 1, 0)) is not None


def test_transparent_pixels_are_told(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (14, 16, 4), dtype=np.uint8)
    clear, opaque = tmp_path / "clear.png", tmp_path / "opaque.png"
    Image.fromarray(pixels).save(clear)
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(opaque)
    for path, told in ((clear, 1), (opaque, 0)):
        result = run(f"texture {path} --size 12x15 {SHORT} --out {tmp_path / 'out'}")
        assert result.exit_code == 0, result.stderr
        assert result.stderr.count(f"note: {path}: transparent pixels are laid on white") == told
