"""Command lines typed in tests, in this process or as the program itself."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from elsewhere.cli import app

SIDE = 8
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def run(line: str, **names: Any) -> Any:
    """Type a line; {names} in it stand for paths."""
    return CliRunner().invoke(app, [part.format(**names) for part in shlex.split(line)])


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def assert_refused(result: Any, out: Path) -> None:
    lines = result.stderr.splitlines()
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Value error" not in lines[0]
    assert len(lines[0]) > 20, "too short to say what is wrong"
    assert result.stdout == ""
    assert names(out) == []


def start(line: str, *, watched: bool = False) -> tuple[subprocess.Popen[str], int | None]:
    """The program, with a terminal as its standard error when `watched`."""
    screen, stderr = pty.openpty() if watched else (None, subprocess.PIPE)
    child = subprocess.Popen(
        [sys.executable, "-m", "elsewhere", *shlex.split(line)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"},
        # A test run in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    if screen is not None:
        os.close(stderr)
    return child, screen


def wait_for(ready: Callable[[], bool], child: subprocess.Popen[str], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert child.poll() is None, "ended before it could be interrupted"
        assert time.monotonic() < limit, "never began"
        time.sleep(0.02)


def read(screen: int) -> Iterator[str]:
    """What appears on a terminal until it is closed."""
    while True:
        try:
            text = os.read(screen, 4096).decode(errors="replace")
        except OSError:
            return
        if not text:
            return
        yield text
