"""How near do machines come to networks that differ in self-attention alone?

    python benchmarks/attention.py --els windows/locality.json --best best/best.json --out benchmarks/results \\
        --networks runs/attention-0 runs/attention-1 runs/convolution-0 runs/convolution-1

One machine is drawn once and compared with every network, from the same noises; so are the networks with one another.
Medians of Pearson r over seeds, with 95 % bootstrap intervals; the paired difference between two groups of networks is
taken seed by seed of the mean over the networks of each group (Fisher's z is not needed: differences are small).
Groups are the names of the networks before their last "-".
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.analysis import pearson_r
from elsewhere.analysis.comparison_result import median_interval
from elsewhere.denoiser import Denoiser
from elsewhere.files import write_text


def drawn(kept: Path, denoiser: Denoiser, noise: Tensor) -> Tensor:
    """Final images, float32; kept in a file, so that a run that was stopped goes on."""
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, els.sample(denoiser, noise, progress=True).images.float().numpy())
    return torch.from_numpy(np.load(kept))


def apart(sources: list[str], data: els.ImageSet, count: int = 16) -> dict[str, dict[float, float]]:
    """rms difference of x0hat on noisy training images, mean over pairs of networks within and between groups."""
    some = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:count]
    x0, noise = data[some].scaled(), els.make_noise(count, data.shape, 0)
    networks = {Path(source).name: els.load_network(source) for source in sources}
    found: dict[str, dict[float, float]] = {}
    for sigma in els.schedules.cosine(8).sigmas[:-1]:
        answers = {name: network(x0 + sigma * noise, sigma) for name, network in networks.items()}
        squares: dict[str, list[float]] = {}
        for a, b in combinations(answers, 2):
            groups = sorted({name.rpartition("-")[0] for name in (a, b)})
            key = "of two seeds" if len(groups) == 1 else "with and without"
            squares.setdefault(key, []).append(float((answers[a] - answers[b]).double().square().mean()))
        for key, values in squares.items():
            found.setdefault(key, {})[sigma] = float(np.sqrt(np.mean(values)))
    return found


def words(values: np.ndarray) -> str:
    found = median_interval(values)
    return f"{found['median']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mini")
    parser.add_argument("--networks", nargs="+", required=True, help="folders named GROUP-NUMBER")
    parser.add_argument("--els", type=Path, help="windows, as `elsewhere calibrate` writes them")
    parser.add_argument("--best", type=Path, help="best.json of `elsewhere calibrate --machine best`")
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True, help="folder for attention.json and the drawn images")
    options = parser.parse_args()
    data = els.load_images(options.data)
    noise = els.make_noise(options.seeds, data.shape, options.seed)
    machines: dict[str, Denoiser] = {}
    if options.els:
        machines["ELS"] = els.EquivariantLocalScore(data, els.LocalitySchedule.load(options.els))
    if options.best:
        machines["Best"] = els.FamilyCalibration.load(options.best).machine(data)
    images = {name: drawn(options.out / f"{name}.npy", machine, noise) for name, machine in machines.items()}
    networks = {
        Path(source).name: drawn(options.out / f"{Path(source).name}.npy", els.load_network(source), noise)
        for source in options.networks
    }
    r = {name: {net: pearson_r(x, y).numpy() for net, y in networks.items()} for name, x in images.items()}
    r["networks"] = {
        f"{a}, {b}": pearson_r(networks[a], networks[b]).numpy() for a in networks for b in networks if a < b
    }
    for name, found in r.items():
        for net, values in found.items():
            print(f"{name:10} {net:40} {words(values)}")
    groups = sorted({net.rpartition("-")[0] for net in networks})
    for name in images:
        means = [np.mean([v for net, v in r[name].items() if net.rpartition("-")[0] == group], 0) for group in groups]
        for group, mean in zip(groups, means, strict=True):
            print(f"{name:10} {group:40} {words(mean)}")
        if len(groups) == 2:
            print(f"{name:10} {groups[0]} minus {groups[1]}: {words(means[0] - means[1])}")
    for group, levels in apart(options.networks, data).items():
        print(f"rms of x0hat {group}: " + ", ".join(f"{sigma:.2g}: {rms:.3f}" for sigma, rms in levels.items()))
    content = {name: {net: values.tolist() for net, values in found.items()} for name, found in r.items()}
    write_text(options.out / "attention.json", json.dumps({"seeds": options.seeds, "seed": options.seed, "r": content}))


if __name__ == "__main__":
    main()
