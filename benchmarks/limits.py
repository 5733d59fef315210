"""What the theory claims of the machines at sigma -> 0 and of their symmetries, measured on the embedded sets.

    python benchmarks/limits.py --out benchmarks/results

`fashion-mini`, every class in turn, and the first images of `pixel-faces`, windows as published, exact engine:

1. IS ends on a training image.
2. LS and border-aware ELS end locally consistent: every pixel is the centre of the training window nearest to its own.
3. How far the final images are from their nearest training images, beside how far those are from one another.
4. Rolling the noise rolls what ELS with wrapping borders draws.
5. An image does not depend on the batch that it is drawn in, and drawing it again gives the same bits.

Final images are those of `sample`, 20 steps, followed by `fixed_point`.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import elsewhere as els
from elsewhere.analysis.novelty import Nearest, nearest_training_images
from elsewhere.denoiser import Denoiser
from elsewhere.engine import Places
from elsewhere.factory import choose_labels
from elsewhere.files import save_bytes, write_text
from elsewhere.machines.borders import border_classes
from elsewhere.machines.locality import published_locality
from elsewhere.pictures import Column, labelled_grid, picture_png
from elsewhere.sampling import FixedPoint

SIGMA = 1e-3
HALF_LEVEL = 0.5 / 127.5
CONSISTENT = 0.99
AFTER = 50
FACES, FACE_SEEDS = 500, 4
SHIFTS = ((0, 1), (5, -3), (14, 9))
TILE = 400_000


class TinyNoise:
    """Border-aware ELS at tiny sigma, quick enough for the hundreds of iterations to the fixed point.

    The same average over the same windows, but no window is asked about twice, and keys that weigh less than e^-30 of
    the heaviest are left out. Products of whole gray levels are exact in float32; other windows are done in float64.

    Args:
        data: training images.
        window: odd side in pixels.
    """

    def __init__(self, data: els.ImageSet, window: int) -> None:
        self.data = data
        self.window = window
        self.keys: dict[Any, tuple[Tensor, Tensor]] = {}
        self.answers: dict[Any, dict[bytes, Tensor]] = {}

    def __call__(self, x: Tensor, sigma: float, label: Tensor | None = None) -> Tensor:
        out = torch.empty_like(x)
        classes = torch.full((len(x),), -1) if label is None else label
        for chosen in classes.unique().tolist():
            some = classes == chosen
            part = torch.empty_like(x[some])
            for places in border_classes(*x.shape[2:], self.window):
                rows, columns = places.rows, places.columns
                windows = places.extent.windows(x[some], rows, columns)[1]
                found = self._look_up(windows.flatten(3).flatten(0, 2), sigma, chosen, places)
                found = found.view(*windows.shape[:3], -1).permute(0, 3, 1, 2)
                part[:, :, rows.start : rows.stop, columns.start : columns.stop] = found
            out[some] = part
        return out

    def _look_up(self, windows: Tensor, sigma: float, label: int, places: Places) -> Tensor:
        """Posterior means (Q, C) of windows (Q, D)."""
        answers = self.answers.setdefault((sigma, label, places.extent), {})
        names = [window.tobytes() for window in windows.numpy()]
        new = {name: i for i, name in enumerate(names) if name not in answers}
        if new:
            keys, weighed = self._keys(label, places)
            levels = (windows[list(new.values())].double() + 1) * 127.5 - 128
            whole = ((levels - levels.round()).abs() < 1e-3).all(1)
            means = torch.empty(len(levels), weighed.shape[1] - 1, dtype=torch.float64)
            means[whole] = _average(levels[whole].round().float(), keys, weighed, sigma)
            means[~whole] = _average(levels[~whole], keys, weighed, sigma)
            answers.update(zip(new, (means / 127.5 - 1).to(windows.dtype), strict=True))
        return torch.stack([answers[name] for name in names])

    def _keys(self, label: int, places: Places) -> tuple[Tensor, Tensor]:
        """Distinct windows (K, D), in gray levels around 128, and (K, 1 + C): their count, and their count x centre."""
        if (label, places.extent) not in self.keys:
            images = self.data.images
            if self.data.labels is not None and label >= 0:
                images = images[self.data.labels == label]
            windows = places.extent.windows(images, places.rows, places.columns)[1]
            keys, counts = torch.unique(windows.flatten(3).flatten(0, 2), dim=0, return_counts=True)
            # Sorted, the best so far would be beaten again and again.
            order = torch.randperm(len(keys), generator=torch.Generator().manual_seed(0))
            keys, counts = keys[order], counts[order]
            shaped = keys.view(len(keys), *windows.shape[3:])
            values = shaped[:, :, places.extent.top, places.extent.left].double()
            weighed = counts.double()[:, None] * torch.cat([torch.ones(len(keys), 1), values], dim=1)
            self.keys[label, places.extent] = keys.float() - 128, weighed
        return self.keys[label, places.extent]


def _average(windows: Tensor, keys: Tensor, weighed: Tensor, sigma: float) -> Tensor:
    """Softmax averages (Q, C) in gray levels, of windows (Q, D) against keys (K, D)."""
    precision = 1 / (127.5 * sigma) ** 2
    best = torch.full((len(windows),), -torch.inf, dtype=torch.float64)
    sums = torch.zeros(len(windows), weighed.shape[1], dtype=torch.float64)
    size = max(64, TILE // max(1, len(windows)))
    for tile, counted in zip(keys.to(windows.dtype).split(size), weighed.split(size), strict=True):
        logs = torch.addmm(-tile.square().sum(1) / 2, windows, tile.T)
        top = logs.amax(1).double()
        rows = (top > best - 30 / precision).nonzero().flatten()
        peak = torch.maximum(best[rows], top[rows])
        sums[rows] *= ((best[rows] - peak) * precision).exp()[:, None]
        best[rows] = peak
        beyond = logs[rows].double() - peak[:, None]
        row, key = (beyond > -30 / precision).nonzero(as_tuple=True)
        weights = (beyond[row, key] * precision).exp()
        sums.index_add_(0, rows[row], weights[:, None] * counted[key])
    return sums[:, 1:] / sums[:, :1]


@dataclass(frozen=True)
class End:
    """What a machine's run ends on.

    Attributes:
        drawn: images of 20 steps.
        fixed: the fixed points that they lead to.
        lowest: smallest fraction of converged pixels of each image in AFTER further iterations, as some cycle.
        nearest: training images nearest to the fixed points.
    """

    drawn: Tensor
    fixed: FixedPoint
    lowest: Tensor
    nearest: Nearest


def follow(machine: Denoiser, noise: Tensor, labels: Tensor | None, data: els.ImageSet) -> End:
    drawn = els.sample(machine, noise, label=labels).images
    tiny = machine
    if isinstance(machine, els.EquivariantLocalScore):
        tiny = TinyNoise(data, published_locality()(SIGMA))
    fixed = els.fixed_point(tiny, drawn, labels, sigma=SIGMA)
    x, lowest = fixed.images, fixed.converged_fraction
    for _ in range(AFTER):
        x0 = tiny(x, SIGMA, labels)
        x, lowest = x0, torch.minimum(lowest, resting(x, x0))
    return End(drawn, fixed, lowest, nearest_training_images(fixed.images, data))


def resting(x: Tensor, x0: Tensor) -> Tensor:
    """Share of the pixels of each image that stay within half a gray level, (B,)."""
    return ((x0 - x).abs().amax(1) <= HALF_LEVEL).double().mean((1, 2))


def spread(values: Tensor) -> dict[str, Any]:
    return {
        "min": float(values.min()),
        "median": float(values.quantile(0.5)),
        "mean": float(values.mean()),
        "max": float(values.max()),
        "each": values.tolist(),
    }


def memory_figures(end: End) -> dict[str, Any]:
    """How near the final images are to training images, pixel by pixel."""
    worst = (end.fixed.images - end.nearest.images).abs().amax((1, 2, 3)).double()
    return {"largest_pixel_difference": spread(worst), "share_of_seeds": float((worst < HALF_LEVEL).double().mean())}


def consistency(machine: Denoiser, end: End, labels: Tensor | None) -> dict[str, Any]:
    """Share of the pixels that the machine itself leaves where they are."""
    share = resting(end.fixed.images, machine(end.fixed.images, SIGMA, labels))
    return {
        "share_of_pixels": spread(share),
        "seeds_reaching_it": int((share >= CONSISTENT).sum()),
        "converged_fraction": end.fixed.converged_fraction.tolist(),
        "lowest_fraction_in_further_iterations": end.lowest.tolist(),
        "further_iterations": AFTER,
        "iterations": end.fixed.iterations,
    }


def distance_between_training_images(data: els.ImageSet) -> float:
    """Median rms distance of a training image to its nearest other one, whatever its class."""
    flat = data.scaled(torch.float64).flatten(1)
    distances = torch.cdist(flat, flat, compute_mode="use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    return float(distances.amin(1).quantile(0.5)) / flat.shape[1] ** 0.5


def equivariance(data: els.ImageSet, label: Tensor | None) -> dict[str, Any]:
    """Largest difference between a run from rolled noise and the rolled run, over all states and predictions."""
    machine = els.EquivariantLocalScore(data, published_locality(), "wrap", engine="exact")
    noise = els.make_noise(1, data.shape)
    rolled = torch.cat([noise, *(noise.roll(shift, (2, 3)) for shift in SHIFTS)])
    run = els.sample(machine, rolled, label=None if label is None else label.expand(len(rolled)), keep=True)
    rows = []
    for i, shift in enumerate(SHIFTS, start=1):
        states, predictions = (
            max(float((x[i] - x[0].roll(shift, (1, 2))).abs().max()) for x in some)
            for some in (run.states, run.predictions)
        )
        last = float((run.images[i] - run.images[0].roll(shift, (1, 2))).abs().max())
        rows.append({"shift": shift, "states": states, "predictions": predictions, "final": last})
    return {"shifts": rows, "max_abs_difference": max(max(row["states"], row["predictions"]) for row in rows)}


def batches(machine: Denoiser, noise: Tensor, labels: Tensor | None, drawn: Tensor) -> dict[str, Any]:
    """The first seed drawn alone, twice, against the same seed in its batch."""
    label = None if labels is None else labels[:1]
    alone, again = (els.sample(machine, noise[:1], label=label).images for _ in range(2))
    return {
        "batch": len(noise),
        "max_abs_difference": float((alone - drawn[:1]).abs().max()),
        "same_bits_again": torch.equal(alone, again),
    }


def measure(data: els.ImageSet, seeds: int) -> tuple[dict[str, Any], dict[str, End]]:
    """All figures of one set, printed as they come, and what the machines drew."""
    start = time.perf_counter()
    labels = None if data.labels is None else choose_labels("cycle", seeds, data)
    noise = els.make_noise(seeds, data.shape)
    windows = published_locality()
    machines: dict[str, Denoiser] = {
        "IS": els.IdealScore(data, engine="exact"),
        "LS": els.LocalScore(data, windows, engine="exact"),
        "ELS": els.EquivariantLocalScore(data, windows, engine="exact"),
    }
    result: dict[str, Any] = {"images": len(data), "seeds": seeds, "classes_in_turn": labels is not None}
    ends: dict[str, End] = {}
    result["between_training_images"] = between = distance_between_training_images(data)
    for name, machine in machines.items():
        end = ends[name] = follow(machine, noise, labels, data)
        figures = {
            "distance_to_nearest": spread(end.nearest.distances),
            "batch": batches(machine, noise, labels, end.drawn),
        }
        say = f"{data.name} {name:3}: "
        if name == "IS":
            figures["training_image"] = memory = memory_figures(end)
            say += (
                f"on a training image {memory['share_of_seeds']:.0%} of {seeds} seeds (largest pixel difference "
                f"{memory['largest_pixel_difference']['max']:.1e}, half a gray level is {HALF_LEVEL:.1e})"
            )
        else:
            figures["consistent"] = found = consistency(machine, end, labels)
            share = found["share_of_pixels"]
            say += (
                f"consistent pixels min {share['min']:.2%}, median {share['median']:.2%}, mean {share['mean']:.2%}; "
                f"{found['seeds_reaching_it']} of {seeds} seeds reach {CONSISTENT:.0%} ({found['rounds']} rounds; "
                f"lowest of any seed in {AFTER} more: {float(end.lowest.min()):.2%})"
            )
        print(say, flush=True)
        away, batch = figures["distance_to_nearest"], figures["batch"]
        print(
            f"{data.name} {name:3}: rms to the nearest training image min {away['min']:.4f}, median "
            f"{away['median']:.4f}, max {away['max']:.4f}; between training images {between:.4f} (median)\n"
            f"{data.name} {name:3}: alone or in a batch of {seeds}: difference {batch['max_abs_difference']:.1e}; "
            f"drawn twice: {'the same bits' if batch['same_bits_again'] else 'OTHER BITS'}",
            flush=True,
        )
        result[name] = figures
    result["equivariance"] = rolled = equivariance(data, None if labels is None else labels[:1])
    worst = max(row["final"] for row in rolled["shifts"])
    print(
        f"{data.name} ELS wrap: rolling the noise: difference {rolled['max_abs_difference']:.1e} over the run, "
        f"{worst:.1e} at its end, {len(SHIFTS)} shifts",
        flush=True,
    )
    result["seconds"] = time.perf_counter() - start
    return result, ends


def columns(data: els.ImageSet, ends: dict[str, End], rows: list[int]) -> list[Column]:
    """Each machine's final images beside the training images nearest to them."""
    labels = choose_labels("cycle", rows[-1] + 1, data) if data.labels is not None else None
    names = [f"seed {i}" if labels is None else data.classes[int(labels[i])] for i in rows]
    found = []
    for name, end in ends.items():
        captions = [f"rms {float(end.nearest.distances[i]):.3f}" for i in rows]
        found.append(Column(name, data.name, end.fixed.images[rows], names))
        found.append(Column("nearest", "training image", end.nearest.images[rows], captions))
    return found


def stack(pictures: list[Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        canvas.paste(picture, (0, top))
        top += picture.height
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--seeds", type=int, default=16, help=f"for fashion-mini; pixel-faces takes {FACE_SEEDS} at most"
    )
    arguments = parser.parse_args()

    result: dict[str, Any] = {"torch": torch.__version__, "windows": published_locality().windows, "sets": {}}
    pictures = []
    for data, seeds, rows in (
        (els.load_images("fashion-mini"), arguments.seeds, 4),
        (els.load_images("pixel-faces", FACES), min(arguments.seeds, FACE_SEEDS), 2),
    ):
        result["sets"][data.name], ends = measure(data, seeds)
        step = max(1, min(3, seeds // rows))
        pictures.append(labelled_grid(columns(data, ends, list(range(0, seeds, step))[:rows])))
    print(f"{sum(figures['seconds'] for figures in result['sets'].values()):.0f} seconds")
    write_text(arguments.out / "limits.json", json.dumps(result, indent=1) + "\n")
    save_bytes(arguments.out / "limits.png", picture_png(stack(pictures)))


if __name__ == "__main__":
    main()
