"""Limits that are checked before memory is asked for."""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 20_000
"""Pixels on a side of an image, beyond which a number is taken for a mistake."""

MOST_CLASSES = 1_000_000
"""Tables of classes have one row for each number up to the highest label."""

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class TooLarge(MemoryError):
    """More than the machine has, found out before it was asked for; the message says what."""


def check_memory(needed: int, what: str) -> None:
    """Refuse what can never fit: more bytes than the machine, or its container, has.

    Args:
        needed: bytes that are about to be asked for.
        what: what they are for, as the subject of the message.

    Raises:
        TooLarge: the machine has less.
    """
    total = total_memory()
    if total is not None and needed > total:
        raise TooLarge(
            f"{what} would take {needed / 1e9:.1f} GB of memory, this machine has {total / 1e9:.1f} GB: "
            "take fewer or smaller images (limit=, size=; in the command line --limit, --size)"
        )


def total_memory() -> int | None:
    """Bytes of memory that this process can have at most, or None where the system does not say."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None
    for name in CGROUP_LIMITS:
        try:
            text = Path(name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            total = min(total, int(text))
    return total
