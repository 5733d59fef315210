"""How much of an index must be read for a given error, by a reader that knows all weights beforehand.

    python benchmarks/reading.py --images train-images-idx3-ubyte.gz --sizes 6000,60000

For random interior pixels of some steps of a run (border-aware ELS, windows published for a UNet on Fashion-MNIST), all
windows are weighed. Two numbers follow:

1. How many windows, the heaviest first, give x0hat with a root mean square error below ERROR, all others left out?
2. How many blocks, those whose Gaussians are most wrong first, where Gaussians approximate all others?

No search knows either order, so each reads more. The closer a search comes to the second number, the more its time
grows with the number of training images as that number does. Numbers are found on a grid of powers of sqrt(2). Of
colour images the first channel is used.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from fast_engine import published
from torch import Tensor

import elsewhere as els
from elsewhere.engine import Index
from elsewhere.engine.search.gaussians import SmoothedIndex, predicted_log_masses
from elsewhere.engine.search.neighbours import SIDES
from elsewhere.engine.search.rounds import Search
from elsewhere.engine.search.settings import SEARCH
from elsewhere.files import write_text
from elsewhere.machines.borders import interior

ERROR = 1e-3
TILE = 2**17
GRID = [round(2 ** (step / 2)) for step in range(60)]


def weights_of(index: Index, queries: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logs of the weights of all keys, which sum to one, float32 (Q, T), logs of what they were divided by, float64
    (Q,), and the keys' values, float64 (T,)."""
    keys = index.keys
    logs, values = torch.empty(len(queries), len(keys)), torch.empty(len(keys), dtype=torch.float64)
    norms = queries.double().square().sum(1, keepdim=True)
    for start in range(0, len(keys), TILE):
        end = min(start + TILE, len(keys))
        rows, value = keys.some(torch.arange(start, end), torch.empty(end - start, keys.width + 2))
        windows = rows[:, :-2] / keys.scale
        squares = norms + windows.double().square().sum(1) - 2 * (queries @ windows.T).double()
        logs[:, start:end] = squares / (-2 * sigma**2) + rows[:, -1]
        values[start:end] = value[:, 0] / keys.scale
    total = torch.stack([log.double().logsumexp(0) for log in logs])
    return logs.sub_(total.float()[:, None]), total, values


def fewest(errors: Tensor, counts: list[int]) -> int | None:
    """The first of some counts at which the errors (Q, counts) of all queries together are small enough."""
    small = (errors.square().mean(0).sqrt() < ERROR).nonzero().flatten().tolist()
    return counts[small[0]] if small else None


def windows_needed(logs: Tensor, values: Tensor) -> int | None:
    counts = sorted({min(count, len(values)) for count in GRID})
    at = torch.tensor(counts) - 1
    errors = []
    for log in logs:
        weights = log.double().exp()
        heaviest = weights.argsort(descending=True)
        sums = torch.stack([weights, weights * values])[:, heaviest].cumsum(1)
        errors.append((sums[1, at] / sums[0, at] - sums[1, -1] / sums[0, -1]).abs())
    return fewest(torch.stack(errors), counts)


def blocks_needed(
    index: Index, queries: Tensor, sigma: float, logs: Tensor, total: Tensor, values: Tensor
) -> tuple[int | None, int]:
    """How many blocks must be read, and how many there are."""
    groups = torch.repeat_interleave(torch.arange(len(index.groups)), index.bounds.diff())
    cells = torch.arange(len(index.cells)) - index.bounds[groups]
    block = (cells % index.block == 0).cumsum(0) - 1
    count = int(block[-1]) + 1
    smoothed = SmoothedIndex(index, sigma, SEARCH)
    search = Search(queries, smoothed, ERROR, torch.full((len(queries), len(SIDES)), -1))
    predicted = predicted_log_masses(search.tables.queries, smoothed.cells).double()
    value_rows = search.tables.queries[:, index.basis.shape[1] + 2 :].float()
    of_keys = torch.repeat_interleave(block, index.starts.diff())
    counts = sorted({0, *(min(some, count) for some in GRID)})
    at, errors = torch.tensor(counts), []
    for number, log in enumerate(logs):
        weights, outside = log.double().exp(), index.outside
        # Predicted by Gaussians, in units of the whole mass.
        mass = (predicted[number] + search.plan.reference[number] - total[number]).exp()
        value = (value_rows[number] @ search.tables.values[0]).double()
        read, expected = torch.zeros(2, count, dtype=torch.float64), torch.zeros(2, count, dtype=torch.float64)
        read.index_add_(1, of_keys, torch.stack([weights, weights * values])[:, outside:])
        expected.index_add_(1, block, torch.stack([mass, mass * value]))
        sure = torch.stack([weights[:outside].sum(), (weights * values)[:outside].sum()])
        exact = read.sum(1) + sure
        miss = read - expected
        order = (miss[1] - exact[1] / exact[0] * miss[0]).abs().argsort(descending=True)
        corrected = torch.cat([torch.zeros(2, 1, dtype=torch.float64), miss[:, order].cumsum(1)], dim=1)[:, at]
        some = (expected.sum(1) + sure)[:, None] + corrected
        errors.append((some[1] / some[0] - exact[1] / exact[0]).abs())
    return fewest(torch.stack(errors), counts), count


def needed(machine: els.EquivariantLocalScore, x: Tensor, sigma: float, queries: int) -> dict[str, Any] | None:
    """What must be read at one step, or None where nothing is searched."""
    window, planner = machine.window_at(sigma), machine._planner
    layout = machine.layout(*machine.image_size, window)
    places = interior(*machine.image_size, window)
    region = next((region for region in layout.regions if region.places == places), None)
    if places is None or region is None or not planner.searched(region, layout, None):
        return None
    windows = places.extent.windows(x - machine.store.offset, places.rows, places.columns)[1].flatten(0, 2).flatten(1)
    generator = torch.Generator().manual_seed(0)
    asked = windows[torch.randperm(len(windows), generator=generator)[:queries]].float()
    index = planner.built(region, layout, None)
    logs, total, values = weights_of(index, asked, sigma)
    blocks, of = blocks_needed(index, asked, sigma, logs, total, values)
    found = {"sigma": sigma, "window": window, "windows": windows_needed(logs, values), "of_windows": len(values)}
    return found | {"blocks": blocks, "of_blocks": of}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", default="fashion-mini", help="as for elsewhere commands")
    parser.add_argument("--sizes", default="2000,4000", help="numbers of training images")
    parser.add_argument("--steps", default="9,12,14,16,18", help="which of the 20 steps")
    parser.add_argument("--queries", type=int, default=20, help="pixels of every step")
    parser.add_argument("--cache", type=Path, default=Path("benchmarks/results/indexes"))
    args = parser.parse_args()
    results: list[dict[str, Any]] = []
    draw: els.sampling.Run | None = None
    for size in sorted(map(int, args.sizes.split(",")), reverse=True):
        data = els.load_images(args.images, size)
        machine = els.EquivariantLocalScore(
            data, published(), engine="fast", tolerance=7e-3, cache=args.cache / str(size)
        )
        # All sizes are asked the same, so that nothing but their number of images differs.
        if draw is None:
            draw = els.sample(machine, els.make_noise(2, data.shape), keep=True)
        for step in map(int, args.steps.split(",")):
            found = needed(machine, draw.states[step], draw.sigmas[step], args.queries)
            if found is None:
                print(f"{size} images, step {step}: not searched", flush=True)
                continue
            results.append({"images": size, "step": step} | found)
            print(
                f"{size} images, step {step}, window {found['window']}: {found['windows']} of {found['of_windows']} "
                f"windows, {found['blocks']} of {found['of_blocks']} blocks",
                flush=True,
            )
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "reading.json", json.dumps({"error": ERROR, "results": results}, indent=1))


if __name__ == "__main__":
    main()
