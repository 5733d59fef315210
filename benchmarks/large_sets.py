"""A set larger than what a machine may hold: seconds and memory of one call, in one process and in parts.

    python benchmarks/large_sets.py fashion-mini --copies 150 --out benchmarks/results

The set is made of DATA by shifts and flips, and saved as a store in a temporary folder, from which its images are
mapped. Every machine answers in a process of its own, once at a high and once at a middle noise level. `memory` is the
peak beside the images, `pages` those of the mapped file that were in memory, which the operating system forgets when
memory is wanted elsewhere. The error is that of parts against the whole.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import elsewhere as els

MACHINES = {"is": lambda data: els.IdealScore(data), "ls": lambda data: els.LocalScore(data, 7)}
SIGMAS = (10.0, 1.0)


def shifted(data: els.ImageSet, copies: int) -> els.ImageSet:
    """Copies of all images, each moved and flipped in its own way."""
    moves = (
        (down, right, flip)
        for far in count()
        for down in range(-far, far + 1)
        for right in (-far, far)
        for flip in (0, 1)
    )
    parts = [
        (images.flip(3) if flip else images)
        for down, right, flip in islice(moves, copies)
        for images in [data.images.roll((down, right), (2, 3))]
    ]
    return els.ImageSet(torch.cat(parts), name=f"{data.name}, {copies} times")


def memory() -> dict[str, float]:
    """Peak and present memory of this process, MB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(fields[name].split()[0]) / 1000 for name in ("VmHWM", "RssAnon", "RssFile")}


def answer(store: Path, name: str, shards: int, into: Path) -> dict[str, Any]:
    """One process's work: what it took, and its answers in a file."""
    data = els.load_images(store)
    machine: Any = MACHINES[name](data)
    if shards > 1:
        machine = els.distributed(machine, shards)
    x, before = els.make_noise(1, data.shape), memory()
    found, answers = [], []
    for sigma in SIGMAS:
        start = time.perf_counter()
        answers.append(machine(x * (1 + sigma), sigma).numpy())
        found.append(time.perf_counter() - start)
    after = memory()
    np.save(into, np.stack(answers))
    return {
        "seconds": found,
        "memory": after["VmHWM"] - before["RssAnon"] - after["RssFile"],
        "pages": after["RssFile"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="fashion-mini")
    parser.add_argument("--copies", type=int, default=15)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        store, name, shards, into = options.one
        print(json.dumps(answer(Path(store), name, int(shards), Path(into))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "large.store"
        data = shifted(els.load_images(options.data), options.copies)
        data.save(store)
        print(f"{len(data):,} images of {data.shape}, {data.images.nbytes / 1e6:.0f} MB")
        for name in MACHINES:
            answers = []
            for shards in (1, options.shards):
                into = Path(folder) / f"{name}-{shards}.npy"
                command = [sys.executable, __file__, "--one", str(store), name, str(shards), str(into)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                row = {"machine": name, "shards": shards, **json.loads(done.stdout)}
                answers.append(np.load(into))
                row["error"] = float(np.abs(answers[-1] - answers[0]).max())
                rows.append(row)
                seconds = " and ".join(f"{each:.1f}" for each in row["seconds"])
                print(
                    f"{name} in {shards} parts: {seconds} s, memory {row['memory']:.0f} MB, "
                    f"pages {row['pages']:.0f} MB, error {row['error']:.1e}"
                )
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "large_sets.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
