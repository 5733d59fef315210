"""Compile the kernels, one library for each level of processor: `python build.py v3`, `python build.py` for all levels.

The standard library is all that this file needs: hatch_build.py runs it where nothing else is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parent
VARIABLE = "ELSEWHERE_KERNELS"
"""The environment variable that names one level (or `none`): to compile, and to load."""

COMMON = [
    "-std=gnu11",  # vector types and typeof are GNU extensions
    "-fPIC",
    "-shared",
    # Else loops with square roots and comparisons are not vectorised. Nobody reads errno or the exception flags.
    "-fno-math-errno",
    "-fno-trapping-math",
    # Fuse a * b + c also across statements. GCC's default, but not clang's.
    "-ffp-contract=fast",
]
WIDE = "-mprefer-vector-width=512"
"""Without it both compilers use half of each AVX-512 register wherever they vectorise a loop themselves."""

V2 = ["sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"]
V3 = [*V2, "avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt"]
V4 = [*V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]
X86 = {"v4-vnni": [*V4, "avx512vnni"], "v4": V4, "v3": V3, "v2": V2}
"""Features of each level, as the compiler names them, best level first.

v2 to v4 are x86-64-v2 to v4 without cx16, lahf and movbe, which the kernels have no use for and torch does not report.
Features are listed, because compilers before GCC 11 do not know the names of the levels. VNNI multiplies and adds
16-bit numbers in one instruction instead of two (`multiply_add` in tiles.h).
"""


def levels() -> dict[str, list[str]]:
    """Levels that a wheel for this kind of processor contains, best first, and the compiler's flags of each."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        chosen = {name: [f"-m{feature}" for feature in features] for name, features in X86.items()}
        return {
            name: ["-O3", "-march=x86-64", *flags, *([WIDE] if name.startswith("v4") else [])]
            for name, flags in chosen.items()
        }
    if machine in ("aarch64", "arm64"):
        return {"neon": ["-O3", "-march=armv8-a"]}
    return {"portable": ["-O3"]}


def all_levels() -> dict[str, list[str]]:
    """As `levels`, and those that never are in a wheel.

    `native` has whatever the building machine has; it is there to be compared with. `sanitized` checks every access to
    memory and every sum of signed numbers, and ends the process at the first error: see `make sanitize`.
    """
    here = "-march=native" if "v2" in levels() else "-mcpu=native"
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    return {
        **levels(),
        "native": ["-O3", here, *([WIDE] if "v2" in levels() else [])],
        "sanitized": ["-O1", "-g", here, *sanitize],
    }


def sources() -> list[Path]:
    """All C files, in order of their names."""
    return sorted([*FOLDER.glob("*.c"), *FOLDER.glob("*.h")])


def identity(flags: Iterable[str]) -> str:
    """Sixteen hexadecimal digits that change with any source and any flag."""
    digest = hashlib.sha256(" ".join([*COMMON, *flags]).encode())
    for path in sources():
        # Git may check sources out with other ends of lines.
        text = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"\n{path.name} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:16]


def library(level: str, folder: Path = FOLDER) -> Path:
    """Where the library of a level is."""
    return folder / f"kernels-{level}.so"


def compile_library(into: Path, flags: Iterable[str]) -> str:
    """Compile all sources with `CC`, beside the library first; what was wrong, or an empty string."""
    flags, part = list(flags), into.with_suffix(".part")
    into.parent.mkdir(parents=True, exist_ok=True)
    files = [str(path) for path in sources() if path.suffix == ".c"]
    command = [*shlex.split(os.environ.get("CC", "cc")), *COMMON, *flags, f'-DIDENTITY="{identity(flags)}"']
    try:
        done = subprocess.run([*command, "-o", str(part), *files, "-lm"], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    if done.returncode:
        part.unlink(missing_ok=True)
        return done.stderr.strip() or f"{command[0]} ended with exit code {done.returncode}"
    part.replace(into)
    return ""


def is_current(path: Path, flags: Iterable[str]) -> bool:
    """Whether a library was compiled from these sources with these flags: it contains their identity."""
    try:
        return identity(flags).encode() in path.read_bytes()
    except OSError:
        return False


def compile_levels(chosen: Iterable[str], folder: Path = FOLDER) -> list[Path]:
    """Compile the levels that are not current, as many at a time as there are processors; all libraries that are there.

    `make demo` and `make test` both install the package: the second finds the libraries of the first.
    """
    flags, chosen = all_levels(), list(chosen)

    def made(level: str) -> str:
        path = library(level, folder)
        return "" if is_current(path, flags[level]) else compile_library(path, flags[level])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = list(pool.map(made, chosen))
    for level, fault in zip(chosen, faults, strict=True):
        if fault:
            print(f"elsewhere: the kernels for {level} could not be compiled: {fault}", file=sys.stderr)
    return [library(level, folder) for level, fault in zip(chosen, faults, strict=True) if not fault]


def wanted() -> list[str]:
    """Levels to compile: all, or the one that `ELSEWHERE_KERNELS` names.

    Raises:
        ValueError: there is no such level.
    """
    named = os.environ.get(VARIABLE, "")
    if not named:
        return list(levels())
    if named == "none":
        return []
    if named not in all_levels():
        raise ValueError(f"{VARIABLE}={named} is no level: expected one of {', '.join(all_levels())}, none")
    return [named]


def main() -> int:
    """Compile the levels that the command line names; the exit code."""
    parser = argparse.ArgumentParser(description="Compile the kernels of Elsewhere with CC (by default cc).")
    parser.add_argument(
        "levels", nargs="*", metavar="LEVEL", help=f"{', '.join(all_levels())}; default: those of a wheel"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write them; default: beside the sources")
    given = parser.parse_args()
    unknown = [level for level in given.levels if level not in all_levels()]
    if unknown:
        parser.error(f"{unknown[0]} is no level: expected one of {', '.join(all_levels())}")
    chosen = given.levels or list(levels())
    return len(compile_levels(chosen, given.folder)) < len(chosen)


if __name__ == "__main__":
    sys.exit(main())
