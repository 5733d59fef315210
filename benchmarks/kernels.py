"""The speed of every level of the kernels against those compiled for exactly this machine, in one run.

    python benchmarks/kernels.py --out benchmarks/results

Compiles the level `native` into a folder of its own first, and says how long that took. Then every level that this
processor can run answers the same questions in turn, round after round, so that whatever else runs on the machine
meets all of them alike. Times are of the processor, all threads together; of all rounds the shortest counts.

1. exact: one image of border-aware ELS at window 7 on 2,000 images of fashion-mini.
2. fast: one call of the fast engine on all images of fashion-mini, window 7, after the index was built.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import elsewhere as els
from elsewhere.engine.kernels import build, loader

WINDOW = 7
IMAGES = 2000
LEVELS = {"exact": 0.6, "fast": 0.3}
"""Noise at which each is measured: where a calibrated machine uses this window, and a step that reads many blocks."""


def questions() -> dict[str, Callable[[], torch.Tensor]]:
    data = els.load_images("fashion-mini")
    machines = {
        "exact": els.EquivariantLocalScore(els.ImageSet(data.images[:IMAGES]), WINDOW, engine="exact"),
        "fast": els.EquivariantLocalScore(els.ImageSet(data.images), WINDOW, engine="fast"),
    }
    noise = els.make_noise(1, data.shape)

    def ask(name: str) -> torch.Tensor:
        return machines[name](data.scaled()[:1] + LEVELS[name] * noise, LEVELS[name])

    return {name: lambda name=name: ask(name) for name in machines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()

    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    build.compile_levels(["native"], arguments.out / "kernels")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"compiled native in {time.monotonic() - start:.0f} s, {after.ru_utime - before.ru_utime:.0f} s of a processor"
    )

    kernels: dict[str, Any] = {"native": loader.load(build.library("native", arguments.out / "kernels"), "native")[0]}
    kernels |= {level: loader.load(build.library(level), level)[0] for level in loader.available()}
    asked, seconds = questions(), {}
    answers: dict[str, torch.Tensor] = {}
    for round_ in range(arguments.rounds + 1):
        for level, functions in kernels.items():
            loader.library = lambda functions=functions: functions  # type: ignore[assignment]
            for name, ask in asked.items():
                start = time.process_time()
                answer = ask()
                took = time.process_time() - start
                if round_ == 0:  # indexes are built, threads started
                    off = float((answer - answers.setdefault(name, answer)).abs().max())
                    print(f"{level} {name}: off by {off:.1e} from native", flush=True)
                else:
                    seconds[level, name] = min(took, seconds.get((level, name), took))
    found = {}
    for (level, name), took in seconds.items():
        speed = seconds["native", name] / took
        found[f"{level} {name}"] = {"seconds": took, "of the speed of native": speed}
        print(f"{level:8} {name:6} {took:.3f} s, {speed:.3f} of the speed of native")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "kernels.json").write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
