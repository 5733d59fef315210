"""Patterns grown from one original of 64 x 64 pixels: kinds, wavelengths, copying, healing, what a large canvas costs.

python benchmarks/morphogenesis.py [--out benchmarks/results] [--seeds 4] [--wounded 2] [--canvas 512]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import elsewhere as els
from elsewhere.files import save_bytes, write_text
from elsewhere.morphogenesis import PATTERNS, growth_schedule, measure, pattern_machine, simulate, study
from elsewhere.morphogenesis.tour import HEALED, Tour, large_picture
from elsewhere.pictures import picture_png

MEMORY = 2**28


def peak() -> int:
    """Most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def canvases(largest: int, out: Path) -> list[dict[str, Any]]:
    """Time and memory of canvases up to the largest side; the largest is written to large.png."""
    original = simulate(PATTERNS["labyrinth"], (study.SIDE, study.SIDE), 1).images()
    rows, side = [], study.SIDE
    while side <= largest:
        machine = pattern_machine(original, memory=MEMORY)
        before, start, processor = peak(), time.perf_counter(), time.process_time()
        run = els.sample(machine, els.make_noise(1, (1, side, side)), growth_schedule())
        found = measure(run.images[0, 0])
        rows.append(
            {
                "side": side,
                "seconds": time.perf_counter() - start,
                "processor_seconds": time.process_time() - processor,
                "peak_bytes": peak(),
                "peak_grew_by_bytes": peak() - before,
                "kind": found.kind,
                "wavelength": found.wavelength,
                "wavelength_of_original": measure(original[0, 0]).wavelength,
            }
        )
        save_bytes(out / "large.png", picture_png(large_picture(original, run.images)))
        side *= 2
    return rows


def show(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*header, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False, width=200).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seeds", type=int, default=4, help="patterns grown of each kind")
    parser.add_argument("--wounded", type=int, default=2, help="patterns wounded in each way")
    parser.add_argument("--canvas", type=int, default=512, help="side of the largest canvas, doubled up to from 64")
    arguments = parser.parse_args()

    # First, as the peak of memory never falls again.
    large = canvases(arguments.canvas, arguments.out)
    show(
        ("canvas", "seconds", "processor seconds", "peak memory", "of it new", "kind", "wavelength", "of the original"),
        [
            (
                f"{row['side']} x {row['side']}",
                f"{row['seconds']:.0f}",
                f"{row['processor_seconds']:.0f}",
                f"{row['peak_bytes'] / 2**20:.0f} MiB",
                f"{row['peak_grew_by_bytes'] / 2**20:.0f} MiB",
                row["kind"],
                f"{row['wavelength']:.1f}",
                f"{row['wavelength_of_original']:.1f}",
            )
            for row in large
        ],
    )
    growths = []
    for name in PATTERNS:
        growths.append(study.grow(name, arguments.seeds))
    show(study.GROWTH_HEADER, [study.growth_row(growth) for growth in growths])
    recoveries = []
    for name, place in HEALED:
        recoveries.append((place, study.heal(name, study.WOUNDS[place], arguments.wounded)))
    show(study.HEALING_HEADER, [row for place, one in recoveries for row in study.healing_rows(place, one)])
    result = {"torch": torch.__version__, "memory": MEMORY, "canvases": large, **Tour(growths, recoveries).figures()}
    write_text(arguments.out / "morphogenesis.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
