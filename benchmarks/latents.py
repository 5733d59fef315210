"""The table of docs/latents.md: how near the machines are to the shipped latent network, in latents and in pixels.

    python benchmarks/latents.py

It prints the error of the autoencoder, the field of its decoder, and median Pearson r over seeds with quartiles.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import elsewhere as els
from elsewhere.analysis.metrics import pearson_r
from elsewhere.factory import choose_labels

SETS = ("emoji", "pixel-faces")


def reconstruction(autoencoder: els.latents.Autoencoder, data: els.ImageSet) -> tuple[float, float]:
    """Mean absolute and root mean squared error of decoded latents, clipped, in [-1, 1]."""
    absolute = square = 0.0
    for start in range(0, len(data), 256):
        images = data[start : start + 256].scaled()
        error = (autoencoder.decode(autoencoder.encode(images)).clamp(-1, 1) - images).double()
        absolute += float(error.abs().sum())
        square += float(error.square().sum())
    return absolute / data.images.numel(), (square / data.images.numel()) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=32, help="seeds")
    parser.add_argument("--network", default="emoji-latents")
    parser.add_argument("--autoencoder", default="emoji-vae")
    given = parser.parse_args()
    autoencoder = els.load_autoencoder(given.autoencoder)
    print(f"{autoencoder}: {autoencoder.field}")
    for name in SETS:
        absolute, square = reconstruction(autoencoder, els.load_images(name))
        print(f"{name}: mean absolute error {absolute:.4f}, root mean square {square:.4f} in [-1, 1]")
    latents = els.encode(els.load_images("emoji"), autoencoder)
    network = els.load_network(given.network)
    noise = els.make_noise(given.count, latents.shape)
    label = choose_labels("cycle", given.count, latents)
    machines = {
        "IS": els.IdealScore(latents),
        "LS": els.LocalScore(latents, els.shipped_locality(given.network, "ls")),
        "ELS": els.EquivariantLocalScore(latents, els.shipped_locality(given.network), "aware"),
        "Wiener": els.Wiener(latents),
        "Best": els.best_machine(given.network, latents),
    }
    target = els.sample(network, noise, label=label).images
    pictures = autoencoder.decode(target)
    print("|  | r in latents | r in pixels | rms in latents |\n|---|---|---|---|")
    for name, machine in machines.items():
        images = els.sample(machine, noise, label=label).images
        inner, outer = (
            np.quantile(pearson_r(*pair).cpu().numpy(), [0.25, 0.5, 0.75])
            for pair in ((images, target), (autoencoder.decode(images), pictures))
        )
        rms = float(torch.median((images - target).square().mean((1, 2, 3)).sqrt()))
        cells = [f"{middle:.3f} ({low:.3f} to {high:.3f})" for low, middle, high in (inner, outer)]
        print(f"| {name} | {cells[0]} | {cells[1]} | {rms:.3f} |", flush=True)


if __name__ == "__main__":
    main()
