"""Draw the pictures of prompts: eight prompts by each machine, one prompt under other settings, from the same noise.

    python scripts/prompts.py --out docs/images
    python scripts/prompts.py --network emoji-unet --out docs/images

With --network, a network that takes words draws from the same noise as well. Needs the extra `text`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

import elsewhere as els
from elsewhere.files import save_bytes
from elsewhere.pictures import figure_png, new_figure, show_image
from elsewhere.text import load_encoder

PROMPTS = (
    "a smiling cat with hearts",
    "a red car",
    "flowers",
    "pizza",
    "a house in the snow",
    "an angry face",
    "music",
    "a green dinosaur with a hat",
)
NEGATIVE = {"a smiling cat with hearts": "heart", "a house in the snow": "cloud"}
"""Prompts that are drawn under other settings, and what the last of these moves away from."""
SETTINGS: dict[str, dict[str, Any]] = {
    "10 effective images": {},
    "temperature 0.03": {"temperature": 0.03},
    "temperature 0.15": {"temperature": 0.15},
    "0.15 and most 3641": {"temperature": 0.15, "most": 3641},
    "guidance 2": {"guidance": 2.0},
    "guidance 5": {"guidance": 5.0},
    "negative, guidance 2": {"guidance": 2.0},
}
SEEDS = 4
"""Images of each prompt, side by side."""
COLOURS = 256
"""Of a picture, for a small file."""


def side_by_side(images: Tensor) -> Tensor:
    """Images (B, C, H, W) in one row (C, H, B (W + 2) - 2), white between them."""
    return torch.cat([pad(image, (0, 2), value=1.0) for image in images], 2)[:, :, :-2]


def save(path: Path, columns: Mapping[str, Sequence[Tensor]], rows: Sequence[str]) -> None:
    """Write a table of pictures: title of a column -> its pictures; the names of the rows stand on the left."""
    figure = new_figure(2.1 * len(columns) + 1.4, 0.62 * len(rows) + 0.5)
    cells = figure.subplots(len(rows), len(columns), squeeze=False)
    for j, (title, pictures) in enumerate(columns.items()):
        for i, picture in enumerate(pictures):
            show_image(cells[i, j], picture, title if i == 0 else "")
            cells[i, j].spines[:].set_visible(False)
    for name, axes in zip(rows, cells[:, 0], strict=True):
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    buffer = BytesIO()
    Image.open(BytesIO(figure_png(figure, 130))).convert("RGB").quantize(COLOURS).save(buffer, "PNG", optimize=True)
    save_bytes(path, buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--network", help="a network that takes words, trained on emoji")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    data = els.load_images("emoji")
    noise, encoder = els.make_noise(SEEDS, data.shape, arguments.seed), load_encoder()

    def draw(machine: Any, prompt: str, **settings: Any) -> Tensor:
        drawer = els.prompted(machine, prompt, data, encoder=encoder, **settings)
        print(drawer)
        return side_by_side(els.sample(drawer, noise).images)

    local = els.LocalScore(data)
    machines: dict[str, Any] = {
        "IS: whole images": els.IdealScore(data),
        "LS: windows, same place": local,
        "PSPC: patches, same place": els.PatchComposite(data),
        "ELS: windows, any place": els.EquivariantLocalScore(data),
    }
    if arguments.network:
        machines["network"] = els.load_network(arguments.network)
    drawn = {name: [draw(machine, prompt) for prompt in PROMPTS] for name, machine in machines.items()}
    save(arguments.out / "prompts.png", drawn, PROMPTS)
    drawn = {
        title: [
            draw(local, prompt, **settings, **({"negative": other} if title.startswith("negative") else {}))
            for prompt, other in NEGATIVE.items()
        ]
        for title, settings in SETTINGS.items()
    }
    save(arguments.out / "prompts-settings.png", drawn, [f"{one}\n(not {other})" for one, other in NEGATIVE.items()])


if __name__ == "__main__":
    main()
