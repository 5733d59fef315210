"""Comparison: machines and a network from the same noise, and how well their images agree."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.checks import describe, give_warnings, same_data, training_note, warn_of_other_images
from elsewhere.analysis.comparison_files import comparison_csv, comparison_json, save_comparison
from elsewhere.analysis.comparison_result import METRICS, NETWORK, ComparisonResult
from elsewhere.analysis.explaining import explain
from elsewhere.analysis.finals import judge_finals
from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_view import LARGEST_IN_REPORT, MOST_IN_REPORT, TOP
from elsewhere.analysis.notebook import comparison_html
from elsewhere.analysis.novelty import nearest_training_images
from elsewhere.checks import check_choice, check_seed, checked
from elsewhere.data import LatentSet
from elsewhere.denoiser import DenoiserLike, Label, check_noise
from elsewhere.gradients import check_constant
from elsewhere.latents import Decoded
from elsewhere.machines import EquivariantLocalScore, LocalScore
from elsewhere.machines.locality import LocalitySchedule
from elsewhere.phrases import count, listed
from elsewhere.progress import track
from elsewhere.samplers import NAMES as SAMPLERS
from elsewhere.samplers import SamplerName
from elsewhere.sampling import reverse_process
from elsewhere.schedules import Schedule, cosine


class Comparison(ComparisonResult):
    """A `ComparisonResult` that can be written to files."""

    def _repr_html_(self) -> str | None:
        return comparison_html(self)

    def to_json(self) -> str:
        """Everything except the images, as JSON text."""
        return comparison_json(self)

    def to_csv(self) -> str:
        """`table()` as CSV text with a header."""
        return comparison_csv(self)

    @checked
    def save(self, folder: str | Path) -> None:
        """Write results.json, results.csv, grid.png, report.html and scatter.png; see `save_comparison`.

        Raises:
            OSError: the folder cannot be created or written; the message names it.
        """
        save_comparison(self, folder)


@checked
def compare(
    machines: Mapping[str, DenoiserLike],
    network: DenoiserLike,
    noise: Tensor | np.ndarray,
    *,
    schedule: Schedule | None = None,
    label: Label = None,
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
    sampler: SamplerName = "euler",
    seed: int = 0,
) -> Comparison:
    """Draw from the same noise with every machine and the network, and measure how well their images agree.

    Args:
        machines: name -> D(x, sigma, label=None). If a machine has `.data`, the nearest training image of each of its
            images is found there. If they and the network are `Decoded`, noise is that of latents, and pictures are
            compared.
        network: D(x, sigma, label=None).
        noise: standard normal (B, C, H, W), one seed per image.
        schedule: noise levels; None: `schedules.cosine(20)`.
        label: class of every image or (B,), for the machines and the network.
        about: further settings to store in the result, such as the seed of the noise or the command line. The entry
            "network" is the name of the network in reports.
        progress: show a progress bar with the time left for each machine.
        sampler, seed: see `sample`; all of them draw with the same one.

    Returns:
        A Comparison; `.save(folder)` writes the numbers, the pictures and a report. Its `warnings` are also issued as
        Python warnings: the network's images are far outside [-1, 1], a metric is undefined, or the network was trained
        on other images.

    Raises:
        TypeError, ValueError: no machines, a machine named "network", noise or labels that a denoiser cannot take, a
            prediction that is not finite.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=20)
        >>> machines = {"IS": els.IdealScore(data), "ELS": els.EquivariantLocalScore(data, 5)}
        >>> noise, schedule = els.make_noise(2, data.shape), els.schedules.cosine(3)
        >>> els.compare(machines, els.LocalScore(data, 5), noise, schedule=schedule).machines
        ('IS', 'ELS')
    """
    if not machines:
        raise ValueError('machines is empty: give one or more, such as {"ELS": EquivariantLocalScore(data)}')
    if NETWORK in machines or not all(isinstance(name, str) and name.strip() for name in machines):
        raise ValueError(f"machines need names other than '', {NETWORK!r}, got {', '.join(map(repr, machines))}")
    schedule = cosine() if schedule is None else schedule
    check_choice("sampler", sampler, SAMPLERS)
    check_seed(seed)
    check_constant(noise, "noise", "compare")
    denoisers = {**machines, NETWORK: network}
    decoded = [name for name, denoiser in denoisers.items() if isinstance(denoiser, Decoded)]
    if 0 < len(decoded) < len(denoisers):
        others = [name for name in denoisers if name not in decoded]
        raise ValueError(f"{listed(decoded)} are decoded, {listed(others)} are not: decode all of them, or none")
    x, labels = check_noise(denoisers, noise, label, schedule.sigmas[0])
    data: dict[str, Any] = {name: getattr(machine, "data", None) for name, machine in machines.items()}
    data = {name: images for name, images in data.items() if images is not None}
    if data:
        # The network has no data of its own; it should have been trained on the images of the machines.
        data[NETWORK] = next(iter(data.values()))
    training = data.get(NETWORK)
    on_others = training_note(network, training)
    warn_of_other_images(network, training)
    images, seconds, last = {}, {}, {}
    for name, denoiser in denoisers.items():
        started = time.perf_counter()
        images[name], last[name] = _draw(name, denoiser, x, schedule, labels, progress, sampler, seed)
        seconds[name] = time.perf_counter() - started
    target = images[NETWORK]
    latents = isinstance(training, LatentSet) and not decoded
    if decoded:
        pictures = {name: getattr(images, "pictures", None) for name, images in data.items()}
        data = {name: images for name, images in pictures.items() if images is not None}
    metrics = {name: _agreement(images[name], target) for name in machines}
    nearest = {name: nearest_training_images(images[name], data[name]) for name in images if name in data}
    windows = {name: getattr(machine, "window", None) for name, machine in machines.items()}
    localities = {name: window for name, window in windows.items() if isinstance(window, LocalitySchedule)}
    largest = training.largest if training is not None and latents else 1.0
    settings = _settings(machines, network, x, schedule, training, about) | {"sampler": sampler}
    settings |= {"latents": True, "largest": largest} if latents else {}
    findings = [*judge_finals(target, network, largest), *_undefined(metrics)]
    give_warnings(findings)
    notes = (*findings, *on_others)
    explained, mosaic = ("", None) if latents else _explain(machines, metrics, last, schedule, labels)
    names = _label_names(labels, training)
    return Comparison(images, metrics, nearest, seconds, localities, names, settings, notes, mosaic, explained)


def _explain(
    machines: Mapping[str, DenoiserLike],
    metrics: Mapping[str, Mapping[str, np.ndarray]],
    last: Mapping[str, Tensor],
    schedule: Schedule,
    labels: Tensor | None,
) -> tuple[str, MosaicResult | None]:
    """The sources of the first images of the machine with windows that agrees best with the network, if there is one.

    Args:
        machines, metrics, schedule, labels: of the comparison.
        last: machine -> states before the last step.
    """
    kinds = LocalScore | EquivariantLocalScore
    windowed = [
        name
        for name, machine in machines.items()
        if isinstance(machine.machine if isinstance(machine, Decoded) else machine, kinds)
    ]
    if not windowed or last[windowed[0]][0, 0].numel() > LARGEST_IN_REPORT:
        return "", None
    best = max(windowed, key=lambda name: float(np.nan_to_num(metrics[name]["pearson_r"], nan=-1).mean()))
    some = None if labels is None else labels[:MOST_IN_REPORT]
    return best, explain(machines[best], last[best][:MOST_IN_REPORT], schedule.sigmas[-2], TOP, some)


def _agreement(images: Tensor, target: Tensor) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        # `_undefined` collects the undefined metrics of all machines into one warning.
        warnings.simplefilter("ignore")
        return {name: metric(images, target).cpu().numpy() for name, metric in METRICS.items()}


def _undefined(metrics: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """One sentence if Pearson r or R^2 is undefined on any seed, or none."""
    counts = [
        f"{title} of {name} on {undefined} of {count(len(values[metric]), 'seed')}"
        for name, values in metrics.items()
        for metric, title in (("pearson_r", "Pearson r"), ("r_squared", "R^2"))
        if (undefined := int(np.isnan(values[metric]).sum()))
    ]
    why = "one of the images is constant; medians leave these seeds out"
    return [f"Undefined: {', '.join(counts)} ({why})."] if counts else []


def _draw(
    name: str,
    denoiser: DenoiserLike,
    noise: Tensor,
    schedule: Schedule,
    label: Tensor | None,
    progress: bool,
    sampler: SamplerName,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Final images, and the first of the states before the last step."""
    x = last = noise * schedule.sigmas[0]
    steps = reverse_process(denoiser, x, schedule, label, name, sampler=sampler, seed=seed)
    for step in track(steps, schedule.steps, name, progress):
        x, last = step.next_x, step.x
    return denoiser.decode(x) if isinstance(denoiser, Decoded) else x, last[:MOST_IN_REPORT].clone()


def _settings(
    machines: Mapping[str, DenoiserLike],
    network: DenoiserLike,
    noise: Tensor,
    schedule: Schedule,
    data: Any,
    about: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "data": getattr(data, "name", ""),
        "data_images": 0 if data is None else len(data.images),
        "data_total": getattr(data, "total", None),
        "same_data": same_data(network, data),
        "network": describe(network),
        "network_name": dict(about or {}).get("network", ""),
        "machines": {name: describe(machine) for name, machine in machines.items()},
        "schedule": schedule.name,
        "sigmas": list(schedule.sigmas),
        "seeds": len(noise),
        "noise_sha256": hashlib.sha256(noise.detach().cpu().contiguous().numpy().tobytes()).hexdigest(),
        "version": __version__,
        "torch": torch.__version__,
        **({"about": dict(about)} if about else {}),
    }


def _label_names(labels: Tensor | None, data: Any) -> tuple[str, ...]:
    if labels is None:
        return ()
    classes = getattr(data, "classes", ())
    return tuple(classes[i] if i < len(classes) else str(i) for i in labels.tolist())
