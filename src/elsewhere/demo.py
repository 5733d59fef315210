"""The demonstration: formulas and shipped networks draw from the same noise, and the agreement is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elsewhere.analysis import Comparison, compare, write_report
from elsewhere.contenders import choose_contenders
from elsewhere.data import load_images
from elsewhere.factory import check_same_images, choose_labels
from elsewhere.machines.table import DEFAULTS
from elsewhere.networks import load_network
from elsewhere.sampling import make_noise

REPORT = "report.html"


@dataclass(frozen=True)
class Scene:
    """One part of the demonstration.

    Attributes:
        title: what the report calls it.
        data: an embedded set.
        network: a shipped network that was trained on exactly that set.
        share: seeds, as a share of the number asked for.
    """

    title: str
    data: str
    network: str
    share: float = 1.0


SCENES = (
    Scene("Clothes: fashion-mini and the network fashion-resnet", "fashion-mini", "fashion-resnet"),
    Scene("Portraits: pixel-faces and the network faces-resnet", "pixel-faces", "faces-resnet", 0.25),
)


def demo(out: str | Path, count: int = 8, seed: int = 0, *, progress: bool = False) -> dict[str, Comparison]:
    """Compare every machine with two shipped networks.

    Writes report.html, and in a folder for each image set the numbers and pictures of `Comparison.save`.

    Args:
        out: folder, made when missing.
        count: seeds drawn on the clothes, classes in turn; on the portraits a quarter as many.
        seed: of the noise.
        progress: show bars with the time left.

    Returns:
        Title -> Comparison.

    Raises:
        ValueError: count below 1 or seed out of range.
        OSError: the folder cannot be written.
    """
    results = {scene.title: play(scene, count, seed, progress=progress) for scene in SCENES}
    for scene in SCENES:
        results[scene.title].save(Path(out) / scene.data)
    write_report(results, Path(out) / REPORT)
    return results


def play(scene: Scene, count: int, seed: int, *, progress: bool = False) -> Comparison:
    """One part of the demonstration, with at least one seed."""
    data, network = load_images(scene.data), load_network(scene.network)
    check_same_images(network, data)
    seeds = max(1, round(count * scene.share)) if count > 0 else count
    chosen = choose_contenders(DEFAULTS, data, scene.network, network)
    return compare(
        chosen.denoisers,
        network,
        make_noise(seeds, data.shape, seed),
        label=choose_labels("cycle" if data.num_classes else None, seeds, data),
        about={"network": scene.network, "windows": chosen.windows, "seed": str(seed)},
        progress=progress,
    )
