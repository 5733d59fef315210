"""Kernels that tests compile for themselves."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from elsewhere.engine.kernels import build, loader

COMPILER = shlex.split(os.environ.get("CC", "cc"))
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="no C compiler")
# As if there were no vector registers: the code that processors other than x86-64 run. -O1 compiles in half the time.
PORTABLE = ["-O1", "-U__SSE__", "-U__SSE2__"]


def compile_portable(folder: Path) -> tuple[Any | None, str]:
    """The kernels without intrinsics, or None and what was wrong."""
    fault = build.compile_library(folder / "portable.so", PORTABLE)
    if fault:
        return None, fault
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "all_levels", lambda: {"portable": PORTABLE})
        return loader.load(folder / "portable.so", "portable")
