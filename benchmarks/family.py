"""The machines of the family: seconds an image a step, and the error of the golden subset against the exact machine.

    python benchmarks/family.py /usr/share/datasets/fashion-mnist --sizes 6000 60000
    python benchmarks/family.py fashion-mini --sizes 2000 --golden

1. Every machine of the table, in seconds for one image and one noise level, at sigma 5 and .3, in a batch of one and of
   eight; what is made once (covariance, masks) apart.
2. With --golden: rms of `GoldenSubset` against `PCALocality` (and against IS with weights="ideal") at noise levels of a
   run, on noisy images that are not in the set, and how many times faster it is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

import elsewhere as els
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


def golden(data: els.ImageSet, held_out: els.ImageSet) -> None:
    """Print the error of the golden subset at each noise level."""
    pairs = {
        "PCA": (els.PCALocality(data), els.GoldenSubset(data)),
        "IS": (els.IdealScore(data), els.GoldenSubset(data, weights="ideal")),
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
    parser.add_argument("data", help="as `elsewhere sample` takes it")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000], help="training images; the rest is held out")
    parser.add_argument("--machines", nargs="*", default=[], help="names; default: all of the table")
    parser.add_argument("--golden", action="store_true", help="the error of the golden subset instead of speed")
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    images = els.load_images(settings.data)
    for size in settings.sizes:
        data = els.ImageSet(images.images[:size], None, images.name)
        # Where all images are trained on, the noisy ones are flipped: then they are none of them.
        rest = images.images[size : size + BATCH]
        held_out = els.ImageSet(rest if len(rest) == BATCH else images.images[:BATCH].flip(3))
        if settings.golden:
            golden(data, held_out)
        else:
            speed(data, held_out, settings.machines)


if __name__ == "__main__":
    main()
