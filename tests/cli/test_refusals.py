"""Bad input is refused in one line, with exit code 2, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.typing_lines import assert_refused, run

BAD = {
    "no such command": "smaple {data}",
    "no such option": "sample {data} --cuont 3",
    "option without its value": "sample {data} --count",
    "argument missing": "compare {data}",
    "argument too many": "data {data} {other}",
    "no such data": "sample {missing}",
    "misspelt name of a set": "sample fashion-mimi",
    "data that are one image": "sample {one}",
    "data that are no image": "sample {text}",
    "empty folder": "data {empty}",
    "folder with a broken image": "data {broken}",
    "images of several sizes": "sample {photos}",
    "zero size": "data {photos} --size 0",
    "split that is not there": "data {data} --split test",
    "limit of zero": "sample {data} --limit 0",
    "limit beyond the set": "sample {data} --limit 13",
    "unknown machine": "sample {data} --machine elss",
    "even window": "sample {data} --window 4",
    "window of zero": "sample {data} --window 0",
    "window of minus three": "sample {data} --window -3",
    "window of four thousand million": "sample {data} --window 4294967297",
    "window that is no number": "sample {data} --window seven",
    "window and locality": "sample {data} --window 3 --locality {windows}",
    "locality that is missing": "sample {data} --locality {missing}",
    "locality that is a folder": "sample {data} --locality {photos}",
    "locality that is no schedule": "sample {data} --locality {text}",
    "locality with an even window": "sample {data} --locality {even}",
    "window for the ideal machine": "sample {data} --machine is --window 3",
    "taper for the ideal machine": "sample {data} --machine is --taper",
    "taper for a network": "sample {data} --machine network --network {net} --taper",
    "taper without a window": "compare {data} {net} --taper",
    "taper for a file of windows": "sample {data} --taper --locality {windows}",
    "window for a network": "sample {data} --machine network --network {net} --window 3",
    "shards of a network": "sample {data} --machine network --network {net} --shards 2",
    "unknown borders": "sample {data} --borders mirror",
    "borders for the ideal machine": "sample {data} --machine is --borders aware",
    "borders for the local machine": "sample {data} --machine ls --window 3 --borders wrap",
    "borders for a network": "sample {data} --machine network --network {net} --borders wrap",
    "borders to calibrate the local machine": "calibrate {data} {net} --machine ls --borders aware",
    "borders to compare without els": "compare {data} {net} --machines is,ls --window 3 --borders wrap",
    "borders to explain the local machine": "explain {data} --machine ls --window 3 --borders wrap",
    "canvas that is no size": "sample {data} --size 64x",
    "canvas without pixels": "sample {data} --size 0x64",
    "canvas far too large": "sample {data} --size 64x9999999",
    "canvas for the ideal machine": "sample {data} --machine is --size 16x16",
    "canvas for the local machine": "sample {data} --machine ls --window 3 --size 16x16",
    "canvas beyond the places of a window": "sample {data} --window 17 --size 16x16",
    "canvas too small to grow on": "morphogenesis --side 8",
    "grow with a negative seed": "morphogenesis --seed -1",
    "no network for machine network": "sample {data} --machine network",
    "count of zero": "sample {data} --count 0",
    "count far too large": "sample {data} --count 100000000",
    "negative seed": "sample {data} --seed -1",
    "seed beyond the range": "sample {data} --seed 99999999999",
    "zero steps": "sample {data} --steps 0",
    "steps that are no number": "sample {data} --steps 2.5",
    "more steps than the schedule has": "sample {data} --schedule linear --steps 1001",
    "unknown schedule": "sample {data} --schedule cosin",
    "label out of range": "sample {data} --label 3",
    "negative label": "sample {data} --label -1",
    "label that is no class": "sample {data} --label trouser",
    "label for a set without classes": "sample {plain} --window 3 --label 0",
    "label to cycle without classes": "sample {plain} --label cycle",
    "memory that is no size": "sample {data} --memory lots",
    "memory in an unknown unit": "sample {data} --memory 3XB",
    "too little memory": "sample {data} --window 3 --memory 1MB",
    "negative memory": "sample {data} --memory -1GB",
    "no such network": "compare {data} {missing}",
    "misspelt name of a network": "compare {data} fashion-resnt",
    "network file that is none": "compare {data} {text}",
    "network folder that is none": "compare {data} {photos}",
    "network of other images": "compare {other} {net}",
    "network of other colours": "sample {colour} --machine network --network {net}",
    "calibrate for other images": "calibrate {other} {net}",
    "unknown machines to compare": "compare {data} {net} --machines is,xs",
    "a machine compared twice": "compare {data} {net} --machines is,is",
    "no machines to compare": "compare {data} {net} --machines ''",
    "even windows to try": "calibrate {data} {net} --windows 2,4",
    "windows to try that are none": "calibrate {data} {net} --windows wide",
    "empty range of windows": "calibrate {data} {net} --windows 9-3",
    "calibrate a machine without windows": "calibrate {data} {net} --machine is",
    "unknown criterion": "calibrate {data} {net} --criterion best",
    "explain by a network": "explain {data} --machine network",
    "explain for other images": "explain {other} --network {net}",
    "explain for a missing network": "explain {data} --network {missing}",
    "explain with windows for the ideal machine": "explain {data} --machine is --window 3",
    "explain through an even window": "explain {data} --window 4",
    "no sources to name": "explain {data} --top 0",
    "too many sources to name": "explain {data} --top 1025",
    "explain a label that is no class": "explain {data} --label trouser",
    "explain no images": "explain {missing}",
    "explain on a canvas that is no size": "explain {data} --size 64x",
    "explain on a canvas for the local machine": "explain {data} --machine ls --window 3 --size 16x16",
    "explain on a canvas beyond the places of a window": "explain {data} --window 17 --size 16x16",
    "explain a pixel that is none": "explain {data} --window 3 --pixel 4",
    "explain a pixel that is a word": "explain {data} --window 3 --pixel middle",
    "explain a pixel before the first": "explain {data} --window 3 --pixel -1,0",
    "explain a pixel below the image": "explain {data} --window 3 --pixel 8,0",
    "explain a pixel beside the canvas": "explain {data} --window 3 --size 16x20 --pixel 0,20",
    "explain with unknown borders": "explain {data} --borders mirror",
    "unknown engine": "sample {data} --window 3 --engine quick",
    "tolerance of zero": "sample {data} --window 3 --tolerance 0",
    "tolerance far too large": "compare {data} {net} --tolerance 1",
    "tolerance that is no number": "explain {data} --window 3 --tolerance nan",
    "index no images": "index {missing}",
    "index through an even window": "index {data} --window 4",
    "index a label that is no class": "index {data} --window 3 --label trouser",
    "index a set without classes by class": "index {plain} --window 3 --label cycle",
    "index for other images": "index {other} --network {net} --window 3",
    "index with too little memory": "index {data} --window 3 --memory 1MB",
    "demo without seeds": "demo --count 0",
    "demo with a negative seed": "demo --seed -1",
    "unknown network to train": "train {data} --network resnot",
    "unknown padding": "train {data} --padding mirror",
    "circular padding for a unet": "train {data} --network unet --width 8 --padding circular",
    "learning rate of zero": "train {data} --learning-rate 0",
    "learning rate that is no number": "train {data} --learning-rate nan",
    "batch of zero": "train {data} --batch 0",
    "batch far too large": "train {data} --batch 1000000000",
    "width of zero": "train {data} --width 0",
    "width far too large": "train {data} --width 100000",
    "blocks far too many": "train {data} --blocks 100000",
    "unknown precision": "train {data} --precision fp8",
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_writes_nothing(world: dict[str, Path], tmp_path: Path, line: str) -> None:
    out = tmp_path / "sheet.png" if line.startswith("data ") else tmp_path / "out"
    # Before the other options: "option without its value" must stay last.
    command, *rest = line.split(" ", 1)
    assert_refused(run(" ".join([command, f"--out {out}", *rest]), **world), tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sample x --engine quick", "Invalid value for '--engine': 'quick' is not one of 'auto', 'exact', 'fast'."),
        ("sample x --borders 'Value error, '", "Invalid value for '--borders': 'Value error, ' is not one of 'aware',"),
        ("anomalies feet", "Invalid value for 'SUBJECT': 'feet' is not one of 'hands', 'trousers', 'pullovers'."),
    ],
)
def test_a_value_that_is_no_choice_is_named_at_once(line: str, words: str) -> None:
    assert run(line).stderr.startswith(f"error: {words}")


@pytest.mark.parametrize(
    "line",
    [
        "demo --count 1",
        "morphogenesis --side 32",
        "sample {data} --window 3 --count 1 --steps 1",
        "train {data} --width 4 --blocks 1 --steps 1",
        "calibrate {data} {net} --windows 3 --count 1 --steps 1",
        "compare {data} {net} --window 3 --count 1 --steps 1",
        "explain {data} --window 3 --count 1 --steps 1",
        "index {data} --window 3",
        "data {data}",
    ],
)
@pytest.mark.parametrize("place", ["{text}/below", "/proc/nowhere/out"])
def test_a_place_that_cannot_be_written_is_refused(world: dict[str, Path], line: str, place: str) -> None:
    if place.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    before = sorted(world["text"].parent.iterdir())
    result = run(f"{line} --out {place}", **world)
    assert_refused(result, Path("/proc/nowhere"))
    assert sorted(world["text"].parent.iterdir()) == before


def test_a_file_is_no_folder_and_a_folder_no_file(world: dict[str, Path], tmp_path: Path) -> None:
    result = run("sample {data} --out {text}", **world)
    assert_refused(result, tmp_path)
    assert world["text"].read_text() == "no image\n"
    (tmp_path / "folder.png").mkdir()
    assert_refused(run(f"data {{data}} --out {tmp_path}/folder.png", **world), tmp_path / "folder.png")
    (tmp_path / "folder.png").rmdir()
    assert_refused(run(f"data {{data}} --out {tmp_path}/sheet.jpg", **world), tmp_path)
    assert_refused(run(f"data {{data}} --save {tmp_path}/images.npy", **world), tmp_path)
    assert_refused(run(f"data --out {tmp_path}/sheet.png", **world), tmp_path)


def test_the_place_is_checked_before_the_long_work(world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("worked first")

    monkeypatch.setattr("elsewhere.data.load_images", work)
    monkeypatch.setattr("elsewhere.demo.demo", work)
    monkeypatch.setattr("elsewhere.morphogenesis.tour.tour", work)
    for line in (
        "demo",
        "morphogenesis",
        "sample {data}",
        "train {data}",
        "calibrate {data} {net}",
        "compare {data} {net}",
        "explain {data}",
        "index {data}",
    ):
        assert run(f"{line} --out {{text}}", **world).exit_code == 2


@pytest.mark.parametrize(
    "line",
    [
        "sample {photos} --size 8 --window 3 --count 1 --steps 1",
        "train {photos} --size 8 --width 4 --blocks 1 --steps 1",
        "calibrate {photos} {net} --size 8 --windows 3 --count 1 --steps 1",
        "compare {photos} {net} --size 8 --window 3 --count 1 --steps 1",
        "explain {photos} --size 8 --window 3 --count 1 --steps 1",
        "audit {photos} {plain} --size 8",
        "audit {plain} {photos} --size 8",
        "data {photos} --size 8",
    ],
)
def test_pictures_among_the_images_that_are_read_are_refused(world: dict[str, Path], line: str) -> None:
    before = sorted(world["photos"].rglob("*"))
    for place in ("{photos}/out.png", "{photos}/cats/out.png"):
        result = run(f"{line} --out {place}", **world)
        assert_refused(result, world["photos"] / "out.png")
        assert "lies in the folder of the images" in result.stderr
    assert sorted(world["photos"].rglob("*")) == before
