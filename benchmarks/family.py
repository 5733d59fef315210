"""The machines of the family: seconds an image a step, plain forms of them, and the error of the golden subset.

    python benchmarks/family.py --out benchmarks/results
    python benchmarks/family.py FOLDER --sizes 6000 60000
    python benchmarks/family.py --sizes 2000 --plain
    python benchmarks/family.py --sizes 2000 --golden

1. Every machine of the table, in seconds for one image and one noise level, at sigma 5 and .3, in a batch of one and of
   eight; what is made once (covariance, masks) apart.
2. With --golden: rms of `GoldenSubset` against `PCALocality` (and against IS with average="ideal") at noise levels of a
   run, on noisy images that are not in the set, and how many times faster it is.
3. With --plain: against the formulas as one would write them in torch, window by window; answers of both in the same
   run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import elsewhere as els
from elsewhere.engine import Metric
from elsewhere.machines.table import MACHINES

SIGMAS = (5.0, 0.3)
LEVELS = (20.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.08)
BATCH = 8


def timed(machine: Callable[..., Tensor], x: Tensor, sigma: float) -> tuple[float, Tensor]:
    """Seconds an image of one call, and the answer."""
    start = time.perf_counter()
    x0 = machine(x, sigma)
    return (time.perf_counter() - start) / len(x), x0


def noisy(held_out: els.ImageSet, sigma: float, count: int) -> Tensor:
    """Images outside the training set with noise."""
    return held_out.scaled()[:count] + sigma * els.make_noise(count, held_out.shape)


def speed(data: els.ImageSet, held_out: els.ImageSet, names: list[str]) -> None:
    """Print a row for each machine."""
    print(f"{len(data)} images, seconds an image a step (first call of a noise level in brackets)")
    for entry in MACHINES:
        if names and entry.name not in names:
            continue
        machine = entry.make(data, window=7)
        row = []
        for sigma in SIGMAS:
            one, many = noisy(held_out, sigma, 1), noisy(held_out, sigma, BATCH)
            first, alone, together = (timed(machine, x, sigma)[0] for x in (one, one, many))
            row.append(f"sigma {sigma:g}: {alone:.3f}, of {BATCH} {together:.3f} ({first:.2f})")
        print(f"  {entry.report_name:9} {'; '.join(row)}", flush=True)


def plain_masked(x: Tensor, images: Tensor, sigma: float, mask: Tensor) -> Tensor:
    """PCA locality number by number: distances of the numbers of its mask, a softmax, a mean."""
    query, keys, out = x.flatten(), images.flatten(1), []
    for number in range(len(query)):
        seen = mask[:, number].nonzero().flatten()
        distances = (keys[:, seen] - query[seen]).square().sum(1)
        out.append((-distances / (2 * sigma**2)).softmax(0) @ keys[:, number])
    return torch.stack(out).view_as(x)


def plain_windows(x: Tensor, images: Tensor, sigma: float, window: int, weights: Tensor, response: int) -> Tensor:
    """Same-place windows place by place: distances, a softmax, and the mean patch pasted, cut off at the borders."""
    _, height, width = x.shape
    radius, reach = window // 2, response // 2
    pasted, total = torch.zeros_like(x), torch.zeros(height, width)
    for i in range(height):
        for j in range(width):
            rows, columns = slice(max(0, i - radius), i + radius + 1), slice(max(0, j - radius), j + radius + 1)
            squares = (images[:, :, rows, columns] - x[:, rows, columns]).square()
            top, left = rows.start - i + radius, columns.start - j + radius
            counted = weights[top : top + squares.shape[2], left : left + squares.shape[3]]
            share = (-(squares * counted).sum((1, 2, 3)) / (2 * sigma**2)).softmax(0)
            rows, columns = slice(max(0, i - reach), i + reach + 1), slice(max(0, j - reach), j + reach + 1)
            pasted[:, rows, columns] += torch.einsum("n,nchw->chw", share, images[:, :, rows, columns])
            total[rows, columns] += 1
    return pasted / total


def plain_shifts(x: Tensor, images: Tensor, sigma: float) -> Tensor:
    """Whole images under all circular shifts, shift by shift."""
    _, height, width = x.shape
    logs, shifted = [], []
    for down in range(height):
        for right in range(width):
            rolled = images.roll((down, right), (2, 3))
            logs.append(-(rolled - x).square().sum((1, 2, 3)) / (2 * sigma**2))
            shifted.append((down, right))
    shares = torch.stack(logs).flatten().softmax(0).view(len(shifted), -1)
    parts = (
        torch.einsum("n,nchw->chw", share, images).roll(by, (1, 2)) for share, by in zip(shares, shifted, strict=True)
    )
    return sum(parts, torch.zeros_like(x))


def plain(data: els.ImageSet, held_out: els.ImageSet) -> list[dict[str, float | str]]:
    """Print and return how many times faster machines are than their plain forms, and how far both are apart."""
    images = data.scaled()
    square, tapered = torch.ones(15, 15), Metric.tapered(15).weights
    assert tapered is not None
    pca = els.PCALocality(data)
    of_place = {"keys": "same place", "window": 15}
    cases: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
        "PCA": (pca, lambda x, sigma: plain_masked(x, images, sigma, pca.mask(sigma))),
        "LS 15": (els.LocalScore(data, 15), lambda x, sigma: plain_windows(x, images, sigma, 15, square, 1)),
        "patch 15, tapered, response 7": (
            els.PatchScore(data, els.PatchSettings(**of_place, taper=True, response=7)),
            lambda x, sigma: plain_windows(x, images, sigma, 15, tapered.float(), 7),
        ),
        "ESM": (els.EquivariantScore(data), lambda x, sigma: plain_shifts(x, images, sigma)),
    }
    rows: list[dict[str, float | str]] = []
    print(f"{len(data)} images, against plain forms: times faster, and the largest difference")
    for name, (machine, slow) in cases.items():
        for sigma in SIGMAS:
            x = noisy(held_out, sigma, BATCH)
            machine(x[:1], sigma)  # makes masks and sums of squares
            seconds, found = timed(machine, x, sigma)
            start = time.perf_counter()
            expected = slow(x[0], sigma)
            ratio = (time.perf_counter() - start) / seconds
            apart = float((expected - found[0]).abs().max())
            rows.append({"machine": name, "sigma": sigma, "times": ratio, "apart": apart})
            print(f"  {name:30} sigma {sigma:g}: {ratio:.0f} times, {apart:.0e}", flush=True)
    return rows


def golden(data: els.ImageSet, held_out: els.ImageSet) -> None:
    """Print the error of the golden subset at each noise level."""
    pairs = {
        "PCA": (els.PCALocality(data), els.GoldenSubset(data)),
        "IS": (els.IdealScore(data), els.GoldenSubset(data, average="ideal")),
    }
    print(f"golden subset of {len(data)} images: rms against the exact machine, and how many times faster it is")
    for name, (exact, subset) in pairs.items():
        for sigma in LEVELS:
            x = noisy(held_out, sigma, BATCH)
            for machine in (exact, subset):
                machine(x[:1], sigma)  # makes the mask, and the pooled images
            (slow, expected), (fast, found) = (timed(machine, x, sigma) for machine in (exact, subset))
            rms = float((expected - found).square().mean().sqrt())
            print(f"  {name:4} sigma {sigma:5g}: rms {rms:.4f}, {slow / fast:.1f} times", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="fashion-mini", help="as `elsewhere sample` takes it")
    parser.add_argument("--out", type=Path, help="folder for the ratios to plain forms, as JSON; implies --plain")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000], help="training images; the rest is held out")
    parser.add_argument("--machines", nargs="*", default=[], help="names; default: all of the table")
    parser.add_argument("--golden", action="store_true", help="the error of the golden subset instead of speed")
    parser.add_argument("--plain", action="store_true", help="against plain forms instead")
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    images = els.load_images(settings.data)
    for size in settings.sizes:
        data = els.ImageSet(images.images[:size], None, images.name)
        # Where all images are trained on, the noisy ones are flipped: then they are none of them.
        rest = images.images[size : size + BATCH]
        held_out = els.ImageSet(rest if len(rest) == BATCH else images.images[:BATCH].flip(3))
        if settings.plain or settings.out is not None:
            rows = plain(data, held_out)
            if settings.out is not None:
                settings.out.mkdir(parents=True, exist_ok=True)
                (settings.out / "family.json").write_text(json.dumps({"images": size, "rows": rows}, indent=1) + "\n")
        elif settings.golden:
            golden(data, held_out)
        else:
            speed(data, held_out, settings.machines)


if __name__ == "__main__":
    main()
