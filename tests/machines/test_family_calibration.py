"""Settings and Wiener shares per noise level: the machine they make, and their file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

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


GOOD = {"sigma": 1.0, "window": 3, "wiener": 0.1}
HOSTILE: list[tuple[object, str]] = [
    (5, "expected a JSON object, got a number"),
    ({"levels": 5}, 'its "levels" must be a list, got a number'),
    ({"levels": None}, 'its "levels" must be a list, got null'),
    ({"levels": {"0": GOOD}}, 'its "levels" must be a list, got an object'),
    ({"levels": [7]}, '"levels" must hold objects, got a number as number 0'),
    ({"levels": [GOOD, "x"]}, '"levels" must hold objects, got text as number 1'),
    ({"levels": [{"sigma": 1.0, "wiener": 0.1}]}, 'number 0 of its "levels" has no "window"'),
    ({"levels": [{"sigma": 1.0, "window": 3}]}, 'number 0 of its "levels" has no "wiener"'),
    ({"levels": [{**GOOD, "widnow": 3}]}, 'has "widnow", expected sigma, window, wiener, taper'),
    ({"levels": []}, "must have one length, 1 or more"),
    ({"levels": [{**GOOD, "sigma": [1]}]}, "sigmas"),
    ({"levels": [{**GOOD, "sigma": 10**400}]}, "sigmas"),
    ({"levels": [{**GOOD, "sigma": float("nan")}]}, "sigma"),
    ({"levels": [{**GOOD, "wiener": None}]}, "wiener"),
    ({"levels": [{**GOOD, "window": "3"}]}, "window must be"),
    ({"levels": [{**GOOD, "window": 10**30}]}, "window must fit 64 bits"),
    ({"levels": [{**GOOD, "pedestal": {}}]}, "pedestal must be"),
    ({"levels": [{**GOOD, "keys": 3}]}, "keys must be"),
    ({"levels": [{**GOOD, "taper": "yes"}]}, "taper must be"),
    ({"levels": [GOOD], "shrinkage": "x"}, "shrinkage must be"),
    ({"levels": [GOOD], "details": [1]}, 'its "details" must be an object, got a list'),
    ({"levels": [GOOD, GOOD]}, "must decrease strictly"),
]
PYTHON = re.compile(r"object is not|not iterable|argument|__|NoneType|subscript|cannot convert|unpack|attribute")


@pytest.mark.parametrize(("content", "message"), HOSTILE)
def test_broken_files_are_refused_in_words(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "bad.json"
    if isinstance(content, dict):
        content = {"format": "elsewhere.family/1", "shrinkage": 0.0, **content}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is not a calibrated family") as refused:
        els.FamilyCalibration.load(path)
    assert message in str(refused.value)
    assert not PYTHON.search(str(refused.value)), refused.value


@pytest.mark.parametrize(
    ("kind", "form", "content", "message"),
    [
        (els.MixSchedule, "mix", {"sigmas": 5, "shares": []}, 'its "sigmas" must be a list, got a number'),
        (els.MixSchedule, "mix", {"sigmas": [1], "shares": None}, 'its "shares" must be a list, got null'),
        (
            els.MixSchedule,
            "mix",
            {"sigmas": [1], "shares": [{"a": 1}], "details": 3},
            'its "details" must be an object',
        ),
        (els.PatchSchedule, "patches", {"levels": 5}, 'its "levels" must be a list, got a number'),
        (els.PatchSchedule, "patches", {"levels": [{"sigma": 1, "window": 3, "x": 1}]}, 'has "x", expected sigma'),
        (els.LocalitySchedule, "locality", {"sigmas": 5, "windows": 5}, 'its "sigmas" must be a list, got a number'),
        (
            els.LocalitySchedule,
            "locality",
            {"sigmas": [1], "windows": {}},
            'its "windows" must be a list, got an object',
        ),
    ],
)
def test_other_broken_schedules_are_refused_in_words(
    tmp_path: Path, kind: Any, form: str, content: dict[str, object], message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"format": f"elsewhere.{form}/1", **content}))
    with pytest.raises(ValueError, match="is not a") as refused:
        kind.load(path)
    assert message in str(refused.value)
    path.write_text(f'{{"format": "elsewhere.{form}/1", "sigmas": [{"9" * 5000}]}}')
    with pytest.raises(ValueError, match="it has a number of too many digits"):
        kind.load(path)


def test_a_patch_schedule_is_a_family_without_a_linear_machine(tmp_path: Path) -> None:
    few = els.load_images("fashion-mini", 20)
    patches = els.PatchSchedule((5.0, 0.2), (els.PatchSettings(15, True, 0.1, "same place", 3), els.PatchSettings(3)))
    patches.save(tmp_path / "patches.json")
    family = els.FamilyCalibration.load(tmp_path / "patches.json")
    assert (family.schedule, family.wiener) == (patches, (0.0, 0.0))
    x = els.make_noise(1, few.shape)
    assert torch.equal(family.machine(few)(x, 1.0), els.PatchScore(few, patches)(x, 1.0))
    (tmp_path / "patches.json").write_text('{"format": "elsewhere.patches/1", "levels": [{"sigma": 1.0}]}')
    with pytest.raises(ValueError, match="not a calibrated family"):
        els.FamilyCalibration.load(tmp_path / "patches.json")
