"""The exact engine against a plain implementation of the same formula, in one run.

    python benchmarks/exact_engine.py --out benchmarks/results

For each window: pairs (queries x keys) per second and core of `EquivariantLocalScore(borders="wrap")` on one image,
once by tensor operations alone, without merging equal windows, and once as shipped (shift by shift in the compiled
loop, where there was a compiler), against one conv2d a batch of training images; the largest difference of x0hat
between the two; the share of the machine's float32 matrix-product peak that the tensor operations reach; and the peak
memory of a batch under a small `memory` setting, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

import elsewhere as els
from elsewhere.engine import WindowKeys, run
from elsewhere.engine.dense import DenseJob
from elsewhere.machines.borders import interior
from elsewhere.pictures import new_figure, save_figure

# The window and the noise level at which a calibrated machine typically uses it.
LEVELS = {3: 0.15, 7: 0.6, 15: 2.5}


def plain(x: torch.Tensor, sigma: float, images: torch.Tensor, window: int, batch: int = 50) -> torch.Tensor:
    """ELS, wrapping, of one image (1, C, H, W): every window of x is a filter of one conv2d a batch of images."""
    radius, count = window // 2, x[0, 0].numel()
    filters = F.unfold(F.pad(x, (radius,) * 4, mode="circular"), window)[0].T.reshape(count, -1, window, window)
    ones = torch.ones(1, x.shape[1], window, window)
    peak = torch.full((count, 1), -math.inf)
    total, weighted = torch.zeros(count, 1), torch.zeros(count, x.shape[1])
    for some in images.split(batch):
        squares = F.conv2d(some.square(), ones).flatten(1)
        products = F.conv2d(some, filters).flatten(2)
        logs = (products - squares[:, None] / 2).div(sigma**2).transpose(0, 1).flatten(1)
        values = some[:, :, radius : some.shape[2] - radius, radius : some.shape[3] - radius]
        values = values.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        new = torch.maximum(peak, logs.amax(1, keepdim=True))
        weights = (logs - new).exp()
        total = total * (peak - new).exp() + weights.sum(1, keepdim=True)
        weighted = weighted * (peak - new).exp() + weights @ values
        peak = new
    return (weighted / total).T.view(x.shape)


def every_window(x: torch.Tensor, sigma: float, machine: els.EquivariantLocalScore, window: int) -> DenseJob:
    """The job of the wrapping machine with no windows merged."""
    places = interior(*machine.image_size, window)
    assert places is not None
    centred = F.pad(x - machine.store.offset, (window // 2,) * 4, mode="circular")
    queries = F.unfold(centred, window)[0].T.contiguous()
    keys = WindowKeys(machine.store, places.extent, places.rows, places.columns)
    return DenseJob(queries, torch.full((len(queries),), sigma, dtype=torch.float64), keys)


def seconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matmul_peak() -> float:
    """Best float32 matrix-product rate of one core, in flops a second, of the shapes at hand."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = 0.0
    for size in (512, 1024, 2048):
        a, b = torch.randn(size, size), torch.randn(size, size)
        best = max(best, 2 * size**3 / seconds(lambda a=a, b=b: a @ b.T, 5))
    torch.set_num_threads(threads)
    return best


MEMORY_PROBE = """
import sys, threading, time, elsewhere as els
PAGE = 4096
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * PAGE
data = els.load_images("fashion-mini", 2000)
x = els.make_noise(64, data.shape)
els.EquivariantLocalScore(data.take(10), 7, "wrap")(x[:1], 1.0)
machine = els.EquivariantLocalScore(data, 15, "wrap", memory=int(sys.argv[1]))
before, peak, done = rss(), 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, rss())
        time.sleep(0.001)
watcher = threading.Thread(target=watch)
watcher.start()
machine(x[: int(sys.argv[2])], 2.5)
done = True
watcher.join()
print(peak - before)
"""


def measure_memory(setting: int, batch: int) -> dict[str, int]:
    """Most memory that one call takes beyond what the process held before it (Linux)."""
    command = [sys.executable, "-c", MEMORY_PROBE, str(setting), str(batch)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {"setting_bytes": setting, "batch": batch, "peak_bytes_above_start": int(out)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    data = els.load_images("fashion-mini", arguments.images)
    floats, cores, peak = data.scaled(), torch.get_num_threads(), matmul_peak()
    rows = []
    for window, sigma in LEVELS.items():
        x = floats[:1] + sigma * els.make_noise(1, data.shape)
        machine = els.EquivariantLocalScore(data, window, "wrap")
        job = every_window(x, sigma, machine, window)
        slow = seconds(lambda: plain(x, sigma, floats, window), 1)  # noqa: B023
        fast = seconds(lambda: run([job]), arguments.repeats)  # noqa: B023
        shipped = seconds(lambda: machine(x, sigma), arguments.repeats)  # noqa: B023
        rate = job.pairs / cores
        row = {
            "window": window,
            "sigma": sigma,
            "pairs": job.pairs,
            "plain_pairs_per_second_core": rate / slow,
            "engine_pairs_per_second_core": rate / fast,
            "shipped_pairs_per_second_core": rate / shipped,
            "ratio_engine": slow / fast,
            "ratio_shipped": slow / shipped,
            "share_of_matmul_peak": 2 * window**2 * rate / fast / peak,
            "max_abs_difference": float((plain(x, sigma, floats, window) - machine(x, sigma)).abs().max()),
        }
        rows.append(row)
        print(
            f"window {window:2}: plain {row['plain_pairs_per_second_core'] / 1e6:6.1f} M pairs/s/core, "
            f"tensors {row['engine_pairs_per_second_core'] / 1e6:6.1f} M ({row['ratio_engine']:.1f}x), "
            f"as shipped {row['shipped_pairs_per_second_core'] / 1e6:6.1f} M ({row['ratio_shipped']:.1f}x), "
            f"{row['share_of_matmul_peak']:.0%} of the matmul peak, difference {row['max_abs_difference']:.1e}",
            flush=True,
        )
    memory = [measure_memory(setting, 16) for setting in (2**26, 2**28, 2**30)]
    for case in memory:
        print(
            f"peak memory {case['peak_bytes_above_start'] / 2**20:.0f} MiB above start for a batch of "
            f"{case['batch']}, setting {case['setting_bytes'] / 2**20:.0f} MiB"
        )
    result = {
        "images": len(data),
        "cores": cores,
        "torch": torch.__version__,
        "matmul_peak_flops_core": peak,
        "rows": rows,
        "memory": memory,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "exact_engine.json").write_text(json.dumps(result, indent=1) + "\n")
    plot(rows, arguments.out / "exact_engine.png")


def plot(rows: list[dict[str, float]], path: Path) -> None:
    figure = new_figure(7, 4)
    axes = figure.subplots()
    sides = {"plain conv2d": "plain", "tensor operations": "engine", "as shipped": "shipped"}
    for shift, (label, side) in enumerate(sides.items()):
        rates = [row[f"{side}_pairs_per_second_core"] / 1e6 for row in rows]
        axes.bar([i + 0.27 * (shift - 1) for i in range(len(rows))], rates, 0.25, label=label)
    axes.set(xticks=range(len(rows)), yscale="log", ylabel="million pairs / second / core")
    axes.set_xticklabels([f"window {row['window']:.0f}\nsigma {row['sigma']}" for row in rows])
    axes.set_ylim(top=3 * max(row[f"{side}_pairs_per_second_core"] / 1e6 for row in rows for side in sides.values()))
    axes.legend(loc="upper left", ncols=3)
    save_figure(path, figure)


if __name__ == "__main__":
    main()
