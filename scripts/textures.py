"""Draw the picture of textures from one photograph each: at a single scale, and coarse to fine.

    python scripts/textures.py --out docs/images/textures.png

The photographs come with scikit-image (the extra `anomalies`): brick and gravel are in the public domain (CC0), as are
the cat Chelsea (Stéfan van der Walt, CC0) and the cup of coffee (Rachel Michetti, CC0).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from skimage import data, transform

import elsewhere as els
from elsewhere.files import save_bytes
from elsewhere.pictures import Column, labelled_grid, picture_png

CROPS = {"brick": 320, "gravel": 200, "chelsea": 300, "coffee": 400}
"""Name -> side in pixels of the central square that is used."""
COLOURS = 256
"""Of the picture, for a small file."""
SINGLE_WINDOW = 11
"""Side of the windows of the single-scale machine: that of the picture that this one replaced."""


def photograph(name: str, side: int) -> els.ImageSet:
    """The central square of a photograph, shrunk to (1, C, side, side)."""
    pixels = np.atleast_3d(getattr(data, name)())
    top, left = ((length - CROPS[name]) // 2 for length in pixels.shape[:2])
    square = pixels[top : top + CROPS[name], left : left + CROPS[name]]
    small = transform.resize(square, (side, side), anti_aliasing=True)
    return els.ImageSet((torch.from_numpy(small).permute(2, 0, 1)[None] * 255).round().byte(), name=name)


def single_scale(original: els.ImageSet, size: tuple[int, int]) -> torch.Tensor:
    """A texture by the equivariant local machine alone."""
    machine = els.EquivariantLocalScore(original, SINGLE_WINDOW, "wrap")
    return els.sample(machine, els.make_noise(1, (original.shape[0], *size)), progress=True).images


def coarse_to_fine(original: els.ImageSet, size: tuple[int, int], **changes: bool) -> torch.Tensor:
    return els.texture(original, size, els.TextureSettings(**changes), progress=True).images


def on_white(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Images in colour in the middle of a white canvas."""
    rows, columns = (larger - side for larger, side in zip(size, images.shape[2:], strict=True))
    padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return torch.nn.functional.pad(images.expand(-1, 3, -1, -1), padding, value=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/textures.png"))
    parser.add_argument(
        "--side", type=int, default=96, help="side of the photographs; textures are half as large again"
    )
    parser.add_argument("--names", nargs="+", choices=CROPS, default=list(CROPS))
    arguments = parser.parse_args()
    size = (3 * arguments.side // 2, 3 * arguments.side // 2)
    originals = [photograph(name, arguments.side) for name in arguments.names]
    drawn = {
        "photograph": [one.scaled() for one in originals],
        "one scale": [single_scale(one, size) for one in originals],
        "multi-scale": [coarse_to_fine(one, size) for one in originals],
        "tileable": [coarse_to_fine(one, size, tileable=True) for one in originals],
    }
    subtitles = f"{arguments.side} px", f"ELS, window {SINGLE_WINDOW}", "patches of 15", "patches of 15"
    columns = [
        Column(title, subtitle, torch.cat([on_white(image, size) for image in images]), [""] * len(images))
        for (title, images), subtitle in zip(drawn.items(), subtitles, strict=True)
    ]
    save_bytes(arguments.out, picture_png(labelled_grid(columns, size[0]).quantize(COLOURS)))


if __name__ == "__main__":
    main()
