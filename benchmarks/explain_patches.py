"""What explaining pasted patches costs: all pairs of pixels against candidates, and what candidates miss, in one run.

    python benchmarks/explain_patches.py --out benchmarks/results

An image of one class of fashion-mini with noise is explained through settings that calibration found. Times are of the
processor, all threads together, so that what else runs on the machine matters little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

import elsewhere as els
from elsewhere.engine import patch_tracing

Made = TypeVar("Made")
# Noise level, window and pasted patch, all tapered and aware of borders: from the calibrations of the shipped networks.
CASES = ((0.078, 3, 3), (0.61, 11, 3), (0.72, 17, 7), (0.99, 17, 5), (2.35, 25, 5))


def timed(call: Callable[[], Made]) -> tuple[Made, float]:
    """What a call returns, and the processor's seconds that it took."""
    start = time.process_time()
    made = call()
    return made, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--label", type=int, default=3)
    parser.add_argument("--top", type=int, default=8)
    arguments = parser.parse_args()

    data, label = els.load_images("fashion-mini"), arguments.label
    assert data.labels is not None
    clean = data.scaled()[data.labels == label][:1]
    most, rows = patch_tracing.MOST_SOURCES, []
    for sigma, window, response in CASES:
        machine = els.PatchScore(data, els.PatchSettings(window, taper=True, keys="aware", response=response))
        x = clean + sigma * els.make_noise(1, data.shape)
        machine(x, sigma, label)  # threads and libraries are started
        call = timed(lambda: machine(x, sigma, label))[1]  # noqa: B023
        few, after = timed(lambda: els.explain(machine, x, sigma, arguments.top, label))  # noqa: B023
        patch_tracing.MOST_SOURCES = 0
        every, before = timed(lambda: els.explain(machine, x, sigma, arguments.top, label))  # noqa: B023
        patch_tracing.MOST_SOURCES = most
        assert few.missed is not None
        short = every.weights - few.weights
        credits = few.credits()[0][data.labels == label].sort().values.cumsum(0) * x[0, 0].numel()
        row = {
            "sigma": sigma,
            "window": window,
            "response": response,
            "call_seconds": call,
            "all_pairs_seconds": before,
            "candidates_seconds": after,
            "all_pairs_to_call": before / call,
            "candidates_to_call": after / call,
            "speedup": before / after,
            "largest_difference_of_a_weight": float(short.abs().max()),
            "weight_missed_mean": float(short.sum(-1).clamp(min=0).mean()),
            "pixels_certain": float((few.missed <= 0).double().mean()),
            "bound_missed_mean": float(few.missed.mean()),
            "bound_missed_max": float(few.missed.max()),
            "images_with_less_than_1e-6_together": int((credits <= 1e-6).sum()),
            "largest_difference_of_a_credit": float((every.credits() - few.credits()).abs().max()),
        }
        rows.append(row)
        print(", ".join(f"{name} {value:.3g}" for name, value in row.items()), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = {"label": label, "top": arguments.top, "torch": torch.__version__, "rows": rows}
    (arguments.out / "explain_patches.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
