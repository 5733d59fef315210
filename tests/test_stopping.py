"""Signals and streams: the program ends in one line whenever it is stopped, and whatever its output goes to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PROGRAM = [sys.executable, "-m", "elsewhere"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "\u732b.npz"
    path.parent.mkdir()
    images = (np.arange(6 * 64) * 37 % 251).astype(np.uint8).reshape(6, 8, 8)
    np.savez(path, images=images, labels=np.arange(6) % 2, classes=np.array(["\u732b", "dog\udcff"]))
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.4, 1.0])
def test_a_signal_during_the_imports_is_one_line(tmp_path: Path, number: signal.Signals, delay: float) -> None:
    out = tmp_path / "out"
    # What `main` begins with is done first, to know when: Python itself takes a moment to start.
    begin = "import sys; from elsewhere.__main__ import main, stopping; stopping.end_at_once(); print(flush=True); "
    arguments = ["elsewhere", "sample", "fashion-mini", "--count", "64", "--out", str(out)]
    child = subprocess.Popen(
        [sys.executable, "-c", f"{begin} sys.argv = {arguments!r}; main()"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(delay)
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert errors == "interrupted: nothing was written\n"
    assert child.returncode == 128 + number
    assert not out.exists()


def test_a_training_stopped_before_its_first_checkpoint_does_not_speak_of_one(tmp_path: Path) -> None:
    from elsewhere.terminal import Interrupted, results_in

    out = tmp_path / "out"

    def work(name: str) -> None:
        with results_in(out, "the checkpoint is kept", "checkpoint.*"):
            out.mkdir(exist_ok=True)
            (out / name).touch()
            raise KeyboardInterrupt

    for name, said in (("loss.jsonl", "files finished so far"), ("checkpoint.safetensors", "^the checkpoint is kept$")):
        with pytest.raises(Interrupted, match=said):
            work(name)


def test_output_in_a_narrow_encoding_fails_nothing(data: Path, tmp_path: Path) -> None:
    short = ["--window", "3", "--count", "1", "--steps", "1", "--out", "\u51fa\u529b"]
    for encoding, line in (("ascii", ["data", str(data)]), ("cp1252", ["sample", str(data), *short])):
        done = subprocess.run(
            [*PROGRAM, *line],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
    assert sorted(path.name for path in (tmp_path / "\u51fa\u529b").iterdir()) == ["grid.png", "images.npz", "run.json"]


def shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line, *PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def test_closed_and_full_outputs(data: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    call = '"$0" "$@"'
    closed = shell(f"{call} >&-", "data", data)
    assert (closed.returncode, closed.stderr) == (0, "")
    # Whoever reads stops at once: the sheet is there all the same.
    unread = shell(f"{call} | true; exit ${{PIPESTATUS[0]}}", "data", data, "--out", sheet)
    assert (unread.returncode, unread.stderr) == (0, "")
    assert sheet.exists()
    if Path("/dev/full").exists():
        full = shell(f"{call} >/dev/full", "data", data)
        assert (full.returncode, full.stderr) == (2, "error: No space left on device\n")
