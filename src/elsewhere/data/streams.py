"""Reading what a file declares, from files that may be cut short, damaged or lying."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
from numpy.typing import NDArray

from elsewhere.limits import require_memory

# No set of images packs 100 to 1 at this size; a decompression bomb does.
BOMB_BYTES = 2**30
BOMB_RATIO = 100

REMEDY = "take fewer or smaller images (limit=, size=; in the command line --limit, --size)"
"""For sources that need more memory than there is."""


@contextmanager
def naming(name: str, kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a ValueError that names the file.

    Damaged bytes make decoders raise almost anything (zlib.error, struct.error, EOFError, SyntaxError, ...),
    so only the decoder's own calls belong inside.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} cannot be read as {kind} ({reason}): replace the file or remove it") from error


def check_declared(declared: int, stored: int, name: str, *, compressed: bool) -> None:
    """Refuse a declared number of bytes that the stored ones cannot hold, before any memory is taken for it.

    Raises:
        ValueError: the file is cut short, or its header is not to be believed.
    """
    if not compressed and declared > stored:
        raise ValueError(f"{name} is cut short: its header declares {declared} bytes, {stored} are there")
    if compressed and declared > max(BOMB_BYTES, BOMB_RATIO * stored):
        raise ValueError(
            f"{name} declares {declared} bytes, packed in {stored}: "
            f"more than {BOMB_RATIO} to 1 is no set of images; unpack the file if it is to be trusted"
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
            raise ValueError(f"{name} is cut short: {count} bytes were expected, {done} are there: get the file anew")
        data[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return data
