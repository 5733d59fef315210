"""What each idea of the search brings: it is turned off, and time and error are compared with those of all together.

    python benchmarks/ablation.py --images train-images-idx3-ubyte.gz --queries t10k-images-idx3-ubyte.gz --size 60000

For some steps of a run (a noise level and a window), all interior pixels of a few noisy images are searched. Every row
is one change of `IndexSettings` or `SearchSettings`:

- `time`: seconds of the processor relative to those with nothing changed, the median of pairs measured one right after
  the other, in alternating order;
- `rms` and `max`: error against all windows weighed in full precision, and `off`, how many pixels are off by more than
  the tolerance;
- `same`: the time relative to that of the unchanged search at the same rms error. What a search pays for less error is
  measured by searches that read fewer and more cells, `--exchange` times as many.

Rows of another seed show what chance does: the unchanged index, whose k-means started elsewhere.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from torch import Tensor

import elsewhere as els
from elsewhere.engine import Index, Metric, PixelStore, WindowKeys, build_index, run
from elsewhere.engine.dense import DenseJob
from elsewhere.engine.search.cache import IndexCache
from elsewhere.engine.search.job import SearchJob
from elsewhere.engine.search.settings import INDEX, SEARCH, IndexSettings, SearchSettings
from elsewhere.files import write_text
from elsewhere.machines.borders import interior


def reading(factor: float) -> SearchSettings:
    """The search that reads so many times as many cells."""
    cells = {
        name: round(getattr(SEARCH, name) * factor) for name in ("least_first", "most_first", "fewest", "most_cells")
    }
    return replace(SEARCH, numbers_first=round(SEARCH.numbers_first * factor), **cells)


CHANGES: dict[str, tuple[IndexSettings, SearchSettings]] = {
    "nothing changed": (INDEX, SEARCH),
    "outliers read no further down": (INDEX, replace(SEARCH, outlier_margin=0.0)),
    "no neighbour propagation": (INDEX, replace(SEARCH, propagated_share=1.0)),
    "no second round": (INDEX, replace(SEARCH, rounds=(0.0,))),
    "Gaussians at one noise level": (INDEX, replace(SEARCH, most_levels=1)),
    "noise levels twice as far apart": (INDEX, replace(SEARCH, level_step=2.25)),
    "no limit of depth": (INDEX, replace(SEARCH, depth=inf)),
    "no nearest cells": (INDEX, replace(SEARCH, nearest=0)),
    "half as many groups opened": (INDEX, replace(SEARCH, groups_opened=200)),
    "twice as many groups opened": (INDEX, replace(SEARCH, groups_opened=800)),
    "no outliers": (replace(INDEX, outlier=inf), SEARCH),
    "high-multiplicity keys in cells": (replace(INDEX, high_multiplicity=inf), SEARCH),
    "variances without a prior": (replace(INDEX, prior_keys=0.0), SEARCH),
    "cells are blocks": (replace(INDEX, cells_a_block=1, blocks_a_group=48), SEARCH),
    "blocks without cells": (replace(INDEX, keys_a_cell=512, cells_a_block=1), SEARCH),
    "cells half as large": (replace(INDEX, keys_a_cell=64), SEARCH),
    "cells twice as large": (replace(INDEX, keys_a_cell=256), SEARCH),
    "two cells a block": (replace(INDEX, keys_a_cell=256, cells_a_block=2), SEARCH),
    "groups half as large": (replace(INDEX, blocks_a_group=6), SEARCH),
    "groups twice as large": (replace(INDEX, blocks_a_group=24), SEARCH),
    "nothing changed, another seed": (INDEX, SEARCH),
}
# Another start of k-means, which the cache of indexes does not know.
SEEDS = {"nothing changed, another seed": 1}


class Step:
    """One step of a run: queries, exact averages, and indexes of any settings."""

    def __init__(self, data: els.ImageSet, x: Tensor, sigma: float, window: int, arguments: argparse.Namespace) -> None:
        places = interior(*data.shape[1:], window)
        assert places is not None
        metric = Metric.tapered(window) if arguments.taper else None
        store = PixelStore.of(data.images)
        self.store, self.folder, self.tolerance = store, arguments.cache, arguments.tolerance
        self.keys = WindowKeys(store, places.extent, places.rows, places.columns, metric=metric)
        cut = places.extent.windows(x - store.offset, places.rows, places.columns)[1]
        self.grid, queries = (cut.shape[1], cut.shape[2]), cut.flatten(0, 2).flatten(1)
        self.queries = queries if self.keys.roots is None else queries * self.keys.roots.float()
        self.sigma = sigma
        merged = self.keys.merged()
        self.exact = run([DenseJob(self.queries, sigma, merged)])[0].mean()

    def index(self, settings: IndexSettings, seed: int = 0) -> Index:
        """An index whose windows are copied."""
        if seed:
            return build_index(self.keys.merged(), seed, settings=settings).copied()
        cache = replace(IndexCache.of(self.folder, self.store.pixels), settings=settings)
        return cache.get(self.keys, merge=True).copied()

    def search(self, index: Index, settings: SearchSettings) -> tuple[Tensor, float]:
        """The averages, and the processor's seconds of the search."""
        start = time.process_time()
        job = SearchJob(self.queries, self.sigma, index, self.tolerance, 2**30, self.grid, settings=settings)
        state = job.run()
        return state.mean(), time.process_time() - start

    def compare(self, one: tuple[Index, SearchSettings], other: tuple[Index, SearchSettings], pairs: int) -> Any:
        """Error of one search, and its time relative to another."""
        # The first search reads tables into memory.
        mean, seconds = self.search(*one)
        ratios, times = [], [seconds]
        for number in range(pairs):
            order = ((one, other), (other, one))[number % 2]
            found = [self.search(*each)[1] for each in order]
            after, before = found if number % 2 == 0 else found[::-1]
            ratios.append(after / before)
            times.append(after)
        error = (mean - self.exact).abs().amax(1)
        return {
            "seconds": min(times),
            "time": statistics.median(ratios) if ratios else 1.0,
            "rms": float(error.square().mean().sqrt()),
            "max": float(error.max()),
            "off": float((error > self.tolerance).double().mean()),
        }


def exchange_rate(less: dict[str, float], more: dict[str, float]) -> float:
    """The error falls with the time to this power, at least a little."""
    return max(0.1, math.log(less["rms"] / more["rms"]) / math.log(more["time"] / less["time"]))


def shown(row: dict[str, Any]) -> None:
    same = f"  same {row['same']:.2f}" if "same" in row else ""
    print(
        f"  {row['change']:32} time {row['time']:.3f}  rms {row['rms']:.2e}  max {row['max']:.1e}  "
        f"off {row['off']:.2%}{same}",
        flush=True,
    )


def measure(step: Step, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    usual = step.index(INDEX)
    factor, pairs = arguments.exchange, arguments.pairs
    less, more = (step.compare((usual, reading(f)), (usual, SEARCH), pairs) for f in (1 / factor, factor))
    rate = exchange_rate(less, more)
    rows: list[dict[str, Any]] = [{"change": "fewer cells"} | less, {"change": "more cells"} | more]
    for row in rows:
        shown(row)
    print(f"  the rms error falls with the time to the power {rate:.2f}", flush=True)
    unchanged = step.compare((usual, SEARCH), (usual, SEARCH), 0)["rms"]
    index, made = usual, (INDEX, 0)
    for name in arguments.only.split(",") if arguments.only else CHANGES:
        of_index, of_search = CHANGES[name]
        if (wanted := (of_index, SEEDS.get(name, 0))) != made:
            # No more than two at a time.
            index = usual
            index, made = usual if wanted == (INDEX, 0) else step.index(*wanted), wanted
        row = {"change": name} | step.compare((index, of_search), (usual, SEARCH), pairs)
        rows.append(row | {"same": row["time"] * (row["rms"] / unchanged) ** (1 / rate)})
        shown(rows[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", default="fashion-mini", help="as for elsewhere commands")
    parser.add_argument("--queries", help="images that are searched; else those that follow the training images")
    parser.add_argument("--size", type=int, default=2000, help="number of training images")
    parser.add_argument("--steps", default="1.15:11,0.32:5", help="noise levels and windows")
    parser.add_argument("--batch", type=int, default=2, help="number of images that are searched")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of searches that a time is the median of")
    parser.add_argument("--exchange", type=float, default=1.4)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--taper", action="store_true")
    parser.add_argument("--only", help="changes to measure, separated by commas; else all")
    parser.add_argument("--cache", type=Path, default=Path("benchmarks/results/indexes"))
    arguments = parser.parse_args()
    if arguments.queries:
        training = els.load_images(arguments.images, arguments.size, labels=False)
        held_out = els.load_images(arguments.queries, arguments.batch, labels=False).scaled()
    else:
        data = els.load_images(arguments.images, arguments.size + arguments.batch)
        training, held_out = data.take(arguments.size), data.scaled()[-arguments.batch :]
    results = []
    for text in arguments.steps.split(","):
        sigma, window = float(text.split(":")[0]), int(text.split(":")[1])
        x = held_out + sigma * els.make_noise(arguments.batch, training.shape)
        print(f"{len(training)} images, sigma {sigma}, window {window}:", flush=True)
        step = Step(training, x, sigma, window, arguments)
        results.append({"sigma": sigma, "window": window, "rows": measure(step, arguments)})
        arguments.out.mkdir(parents=True, exist_ok=True)
        about = {"images": len(training), "taper": arguments.taper, "results": results}
        write_text(arguments.out / "ablation.json", json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
