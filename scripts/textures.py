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
from elsewhere.pictures import grid, new_figure, save_figure

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
    axes = figure.subplots(2, 2, width_ratios=(SIDE, CANVAS[1]))
    for row, name in zip(axes, ("brick", "gravel"), strict=True):
        original = photograph(name)
        machine = els.EquivariantLocalScore(original, arguments.window, "wrap")
        drawn = els.sample(machine, els.make_noise(1, (1, *CANVAS)), progress=True).images
        titles = f"{name}, {SIDE} x {SIDE}", f"{CANVAS[0]} x {CANVAS[1]}, window {arguments.window}"
        for axis, image, title in zip(row, (original.scaled(), drawn), titles, strict=True):
            axis.imshow(grid(image, 1, 1, gap=0), cmap="gray", vmin=0, vmax=255)
            axis.set_title(title)
            axis.set_axis_off()
    save_figure(arguments.out, figure)


if __name__ == "__main__":
    main()
