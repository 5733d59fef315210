"""How much of an index must be read for a given error, by one that knows all windows beforehand.

    python benchmarks/reading.py --images train-images-idx3-ubyte.gz --sizes 6000,60000

For random interior pixels of some steps of a run (border-aware ELS, windows published for a UNet on Fashion-MNIST), all
windows are weighed, and then asked:

1. How many windows, the heaviest first, give x0hat with a root mean square error below ERROR, all others left out?
2. How many blocks, those first whose Gaussians are most wrong, where Gaussians stand for all others?

No search knows either order, and so each reads more. The nearer one comes to the second number, the more its time grows
with the number of training images as that number does. Numbers are found on a grid of powers of sqrt(2). Of colours the
first is looked at.
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
from elsewhere.engine.search import rounds
from elsewhere.engine.search.index import BLOCK, Index
from elsewhere.engine.search.neighbours import SIDES
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
    block = (cells % BLOCK == 0).cumsum(0) - 1
    count = int(block[-1]) + 1
    looks = rounds._Looks(index, sigma)
    search = rounds._Search(queries, looks, ERROR, torch.full((len(queries), len(SIDES)), -1))
    claims = rounds._weigh(search.asked, looks.cells, slice(None)).double()
    of_keys = torch.repeat_interleave(block, index.starts.diff())
    counts = sorted({0, *(min(some, count) for some in GRID)})
    at, errors = torch.tensor(counts), []
    for number, log in enumerate(logs):
        weights, heavy = log.double().exp(), index.heavy
        # What Gaussians say, in units of the whole mass.
        claim = (claims[number] + search.plan.reference[number] - total[number]).exp()
        value = (search.asked_values[number] @ looks.cells[0].values[0]).double()
        read, said = torch.zeros(2, count, dtype=torch.float64), torch.zeros(2, count, dtype=torch.float64)
        read.index_add_(1, of_keys, torch.stack([weights, weights * values])[:, heavy:])
        said.index_add_(1, block, torch.stack([claim, claim * value]))
        sure = torch.stack([weights[:heavy].sum(), (weights * values)[:heavy].sum()])
        exact = read.sum(1) + sure
        miss = read - said
        order = (miss[1] - exact[1] / exact[0] * miss[0]).abs().argsort(descending=True)
        mended = torch.cat([torch.zeros(2, 1, dtype=torch.float64), miss[:, order].cumsum(1)], dim=1)[:, at]
        some = (said.sum(1) + sure)[:, None] + mended
        errors.append((some[1] / some[0] - exact[1] / exact[0]).abs())
    return fewest(torch.stack(errors), counts), count


def needed(machine: els.EquivariantLocalScore, x: Tensor, sigma: float, queries: int) -> dict[str, Any] | None:
    """What must be read at one step, or None where nothing is rounds."""
    window = machine._window_at(sigma)
    places = interior(*machine.image_size, window)
    if places is None or not machine._searched(places, None):
        return None
    centred = x - machine.store.offset
    windows = places.extent.windows(centred, places.rows, places.columns)[1].flatten(0, 2).flatten(1)
    generator = torch.Generator().manual_seed(0)
    asked = windows[torch.randperm(len(windows), generator=generator)[:queries]].float()
    index = machine._index(places, None)
    logs, total, values = weights_of(index, asked, sigma)
    blocks, of = blocks_needed(index, asked, sigma, logs, total, values)
    told = {"sigma": sigma, "window": window, "windows": windows_needed(logs, values), "of_windows": len(values)}
    return told | {"blocks": blocks, "of_blocks": of}


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
            told = needed(machine, draw.states[step], draw.sigmas[step], args.queries)
            if told is None:
                print(f"{size} images, step {step}: not searched", flush=True)
                continue
            results.append({"images": size, "step": step} | told)
            print(
                f"{size} images, step {step}, window {told['window']}: {told['windows']} of {told['of_windows']} "
                f"windows, {told['blocks']} of {told['of_blocks']} blocks",
                flush=True,
            )
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "reading.json", json.dumps({"error": ERROR, "results": results}, indent=1))


if __name__ == "__main__":
    main()
