"""`elsewhere board`, and networks in place of machines, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("scipy")

from tests.cli.typing_lines import names, run


def content(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_every_machine_on_a_network_and_a_network_as_yardstick(world: dict[str, Path], tmp_path: Path) -> None:
    methods = "is,ls,network:{circular}"
    line = f"board --networks {{net}} --data {{data}} --machines {methods} --seeds 2 --steps 2 --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.output
    assert {"cells", "report.html", "results.csv", "results.json"} <= set(names(tmp_path))
    found = content(tmp_path)["sections"][0]["methods"]
    assert set(found) == {"IS", "LS", str(world["circular"])}
    assert found[str(world["circular"])]["kind"] == "network"
    assert "Pearson r" in result.stdout
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert run(line, **world).exit_code == 0
    assert cells == {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}


def test_without_a_network_images_are_held_out(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"board --networks none --data {{data}} --machines is,ls --seeds 3 --steps 2 --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.output
    section = content(tmp_path)["sections"][0]
    assert section["network"] == ""
    assert "9 images" in section["data"]
    assert len(section["methods"]["LS"]["rms"]) == 2
    # The ideal machine knows no held-out image: at the lowest level it ends on another one.
    assert section["methods"]["IS"]["rms"][-1] > 0.1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("board --networks nosuch", "no network at 'nosuch'"),
        ("board --networks fashion-unet,fashion-unet", "--networks must be all, none, or names"),
        ("board --networks {net}", "give its training images with --data"),
        ("board --networks none --machines network:fashion-unet", "name some with --machines"),
        ("board --networks none --data {data} --seeds 7", "--seeds 7 holds out more than half"),
        ("board --networks fashion-unet --machines network:fashion-unet", "leaves nothing to measure"),
        ("board --networks fashion-unet --machines network:", "a name or path after each network:"),
        ("board --networks fashion-unet --machines nosuch", "--machines must be names of"),
    ],
)
def test_bad_lines_are_refused(world: dict[str, Path], tmp_path: Path, line: str, words: str) -> None:
    result = run(f"{line} --out {tmp_path}", **world)
    assert result.exit_code == 2
    assert words in result.stderr
    assert names(tmp_path) == []


def test_compare_takes_all_machines_and_networks(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"compare {{data}} {{net}} --machines all,network:{{circular}} --count 2 --steps 2 --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.output
    machines = list(content(tmp_path)["settings"]["machines"])
    assert machines[:3] == ["IS", "LS", "ELS"]
    assert machines[-1] == str(world["circular"])


def test_compare_takes_a_network_alone(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"compare {{data}} {{net}} --machines network:{{net}} --count 2 --steps 2 --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 0, result.output
    assert content(tmp_path)["summary"][str(world["net"])]["pearson_r"]["median"] == pytest.approx(1)


def test_a_yardstick_of_other_images_is_refused(world: dict[str, Path], tmp_path: Path) -> None:
    line = f"compare {{data}} {{net}} --machines is,network:fashion-unet --count 1 --out {tmp_path}"
    result = run(line, **world)
    assert result.exit_code == 2
    assert "28x28" in result.stderr
    assert run(line.replace("is,", "") + " --window 3", **world).exit_code == 2


def test_the_best_machine_of_a_network_and_a_row_that_says_there_is_none(
    world: dict[str, Path], tmp_path: Path
) -> None:
    for network, said in (("fashion-unet", None), ("{net}", "calibrate --machine best")):
        out = tmp_path / ("shipped" if said is None else "own")
        data = "" if said is None else "--data {data}"
        line = f"board --networks {network} {data} --machines best,wiener --seeds 1 --steps 2 --out {out}"
        result = run(line, **world)
        assert result.exit_code == 0, result.stderr
        best = json.loads((out / "results.json").read_text())["sections"][0]["methods"]["Best"]
        assert (said is None) == (not best["not_measured"])
        assert said is None or said in best["not_measured"]
