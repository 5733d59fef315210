"""The fast engine against the exact one, and against plain convolutions, over training-set sizes.

    python benchmarks/fast_engine.py --images train-images-idx3-ubyte.gz --sizes 1000,3000,10000,30000,60000

Border-aware ELS with the windows published for a UNet on Fashion-MNIST draws a batch in 20 steps. For each size:
seconds an image (indexes built before), seconds and bytes of the indexes, and peak memory of the process; at
sampled pixels of every step, the largest and the root mean square error of x0hat against the exact engine on the
very same states, and how often the estimated error holds (but for ROUNDING); and the seconds of the exact engine
and of plain convolutions for the same formula, extrapolated from SOME training images, to whose number both are
proportional, and by how much these two differ. With --full N, the first N images are also drawn by the exact
engine, and the final images compared; and x0hat of all their pixels at every step is held against the exact
engine's on the very same states: the worst step's rms error, the largest error, how many pixels are off by more
than OFF, and the worst step's share of pixels at which the estimate holds. With --profile, where the time of four
of the steps goes, by operation and compiled loop, and how near the products that torch makes are to the processor's
peak.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from exact_engine import matmul_peak
from torch.profiler import ProfilerActivity

import elsewhere as els
from elsewhere.engine import WindowKeys, run
from elsewhere.engine.dense import DenseJob
from elsewhere.engine.kernels import scan
from elsewhere.engine.sliding import SlidingJob
from elsewhere.machines.borders import border_classes
from elsewhere.pictures import new_figure, save_figure
from elsewhere.schedules import cosine

SOME = 300
# Float32, and sums in another order.
ROUNDING = 1e-5
OFF = 1e-2
WINDOWS = (3, 3, 5, 5, 7, 7, 7, 9, 11, 11, 11, 13, 15, 15, 21, 23, 25, 25, 25, 25)


def published() -> els.LocalitySchedule:
    """Windows of Kamb & Ganguli (2025), Fashion-MNIST, UNet with zero padding, t = 1/20, ..., 1."""
    return els.LocalitySchedule(cosine(20).sigmas[:-1], WINDOWS[::-1])


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def errors(error: torch.Tensor, estimate: torch.Tensor) -> dict[str, Any]:
    """Errors of some pixels, and how often the estimate holds."""
    return {
        "pixels": error.numel(),
        "rms": float(error.square().mean().sqrt()),
        "max": float(error.max()),
        "off": int((error > OFF).sum()),
        "estimate_holds": float((error <= estimate + ROUNDING).double().mean()),
    }


def exact_at_some_pixels(
    machine: els.EquivariantLocalScore, x: torch.Tensor, sigma: float, pixels: int, seed: int
) -> tuple[torch.Tensor, ...]:
    """Numbers of images, rows and columns of random interior pixels, and the exact x0hat there (N, C)."""
    window = machine.window_at(sigma)
    centred = x - machine.store.offset
    generator = torch.Generator().manual_seed(seed)
    found = []
    classes = [places for places in border_classes(*machine.image_size, window) if len(places) > 1]
    weights = torch.tensor([float(len(places.rows) * len(places.columns)) for places in classes])
    drawn = torch.multinomial(weights, pixels, True, generator=generator)
    for places, count in zip(classes, torch.bincount(drawn, minlength=len(classes)).tolist(), strict=True):
        if not count:
            continue
        queries = places.extent.windows(centred, places.rows, places.columns)[1]
        flat = torch.randint(queries[..., 0, 0, 0].numel(), (count,), generator=generator)
        image, row, column = torch.unravel_index(flat, queries.shape[:3])
        some = queries[image, row, column].flatten(1)
        metric = machine.layout(*machine.image_size, window).metric
        keys = WindowKeys(machine.store, places.extent, places.rows, places.columns, metric=metric)
        job = DenseJob(some if keys.roots is None else some * keys.roots.float(), sigma, keys)
        exact = run([job])[0].mean().float() + machine.store.offset
        found.append((image, row + places.rows.start, column + places.columns.start, exact))
    return tuple(torch.cat(column) for column in zip(*found, strict=True))


def errors_of_step(
    machine: els.EquivariantLocalScore, draw: els.sampling.Run, step: int, pixels: int, full: int
) -> dict[str, Any]:
    """The fast engine's predictions at one step against the exact engine's: random pixels, and whole pictures."""
    sigma, x = draw.sigmas[step], draw.states[step]
    found, estimate = machine(x, sigma), machine.last_error
    image, row, column, exact = exact_at_some_pixels(machine, x, sigma, pixels, seed=step)
    error = (found[image, :, row, column] - exact).abs().amax(1)
    result = {"sigma": sigma, "window": machine.window_at(sigma)} | errors(error, estimate[image, row, column])
    if full:
        whole = machine.with_engine("exact")(x[:full], sigma)
        result["whole"] = errors((found[:full] - whole).abs().amax(1), estimate[:full])
    return result


def plain(x: torch.Tensor, sigma: float, images: torch.Tensor, window: int, batch: int = 64) -> torch.Tensor:
    """Border-aware ELS of one image (1, C, H, W) as published code has it: every training window is a filter for x.

    Corners, which meet their own place alone, are weighed by squared differences, summed over all windows at once.
    """
    _, channels, height, width = x.shape
    classes = border_classes(height, width, window)
    pixels = torch.arange(height * width).view(height, width)
    corners = torch.tensor([int(pixels[c.rows[0], c.columns[0]]) for c in classes if len(c) == 1])
    ones = torch.ones(1, channels, window, window)
    peak, total = torch.full((height * width,), -math.inf), torch.zeros(height * width)
    weighted = torch.zeros(channels, height * width)

    def add(at: torch.Tensor, logs: torch.Tensor, values: torch.Tensor) -> None:
        new = torch.maximum(peak[at], logs.amax(0))
        faded, weights = (peak[at] - new).exp(), (logs - new).exp_()
        total[at] = total[at] * faded + weights.sum(0)
        sums = values.T @ weights if values.ndim == 2 else (weights[:, None] * values).sum(0)
        weighted[:, at] = weighted[:, at] * faded + sums
        peak[at] = new

    for some in images.split(batch):
        for places in classes:
            if len(places) == 1:
                continue
            rows, columns = (slice(line.start, line.stop) for line in (places.rows, places.columns))
            cut, _ = places.extent.windows(x, places.rows, places.columns)
            filters = places.extent.windows(some, places.rows, places.columns)[1].flatten(0, 2)
            products = F.conv2d(cut, filters)[0].flatten(1)
            logs = (products - filters.square().sum((1, 2, 3))[:, None] / 2).div_(sigma**2)
            add(pixels[rows, columns].flatten(), logs, filters[:, :, places.extent.top, places.extent.left])
        if len(corners):
            squares = F.conv2d((x - some).square(), ones, padding=window // 2).flatten(1)[:, corners]
            add(corners, squares.div_(-2 * sigma**2), some.flatten(2)[:, :, corners])
    return (weighted / total).view(x.shape)


def others_seconds(
    data: els.ImageSet, draw: els.sampling.Run, schedule: els.LocalitySchedule
) -> tuple[float, float, float]:
    """Seconds that the exact engine and plain convolutions need for an image, by some training images, and by how much
    they differ there at most."""
    some = data.take(min(SOME, len(data)))
    exact, floats = els.EquivariantLocalScore(some, schedule, engine="exact"), some.scaled()
    sums, by_window, off = [0.0, 0.0], {}, 0.0
    for sigma, x in zip(draw.sigmas[:-1], draw.states, strict=False):
        window = schedule(sigma)
        if window not in by_window:
            exact(x[:1], sigma), plain(x[:1], sigma, floats[:64], window)
            found, times = [], []
            for call in (lambda: exact(x[:1], sigma), lambda: plain(x[:1], sigma, floats, window)):  # noqa: B023
                start = time.perf_counter()
                found.append(call())
                times.append(time.perf_counter() - start)
            by_window[window], off = times, max(off, float((found[0] - found[1]).abs().max()))
        sums = [total + seconds for total, seconds in zip(sums, by_window[window], strict=True)]
    scale = len(data) / len(some)
    return sums[0] * scale, sums[1] * scale, off


@contextmanager
def compiled_loops_seen() -> Iterator[None]:
    """Report the compiled kernels to the profiler, which only knows operations of torch."""

    def seen(name: str, loop: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with torch.profiler.record_function(name):
                return loop(*arguments, **named)

        return call

    loops = ((scan, "read"), (scan, "weigh"), (scan, "distances"), (SlidingJob, "run_kernel"))
    before = [(owner, name, getattr(owner, name)) for owner, name in loops]
    try:
        for owner, name, loop in before:
            setattr(owner, name, seen(f"compiled: {name}", loop))
        yield
    finally:
        for owner, name, loop in before:
            setattr(owner, name, loop)


def profile(machine: els.EquivariantLocalScore, draw: els.sampling.Run, step: int) -> dict[str, Any]:
    """Where the time of one prediction goes, by operation and loop, and how near torch's products are to the peak."""
    sigma, x = draw.sigmas[step], draw.states[step]
    # What the index takes to be read is not the engine's.
    machine(x[:1], sigma)
    config = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    settings = {"activities": [ProfilerActivity.CPU], "experimental_config": config, "record_shapes": True}
    begun = time.process_time()
    with compiled_loops_seen(), torch.profiler.profile(**settings) as found:
        machine(x, sigma)
    total = time.process_time() - begun
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    flops, seconds = 0.0, 0.0
    for event in found.key_averages(group_by_input_shape=True):
        if event.key in ("aten::mm", "aten::bmm"):
            # For TorchScript the profiler reports the whole stack: nothing for what is no tensor, and the result last.
            shapes = [shape for shape in event.input_shapes if shape]
            one, other = shapes[-3:-1] if len(shapes) > 2 else shapes
            flops += 2.0 * math.prod(one) * other[-1] * event.count
            seconds += event.self_cpu_time_total / 1e6
    return {
        "sigma": sigma,
        "window": machine.window_at(sigma),
        "core_seconds": total,
        "shares": {event.key: event.self_cpu_time_total / 1e6 / total for event in events[:12]},
        "products_share_of_time": seconds / total,
        "products_share_of_peak": flops / seconds / matmul_peak() if seconds else None,
    }


def measure(data: els.ImageSet, arguments: argparse.Namespace) -> dict[str, Any]:
    machine = els.EquivariantLocalScore(
        data,
        published(),
        engine="fast",
        tolerance=arguments.tolerance,
        memory=arguments.memory * 2**20,
        cache=arguments.cache / str(len(data)),
    )
    start = time.perf_counter()
    machine.prepare(progress=True)
    built = time.perf_counter() - start
    noise = els.make_noise(arguments.batch, data.shape, seed=0)
    start = time.perf_counter()
    draw = els.sample(machine, noise, keep=True, progress=True)
    seconds = (time.perf_counter() - start) / arguments.batch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    steps = [
        errors_of_step(machine, draw, step, arguments.pixels, arguments.full) for step in range(len(draw.sigmas) - 1)
    ]
    exact_seconds, plain_seconds, plain_off = others_seconds(data, draw, published())
    row: dict[str, Any] = {
        "images": len(data),
        "batch": arguments.batch,
        "seconds_an_image": seconds,
        "index_seconds": built,
        "index_bytes": folder_bytes(machine.cache),
        "peak_bytes": peak,
        "exact_seconds_an_image": exact_seconds,
        "plain_seconds_an_image": plain_seconds,
        "plain_off_by": plain_off,
        "rms": math.sqrt(sum(step["rms"] ** 2 for step in steps) / len(steps)),
        "max": max(step["max"] for step in steps),
        "estimate_holds": sum(step["estimate_holds"] for step in steps) / len(steps),
        "steps": steps,
    }
    if arguments.profile:
        row["profile"] = [profile(machine, draw, step) for step in (5, 9, 14, 19)]
    if arguments.full:
        exact = els.sample(machine.with_engine("exact"), noise[: arguments.full], progress=True)
        found = draw.images[: arguments.full]
        pairs = zip(exact.images.flatten(1), found.flatten(1), strict=True)
        row["final_pearson_r"] = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs]
        row["final_max"] = float((exact.images - found).abs().max())
        whole = [step["whole"] for step in steps]
        row["whole"] = {name: max(step[name] for step in whole) for name in ("pixels", "rms", "max", "off")}
        row["whole"]["estimate_holds"] = min(step["estimate_holds"] for step in whole)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", default="fashion-mini", help="as for elsewhere commands")
    parser.add_argument("--sizes", default="1000,4000", help="numbers of training images")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pixels", type=int, default=64, help="pixels of every step that are compared")
    parser.add_argument("--full", type=int, default=0, help="images that the exact engine draws as well")
    parser.add_argument("--profile", action="store_true", help="say where the time of four of the steps goes")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--memory", type=int, default=4096, help="MiB that the engine may use beside the images")
    parser.add_argument("--cache", type=Path, default=Path("benchmarks/results/indexes"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in (int(text) for text in arguments.sizes.split(",")):
        rows.append(row := measure(els.load_images(arguments.images, size), arguments))
        print(
            f"{size:6} images: {row['seconds_an_image']:.1f} s an image, exact {row['exact_seconds_an_image']:.0f} s, "
            f"plain {row['plain_seconds_an_image']:.0f} s; x0hat rms {row['rms']:.1e}, max {row['max']:.1e}, "
            f"estimate holds {row['estimate_holds']:.1%}; indexes {row['index_seconds']:.0f} s, "
            f"{row['index_bytes'] / 2**20:.0f} MiB; peak {row['peak_bytes'] / 2**30:.1f} GiB; "
            f"final r {row.get('final_pearson_r', 'not compared')}",
            flush=True,
        )
        if arguments.full:
            whole = row["whole"]
            print(
                f"       all {whole['pixels']} pixels of {arguments.full} images at the worst of all steps: "
                f"rms {whole['rms']:.1e}, max {whole['max']:.1e}, {whole['off']} off by more than {OFF}, "
                f"estimate holds {whole['estimate_holds']:.1%}; final images off by at most {row['final_max']:.1e}",
                flush=True,
            )
        text = json.dumps({"tolerance": arguments.tolerance, "rows": rows}, indent=1)
        (arguments.out / "fast_engine.json").write_text(text + "\n")
    plot(rows, arguments.out / "fast_engine.png")


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    figure = new_figure(6, 4)
    axes = figure.subplots()
    sizes = [row["images"] for row in rows]
    for name, key in (("plain conv2d", "plain"), ("exact engine", "exact"), ("fast engine", "")):
        seconds = [row[f"{key}_seconds_an_image" if key else "seconds_an_image"] for row in rows]
        axes.loglog(sizes, seconds, marker="o", label=name)
    axes.set(xlabel="training images", ylabel="seconds an image, 20 steps")
    axes.legend()
    save_figure(path, figure)


if __name__ == "__main__":
    main()
