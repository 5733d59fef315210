"""`elsewhere calibrate` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import elsewhere as els
from elsewhere.machines.table import DEFAULTS, TABLE
from tests.cli.typing_lines import names, run


def test_calibrate_then_compare_with_its_windows(world: dict[str, Path], tmp_path: Path) -> None:
    found, agreed = tmp_path / "windows", tmp_path / "agreed"
    line = f"calibrate {{data}} {{circular}} --windows 3-5 --count 3 --steps 2 --out {found}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert {"locality.json", "scores.png", "windows.png", "cache.json"} == set(names(found))
    schedule = els.LocalitySchedule.load(found / "locality.json")
    assert set(schedule.windows) <= {3, 5}
    assert schedule.details["label"] == [0, 1, 2]
    assert "borders='wrap'" in schedule.details["machine"], "a circular network wraps"
    assert run(line, **world).stdout == result.stdout, "from the cache"
    tapered = run(f"{line}-tapered --taper", **world)
    assert tapered.exit_code == 0, tapered.stderr
    assert els.LocalitySchedule.load(tmp_path / "windows-tapered" / "locality.json").taper
    other = run(f"{line} --taper", **world)
    assert other.exit_code == 2, "the cache is of windows that are not tapered"

    line = f"compare {{data}} {{circular}} --locality {found}/locality.json --count 3 --steps 2 --out {agreed}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    content = json.loads((agreed / "results.json").read_text())
    assert list(content["settings"]["machines"]) == [TABLE[name].report_name for name in DEFAULTS]
    assert content["settings"]["same_data"] is True
    assert content["windows"]["ELS"]["windows"] == list(schedule.windows)
    assert {row["label"] for row in content["table"]} == {"0", "1", "2"}
    assert {"report.html", "results.json", "results.csv", "grid.png", "scatter.png"} == set(names(agreed))


@pytest.mark.parametrize(("options", "criterion"), [("", "cosine"), ("--criterion least-squares", "least-squares")])
def test_calibrate_goes_by_the_criterion_asked_for(
    world: dict[str, Path], tmp_path: Path, options: str, criterion: str
) -> None:
    line = f"calibrate {{data}} {{net}} --windows 3-7 --count 3 --seed 2 --steps 4 {options} --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    found = els.LocalitySchedule.load(tmp_path / "locality.json")
    assert found.details["criterion"] == criterion
    data = els.load_images(world["data"])
    machine, noise = els.EquivariantLocalScore(data, 3), els.make_noise(3, data.shape, 2)
    few, labels = els.schedules.cosine(4), torch.tensor([0, 1, 2])
    by = {
        name: els.calibrate(
            machine,
            els.load_network(world["net"]),
            noise,
            schedule=few,
            label=labels,
            windows=[3, 5, 7],
            criterion=name,
        ).windows
        for name in ("cosine", "least-squares")
    }
    assert len(set(by.values())) == 2, "here the two disagree, or this would tell nothing"
    assert found.windows == by[criterion]
    assert [row.split()[1] for row in result.stdout.splitlines()[1:5]] == [str(window) for window in found.windows]


def test_calibrate_the_whole_family_then_compare_with_it(world: dict[str, Path], tmp_path: Path) -> None:
    found, agreed = tmp_path / "best", tmp_path / "agreed"
    line = f"calibrate {{data}} {{circular}} --machine best --count 4 --heldout 2 --steps 2 --out {found}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    assert {"best.json", "cache.json"} == set(names(found))
    family = els.FamilyCalibration.load(found / "best.json")
    assert (family.details["seeds"], family.details["heldout"]) == (4, 2)
    assert "on 2 held-out seeds" in result.stdout
    tried = (found / "cache.json").read_text()
    assert '\\"wrap\\"' in tried, "a circular network wraps"
    assert '\\"aware\\"' not in tried
    same = run(f"{line}-same --same-place", **world)
    assert same.exit_code == 0, same.stderr
    assert "wrap" not in (tmp_path / "best-same" / "cache.json").read_text()

    machines = f"--machines best,is --family {found}/best.json"
    line = f"compare {{data}} {{circular}} {machines} --count 3 --steps 2 --out {agreed}"
    result = run(line, **world)
    assert result.exit_code == 0, result.stderr
    content = json.loads((agreed / "results.json").read_text())
    assert list(content["settings"]["machines"]) == ["Best", "IS"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("calibrate {data} {net} --machine best --taper", "--machine best tries windows"),
        ("calibrate {data} {net} --heldout 2", "go with --machine best"),
        ("compare {data} {net} --machines is --family best.json", "--family goes with the machine best"),
        ("compare {data} {net} --machines best", "--machine best"),
    ],
)
def test_options_of_the_family_go_with_it(world: dict[str, Path], tmp_path: Path, line: str, words: str) -> None:
    result = run(f"{line} --count 2 --steps 2 --out {tmp_path}/out", **world)
    assert result.exit_code == 2
    assert words in result.stderr
