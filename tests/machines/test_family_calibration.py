"""Settings and Wiener shares per noise level: the machine they make, and their file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import elsewhere as els

ONE = els.PatchSettings(5, taper=True, pedestal=0.1, keys="same place", response=3)
OTHER = els.PatchSettings(3)
FOUND = els.FamilyCalibration((10.0, 0.1), (ONE, OTHER), (0.25, 0.0), 0.01, {"seeds": 2})


def images() -> els.ImageSet:
    pixels = torch.randint(0, 256, (12, 1, 6, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return els.ImageSet(pixels, torch.arange(12) % 2, "toys")


@pytest.mark.parametrize(("sigma", "settings", "share"), [(5.0, ONE, 0.25), (0.2, OTHER, 0.0)])
def test_the_machine_mixes_what_the_nearest_level_says(sigma: float, settings: els.PatchSettings, share: float) -> None:
    data, x = images(), sigma * els.make_noise(2, (1, 6, 6), seed=3)
    patch, wiener = els.PatchScore(data, settings)(x, sigma, 1), els.Wiener(data, shrinkage=0.01)(x, sigma, 1)
    expected = (1 - share) * patch + share * wiener
    torch.testing.assert_close(FOUND.machine(data, engine="exact", tolerance=0.01)(x, sigma, 1), expected)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    FOUND.save(tmp_path / "best.json")
    again = els.FamilyCalibration.load(tmp_path / "best.json")
    assert again == FOUND
    assert again.details == {"seeds": 2}


@pytest.mark.parametrize(
    "level", [{"sigma": 1.0, "window": 4, "wiener": 0.0}, {"sigma": 1.0, "window": 3}, {"wiener": 2}]
)
def test_files_of_other_content_are_refused(tmp_path: Path, level: dict[str, object]) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"format": "elsewhere.family/1", "levels": [level], "shrinkage": 0.0}))
    with pytest.raises(ValueError, match="is not a calibrated family"):
        els.FamilyCalibration.load(path)
    with pytest.raises(FileNotFoundError, match="`elsewhere calibrate --machine best`"):
        els.FamilyCalibration.load(tmp_path / "none.json")


def test_shares_and_settings_go_with_the_levels() -> None:
    with pytest.raises(ValueError, match=r"got 1\.5"):
        els.FamilyCalibration((1.0,), (ONE,), (1.5,))
    with pytest.raises(ValueError, match="1 sigmas and 2 shares"):
        els.FamilyCalibration((1.0,), (ONE,), (0.1, 0.2))
    with pytest.raises(ValueError, match="2 sigmas and 1 settings"):
        els.FamilyCalibration((2.0, 1.0), (ONE,), (0.1, 0.2))
