"""Files of a run, and unfinished work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elsewhere as els
from elsewhere.textures import files
from elsewhere.textures.files import draw_kept, save_texture
from elsewhere.textures.plan import TexturePlan, plan_texture
from elsewhere.textures.process import texture_process
from elsewhere.textures.unfinished import NAME, fingerprint, load_unfinished, save_unfinished
from tests.textures.texture_toys import toy

SETTINGS = els.TextureSettings(window=5, scales=2, steps=4)


def plan(size: tuple[int, int] = (12, 15), tileable: bool = False) -> TexturePlan:
    settings = els.TextureSettings(window=5, scales=2, steps=4, tileable=tileable)
    return plan_texture(toy(), size, settings, 2**26)


@pytest.mark.parametrize("number", [0, 2, 5, 6])
def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    whole = draw_kept(tmp_path / "whole", plan(), 2, 4)
    original, asked = els.PatchScore.__call__, []

    def stop(self: els.PatchScore, x: torch.Tensor, sigma: float) -> torch.Tensor:
        asked.append(sigma)
        if len(asked) == number + 2:
            raise KeyboardInterrupt
        return original(self, x, sigma)

    with monkeypatch.context() as patched:
        patched.setattr(els.PatchScore, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            draw_kept(tmp_path, plan(), 2, 4)
    assert (tmp_path / NAME).is_file()
    done: list[int] = []
    again = draw_kept(tmp_path, plan(), 2, 4, begin=done.append)
    assert torch.equal(again.images, whole.images)
    assert (done[0] > 0) == (number > 0)
    draw_kept(tmp_path, plan(), 2, 4, restart=True, begin=done.append)
    assert done[1] == 0


def test_unfinished_work_is_saved_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SAVE_SECONDS", 0.0)
    draw_kept(tmp_path, plan(), 1, 0)
    state = load_unfinished(tmp_path / NAME, plan(), 1, fingerprint(plan(), 1, 0))
    assert state is not None
    # The last step but one.
    assert (state.scale, state.index) == (1, len(SETTINGS.times) - 2)


def test_unfinished_work_of_another_run_is_not_taken(tmp_path: Path) -> None:
    own = fingerprint(plan(), 1, 0)
    others = [fingerprint(plan((12, 16)), 1, 0), fingerprint(plan(), 2, 0), fingerprint(plan(), 1, 1)]
    others.append(fingerprint(plan(tileable=True), 1, 0))
    others.append(fingerprint(plan_texture(-toy(), (12, 15), SETTINGS, 2**26), 1, 0))
    assert len({own, *others}) == 6
    assert own == fingerprint(plan(), 1, 0)
    path = tmp_path / NAME
    state = next(texture_process(plan(), 1, 0)).state
    save_unfinished(path, state, own)
    found = load_unfinished(path, plan(), 1, own)
    assert found is not None
    assert torch.equal(found.x, state.x)  # type: ignore[arg-type]
    assert load_unfinished(path, plan(), 1, others[0]) is None
    assert load_unfinished(path, plan(), 2, own) is None


def test_damaged_files_are_not_taken(tmp_path: Path) -> None:
    path, key = tmp_path / NAME, fingerprint(plan(), 1, 0)
    assert load_unfinished(path, plan(), 1, key) is None
    save_unfinished(path, next(texture_process(plan(), 1, 0)).state, key)
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2], whole.replace(b"x.npy", b"y.npy")):
        path.write_bytes(content)
        assert load_unfinished(path, plan(), 1, key) is None
    np.savez(path, key=np.array(key), place=np.array([0, 99]), x=np.zeros((1, 1, 6, 8), np.float32))
    assert load_unfinished(path, plan(), 1, key) is None


@pytest.mark.parametrize(("count", "tileable"), [(1, False), (2, True)])
def test_files_of_a_run(tmp_path: Path, count: int, tileable: bool) -> None:
    chosen = plan(tileable=tileable)
    (tmp_path / NAME).write_bytes(b"left over")
    found = draw_kept(tmp_path, chosen, count, 3)
    paths = save_texture(tmp_path, found, toy(), chosen, {"command": "typed"})
    names = ["texture.png"] if count == 1 else ["texture-1.png", "texture-2.png"]
    assert [path.name for path in paths] == [*names, "beside.png", "texture.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    with Image.open(paths[0]) as picture:
        expected = els.data.to_uint8(found.images[0, 0])
        np.testing.assert_array_equal(np.asarray(picture), expected.numpy())
    with Image.open(tmp_path / "beside.png") as picture:
        shown = (24, 30) if tileable else (12, 15)
        # The image of 13 x 14 and gaps of 8, enlarged to a height of about 384, and a frame of 2 pixels.
        height, width = max(13, shown[0]), 14 + count * (8 + shown[1])
        scale = round(384 / height)
        assert picture.size == (scale * width + 4, scale * height + 4)
    settings = json.loads((tmp_path / "texture.json").read_text())
    assert settings["command"] == "typed"
    assert settings["settings"]["window"] == 5
    assert settings["scales"][0] == {"canvas": "6 x 8", "training": "6 x 7", "windows": "6"}
