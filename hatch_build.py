"""Compile the inner loops of the engine, for this machine; without a C compiler the package works as well, slower."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/elsewhere/engine")
SOURCES, LIBRARY = ("shifts.c", "scan.c", "windows.c", "attribution.c", "partition.c", "neighbours.c"), FOLDER / "libloops.so"
FLAGS = ["-O3", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
# The first set that the compiler takes; GCC else keeps to half of the widest vectors of some processors.
MACHINES = [["-march=native", "-mprefer-vector-width=512"], ["-march=native"], ["-mcpu=native"], []]


class Hook(BuildHookInterface[Any]):
    """Called by hatchling before a wheel is built or the package is installed as editable."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if self.target_name != "wheel" or not compile_library(root / FOLDER, root / LIBRARY):
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"].append(str(LIBRARY))


def compile_library(folder: Path, library: Path) -> bool:
    """Compile the sources in a folder, beside the library first; whether it worked."""
    library.unlink(missing_ok=True)
    part = library.with_suffix(".part")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    sources = [str(folder / name) for name in SOURCES]
    said = ""
    for machine in MACHINES:
        command = [*compiler, *FLAGS, *machine, "-o", str(part), *sources, "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            said = str(error)
            break
        if done.returncode == 0:
            part.replace(library)
            return True
        said = done.stderr
    part.unlink(missing_ok=True)
    print(f"elsewhere: no compiled inner loops, machines will be slower: {said}", file=sys.stderr)
    return False
