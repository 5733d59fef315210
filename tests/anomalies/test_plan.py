from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import elsewhere as els
from elsewhere.anomalies import SUBJECTS, plan
from elsewhere.anomalies.plan import Windows, parse_levels, prepare

COSINE = els.schedules.cosine(20)
INF = float("inf")


def test_points_are_constant_windows_shrinking_ones_and_those_that_fit() -> None:
    windows = Windows([5, 3], 9, [1.0, 2.0])
    what, data, points = prepare("hands", ["is", "ls", "els"], None, False, windows, COSINE, 10, 4)
    assert what is SUBJECTS["hands"]
    assert data.fingerprint() == els.load_images("hands").fingerprint()
    names = [
        f"LS {rest}" for rest in ("fitted", "3", "5", "9", "9 to 3 at 2", "9 to 5 at 2", "9 to 3 at 1", "9 to 5 at 1")
    ]
    assert [p.name for p in points] == ["IS", *names, *(name.replace("LS", "ELS") for name in names)]
    assert {p.machine: p.count for p in points} == {"IS": 10, "LS": 10, "ELS": 4}
    by_name = {p.name: p for p in points}
    assert (by_name["LS 5"].late, by_name["LS 5"].shrink, by_name["LS 5"].denoiser.window) == (5, INF, 5)  # type: ignore[attr-defined]
    two = by_name["ELS 9 to 3 at 1"]
    assert (two.late, two.shrink) == (3, 1.0)
    assert [two.denoiser.window(s) for s in (1.2, 0.9)] == [9, 3]  # type: ignore[attr-defined]
    assert by_name["IS"].late is None
    assert by_name["ELS fitted"].shrink is None


def test_a_network_says_which_borders_and_which_windows() -> None:
    windows = Windows([3], 9)
    _, _, points = prepare("trousers", ["network", "els"], None, False, windows, COSINE, 2)
    fitted = next(p for p in points if p.name == "ELS fitted")
    assert fitted.denoiser.window == els.shipped_locality("fashion-resnet")  # type: ignore[attr-defined]
    assert fitted.denoiser.borders == "aware"  # type: ignore[attr-defined]
    assert points[0].name == "network"


def test_windows_of_a_file_come_before_those_of_the_network(tmp_path: Path) -> None:
    given = els.LocalitySchedule((10.0, 1.0), (7, 3))
    given.save(tmp_path / "windows.json")
    _, _, points = prepare("hands", ["ls"], None, False, Windows([3], 9, (), tmp_path / "windows.json"), COSINE, 2)
    assert points[0].denoiser.window == given  # type: ignore[attr-defined]


def test_a_network_of_other_images_is_refused_unless_one_insists() -> None:
    with pytest.raises(ValueError, match="the network was trained on fashion-mini"):
        prepare("hands", ["network"], "fashion-resnet", False, Windows([3], 9), COSINE, 2)
    _, _, points = prepare("hands", ["network"], "fashion-resnet", True, Windows([3], 9), COSINE, 2)
    assert [p.name for p in points] == ["network"]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_has_a_network_of_its_images(subject: str) -> None:
    _, _, points = prepare(subject, ["network"], None, False, Windows([3], 9), COSINE, 2)
    assert [p.name for p in points] == ["network"]


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"late": [], "large": 9}, ValueError, "--windows is empty"),
    ({"late": [4], "large": 9}, ValueError, "must be odd"),
    ({"late": [3], "large": 8}, ValueError, "must be odd"),
    ({"late": [11], "large": 9}, ValueError, "must be at most --large \\(9\\), got 11"),
    ({"late": [3.0], "large": 9}, TypeError, "odd integer"),
]


@pytest.mark.parametrize(("asked", "error", "message"), BAD)
def test_bad_windows_are_refused(asked: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Windows(**asked)


@pytest.mark.parametrize("level", [0.01, 100.0, 1000.0])
def test_a_level_at_which_nothing_would_change_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="--shrink must be between"):
        prepare("hands", ["ls"], None, False, Windows([3], 9, [level]), COSINE, 2)


def test_the_calibrated_machine_and_further_networks_are_points_too(tmp_path: Path) -> None:
    names = ["best", "wiener", "composite", "network:hands-resnet"]
    _, data, points = prepare("hands", names, None, False, Windows([3], 9), COSINE, 2)
    assert [p.name for p in points if p.late is None and "fitted" not in p.name] == ["Best", "Wiener", "hands-resnet"]
    x = els.make_noise(1, data.shape)
    assert (points[0].denoiser(x, 1.0) == els.best_machine("hands-resnet")(x, 1.0)).all()
    one = els.FamilyCalibration((1.0,), (els.PatchSettings(5),), (0.25,))
    one.save(tmp_path / "mine.json")
    _, _, points = prepare("hands", ["best"], None, False, Windows([3], 9), COSINE, 2, family=tmp_path / "mine.json")
    assert points[0].denoiser.shares_at(1.0)["wiener"] == 0.25  # type: ignore[attr-defined]
    assert plan.about(["best"], SUBJECTS["hands"], None, tmp_path / "mine.json")["family"] == one.content()
    assert plan.about(["is"], SUBJECTS["hands"], None, None) == {}
    with pytest.raises(ValueError, match="--family goes with --machines best"):
        prepare("hands", ["is"], None, False, Windows([3], 9), COSINE, 2, family=tmp_path / "mine.json")


def test_levels_are_read() -> None:
    assert parse_levels("2,1, 0.5") == [2.0, 1.0, 0.5]
    assert parse_levels(" ") == []
    for text in ("0", "-1", "wide", "1,,2", "nan", "inf"):
        with pytest.raises(ValueError, match="--shrink must be positive"):
            parse_levels(text)


def test_every_subject_has_images_of_its_class() -> None:
    for subject in plan.SUBJECTS.values():
        data = els.load_images(subject.data)
        if subject.label is not None:
            assert data.labels is not None
            assert int((data.labels == subject.label).sum()) == 400
