"""Ctrl-C and requests to end, from the first moments of the program to its last.

Imports next to nothing: it must be in place before the libraries that take seconds to import.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

NOTHING = "nothing was written"


class Stopped(KeyboardInterrupt):
    """A signal that asks the program to end.

    Attributes:
        code: exit code, 128 + the number of the signal: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.code = 128 + number


def _end(number: int, frame: FrameType | None) -> None:
    # An exception inside of an import may be swallowed, or shown with frames; nothing needs to be undone yet.
    os.write(2, f"interrupted: {NOTHING}\n".encode())
    os._exit(128 + number)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def end_at_once() -> None:
    """From here on a signal ends the program with one line. A signal that the caller ignores stays ignored."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, _end)


def raise_from_now_on() -> None:
    """From here on there may be files to clean up: a signal raises Stopped, where `end_at_once` was called before.

    Torch, by far the slowest import, is imported first.
    """
    if _end in map(signal.getsignal, (signal.SIGINT, signal.SIGTERM)):
        import torch  # noqa: F401

        _replace(_end, _raise)


def restore() -> None:
    """From here on a signal does what it does to any program."""
    _replace(_end, signal.SIG_DFL)
    _replace(_raise, signal.SIG_DFL)
    _replace(signal.default_int_handler, signal.SIG_DFL)


def _replace(old: object, new: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is old:
            signal.signal(number, new)  # type: ignore[arg-type]
