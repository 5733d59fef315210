"""What the commands share at the terminal: errors on one line, exit codes, and a check of where results go."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from elsewhere.limits import LONGEST

BAD_INPUT = 2
INTERRUPTED = 130
NOTHING = "nothing was written"
EXPECTED = (ValueError, TypeError, ImportError, OSError, MemoryError)
"""What the library raises for arguments that it cannot use; anything else is our fault and shows its traceback.

But for the RuntimeError of torch when memory is short: see `_is_out_of_memory`.
"""

VALIDATOR = "Value error, "
"""What pydantic, by which typer reads options, puts before what a check of typer's says."""

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


class Interrupted(Exception):
    """Ctrl-C; the message says what is kept."""


class OneLineErrors(TyperGroup):
    """Commands whose errors are one line on standard error: exit code 2 for bad input, 130 for Ctrl-C.

    `--debug` before the command, or ELSEWHERE_DEBUG=1, shows the traceback instead.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            error.message = error.message.removeprefix(VALIDATOR)
            code = _say(f"error: {error.format_message()}", BAD_INPUT)
        except Interrupted as error:
            if args is None:
                # Loops that run in other threads are still waited for: a second Ctrl-C ends that too, without a word.
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            code = _say(f"interrupted: {error}", INTERRUPTED)
        except (*EXPECTED, RuntimeError) as error:
            if _is_fault(error) or given[:1] == ["--debug"] or os.environ.get("ELSEWHERE_DEBUG", "0") not in ("", "0"):
                raise
            code = _say(f"error: {_describe(error)}", BAD_INPUT)
        sys.exit(code)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted(NOTHING) from None


def _is_fault(error: BaseException) -> bool:
    """An error that no argument brought about.

    An import that failed by itself, as `optional.require` raises one without the name of a module; a RuntimeError that
    does not say that memory is short.
    """
    if isinstance(error, RuntimeError):
        return not _is_out_of_memory(error)
    return isinstance(error, ImportError) and error.name is not None


def _is_out_of_memory(error: BaseException) -> bool:
    """NumPy raises MemoryError; torch a RuntimeError, which for the processor has no class of its own."""
    short = r"can't allocate memory|not enough memory|out of memory"
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and re.search(short, str(error), re.IGNORECASE) is not None
    )


def _say(text: str, code: int) -> int:
    typer.echo(" ".join(text.split()), err=True)
    return code


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if _is_out_of_memory(error):
        asked = re.search(r"allocate (\d[\d.]* \w+)", str(error))
        wanted = f" ({asked[1]} at once)" if asked else ""
        return (
            f"out of memory{wanted}: ask for fewer or smaller images, lower --memory, "
            "or train with a smaller --batch or --width"
        )
    return str(error) or type(error).__name__


@contextmanager
def results_in(folder: Path, kept: str = "") -> Iterator[None]:
    """A block that ends by writing into `folder`.

    Before it begins: can the folder be written? If Ctrl-C stops it: what is kept is said, in the words given or by
    looking. If it fails, a folder that it has made and left empty goes away again.

    Raises:
        FileExistsError: the folder, or a folder above it, is a file.
        OSError: no file can be made there.
        Interrupted: Ctrl-C.
    """
    missing = _check(folder, "a folder")
    before = None if kept else _contents(folder)
    try:
        yield
    except BaseException as error:
        for made in missing:
            if not made.is_dir() or any(made.iterdir()):
                break
            made.rmdir()
        if isinstance(error, KeyboardInterrupt):
            written = f"the files finished so far are kept in {folder}"
            raise Interrupted(kept or (NOTHING if _contents(folder) == before else written)) from None
        raise


def _contents(folder: Path) -> set[tuple[Path, int]]:
    """Every file below a folder, with the time of its last change."""
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def check_file(path: Path, suffix: str) -> None:
    """Make sure that a file of this name can be written.

    Raises:
        ValueError: its name ends otherwise than what it will hold.
        IsADirectoryError: it is a folder.
        OSError: no file can be made there.
    """
    if path.suffix.lower() != suffix:
        raise ValueError(f"{path} must end in {suffix}: that is what will be in it")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file")
    _check(path.absolute().parent, "in a folder")


def _check(folder: Path, wanted: str) -> list[Path]:
    """The folders that are yet to be made, innermost first."""
    missing = []
    place = folder.absolute()
    while not os.path.lexists(place):
        missing.append(place)
        place = place.parent
    if not place.is_dir():
        raise FileExistsError(f"{place} is not a folder: --out must be {wanted} that exists or can be made")
    try:
        # Asking for permissions would not tell a read-only disk; a nameless file leaves no trace.
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(f"cannot write in {place} ({error.strerror}): choose another --out") from error
    return missing


def parse_memory(text: str) -> int:
    """Bytes of a size such as "512MB", "1.5GiB" or "800000000".

    Raises:
        ValueError: not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?)?b?\s*", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"--memory must be a size such as 512MB or 2GiB, got {text!r}")
    return int(float(match[1]) * UNITS[(match[2] or "").lower()])


def parse_size(text: str | None) -> tuple[int | None, tuple[int, int] | None]:
    """From "64" the side of training images, from "256x512" the height and width of what is drawn; the other is None.

    Raises:
        ValueError: neither, or a side of 0 or more than LONGEST.
    """
    if text is None:
        return None, None
    match = re.fullmatch(r"\s*(\d{1,9})(?:\s*x\s*(\d{1,9}))?\s*", text)
    sides = [] if match is None else [int(part) for part in match.groups() if part is not None]
    if not sides or not all(1 <= side <= LONGEST for side in sides):
        raise ValueError(
            f"--size must be a side such as 64, or height and width such as 256x512, of 1 to {LONGEST} pixels, "
            f"got {text!r}"
        )
    return (sides[0], None) if len(sides) == 1 else (None, (sides[0], sides[1]))


def parse_pixel(text: str | None) -> tuple[int, int] | None:
    """Row and column from "14,9", counted from 0.

    Raises:
        ValueError: not two such numbers; whether they lie in the image is the business of who uses them.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d{1,9})\s*,\s*(\d{1,9})\s*", text)
    if match is None:
        raise ValueError(f"--pixel must be a row and a column such as 14,9, counted from 0, got {text!r}")
    return int(match[1]), int(match[2])


def parse_windows(text: str) -> list[int]:
    """Odd numbers of a list such as "3,5,9" or a range such as "3-15".

    Raises:
        ValueError: not such a list; even numbers are the business of who uses it.
    """
    span = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", text)
    if span is not None:
        return list(range(int(span[1]), int(span[2]) + 1, 2))
    if re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", text) is None:
        raise ValueError(f"--windows must be odd sides such as 3,5,9 or 3-15, got {text!r}")
    return [int(part) for part in text.split(",")]
