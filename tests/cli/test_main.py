"""The program itself: its help, its version, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import elsewhere as els
from tests.cli.typing_lines import COMMANDS, assert_refused, names, read, run, start


def test_the_traceback_shows_on_request(world: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run("--debug sample {missing}", **world).exception, FileNotFoundError)
    monkeypatch.setenv("ELSEWHERE_DEBUG", "1")
    assert isinstance(run("sample {missing}", **world).exception, FileNotFoundError)
    monkeypatch.setenv("ELSEWHERE_DEBUG", "0")
    assert isinstance(run("sample {missing}", **world).exception, SystemExit)


@pytest.mark.parametrize("fault", [AssertionError("a fault"), RuntimeError("mat1 and mat2 cannot be multiplied")])
def test_our_own_faults_are_not_dressed_up_as_bad_input(
    world: dict[str, Path], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise fault

    monkeypatch.setattr("elsewhere.data.load_images", fail)
    assert run("data {data}", **world).exception is fault


def too_much(*args: Any) -> None:
    torch.empty(2**60, dtype=torch.uint8)


def test_too_little_memory_is_one_line_and_leaves_nothing(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsewhere.networks.training.draw_batch", too_much)
    result = run(f"train {{data}} --width 4 --blocks 1 --steps 1 --out {tmp_path / 'new' / 'out'}", **world)
    assert_refused(result, tmp_path)
    assert f"out of memory ({2**60} bytes at once)" in result.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 3.00 GiB for an array with shape (9,)"), "out of memory (3.00 GiB at once):"),
        (MemoryError(), "out of memory:"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0"), "out of memory (20.00 MiB at once):"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "out of memory:"),
    ],
)
def test_every_way_of_saying_that_memory_is_short(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr("elsewhere.data.load_images", fail)
    result = run(f"sample {{data}} --out {tmp_path / 'out'}", **world)
    assert_refused(result, tmp_path)
    assert said in result.stderr


def test_every_command_and_option_is_explained() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name
        assert f"elsewhere {name} " in command.help, f"{name} has no example"
        options = {option for parameter in command.params for option in parameter.opts}
        # An index holds nothing random that a user would want otherwise; the page of the studio chooses its seeds.
        assert {"--out", "--seed"} - ({"--seed"} if name in ("index", "studio") else set()) <= options, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("line", ["--version", "--help", "inpaint --help"])
def test_version_and_help_answer_without_importing_torch(line: str) -> None:
    code = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
        "from elsewhere.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(("elsewhere ", "Usage: "))
    assert done.stdout.endswith("False\n")


def test_kernels_say_which_are_used() -> None:
    result = run("--kernels")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"elsewhere {els.__version__}, ")
    assert "kernels" in result.stdout


@pytest.mark.parametrize(
    ("line", "bar"),
    [
        ("sample {data} --machine is --count 64 --steps 10000", "sampling"),
        ("compare {data} {net} --machines is --count 64 --steps 10000", "IS"),
    ],
)
def test_ctrl_c_leaves_nothing_half_done(world: dict[str, Path], tmp_path: Path, line: str, bar: str) -> None:
    out = tmp_path / "out"
    child, screen = start(f"{line} --out {out}".format(**world), watched=True)
    assert screen is not None
    seen, sent = "", False
    for text in read(screen):
        seen += text
        if not sent and bar in seen:
            child.send_signal(signal.SIGINT)
            sent = True
    os.close(screen)
    assert child.wait(60) == 130, seen
    assert "interrupted: nothing was written" in seen
    assert "left" in seen, "the bar says how long it takes"
    assert "Traceback" not in seen
    assert names(tmp_path) == []


WAITING = """
import threading, time, typer
from elsewhere.terminal import OneLineErrors
app = typer.Typer(cls=OneLineErrors)
@app.command()
def one() -> None:
    # As a compiled loop does, which does not hear of Ctrl-C.
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise KeyboardInterrupt
@app.command()
def two() -> None: ...
app()
"""


def test_a_second_ctrl_c_ends_what_the_first_waits_for() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING, "one"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert child.stderr is not None
    assert child.stderr.readline() == "interrupted: nothing was written\n"
    assert child.poll() is None, "nothing to wait for"
    child.send_signal(signal.SIGINT)
    assert child.stderr.read() == ""
    assert child.wait(60) == -signal.SIGINT


def test_the_installed_program(world: dict[str, Path], tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("elsewhere")
    if not program.exists():
        pytest.skip("not installed beside this Python")
    done = subprocess.run([program, "sample", "nowhere", "--out", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no images at 'nowhere'")
    assert len(done.stderr.splitlines()) == 1
    assert names(tmp_path) == []
