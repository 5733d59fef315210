"""Formulas given the weights of a prompt beside a network given its embedding, from the same noise.

    python benchmarks/prompted_network.py --machines els --count 64 --out benchmarks/results
    python benchmarks/prompted_network.py --network runs/emoji-unet --locality runs/windows/locality.json --count 16

The network takes the sentence embedding of a prompt. A machine takes weights over its training images:
those of the same prompt (`els.prompted`), at every temperature that is asked for. All draw from the same noise, and
Pearson r of the final images is printed, seed by seed, as in `elsewhere compare`:

1. machines with the weights of the prompt, and with those of another prompt, against the network with words;
2. with --plain, machines without weights against the network without words, as the other networks are compared;
3. how well each heeds the words: similarity of the prompt and the caption of the training image nearest to each
   picture, beside that of random captions and of the caption most similar to the prompt.

`prompted-network.png` has, for the first seed of each prompt, the network, and the machines below it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import elsewhere as els
from elsewhere.analysis.comparison_result import median_interval
from elsewhere.analysis.metrics import pearson_r
from elsewhere.analysis.novelty import nearest_training_images
from elsewhere.best import choose_family
from elsewhere.denoiser import DenoiserLike
from elsewhere.factory import borders_of, choose_window
from elsewhere.files import write_text
from elsewhere.pictures import save_grid
from elsewhere.text import Encoder, load_encoder

PROMPTS = (
    "a smiling cat with hearts",
    "a red car",
    "flag with a star",
    "a slice of pizza",
    "woman with red hair",
    "thumbs up",
    "a yellow flower",
    "the moon at night",
    "an angry face",
    "a house with a garden",
    "a blue fish",
    "musical instrument",
    "a green tree",
    "a heart",
    "man running",
    "a clock",
)
TEMPERATURES = (0.02, 0.05, 0.1)
"""Of the softmax over similarities; `els.prompted` takes 0.1."""


class Measured:
    """Prompts, noise, and what the network drew from both.

    Args:
        network: takes words.
        data: its training images, with captions.
        count: seeds, a multiple of the number of prompts or less than that.
        seed: of the noise.
        steps: noise levels.
    """

    def __init__(self, network: Any, data: els.ImageSet, count: int, seed: int, steps: int) -> None:
        self.data, self.network = data, network
        self.encoder: Encoder = load_encoder(network.text_model)
        self.levels = els.schedules.cosine(steps)
        self.prompts = [PROMPTS[i % len(PROMPTS)] for i in range(count)]
        self.noise = els.make_noise(count, data.shape, seed)
        words = self.encoder.encode(self.prompts)
        self.drawn = els.sample(network.with_text(words), self.noise, self.levels, progress=True).images

    def draw(self, machine: DenoiserLike, shift: int = 0, temperature: float | None = None) -> Tensor:
        """What a machine draws with the weights of each prompt, or of the prompt `shift` places on."""
        images = torch.empty_like(self.noise)
        for prompt in dict.fromkeys(self.prompts):
            rows = torch.tensor([i for i, other in enumerate(self.prompts) if other == prompt])
            words = PROMPTS[(PROMPTS.index(prompt) + shift) % len(PROMPTS)]
            drawer = els.prompted(machine, words, self.data, encoder=self.encoder, temperature=temperature)
            images[rows] = els.sample(drawer, self.noise[rows], self.levels).images
        return images

    def agreement(self, images: Tensor) -> dict[str, Any]:
        """Pearson r with the network's pictures: each, median and 95 % bootstrap interval."""
        return summary(pearson_r(images, self.drawn))

    def heeded(self, images: Tensor) -> float:
        """Mean similarity of the prompt and the caption of the training image nearest to a picture."""
        assert self.data.captions is not None
        nearest = nearest_training_images(images, self.data).indices
        captions = self.encoder.encode([self.data.captions[int(j)] for j in nearest])
        return float((captions * self.encoder.encode(self.prompts)).sum(1).mean())

    def bounds(self) -> dict[str, float]:
        """The same similarity for a random training image, and for the one whose caption is most similar."""
        assert self.data.captions is not None
        table = self.encoder.encode(self.prompts) @ self.encoder.encoded(self.data.captions).T
        return {"a random training image": float(table.mean()), "the most similar": float(table.amax(1).mean())}


def summary(values: Tensor) -> dict[str, Any]:
    return {**median_interval(values.numpy()), "r": values.tolist()}


def line(name: str, found: dict[str, Any]) -> str:
    ends = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
    return f"  {name:42} {found['median']:.3f}{ends}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="runs/emoji-unet", help="file or folder of a network with words")
    parser.add_argument("--data", default="emoji", help="its training images")
    parser.add_argument("--machines", default="els,best", help="of is, ls, els and best")
    parser.add_argument("--locality", type=Path, help="windows of ELS (and LS), in place of the shipped ones")
    parser.add_argument("--family", type=Path, help="settings of best, in place of the shipped ones")
    parser.add_argument("--temperatures", type=float, nargs="+", default=TEMPERATURES)
    parser.add_argument("--count", type=int, default=64, help="pairs of prompt and seed")
    parser.add_argument(
        "--plain", type=int, default=0, help="seeds for the comparison without words, which takes longer"
    )
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)

    data, network = els.load_images(options.data), els.load_network(options.network)
    machines: dict[str, Any] = {}
    for name in options.machines.split(","):
        if name == "best":
            machines["Best"] = choose_family(options.network, options.family).machine(data)
        elif name == "is":
            machines["IS"] = els.IdealScore(data)
        else:
            window, _ = choose_window(name, options.network, None, options.locality)
            machines[name.upper()] = (
                els.LocalScore(data, window)
                if name == "ls"
                else els.EquivariantLocalScore(data, window, borders=borders_of(network))
            )

    measured = Measured(network, data, options.count, options.seed, options.steps)
    found: dict[str, Any] = {"prompts": measured.prompts, "agreement": {}, "heeded": {}, "plain": {}}
    pictures = {"network": measured.drawn}
    print(f"Pearson r with the network given the words, median over {options.count} prompts and seeds [95 % interval]")
    for name, machine in machines.items():
        for heat in options.temperatures:
            images = measured.draw(machine, temperature=heat)
            pictures[f"{name}, temperature {heat:g}"] = images
            found["agreement"][f"{name}, temperature {heat:g}"] = measured.agreement(images)
        other = measured.draw(machine, shift=len(PROMPTS) // 2, temperature=options.temperatures[0])
        found["agreement"][f"{name}, weights of another prompt"] = measured.agreement(other)
    for name, row in found["agreement"].items():
        print(line(name, row))

    if options.plain:
        noise = els.make_noise(options.plain, data.shape, options.seed)
        wordless = els.sample(network, noise, measured.levels).images
        print(f"without words: Pearson r with the network without words, {options.plain} seeds")
        for name, machine in machines.items():
            images = els.sample(machine, noise, measured.levels, progress=True).images
            found["plain"][name] = summary(pearson_r(images, wordless))
            print(line(name, found["plain"][name]))
        same = measured.drawn[: options.plain]
        found["plain"]["network with words"] = summary(pearson_r(same, wordless[: len(same)]))
        print(line("network with words", found["plain"]["network with words"]))

    print("similarity of the prompt and the caption of the nearest training image, mean")
    found["heeded"] = {**{name: measured.heeded(images) for name, images in pictures.items()}, **measured.bounds()}
    for name, value in found["heeded"].items():
        print(f"  {name:42} {value:.3f}")
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / "prompted-network.json", json.dumps(found, indent=1))
    shown = min(len(PROMPTS), options.count)
    rows = torch.cat([images[:shown] for images in pictures.values()])
    save_grid(options.out / "prompted-network.png", rows, columns=shown, scale=2)


if __name__ == "__main__":
    main()
