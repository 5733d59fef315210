"""What all commands do at the terminal: errors on one line, exit codes, and checks of where results are written."""

from __future__ import annotations

import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from elsewhere import stopping, wording
from elsewhere.limits import LARGEST_SIDE, MOST_MEMORY, TooLarge
from elsewhere.stopping import NOTHING, Stopped

BAD_INPUT = 2
EXPECTED = (ValueError, TypeError, ImportError, OSError, MemoryError)
"""What the library raises for arguments that it cannot use. Anything else is a fault of ours and shows its traceback,
except for the RuntimeError of torch when memory is short: see `_is_out_of_memory`."""

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


class Interrupted(Exception):
    """Ctrl-C, or a request to end; the message says what is kept.

    Attributes:
        code: exit code.
    """

    def __init__(self, kept: str, stop: BaseException | None = None) -> None:
        super().__init__(kept)
        self.code = stop.code if isinstance(stop, Stopped) else Stopped().code


class OneLineErrors(TyperGroup):
    """Commands whose errors are one line on standard error: exit code 2 for bad input, 130 for Ctrl-C.

    `--debug` before the command, or ELSEWHERE_DEBUG=1, shows the traceback instead.
    """

    running: Any = None
    """The command that runs, once it is known."""

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
        self.running = None
        if args is None:
            stopping.end_at_once()
        _prepare_streams()
        try:
            with one_line_warnings():
                code = self._run(given, prog_name or "elsewhere", **extra)
        except (KeyboardInterrupt, Interrupted) as error:
            if args is None:
                stopping.restore()  # before the message: a second Ctrl-C may come at once
            stop = error if isinstance(error, Interrupted) else Interrupted(NOTHING, error)
            code = _say(f"interrupted: {stop}", stop.code)
        except (*EXPECTED, RuntimeError) as error:
            if _is_fault(error) or given[:1] == ["--debug"] or os.environ.get("ELSEWHERE_DEBUG", "0") not in ("", "0"):
                raise
            code = _say(f"error: {_describe(error, self.running)}", BAD_INPUT)
        if args is None:
            # The process still waits for loops in other threads; a second Ctrl-C ends that silently.
            stopping.restore()
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        sys.exit(code)

    def _run(self, given: list[str], prog_name: str, **extra: Any) -> int:
        """Run the command and return its exit code; bad usage is reported here."""
        try:
            with self.make_context(prog_name, list(given), **extra) as context:
                self.invoke(context)
        except typer.Exit as done:
            return done.exit_code
        except typer.TyperException as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                typer.echo(error.format_message(), err=True)
                return BAD_INPUT
            return _say(f"error: {wording.describe_usage(error, self)}", BAD_INPUT)
        except BrokenPipeError:
            # The reader of the output, such as `head`, has closed it; the files were written before.
            _silence(sys.stdout)
        return 0

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        self.running = command
        # What cannot be parsed is refused later, by the command itself, with a better message.
        with suppress(typer.TyperException):
            assert command is not None
            parser = command.make_parser(ctx)
            parser.allow_interspersed_args = command.allow_interspersed_args
            typed, _, _ = parser.parse_args(list(rest))
            wording.check_typed(command, typed)
        return name, command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, wrapped to the width of the terminal; typer would cut the lines."""
        rows = [(name, (command.help or "").split("\n\n")[0]) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _is_fault(error: BaseException) -> bool:
    """Whether an error has no cause in the arguments: a fault of ours.

    These are a RuntimeError that does not say that memory is short, and an ImportError that names a module: those of
    `optional.require` name none.
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
    with suppress(BrokenPipeError):
        typer.echo(wording.one_line(text), err=True)
    return code


def _prepare_streams() -> None:
    """Escape characters that the encoding of the output lacks; write nowhere where a stream is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        # The error was reported on writing; the interpreter would try again at exit, and complain.
        _silence(stream)


def _silence(stream: TextIO) -> None:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _describe(error: BaseException, command: Any) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if _is_out_of_memory(error) and not isinstance(error, TooLarge):
        asked = re.search(r"allocate (\d[\d.]* \w+)", str(error))
        wanted = f" ({asked[1]} at once)" if asked else ""
        return (
            f"out of memory{wanted}: ask for fewer or smaller images, lower --memory, "
            "or train with a smaller --batch or --width"
        )
    return wording.in_options(str(error), command) or type(error).__name__


@contextmanager
def results_in(folder: Path, kept: str = "", proof: str = "*", sources: Sequence[str] = ()) -> Iterator[None]:
    """A block that ends by writing into `folder`.

    Before the block, check that files can be written there. If Ctrl-C stops the block, say what is kept. If the block
    fails, remove the folders that it made and left empty.

    Args:
        folder: made by the block if it is missing.
        kept: what to say of unfinished work that can be continued, if there is a file of it.
        proof: which files (a glob pattern) that unfinished work leaves.
        sources: names and paths of the images that the block reads; see `check_outside`.

    Raises:
        ValueError: the folder lies in one of the sources.
        FileExistsError: the folder, or a folder above it, is a file.
        OSError: no file can be made there.
        Interrupted: Ctrl-C.
    """
    for source in sources:
        check_outside(folder, source)
    missing = _check(folder, "a folder")
    before = _contents(folder)
    stopping.raise_from_now_on()
    try:
        yield
    except BaseException as error:
        for made in missing:
            if not made.is_dir() or any(made.iterdir()):
                break
            made.rmdir()
        if isinstance(error, KeyboardInterrupt):
            if kept and any(folder.rglob(proof)):
                said = kept
            else:
                said = NOTHING if _contents(folder) == before else f"the files finished so far are kept in {folder}"
            raise Interrupted(said, error) from None
        raise


def parse_named(values: Sequence[str], option: str, metavar: str) -> dict[str, str]:
    """The names and values of an option that is given several times as NAME=VALUE.

    Raises:
        ValueError: a value without a name or an equals sign, or a name given twice.
    """
    found: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not name.strip() or not equals or not value.strip():
            raise ValueError(f"{option} must be {metavar}, got {text!r}")
        if name in found:
            raise ValueError(f"{option} {name}=... was given twice: give it once")
        found[name] = value
    return found


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """A block in which every Python warning is one line on standard error, each text once."""
    said: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = str(message)
        if text not in said:
            said.add(text)
            _say(f"warning: {text}", 0)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _contents(folder: Path) -> set[tuple[Path, int]]:
    """Every file below a folder, with the time of its last change."""
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def check_file(path: Path, suffix: str, option: str = "--out") -> None:
    """Check that a file of this name can be written.

    Args:
        path: the file.
        suffix: how its name must end.
        option: the option that names it.

    Raises:
        ValueError: its name does not end in the suffix.
        IsADirectoryError: it is a folder.
        OSError: no file can be made there.
    """
    if path.suffix.lower() != suffix:
        raise ValueError(f"{option} {path} must end in {suffix}: that is what will be in it")
    if path.is_dir():
        raise IsADirectoryError(f"{option} {path} is a folder: give the name of a file")
    _check(path.absolute().parent, "in a folder", option, path.name)
    stopping.raise_from_now_on()


def check_outside(folder: Path, source: str, option: str = "--out") -> None:
    """Check that pictures written into a folder are not read as images of a source the next time.

    Args:
        folder: where pictures are written.
        source: name or path of images, as `load_images` takes it.
        option: names the folder.

    Raises:
        ValueError: the folder is a folder of image files that is the source, or lies in it.
    """
    try:
        place, read = folder.resolve(), Path(source).resolve()
        below = place.relative_to(read).parts
    except (ValueError, OSError, RuntimeError):  # outside; or no path at all, which is reported when it is used
        return
    if any(part.startswith(".") for part in below):  # hidden folders are not read
        return
    from elsewhere.data.loading import picture_folder

    if picture_folder(source) is not None:
        raise ValueError(
            f"{option} {folder} lies in the folder of the images {source}, where its pictures would be read as images: "
            "choose a folder elsewhere"
        )


def check_replaces_nothing(folder: Path, image: Path, option: str = "--out") -> None:
    """Check that results do not replace the image that they are made of.

    Args:
        folder: where results are written.
        image: the image file.
        option: names the folder.

    Raises:
        ValueError: the image lies in this folder.
    """
    try:
        same = image.resolve().parent == folder.resolve()
    except (OSError, RuntimeError, ValueError):  # no path at all, which is reported when it is used
        return
    if same:
        raise ValueError(f"{option} {folder} is the folder of {image}, which results could replace: choose another")


def _check(folder: Path, wanted: str, option: str = "--out", name: str = "results.json") -> list[Path]:
    """Try to write a file of this name into a folder, and leave no trace; the folders to be made, innermost first."""
    import tempfile  # here, because `elsewhere --help` does without it

    try:
        os.fsencode(folder).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{option} {folder} is not valid UTF-8: choose another name") from None
    missing = []
    place = folder.absolute()
    while not os.path.lexists(place):
        missing.append(place)
        place = place.parent
    if not place.is_dir():
        raise FileExistsError(f"{place} is not a folder: {option} must be {wanted} that exists or can be made")
    try:
        # Permissions alone do not show that a disk is read-only, nor that a name is too long for it.
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            (folder / name).lstat()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"cannot write in {folder} ({error.strerror}): choose another {option}") from error
    finally:
        for made in missing:
            with suppress(OSError):
                made.rmdir()
    return missing


def parse_memory(text: str) -> int:
    """Bytes of a size such as "512MB", "1.5GiB" or "800000000".

    Raises:
        ValueError: not a size, or more than MOST_MEMORY.
    """
    match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([kmg]i?)?b?\s*", text, re.IGNORECASE | re.ASCII)
    size = None if match is None else int(float(match[1]) * UNITS[(match[2] or "").lower()])
    if size is None or size > MOST_MEMORY:
        raise ValueError(f"--memory must be a size such as 512MB or 2GiB, got {text!r}")
    return size


def parse_size(text: str | None) -> tuple[int | None, tuple[int, int] | None]:
    """From "64" the side of training images, from "256x512" the height and width of what is drawn; the other is None.

    Raises:
        ValueError: neither, or a side of 0 or more than LARGEST_SIDE.
    """
    if text is None:
        return None, None
    match = re.fullmatch(r"\s*(\d{1,9})(?:\s*x\s*(\d{1,9}))?\s*", text)
    sides = [] if match is None else [int(part) for part in match.groups() if part is not None]
    if not sides or not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise ValueError(
            f"--size must be a side such as 64, or height and width such as 256x512, of 1 to {LARGEST_SIDE} pixels, "
            f"got {text!r}"
        )
    return (sides[0], None) if len(sides) == 1 else (None, (sides[0], sides[1]))


def parse_value_range(text: str | None) -> tuple[float, float] | None:
    """The values of black and white from "0,255".

    Raises:
        ValueError: not two finite numbers that differ.
    """
    if text is None:
        return None
    try:
        black, white = map(float, text[:100].split(","))
    except ValueError:
        black = white = math.nan
    if not math.isfinite(black - white) or black == white:
        raise ValueError(f"--value-range must be the values of black and white, such as 0,255, got {text[:40]!r}")
    return black, white


def parse_pixel(text: str | None) -> tuple[int, int] | None:
    """Row and column from "14,9", counted from 0.

    Raises:
        ValueError: not two such numbers. Whether they lie in the image is checked by the user of the pixel.
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
        ValueError: not such a list. Even numbers are refused later, by what looks through the windows.
    """
    span = re.fullmatch(r"\s*(\d{1,5})\s*-\s*(\d{1,5})\s*", text)
    if span is not None:
        return list(range(int(span[1]), int(span[2]) + 1, 2))
    if re.fullmatch(r"\s*\d{1,5}(\s*,\s*\d{1,5})*\s*", text) is None:
        raise ValueError(f"--windows must be odd sides such as 3,5,9 or 3-15, got {text!r}")
    return [int(part) for part in text.split(",")]


def parse_counts(text: str | None, option: str) -> list[int] | None:
    """Numbers of a list such as "10,100,1000"; None for None.

    Raises:
        ValueError: not such a list.
    """
    if text is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\s*,\s*\d{1,9})*\s*", text, re.ASCII) is None:
        raise ValueError(f"{option} must be numbers such as 10,100,1000, got {text!r}")
    return [int(part) for part in text.split(",")]
