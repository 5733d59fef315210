"""A thousand command lines that are wrong in one place or two: each is refused in one line, and leaves nothing behind.

They are made from the commands themselves: a line that works, and in it values that options of their kind cannot have.
"""

from __future__ import annotations

import json
import random
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

import elsewhere as els
from elsewhere.cli import app
from elsewhere.networks import NetworkSpec, save_network

COUNT = 1000
SIDE = 8
GROUP: Any = get_command(app)
SHORT = "--count 1 --steps 1"
WORKING = {
    "demo": ["--count 1"],
    "sample": [
        f"DATA --window 3 {SHORT}",
        f"COLOUR --machine is --label 1 {SHORT}",
        f"DATA --machine network --network NET {SHORT}",
        f"DATA --locality WINDOWS --size 9x9 {SHORT}",
    ],
    "inpaint": [
        "PICTURE --data COLOUR --box 1,1,2x2 --window 3 --count 1 --steps 2 --rounds 1",
        "DATA:1 --box 1,1,2x2 --window 3 --count 1 --steps 2 --rounds 1",
        "PICTURE --extend 1 --window 3 --count 1 --steps 2",
    ],
    "texture": ["PICTURE --size 6x7 --window 3 --steps 2"],
    "train": ["DATA --width 4 --blocks 1 --batch 2 --steps 1"],
    "calibrate": [f"DATA NET --windows 3 {SHORT}"],
    "compare": [f"DATA NET --window 3 {SHORT}", f"COLOUR NET --gray --any-data --machines is {SHORT}"],
    "board": ["--networks NET --data DATA --machines is --seeds 1 --steps 1"],
    "explain": [f"DATA --window 3 {SHORT}", f"PLAIN --machine ls --window 3 --pixel 1,1 {SHORT}"],
    "index": ["DATA --window 3"],
    "morphogenesis": ["--side 16"],
    "anomalies": [f"hands --machines is --windows 3 --shrink '' {SHORT}"],
    "audit": ["DATA PLAIN --pixels 1"],
    "attention": [f"DATA NET --windows 3 --pixels 1 {SHORT.replace('count 1', 'count 2')}"],
    "transition": [f"DATA --machines is,els --counts 3 --window 3 {SHORT}"],
    "reproduce": ["kamb", "kamb --data mnist=DATA --network mnist/resnet=NET --machines IS --seeds 1"],
    "studio": ["DATA", "DATA --network NET --size 8 --any-data"],
    "data": ["DATA", "COLOUR --size 4 --gray"],
}
"""Command lines of each command, quick to work off; words in capitals stand for paths."""
LONG = (
    "elsewhere.demo.demo",
    "elsewhere.morphogenesis.tour.tour",
    "elsewhere.anomalies.measure",
    "elsewhere.networks.training.draw_batch",
    "elsewhere.analysis.reproduce_run.draw_final",
    "elsewhere.analysis.save_calibration_plots",
    "elsewhere.analysis.scoreboard.board",
    "elsewhere.analysis.Comparison.save",
    "elsewhere.analysis.Audit.save",
    "elsewhere.analysis.explanation.Explanation.save",
    "elsewhere.studio.export.export_site",
    "elsewhere.studio.serve.serve",
)
"""Where long work begins, or the drawing of figures: a command line that comes there is taken."""

NEVER = ["", "  ", "\0", "nan", "9" * 400, "9" * 5000, "-" + "9" * 400, "1e999", "-inf"]
"""No number is one of these."""
SAID = ["None", "null", "nan", "true", "-", "../..", "3,,5", "\x1b[31mred", "\u732b", "\u00bd", "\udcff"]
NUMBERS = [*NEVER, *SAID, "0", "-1", "1.5", "inf", "1e3", "0x10", "1_0", "x" * 3000, "9" * 20]
WORDS = ["", "  ", "\0", *SAID, "x" * 5000, "9" * 5000]
FORMS = ["64x", "1x" + "9" * 400, "1," * 2000, "1-99999", "1e999", "0.1GB"]
ODD_FILES = ["MISSING", "TEXT", "EMPTY", "FOLDER", "DEEP", "DEEPER", "WRONG", "BROKEN", "PICTURE", "TEXT/below"]
GOOD_FILES = ["DATA", "PLAIN", "COLOUR", "NET"]
ODD_PATHS = ["a\0b", "x" * 300, "x/" * 3000, "/proc/nowhere", "~nobody/x", "/dev/null", "/dev/null/x"]
ODD_WORDS = ["--nosuch", "--lable", "--window-s", "-z", "--steps=", "--size", "extra", "--help=1", "--gray=1"]
PYTHON = re.compile(
    r"Traceback|tensor\(|<elsewhere|<class|PosixPath\(|Errno|object at 0x|NoneType|Input should|dtype|ndarray|sys\."
    r"|\b[a-z]+_[a-z_]+ must|(?<![\w-])[a-z_]+=(?!=)"
)
"""What no error of the command line says."""


class Taken(BaseException):
    """The command went on to its work: what was typed can be used."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Taken

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What words in capitals stand for."""
    home = tmp_path_factory.mktemp("places")
    paths = {name: home / name for name in ["MISSING", "TEXT", "EMPTY", "FOLDER", "DEEP", "DEEPER", "WRONG", "WINDOWS"]}
    paths |= {name: home / f"{name}.npz" for name in ["DATA", "PLAIN", "COLOUR", "BROKEN"]}
    paths |= {"PICTURE": home / "PICTURE.png", "NET": home / "NET.safetensors"}
    numbers = np.arange(36 * SIDE * SIDE, dtype=np.uint32) * 2654435761 >> 13
    colour = numbers.astype(np.uint8).reshape(12, SIDE, SIDE, 3)
    np.savez(paths["DATA"], images=colour[..., 0], labels=np.arange(12) % 3)
    np.savez(paths["PLAIN"], images=colour[..., 1])
    np.savez(paths["COLOUR"], images=colour, labels=np.arange(12) % 5)
    paths["TEXT"].write_text("no image\n")
    paths["EMPTY"].touch()
    paths["FOLDER"].mkdir()
    deep = "[" * 100_000 + "]" * 100_000
    paths["DEEP"].write_text(deep)
    paths["DEEPER"].write_text(f'{{"format": "elsewhere.locality/1", "sigmas": {deep}}}')
    paths["WRONG"].write_text(json.dumps({"format": "elsewhere.locality/1", "sigmas": ["x"], "windows": None}))
    paths["BROKEN"].write_bytes(paths["DATA"].read_bytes()[:300])
    Image.fromarray(colour[0]).save(paths["PICTURE"])
    els.LocalitySchedule((1.0, 0.1), (5, 3)).save(paths["WINDOWS"])
    data = els.load_images(paths["DATA"])
    options = {"width": 4, "blocks": 1, "padding": "zeros"}
    spec = NetworkSpec("resnet", 1, (SIDE, SIDE), 0, options, data.name, data.fingerprint())
    torch.manual_seed(0)
    save_network(paths["NET"], spec.build(), spec)
    return {name: str(path) for name, path in paths.items()}


def odd_values(param: Any) -> list[str]:
    """What a parameter cannot be, or should be looked at closely before it is taken."""
    if param.type_descriptor.annotation in (int, float):
        return NUMBERS
    if param.type_descriptor.is_path or param.param_type_name == "argument":
        return [*ODD_FILES, *GOOD_FILES, *ODD_PATHS, *WORDS]
    return [*WORDS, *NUMBERS, *FORMS]


def spoil(draw: random.Random, name: str, line: list[str]) -> tuple[list[str], bool]:
    """A command line with one more fault, and whether it must be refused whatever the command."""
    kind = draw.random()
    if kind < 0.05:
        return [*line, draw.choice(ODD_WORDS)], False
    if kind < 0.08:
        return line[:-1], False
    params = GROUP.commands[name].params
    param = draw.choice(params)
    value = draw.choice(odd_values(param))
    if param.param_type_name == "argument":
        place = [other for other in params if other.param_type_name == "argument"].index(param)
        return [*line[:place], value, *line[place + 1 :]], not value.strip()
    option = draw.choice([*param.opts, *param.secondary_opts])
    if param.is_flag:
        return [*line, option], False
    number = param.type_descriptor.annotation in (int, float)
    refused = value in NEVER if number else not value.strip() and param.name != "shrink"
    return [*line, f"{option}={value}"], refused


def bad_lines(count: int) -> Iterator[tuple[str, list[str], bool]]:
    draw = random.Random(0)
    for index in range(count):
        name = list(WORKING)[index % len(WORKING)]
        line, refused = spoil(draw, name, shlex.split(draw.choice(WORKING[name])))
        if draw.random() < 0.2:
            line, refused = spoil(draw, name, line)
        yield name, line, refused


def problem(result: Any, refused: bool, left: list[str]) -> str | None:
    """What is wrong with how a command line was answered; None as a result stands for work that was begun."""
    if result is None or result.exit_code == 0:
        return "taken" if refused else None
    if not isinstance(result.exception, SystemExit):
        return f"raised {type(result.exception).__name__}: {result.exception}"
    said = result.stderr.splitlines()
    if result.exit_code != 2:
        return f"exit code {result.exit_code}"
    if (
        not said
        or not said[-1].startswith("error: ")
        or not all(line.startswith(("warning: ", "note: ")) for line in said[:-1])
    ):
        return "not one line of error"
    if len(said) > 3 or len(said[-1]) > 1500:
        return "too long"
    if found := PYTHON.search(said[-1]):
        return f"speaks Python ({found[0]!r})"
    return f"left {left}" if left else None


def test_every_command_has_a_line_that_works() -> None:
    assert set(WORKING) == set(GROUP.commands)


def test_bad_command_lines_are_refused_in_one_line(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*args: object, **kwargs: object) -> None:
        raise Taken

    for name in LONG:
        monkeypatch.setattr(name, taken)
    monkeypatch.setenv("ELSEWHERE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # The commands are the same every time: making them takes longer than refusing a line.
    monkeypatch.setattr("typer.testing._get_command", lambda app: GROUP)
    runner, faults = CliRunner(), []

    def placed(word: str) -> str:
        return re.sub(r"\b[A-Z]{3,}\b", lambda name: places.get(name[0], name[0]), word)

    def answer(line: list[str], seconds: float) -> Any:
        try:
            with at_most(seconds):
                return runner.invoke(app, line, prog_name="elsewhere")
        except Taken:
            return None

    # Once at leisure: what works imports all that the others need.
    monkeypatch.chdir(tmp_path)
    for name, working in WORKING.items():
        out = "made.png" if name == "data" else f"made-{name}"
        result = answer([name, f"--out={out}", *map(placed, shlex.split(working[0]))], 600)
        assert result is None or result.exit_code == 0, result.stderr
    for index, (name, line, refused) in enumerate(bad_lines(COUNT)):
        here = tmp_path / str(index)
        here.mkdir()
        monkeypatch.chdir(here)
        typed = [placed(word) for word in line]
        out = "o.png" if name == "data" else "out"
        # The last --out counts, so this one only where the line has none.
        result = answer([name, f"--out={out}", *typed], 1)
        left = sorted(str(path.relative_to(here)) for path in here.rglob("*"))
        if wrong := problem(result, refused, left):
            said = "" if result is None else result.stderr[:400]
            faults.append(f"{wrong}: elsewhere {name} {' '.join(map(ascii, line))[:300]}: {said}")
    assert not faults, "\n".join(faults)
