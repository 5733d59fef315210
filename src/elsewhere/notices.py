"""Python warnings that point to the line of the user's code, however deep in the package they arise."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

PASSED = ("elsewhere", "contextlib")
"""Packages whose frames a warning does not point to: this one, and what calls its decorated functions."""


def warn_deprecated(old: str, new: str) -> None:
    """Warn that a public name will be removed in the next version, and give its replacement."""
    warn(f"{old} is deprecated and will be removed in the next version: use {new}", DeprecationWarning)


def warn(sentence: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning as if the innermost caller outside of the package had called `warnings.warn`."""
    frame: FrameType = sys._getframe(1)
    level = 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PASSED:
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, category, stacklevel=level)
