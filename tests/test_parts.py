"""Only the first images read, and files of the package's own that come back: said and taken everywhere."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import elsewhere as els
from elsewhere import results
from elsewhere.cli import app
from elsewhere.data import ImageSet
from elsewhere.sampling import Run


def run(line: str):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(app, shlex.split(line))


def some(count: int = 20, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8), name="some")


def keep(folder: Path, images: torch.Tensor) -> Path:
    """images.npz as `elsewhere sample` writes it."""
    schedule = els.schedules.cosine(1)
    results.save_run(folder, Run(images, schedule.sigmas), lambda x, sigma: x, some(), schedule, None, {})
    return folder / "images.npz"


def test_a_set_knows_of_how_many_it_has_the_first(tmp_path: Path) -> None:
    some().save(tmp_path / "all.npz")
    part = els.load_images(tmp_path / "all.npz", limit=5)
    assert (len(part), part.total, part.amount) == (5, 20, "only the first 5 of 20 images")
    assert els.load_images(tmp_path / "all.npz").amount == "20 images"
    assert els.load_images("fashion-mini", limit=3).total == 4000
    assert els.load_images("hands:7", limit=3).total == 7
    assert (some().take(4).total, some().take(None).is_part) == (20, False)


def test_an_audit_of_the_first_images_says_so_everywhere(tmp_path: Path) -> None:
    some().save(tmp_path / "all.npz")
    some(3, seed=1).save(tmp_path / "made.npz")
    line = f"audit {tmp_path / 'all.npz'} {tmp_path / 'made.npz'} --limit 6 --pixels 0 --out {tmp_path / 'out'}"
    result = run(line)
    assert result.exit_code == 0, result.stderr
    words = "Of the training images only the first 6 of 20 images were read."
    assert words in result.stdout
    assert words in (tmp_path / "out" / "report.html").read_text()
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert words in content["headline"]
    assert content["settings"]["training"]["of"] == 20
    made = els.load_images(tmp_path / "made.npz", limit=2)
    assert (
        "Of the generated images only the first 2 of 3 images were read." in els.audit(some(), made, pixels=0).headline
    )


def test_other_commands_say_on_standard_error_that_images_were_left_out(tmp_path: Path) -> None:
    some().save(tmp_path / "all.npz")
    result = run(f"sample {tmp_path / 'all.npz'} --limit 4 --window 3 --count 1 --steps 1 --out {tmp_path / 'out'}")
    assert "note: all.npz: only the first 4 of 20 images were read (--limit)" in result.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["data"]["of"] == 20


def test_what_a_network_drew_beyond_the_range_can_be_audited(tmp_path: Path) -> None:
    path = keep(tmp_path, 1.04 * (2 * torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) - 1))
    clipped = json.loads((tmp_path / "run.json").read_text())["clipped"]
    assert 0 < clipped["share"] < 0.2
    assert clipped["highest"] > 1
    assert "clipped in images.npz" in results.describe_clipping(torch.full((1, 1, 2, 2), 1.04))
    assert results.describe_clipping(torch.ones(1, 1, 2, 2)) == ""
    assert len(els.audit(some(), els.load_images(path), pixels=0).verdicts) == 3


def test_an_overshoot_in_files_of_others_is_to_be_clipped_not_rescaled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.linspace(-1.03, 1.03, 64, dtype=np.float32).reshape(1, 8, 8))
    with pytest.raises(ValueError, match="clip them to that range"):
        els.load_images(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.linspace(0, 255, 64, dtype=np.float32).reshape(1, 8, 8))
    with pytest.raises(ValueError, match="as uint8"):
        els.load_images(tmp_path / "x.npy")


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 1), (1, 5, 3), (1, 3, 5), (1, 4, 1), (3, 2, 3)])
def test_pictures_of_any_shape_come_back_and_can_be_audited(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    data = some(12, shape)
    path = keep(tmp_path, data.scaled()[:3])
    back = els.load_images(path)
    assert torch.equal(back.images, data.images[:3])
    found = els.audit(data, back, pixels=1)
    assert set(found.verdicts) == {"copy"}
    found.save(tmp_path / "audit")
    data.save(tmp_path / "all.npz")
    assert torch.equal(els.load_images(tmp_path / "all.npz").images, data.images)


def test_an_audit_of_doubled_images_has_undefined_ratios_not_invented_ones() -> None:
    twice = ImageSet(some(4).images.repeat(2, 1, 1, 1), name="twice")
    found = els.audit(twice, ImageSet(twice.images[:1]), pixels=0)
    assert found.measures.yoon.isnan().all()
    row = found.rows()[0]
    assert row["yoon"] is None
    assert found.summary()["undefined"]["generated"] == 1
    json.loads(found.to_json(), parse_constant=pytest.fail)
