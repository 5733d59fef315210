"""Draw the picture of textures that are grown from one photograph each.

    python scripts/textures.py --out docs/images/textures.png

The photographs, brick and gravel, come with scikit-image (the extra `anomalies`); both are in the public domain (CC0).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from skimage import data, transform

import elsewhere as els
from elsewhere.pictures import new_figure, save_figure, show_image

SIDE = 96
CANVAS = (128, 256)


def photograph(name: str) -> els.ImageSet:
    """A quarter of the resolution, and of that the upper left corner, (1, 1, SIDE, SIDE)."""
    pixels = transform.resize(getattr(data, name)(), (128, 128), anti_aliasing=True)
    return els.ImageSet((torch.from_numpy(pixels[None, None, :SIDE, :SIDE]) * 255).round().byte(), name=name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/textures.png"))
    parser.add_argument("--window", type=int, default=11)
    arguments = parser.parse_args()
    figure = new_figure(9, 6.6)
    rows = figure.subplots(2, 2, width_ratios=(SIDE, CANVAS[1]))
    for row, name in zip(rows, ("brick", "gravel"), strict=True):
        original = photograph(name)
        machine = els.EquivariantLocalScore(original, arguments.window, "wrap")
        drawn = els.sample(machine, els.make_noise(1, (1, *CANVAS)), progress=True).images[0]
        titles = f"{name}, {SIDE} x {SIDE}", f"{CANVAS[0]} x {CANVAS[1]}, window {arguments.window}"
        for axes, image, title in zip(row, (original.scaled()[0], drawn), titles, strict=True):
            show_image(axes, image, title)
    save_figure(arguments.out, figure)


if __name__ == "__main__":
    main()
