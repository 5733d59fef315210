"""Draw docs/images/restoration.png: held-out images degraded in three ways, and restored by three machines.

python scripts/restoration.py
python scripts/restoration.py --time   # prints the seconds of processor time an image, and draws nothing
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

import elsewhere as els
from elsewhere.pictures import new_figure, save_figure, show_image

TARGET = Path(__file__).resolve().parents[1] / "docs/images/restoration.png"
NOISE = 0.2
WINDOW = 5
TRAINING = 2000
HELD_OUT = (2003, 2008)


def main() -> None:
    data = els.load_images("fashion-mini")
    training, truth = els.ImageSet(data.images[:TRAINING]), data.scaled()[list(HELD_OUT)]
    hole = torch.zeros(28, 28, dtype=torch.bool)
    hole[12:17, 10:18] = True
    offset = torch.arange(-2.0, 3.0)
    bell = torch.exp(-(offset**2) / 2)
    kernel = bell[:, None] * bell / bell.sum() ** 2
    problems = {
        "hidden pixels": els.operators.mask(hole),
        "half the side": els.operators.downsample(2),
        "blur": els.operators.blur(kernel),
    }
    machines = {
        "IS": els.IdealScore(training),
        "LS": els.LocalScore(training, WINDOW),
        "ELS": els.EquivariantLocalScore(training, WINDOW),
    }
    figure = new_figure(7.5, 9.6)
    axes = figure.subplots(len(problems) * len(truth), 2 + len(machines))
    for number, (title, operator) in enumerate(problems.items()):
        y = operator(truth)
        y = y + NOISE * els.make_noise(len(y), tuple(y.shape[1:]), seed=1)
        drawn = {"truth": truth, title: y}
        for name, machine in machines.items():
            started = time.process_time()
            drawn[name] = els.restore(machine, y, operator, NOISE)
            seconds = (time.process_time() - started) / len(y)
            print(f"{operator!r} {name}: {seconds:.1f} s of processor time an image")
        for row in range(len(truth)):
            for panel, (name, images) in zip(axes[number * len(truth) + row], drawn.items(), strict=True):
                error = float((drawn[name][row] - truth[row]).square().mean()) if name in machines else None
                show_image(panel, images[row], name if error is None else f"{name}, MSE {error:.3f}")
    if "--time" in sys.argv:
        return
    save_figure(TARGET, figure)
    print(TARGET)


if __name__ == "__main__":
    main()
