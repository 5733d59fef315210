"""Few training images: the kernel along positions against the two other exact kernels, in one run.

    python benchmarks/few_images.py --out benchmarks/results
    python benchmarks/few_images.py --texture 256      # seconds of whole textures as well

1. Pairs of query and key a second of `EquivariantLocalScore(borders="torus")` for numbers and sizes of training images,
   and for windows: with `PositionJob`, with `SlidingJob`, which puts training images side by side, and with the matrix
   products of `DenseJob`. Times are of the processor, all threads together, the shortest of some rounds, in which the
   kernels take turns. From these numbers follow `MOST_IMAGES` and `SMALL_WINDOW` in engine/positions.py.
2. Seconds of one texture from a photograph of 128 pixels, window 15, in ten steps, on all threads: with the centre of
   every window alone, and with patches of 15 that are pasted.

Images are put together from those of pixel-faces.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

import elsewhere as els
from elsewhere.engine import positions, sliding

# Training images, channels, their side, the side of x, window and noise: x is small where products take long.
CASES = [
    *((1, 3, side, canvas, 7, 0.6) for side, canvas in ((8, 32), (16, 32), (32, 32), (64, 64), (128, 64))),
    *((1, channels, 64, 64, window, sigma) for channels in (1, 3) for window in (3, 5, 7) for sigma in (0.1, 0.6)),
    *((1, 3, 64, 48, window, sigma) for window in (15, 31) for sigma in (0.1, 0.6, 3.0)),
    *((count, 3, 32, 32, 7, 0.6) for count in (2, 4, 6, 8, 12, 16, 64)),
    *((count, 3, 128, 48, 7, 0.6) for count in (2, 4, 8, 16)),
    *((4, 3, 64, 128, 7, sigma) for sigma in (0.1, 0.6)),
]
# What the planner is told: the most images for positions, the fewest for images, and the numbers of a small window.
KERNELS = {"positions": (2**30, 1, 0), "images": (0, 1, 0), "products": (0, 2**30, 2**30)}
PHOTOGRAPH, WINDOW, STEPS = 128, 15, 10


def photographs(count: int, side: int) -> els.ImageSet:
    """Images of faces beside and below one another, in colour."""
    faces = els.load_images("pixel-faces").images
    across = -(-side // faces.shape[3])
    order = torch.randint(len(faces), (count, across, across), generator=torch.Generator().manual_seed(0))
    rows = faces[order].permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return els.ImageSet(rows[:, :, :side, :side].contiguous())


def seconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The shortest time of the processor that each call takes; they take turns."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            best[name] = min(best.get(name, float("inf")), time.process_time() - start)
    return best


def compare(
    count: int, channels: int, side: int, canvas: int, window: int, sigma: float, rounds: int
) -> dict[str, float]:
    data = photographs(count, side).images[:, :channels]
    machine = els.EquivariantLocalScore(els.ImageSet(data.contiguous()), window, "torus", engine="exact")
    # As in a run: the image of a texture, with noise.
    x = els.ImageSet(data).scaled()[:1].repeat(1, 1, 16, 16)[:, :, 5 : canvas + 5, 3 : canvas + 3]
    x = x + sigma * els.make_noise(1, (channels, canvas, canvas))
    answers = {}

    def ask(name: str) -> None:
        positions.MOST_IMAGES, sliding.FEWEST_IMAGES, positions.SMALL_WINDOW = KERNELS[name]
        answers[name] = machine(x, sigma)

    took = seconds({name: lambda name=name: ask(name) for name in KERNELS}, rounds)
    row = {"images": count, "channels": channels, "side": side, "canvas": canvas, "window": window, "sigma": sigma}
    row |= {name: canvas**2 * count * side**2 / one for name, one in took.items()}
    row["max_abs_difference"] = float((answers["positions"] - answers["products"]).abs().max())
    rates = ", ".join(f"{name} {row[name] / 1e6:4.0f}" for name in KERNELS)
    print(
        f"{count:2} images of {channels}x{side:3} px, x of {canvas:3} px, window {window:2}, sigma {sigma}: {rates} M "
        f"pairs/s/core, difference {row['max_abs_difference']:.1e}",
        flush=True,
    )
    return row


def texture(canvas: int, response: int) -> dict[str, float]:
    data = photographs(1, PHOTOGRAPH)
    machine = els.PatchScore(data, els.PatchSettings(WINDOW, keys="wrap", response=response), engine="exact")
    start, processor = time.monotonic(), time.process_time()
    run = els.sample(machine, els.make_noise(1, (3, canvas, canvas)), els.schedules.cosine(STEPS))
    assert bool(run.images.isfinite().all())
    row = {"canvas": canvas, "response": response, "seconds": time.monotonic() - start}
    row["processor_seconds"] = time.process_time() - processor
    pairs = STEPS * canvas**2 * (PHOTOGRAPH - WINDOW + 1) ** 2
    row["pairs_per_second"] = pairs / row["seconds"]
    print(
        f"texture of {canvas} px, response {response:2}: {row['seconds']:.1f} s, {row['processor_seconds']:.1f} s of "
        f"the processor, {row['pairs_per_second'] / 1e6:.0f} M pairs/s on {torch.get_num_threads()} threads",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texture", type=int, nargs="*", default=[], help="sides of textures to draw, in pixels")
    arguments = parser.parse_args()
    chosen = positions.MOST_IMAGES, sliding.FEWEST_IMAGES, positions.SMALL_WINDOW
    rows = [compare(*case, rounds=arguments.rounds) for case in CASES]
    positions.MOST_IMAGES, sliding.FEWEST_IMAGES, positions.SMALL_WINDOW = chosen
    drawn = [texture(canvas, response) for canvas in arguments.texture for response in (1, WINDOW)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "few_images.json").write_text(json.dumps({"pairs": rows, "textures": drawn}, indent=1) + "\n")


if __name__ == "__main__":
    main()
