"""Where files are kept, and writing them whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path


def default_folder() -> Path:
    """Where indexes are kept: `ELSEWHERE_CACHE`, or `elsewhere` in the user's cache folder.

    Raises:
        FileNotFoundError: nothing is named, and the user has no home folder.
    """
    named = os.environ.get("ELSEWHERE_CACHE")
    try:
        return Path(named) if named else user_cache_path("elsewhere", appauthor=False)
    except RuntimeError:
        raise FileNotFoundError("the user has no home folder: name a folder for indexes in ELSEWHERE_CACHE") from None


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """A path beside `target` to write to; it takes the target's name only if the block ends well.

    A reader, or a program killed at any moment, finds the old file or the new one, never half of one.

    Raises:
        OSError: the file cannot be written; its `filename` is `target` where the system's error names no file, as it
            does when a disk is full.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Short, so that a name as long as the disk takes can be written as well.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem[:30]}-", suffix=target.suffix)
    os.close(handle)
    beside = Path(name)
    try:
        with naming(target):
            yield beside
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            beside.chmod(0o644)
            beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name into a system's error that has none: those of a full disk have none."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def only_process(lock: Path) -> Iterator[bool]:
    """Hold a lock file during the block; False, and nothing is held, where another process holds it.

    The system frees the lock of a process that has died, so that a lock file left behind stops nobody.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        # Removed while it is held: whoever opens the name from now on makes a new file.
        with suppress(OSError):
            lock.unlink()
        held.release()


def write_text(target: str | Path, text: str) -> None:
    """Write text whole or not at all, as UTF-8; bytes of file names that are no UTF-8 are escaped."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")


def save_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes to a file, completely or not at all."""
    with atomic_path(path) as beside:
        beside.write_bytes(content)


def save_all(folder: str | Path, contents: Mapping[str, str | bytes], what: str) -> None:
    """Write files into a folder, each completely or not at all, in the given order.

    Args:
        folder: created if missing.
        contents: file name -> text or bytes.
        what: what they are, for the message: "the audit".

    Raises:
        OSError: the folder cannot be created or written; the message names it.
    """
    folder = Path(folder)
    try:
        for name, content in contents.items():
            if isinstance(content, str):
                write_text(folder / name, content)
            else:
                save_bytes(folder / name, content)
    except OSError as error:
        raise OSError(f"cannot write {what} to {folder}: {error.strerror}; choose another folder") from error


def json_text(content: Any, indent: int | None = 1) -> str:
    """Content as JSON text. Undefined (NaN) and infinite numbers become null, as JSON has neither.

    Example:
        >>> json_text({"r": float("nan")}, indent=None)
        '{"r": null}'
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def json_object(text: str | bytes, form: str | None = None) -> dict[str, Any]:
    """A JSON object from a file that anyone may have written.

    Args:
        text: what is in the file.
        form: what the object must hold as its "format"; None for anything.

    Raises:
        ValueError: not JSON, not an object, nested too deeply, or of another format.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    except ValueError:
        raise ValueError("it has a number of too many digits") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {_kind(value)}")  # noqa: TRY004
    if form is not None:
        check_format(value, form)
    return value


def check_format(content: Mapping[str, Any], form: str) -> None:
    """Check what an object of a file holds as its "format".

    Raises:
        ValueError: another format.
    """
    if content.get("format") != form:
        raise ValueError(f'its "format" is {json.dumps(content.get("format"))[:60]}, expected "{form}"')


def entry(content: Mapping[str, Any], name: str) -> Any:
    """What an object of a file holds under a name.

    Raises:
        ValueError: nothing.
    """
    if name not in content:
        raise ValueError(f'it has no "{name}"')
    return content[name]


def entries(content: Mapping[str, Any], name: str) -> list[Any]:
    """The list that an object of a file holds under a name.

    Raises:
        ValueError: nothing, or something else.
    """
    value = entry(content, name)
    if not isinstance(value, list):
        raise ValueError(f'its "{name}" must be a list, got {_kind(value)}')  # noqa: TRY004
    return value


def rows(content: Mapping[str, Any], name: str, needed: Sequence[str], optional: Sequence[str]) -> list[dict[str, Any]]:
    """The objects in the list that an object of a file holds under a name, such as the settings of each noise level.

    Args:
        content: the object.
        name: of the list.
        needed: names that each of the objects must have.
        optional: further names that they may have.

    Raises:
        ValueError: no list, something else in it, a name that is missing or unknown.
    """
    found = entries(content, name)
    for number, row in enumerate(found):
        if not isinstance(row, dict):
            raise ValueError(f'"{name}" must hold objects, got {_kind(row)} as number {number}')  # noqa: TRY004
        if missing := [key for key in needed if key not in row]:
            raise ValueError(f'number {number} of its "{name}" has no "{missing[0]}"')
        if unknown := [key for key in row if key not in (*needed, *optional)]:
            known = ", ".join((*needed, *optional))
            raise ValueError(f'number {number} of its "{name}" has {json.dumps(unknown[0])[:60]}, expected {known}')
    return found


def details(content: Mapping[str, Any]) -> dict[str, Any]:
    """What an object of a file holds under "details"; empty where there is nothing.

    Raises:
        ValueError: no object.
    """
    value = content.get("details", {})
    if not isinstance(value, dict):
        raise ValueError(f'its "details" must be an object, got {_kind(value)}')  # noqa: TRY004
    return value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows, all with the keys of the first, as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
