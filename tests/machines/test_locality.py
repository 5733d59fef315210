from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elsewhere.machines.locality import LocalitySchedule


def test_the_window_of_the_nearest_level_in_log_sigma_is_taken() -> None:
    locality = LocalitySchedule((10.0, 1.0, 0.1), (9, 5, 3))
    assert [locality(s) for s in (100.0, 10.0, 3.3, 3.1, 1.0, 0.32, 0.31, 0.001)] == [9, 9, 9, 5, 5, 5, 3, 3]


@pytest.mark.parametrize("taper", [False, True])
def test_what_is_saved_is_read_back(tmp_path: Path, taper: bool) -> None:
    locality = LocalitySchedule((10.0, 0.1), (9, 3), {"network": "toy", "scores": [[0.5]]}, taper)
    locality.save(tmp_path / "locality.json")
    again = LocalitySchedule.load(tmp_path / "locality.json")
    assert again == locality
    assert again.details == locality.details


@pytest.mark.parametrize(
    ("sigmas", "windows", "error"),
    [
        ((), (), ValueError),
        ((1.0,), (3, 5), ValueError),
        ((1.0, 2.0), (3, 5), ValueError),
        ((1.0, 0.0), (3, 5), ValueError),
        ((float("nan"),), (3,), ValueError),
        ((1.0,), (4,), ValueError),
        ((1.0,), (-1,), ValueError),
        ((1.0,), (3.0,), TypeError),
    ],
)
def test_bad_schedules_are_refused(sigmas: Any, windows: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        LocalitySchedule(sigmas, windows)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00", '{"format": "other"}', '{"format": "elsewhere.locality/1"}'])
def test_a_file_of_another_kind_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is not a locality schedule"):
        LocalitySchedule.load(path)


def test_a_taper_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="taper must be True or False, got int 1"):
        LocalitySchedule((1.0,), (3,), taper=1)  # type: ignore[arg-type]


def test_files_from_before_windows_could_be_tapered_are_read(tmp_path: Path) -> None:
    path = tmp_path / "locality.json"
    path.write_text('{"format": "elsewhere.locality/1", "sigmas": [1.0], "windows": [3]}')
    assert LocalitySchedule.load(path) == LocalitySchedule((1.0,), (3,))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        LocalitySchedule.load(tmp_path / "gone.json")
