"""What each idea of the search brings: it is turned off, and time and error are compared with those of all together.

    python benchmarks/ablation.py --images train-images-idx3-ubyte.gz --size 6000

For some steps of a run (a noise level and a window), all interior pixels of a few noisy images are searched. Every row
is one change of `IndexSettings` or `SearchSettings`: seconds of the processor relative to those with nothing changed,
the root mean square and the largest error against all windows weighed in full precision, how many pixels are off by
more than the tolerance, and the time in which the index was built. All rows of a step are measured in one run, the
unchanged search first and last.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from torch import Tensor

import elsewhere as els
from elsewhere.engine import Index, Metric, PixelStore, WindowKeys, build_index, run
from elsewhere.engine.dense import DenseJob
from elsewhere.engine.search.job import SearchJob
from elsewhere.engine.search.settings import INDEX, SEARCH, IndexSettings, SearchSettings
from elsewhere.files import write_text
from elsewhere.machines.borders import interior

CHANGES: dict[str, tuple[IndexSettings, SearchSettings]] = {
    "nothing changed": (INDEX, SEARCH),
    "no outliers": (replace(INDEX, outlier=inf), SEARCH),
    "outliers read no further down": (INDEX, replace(SEARCH, outlier_margin=0.0)),
    "no neighbour propagation": (INDEX, replace(SEARCH, passes=0)),
    "one pass of propagation": (INDEX, replace(SEARCH, passes=1)),
    "no second round": (INDEX, replace(SEARCH, rounds=(0.0,))),
    "Gaussians at one noise level": (INDEX, replace(SEARCH, most_levels=1)),
    "high-multiplicity keys in cells": (replace(INDEX, high_multiplicity=inf), SEARCH),
    "no limit of depth": (INDEX, replace(SEARCH, depth=inf)),
    "no nearest cells": (INDEX, replace(SEARCH, nearest=0)),
    "variances without a prior": (replace(INDEX, prior_keys=0.0), SEARCH),
    "cells are blocks": (replace(INDEX, cells_a_block=1, blocks_a_group=48), SEARCH),
    "blocks without cells": (replace(INDEX, keys_a_cell=512, cells_a_block=1), SEARCH),
    "cells half as large": (replace(INDEX, keys_a_cell=64), SEARCH),
    "cells twice as large": (replace(INDEX, keys_a_cell=256), SEARCH),
    "groups half as large": (replace(INDEX, blocks_a_group=6), SEARCH),
    "groups twice as large": (replace(INDEX, blocks_a_group=24), SEARCH),
    "nothing changed, again": (INDEX, SEARCH),
}


def ready(keys: WindowKeys, settings: IndexSettings) -> tuple[Index, float]:
    """An index whose windows are copied, and the processor's seconds that building it took."""
    start = time.process_time()
    index = build_index(keys, settings=settings)
    return index.copied(), time.process_time() - start


def searched(
    queries: Tensor, sigma: float, index: Index, tolerance: float, grid: tuple[int, int], settings: Any
) -> Any:
    """The averages, and the least processor's seconds of three searches."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        state = SearchJob(queries, sigma, index, tolerance, 2**30, grid, settings=settings).run()
        seconds.append(time.process_time() - start)
    return state.mean(), min(seconds)


def measure(
    data: els.ImageSet, x: Tensor, sigma: float, window: int, tolerance: float, taper: bool
) -> list[dict[str, Any]]:
    places = interior(*data.shape[1:], window)
    assert places is not None
    metric = Metric.tapered(window) if taper else None
    store = PixelStore.of(data.images)
    keys = WindowKeys(store, places.extent, places.rows, places.columns, merge=True, metric=metric)
    cut = places.extent.windows(x - store.offset, places.rows, places.columns)[1]
    grid, queries = (cut.shape[1], cut.shape[2]), cut.flatten(0, 2).flatten(1)
    if keys.roots is not None:
        queries = queries * keys.roots.float()
    exact = run([DenseJob(queries, sigma, keys)])[0].mean()
    indexes: dict[IndexSettings, tuple[Index, float]] = {}
    rows: list[dict[str, Any]] = []
    for name, (of_index, of_search) in CHANGES.items():
        if of_index not in indexes:
            # The unchanged one is needed again; no other is.
            indexes = {INDEX: indexes[INDEX]} if indexes else {}
            indexes[of_index] = ready(keys, of_index)
        index, built = indexes[of_index]
        mean, seconds = searched(queries, sigma, index, tolerance, grid, of_search)
        error = (mean - exact).abs().amax(1)
        row = {
            "change": name,
            "seconds": seconds,
            "time": seconds / (rows[0]["seconds"] if rows else seconds),
            "rms": float(error.square().mean().sqrt()),
            "max": float(error.max()),
            "off": float((error > tolerance).double().mean()),
            "index_seconds": built,
        }
        rows.append(row)
        print(
            f"  {name:32} time {row['time']:.2f}  rms {row['rms']:.1e}  max {row['max']:.1e}  "
            f"off {row['off']:.2%}  index {built:.1f} s",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", default="fashion-mini", help="as for elsewhere commands")
    parser.add_argument("--size", type=int, default=2000, help="number of training images")
    parser.add_argument("--steps", default="1.15:11,0.32:5", help="noise levels and windows")
    parser.add_argument("--batch", type=int, default=2, help="images that are searched")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--taper", action="store_true")
    arguments = parser.parse_args()
    data = els.load_images(arguments.images, arguments.size + arguments.batch)
    training, held_out = data.take(arguments.size), data.scaled()[-arguments.batch :]
    results = []
    for step in arguments.steps.split(","):
        sigma, window = float(step.split(":")[0]), int(step.split(":")[1])
        x = held_out + sigma * els.make_noise(arguments.batch, data.shape)
        print(f"{len(training)} images, sigma {sigma}, window {window}:", flush=True)
        rows = measure(training, x, sigma, window, arguments.tolerance, arguments.taper)
        results.append({"sigma": sigma, "window": window, "rows": rows})
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "ablation.json", json.dumps({"images": len(training), "results": results}, indent=1))


if __name__ == "__main__":
    main()
