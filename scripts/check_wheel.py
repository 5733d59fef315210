"""Check an installed elsewhere: every level of the kernels that this processor can run against tensor code.

    python -I check_wheel.py --expect-kernels

`make wheel` and the workflow run this where nothing but the wheel and its dependencies is installed. Each level
answers in a process of its own, chosen by ELSEWHERE_KERNELS. The exit code is 1 if any answer differs by more than
the tolerance, or if kernels are missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import elsewhere as els
from elsewhere.engine.kernels import build, loader

NOISE = (0.05, 0.5, 5.0)
TOLERANCE = {"exact": 5e-5, "fast": 2e-3}
"""Largest difference of x0hat. Exact: sums in float32, as in the tests of the machines. Fast: each side may be off by
the tolerance that it was asked for, 1e-3."""


def machines() -> dict[str, Callable[..., els.EquivariantLocalScore]]:
    """What is asked: windows that take the paths of every kernel, in gray and in colour."""
    return {
        "exact 3": lambda data: els.EquivariantLocalScore(data, 3, engine="exact"),
        "exact 7": lambda data: els.EquivariantLocalScore(data, 7, engine="exact"),
        "exact 7 tapered": lambda data: els.EquivariantLocalScore(data, 7, engine="exact", taper=True),
        "exact 5 wrap": lambda data: els.EquivariantLocalScore(data, 5, borders="wrap", engine="exact"),
        "fast 5": lambda data: els.EquivariantLocalScore(data, 5, engine="fast", tolerance=1e-3),
    }


def answer(into: Path) -> None:
    """Write what the chosen kernels answer, and which they were."""
    found = {}
    for name, images in (("fashion-mini", 400), ("pixel-faces", 200)):
        data = els.load_images(name, images)
        noise = els.make_noise(1, data.shape)
        for what, make in machines().items():
            machine = make(data)
            for sigma in NOISE:
                found[f"{what} {name} {sigma}"] = machine(data.scaled()[:1] + sigma * noise, sigma).contiguous()
    save_file(found, into, {"kernels": loader.describe()})


def ask(level: str, folder: Path) -> dict[str, torch.Tensor]:
    """The answers of a level, from a process of its own."""
    into = folder / f"{level}.safetensors"
    command = [sys.executable, "-I", __file__, "--answer", str(into)]
    # The cache of indexes is new: no level reads what another one built.
    variables = {**os.environ, build.VARIABLE: level, "ELSEWHERE_CACHE": str(folder / level)}
    subprocess.run(command, env=variables, check=True)
    return load_file(into)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    expected = parser.add_mutually_exclusive_group()
    expected.add_argument("--expect-kernels", action="store_true", help="fail if there are none")
    expected.add_argument("--expect-none", action="store_true", help="fail if there are any")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        answer(arguments.answer)
        return 0

    compiler = shutil.which(os.environ.get("CC", "cc"))
    levels = list(loader.available())
    print(f"elsewhere {els.__version__} in {Path(els.__file__).parent}; compiler on PATH: {compiler}")
    print(f"this processor can run {', '.join(loader.processor())}; installed of these: {', '.join(levels) or 'none'}")
    if arguments.expect_kernels and levels != loader.processor():
        print("error: kernels are missing")
        return 1
    if arguments.expect_none and levels:
        print("error: there are kernels")
        return 1
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        plain = ask("none", Path(folder))
        for level in levels:
            found = ask(level, Path(folder))
            worst = dict.fromkeys(TOLERANCE, 0.0)
            for name, x0 in found.items():
                engine = name.split()[0]
                worst[engine] = max(worst[engine], float((x0 - plain[name]).abs().max()))
            good = all(worst[engine] <= most for engine, most in TOLERANCE.items())
            failed |= not good
            off = ", ".join(f"{engine} {off:.1e} (of {TOLERANCE[engine]:.0e})" for engine, off in worst.items())
            print(
                f"{level:8} {'ok' if good else 'WRONG'}: {len(found)} answers, off from tensor code by at most: {off}"
            )
    print(
        subprocess.run([sys.executable, "-I", "-m", "elsewhere", "--kernels"], capture_output=True, text=True).stdout,
        end="",
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
