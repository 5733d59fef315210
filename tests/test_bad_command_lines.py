"""A thousand command lines that are wrong in one place or two: each is refused in one line, and leaves nothing behind.

They are made from the commands themselves: one that works, and in it values that options of their kind cannot have.
"""

from __future__ import annotations

import json
import random
import re
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

import os
COUNT = int(os.environ.get('N','1000'))
SIDE = 8
GROUP: Any = get_command(app)
SHORT = "--count 1 --steps 1"
WORKING = {
    "demo": "--count 1",
    "sample": f"DATA --window 3 {SHORT}",
    "train": "DATA --width 4 --blocks 1 --batch 2 --steps 1",
    "calibrate": f"DATA NET --windows 3 {SHORT}",
    "compare": f"DATA NET --window 3 {SHORT}",
    "explain": f"DATA --window 3 {SHORT}",
    "index": "DATA --window 3",
    "morphogenesis": "--side 16",
    "anomalies": f"hands --machines is --windows 3 --shrink '' {SHORT}",
    "audit": "DATA DATA --pixels 1",
    "data": "DATA",
}
"""A command line of each command, quick to work off."""
LONG = (
    "elsewhere.demo.demo",
    "elsewhere.morphogenesis.tour.tour",
    "elsewhere.anomalies.measure",
    "elsewhere.networks.training.draw_batch",
    "elsewhere.analysis.save_calibration_plots",
    "elsewhere.analysis.Comparison.save",
    "elsewhere.analysis.Audit.save",
    "elsewhere.analysis.explanation.Explanation.save",
)
"""Where long work begins, or the drawing of figures: a command line that comes there is taken."""

NEVER = ["", "  ", "\0", "nan", "9" * 400, "9" * 5000, "-" + "9" * 400, "1e999", "-inf"]
"""No number, and no list of numbers, is one of these."""
NUMBERS = [*NEVER, "0", "-1", "1.5", "inf", "1e3", "0x10", "\u00bd", "None", "null", "true", "x" * 3000, "1_0", "9" * 20]
WORDS = ["", "  ", "\0", "None", "null", "nan", "\u732b", "\udcff", "\x1b[31mred", "x" * 5000, "-", "3,,5", "../..", "9" * 400]
PATHS = [
    *("", "  ", "a\0b", "x" * 300, "x/" * 3000, "\udcff", "/proc/nowhere", "TEXT/below", "~nobody/x", "/dev/null", "/dev/null/x"),
    *("MISSING", "TEXT", "EMPTY", "FOLDER", "DEEP", "DEEPER", "BROKEN", "PNG", "DATA", "NET", "LOCKED", "FIFO"),
]
PYTHON = re.compile(
    r"Traceback|tensor\(|<elsewhere|<class|PosixPath\(|Errno|object at 0x|NoneType|Input should|dtype|ndarray"
    r"|\b[a-z]+_[a-z_]+ must|(?<![\w-])[a-z_]+=(?!=)"
)


class TooLong(BaseException):
    """The command went on to work: nothing was wrong with it."""


class Worked(TooLong):
    """The command came to where the long work begins."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What capital words in a command line stand for."""
    home = tmp_path_factory.mktemp("places")
    names = ("DATA.npz", "TEXT", "EMPTY", "FOLDER", "DEEP", "DEEPER", "BROKEN.npz", "PNG.png", "NET.safetensors", "MISSING")
    paths = {name.split(".")[0]: home / name for name in (*names, "LOCKED", "FIFO")}
    images = (np.arange(12 * SIDE * SIDE, dtype=np.uint32) * 2654435761 >> 13).astype(np.uint8).reshape(12, SIDE, SIDE)
    np.savez(paths["DATA"], images=images, labels=np.arange(12) % 3)
    paths["TEXT"].write_text("no image\n")
    paths["EMPTY"].touch()
    paths["FOLDER"].mkdir()
    paths["LOCKED"].mkdir(mode=0)
    paths["DEEP"].write_text("[" * 100_000 + "]" * 100_000)
    paths["DEEPER"].write_text('{"format": "elsewhere.locality/1", "sigmas": ' + "[" * 100_000 + "]" * 100_000 + "}")
    paths["BROKEN"].write_bytes(paths["DATA"].read_bytes()[:300])
    paths["FIFO"].write_text(json.dumps({"format": "elsewhere.locality/1", "sigmas": ["x"], "windows": None}))
    Image.fromarray(images[0]).save(paths["PNG"])
    data = els.load_images(paths["DATA"])
    options = {"width": 4, "blocks": 1, "padding": "zeros"}
    spec = NetworkSpec("resnet", 1, (SIDE, SIDE), 0, options, data.name, data.fingerprint())
    torch.manual_seed(0)
    save_network(paths["NET"], spec.build(), spec)
    return {name: str(path) for name, path in paths.items()}


def values(param: Any) -> list[str]:
    """What a parameter cannot be, or should be looked at closely before it is taken."""
    kind = param.type_descriptor
    if kind.annotation in (int, float):
        return NUMBERS
    if kind.is_path:
        return PATHS
    return WORDS + (NUMBERS + ["64x", "x", "1x" + "9" * 400] if param.param_type_name == "option" else PATHS)


def spoil(draw: random.Random, name: str, line: list[str]) -> tuple[list[str], str | None]:
    """A command line with one more fault, and the value that is no number, where there is one."""
    params = [param for param in GROUP.commands[name].params]
    kind = draw.random()
    if kind < 0.05:
        return [*line, draw.choice(["--nosuch", "--lable", "--window-s", "-z", "--steps=", "--size", "extra", "--help=1"])], None
    if kind < 0.08:
        return line[:-1], None
    if kind < 0.12:
        return [draw.choice(["sampel", "", "\udcff", "x" * 999, "--", "-"]), *line], None
    param = draw.choice(params)
    if param.param_type_name == "argument":
        place = [p.name for p in params if p.param_type_name == "argument"].index(param.name)
        line = list(line)
        if place < len(line) and not line[place].startswith("-"):
            line[place] = draw.choice(values(param))
        return line, None
    option = draw.choice([*param.opts, *param.secondary_opts])
    if param.is_flag:
        return [*line, draw.choice([option, f"{option}=1"])], None
    value = draw.choice(values(param))
    number = param.type_descriptor.annotation in (int, float)
    never = value in NEVER if number else not value.strip() and param.name != "shrink"
    return [*line, f"{option}={value}"], value if never else None


def lines(count: int) -> Iterator[tuple[str, list[str], str | None]]:
    import shlex

    draw = random.Random(int(os.environ.get('S','0')))
    for index in range(count):
        name = list(WORKING)[index % len(WORKING)]
        line, never = spoil(draw, name, shlex.split(WORKING[name]))
        if draw.random() < 0.2:
            line, never = spoil(draw, name, line)
        yield name, line, never


def problem(result: Any | None, never: str | None, left: list[str]) -> str | None:
    """What is wrong with how a command line was refused; None for a result is work that was begun."""
    if result is None:
        return None if never is None else "taken"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"raised {type(result.exception).__name__}: {result.exception}"
    said = result.stderr.splitlines()
    if result.exit_code == 0:
        return None if never is None else "taken"
    if result.exit_code != 2:
        return f"exit code {result.exit_code}"
    if not said or not said[-1].startswith("error: ") or not all(line.startswith("warning: ") for line in said[:-1]):
        return "not one line of error"
    if len(said) > 3 or len(said[-1]) > 1500:
        return "too long"
    if found := PYTHON.search(said[-1]):
        return f"speaks Python ({found[0]!r})"
    return f"left {left}" if left else None


def test_bad_command_lines_are_refused_in_one_line(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*args: object, **kwargs: object) -> None:
        raise Worked

    for name in LONG:
        monkeypatch.setattr(name, worked)
    monkeypatch.setenv("ELSEWHERE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("typer.testing._get_command", lambda app: GROUP)
    runner, faults = CliRunner(), []
    for index, (name, line, never) in enumerate(lines(COUNT)):
        here = tmp_path / str(index)
        here.mkdir()
        monkeypatch.chdir(here)
        typed = [re.sub(r"(?<![A-Z])[A-Z]{3,}(?![A-Z])", lambda m: places.get(m[0], m[0]), word) for word in line]
        out = [] if any(word.startswith("--out") for word in line) else [f"--out={here / ('o.png' if name == 'data' else 'out')}"]
        import time; t0=time.time()
        try:
            with at_most(3):
                result = runner.invoke(app, [name, *out, *typed])
        except TooLong:
            result = None
        result and result.exit_code==2 and print('SAID', name, ' '.join(map(ascii,line))[-60:], ' ||| ', result.stderr.strip()[:300])
        print('TIME', f'{time.time()-t0:.2f}', name, result and result.exit_code, ' '.join(map(ascii,line))[-100:])
        left = sorted(str(p.relative_to(here)) for p in here.rglob("*"))
        if wrong := problem(result, never, left):
            faults.append(f"{wrong}: elsewhere {name} {' '.join(map(ascii, line))[:300]}: {result and result.stderr[:400]}")
    assert not faults, "\n".join(faults)
