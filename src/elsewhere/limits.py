"""Limits, checked before memory is allocated."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

LARGEST_SIDE = 20_000
"""Most pixels on a side of an image; larger numbers are taken for mistakes."""

MOST_MEMORY = 2**50
"""Bytes; larger numbers are taken for mistakes."""

MOST_CLASSES = 1_000_000
"""Tables of classes have one row for each number up to the highest label."""

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class TooLarge(MemoryError):
    """More than the machine has, found before the memory is allocated; the message says for what."""


def require_memory(needed: int, what: str, remedy: str = "ask for fewer or smaller images") -> None:
    """Refuse a request that can never fit: more bytes than the machine, or its container, has.

    Args:
        needed: bytes that are about to be allocated.
        what: what they are for, as the subject of the message.
        remedy: how to need less.

    Raises:
        TooLarge: the machine has less.
    """
    total = total_memory()
    if total is not None and needed > total:
        raise TooLarge(
            f"{what} needs {needed / 2**30:.4g} GiB of memory, this machine has {total / 2**30:.4g} GiB: {remedy}"
        )


@cache  # every call of a denoiser asks for it
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
