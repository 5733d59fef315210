from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import elsewhere as els
from elsewhere.machines.locality import LocalitySchedule, published_locality
from elsewhere.machines.windowed import WindowedMachine


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


def test_published_windows_shrink_as_noise_falls() -> None:
    schedule = published_locality()
    assert schedule.sigmas == els.schedules.cosine(20).sigmas[:-1]
    assert list(schedule.windows) == sorted(schedule.windows, reverse=True)
    assert (schedule(80.0), schedule(0.08)) == (17, 3)


@pytest.mark.parametrize("machine", [els.LocalScore, els.EquivariantLocalScore])
def test_a_missing_window_is_the_published_schedule_and_the_repr_says_so(machine: type[WindowedMachine]) -> None:
    data = els.load_images("fashion-mini", 20)
    x = els.make_noise(1, data.shape)
    missing, told = machine(data), machine(data, published_locality())
    assert missing.window == published_locality()
    assert torch.equal(missing(x, 0.5), told(x, 0.5))
    assert "window=schedule published for CIFAR-10" in repr(missing)
    assert "published" not in repr(machine(data, 5)) + repr(machine(data, els.LocalitySchedule((1.0,), (5,))))


@pytest.mark.parametrize("sigma", [0.0, -1.0, 1e-320, 1e300, float("nan"), float("inf")])
def test_noise_levels_out_of_range_are_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be "):
        els.LocalitySchedule((1.0, 0.5), (5, 3))(sigma)
    with pytest.raises(ValueError, match=r"sigmas(\[0\])? must be "):
        els.LocalitySchedule((sigma,), (5,))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x04binary", "it is not text"),
        (b"no json", r"it is not JSON \(Expecting value"),
        (b"[1]", "expected a JSON object, got a list"),
        (b"{}", 'its "format" is null, expected "elsewhere.locality/1"'),
        (b'{"format": "elsewhere.locality/1", "sigmas": [1]}', 'it has no "windows"'),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_words(tmp_path, content, said):
    (tmp_path / "other.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"other\.json is not a locality schedule: {said}"):
        LocalitySchedule.load(tmp_path / "other.json")
