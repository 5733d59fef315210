"""What explaining costs, against drawing, in one run.

    python benchmarks/explain.py --out benchmarks/results

Images of one class of fashion-mini are drawn in 20 steps by the ELS machine calibrated for fashion-resnet. Then the
last step is explained, as `elsewhere explain` does, and on fewer images every step, as with `--every-step`. Times are
of the processor, all threads together, so that what else runs on the machine matters little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

import elsewhere as els

Made = TypeVar("Made")


def timed(call: Callable[[], Made]) -> tuple[Made, float]:
    """What a call returns, and the processor's seconds that it took."""
    start = time.process_time()
    made = call()
    return made, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", type=int, default=16, help="drawn, with the last step explained")
    parser.add_argument("--every-step-images", type=int, default=2, help="drawn, with every step explained")
    parser.add_argument("--label", type=int, default=3)
    arguments = parser.parse_args()

    data = els.load_images("fashion-mini")
    windows = els.shipped_locality("fashion-resnet")
    machine, label = els.EquivariantLocalScore(data, windows), arguments.label
    machine(els.make_noise(1, data.shape), 1.0, label)  # threads and libraries are started
    noise = els.make_noise(arguments.images, data.shape)
    run, drawing = timed(lambda: els.sample(machine, noise, label=label, keep=True))
    call = timed(lambda: machine(run.states[-2], run.sigmas[-2], label))[1]
    mosaic, explaining = timed(lambda: els.explain(machine, run.states[-2], run.sigmas[-2], label=label))
    difference = float((mosaic.x0 - run.images).abs().max())
    credit_error = float((mosaic.credits().sum(1) - 1).abs().max())
    print(
        f"{arguments.images} images: drawing {drawing:.1f} s, explaining the last step {explaining:.1f} s, "
        f"{explaining / drawing:.1%} of it, {explaining / call:.1f} times the call itself; "
        f"x0hat within {difference:.1e}, credits sum to 1 within {credit_error:.1e}",
        flush=True,
    )
    few = els.make_noise(arguments.every_step_images, data.shape)
    short, drawing_few = timed(lambda: els.sample(machine, few, label=label, keep=True))
    every = timed(lambda: deque(els.explain_run(machine, short, label=label), maxlen=0))[1]
    print(
        f"{arguments.every_step_images} images: drawing {drawing_few:.1f} s, explaining every step {every:.1f} s, "
        f"{every / drawing_few:.1f} times as long"
    )
    result = {
        "images": arguments.images,
        "label": label,
        "cores": torch.get_num_threads(),
        "torch": torch.__version__,
        "drawing_seconds": drawing,
        "last_call_seconds": call,
        "explaining_last_step_seconds": explaining,
        "ratio_last_step_to_drawing": explaining / drawing,
        "max_abs_difference": difference,
        "credit_error": credit_error,
        "every_step_images": arguments.every_step_images,
        "every_step_drawing_seconds": drawing_few,
        "every_step_explaining_seconds": every,
        "ratio_every_step_to_drawing": every / drawing_few,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "explain.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
