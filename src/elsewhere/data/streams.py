"""Reading files that may be truncated, damaged, or declare sizes that are false."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
from numpy.typing import NDArray

from elsewhere.limits import require_memory

# At this size a ratio of 100 to 1 indicates a decompression bomb, not images.
BOMB_BYTES = 2**30
BOMB_RATIO = 100

REMEDY = "take fewer or smaller images (limit=, size=; in the command line --limit, --size)"
"""For sources that need more memory than there is."""


@contextmanager
def naming(name: str, kind: str) -> Iterator[None]:
    """Turn any exception of a decoder into a ValueError that names the file.

    Damaged bytes make decoders raise almost anything (zlib.error, struct.error, EOFError, SyntaxError, ...),
    so only the decoder's own calls belong inside.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} cannot be read as {kind} ({reason}): replace the file or remove it") from error


def check_declared(declared: int, stored: int, name: str, *, compressed: bool) -> None:
    """Refuse a declared number of bytes that the stored ones cannot hold, before memory is allocated for it.

    Raises:
        ValueError: the file is truncated, or its header is implausible.
    """
    if not compressed and declared > stored:
        raise ValueError(f"{name} is cut short: its header declares {declared} bytes, {stored} are there")
    if compressed and declared > max(BOMB_BYTES, BOMB_RATIO * stored):
        raise ValueError(
            f"{name} declares {declared} bytes, packed in {stored}: "
            f"more than {BOMB_RATIO} to 1 is implausible for images; if you trust the file, unpack it first"
        )


def read_exactly(stream: IO[bytes], count: int, name: str, kind: str) -> NDArray[np.uint8]:
    """The next `count` bytes.

    Raises:
        ValueError: the stream is damaged or ends before that.
        MemoryError: more bytes than the machine has memory.
    """
    require_memory(count, name, REMEDY)
    data = np.empty(count, np.uint8)
    done = 0
    while done < count:
        with naming(name, kind):
            piece = stream.read(min(count - done, 2**24))
        if not piece:
            raise ValueError(
                f"{name} is cut short: {count} bytes were expected, {done} are there: download or copy the file again"
            )
        data[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return data
