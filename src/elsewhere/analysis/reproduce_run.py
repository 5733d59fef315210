"""Running published comparisons on the images and networks that are there."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.checks import describe
from elsewhere.analysis.metrics import mse, pearson_r, r_squared
from elsewhere.analysis.reproduce_files import save_reproduction
from elsewhere.analysis.reproduce_protocols import PROTOCOLS, Case, Method, Protocol, Sampling
from elsewhere.analysis.reproduce_result import Reproduction, Row, summarise
from elsewhere.checks import check_choice, check_whole
from elsewhere.data import ImageSet, load_images
from elsewhere.denoiser import Denoiser, DenoiserLike, ask
from elsewhere.factory import check_same_images, check_shape, choose_labels, draw_noise
from elsewhere.machines.table import TABLE
from elsewhere.networks import load_network
from elsewhere.phrases import count, listed
from elsewhere.progress import track

METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pearson_r": pearson_r,
    "r_squared_unbiased": lambda ours, network: r_squared(ours, network, unbiased=True),
    "mse": mse,
    "mse_01": lambda ours, network: mse(ours, network) / 4,
}
"""Metrics of the final images: mse of images in [-1, 1], mse_01 of the same images scaled to [0, 1]."""

UNMEASURED = {
    "sscd": "needs the descriptor SSCD, whose weights are a download",
    "lds": "needs networks trained on many subsets of the images",
}
"""Published metrics that are not computed here, and why."""

SPEEDUP, SLOW_METHOD = "speedup", "PCA"
WAITS = "not drawn yet"
SEEDS = 16
"""Noises by default: published runs used 8 to 1,000, and ELS takes seconds an image on 60,000 images."""


def reproduce(
    name: str,
    data: Mapping[str, str] | None = None,
    network: Mapping[str, str] | None = None,
    *,
    seeds: int = SEEDS,
    seed: int = 0,
    machines: Sequence[str] | None = None,
    limit: int | None = None,
    settings: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
) -> Reproduction:
    """Published numbers against ours, on the images and networks that are there.

    Every case of the protocol for which a set and a network are given is drawn as published: both from the same noises,
    with the published steps, noise levels, windows and clipping. All others are listed with what they need.

    Args:
        name: of the protocol: a key of `reproduce_protocols.PROTOCOLS`.
        data: name of a set -> anything that `load_images` reads: {"fashion-mnist": "clothes"}.
        network: name of a case -> anything that `load_network` reads: {"fashion-mnist/resnet": "runs/resnet"}.
        seeds: how many noises, 1 or more.
        seed: of the noises.
        machines: names in the published table of those to run; None for all.
        limit: take only the first images.
        settings: of the engine of machines, such as memory.
        folder: where results are written after every machine; None to write nothing.
        progress: show bars with the time left.

    Raises:
        FileNotFoundError: no such set or network.
        ValueError: an unknown protocol, set, case or machine; a network that was trained on other images.

    Example:
        >>> result = reproduce("kamb")
        >>> len(result.rows), len(result.measured)
        (30, 0)
    """
    protocol = PROTOCOLS[check_choice("name", name, PROTOCOLS)]
    seeds = check_whole("seeds", seeds, 1)
    sources, nets = dict(data or {}), dict(network or {})
    _check_names("data", sources, dict.fromkeys(case.data for case in protocol.cases), name)
    _check_names("network", nets, [case.key for case in protocol.cases], name)
    chosen = [method.name for method in protocol.methods] if machines is None else list(machines)
    _check_names("machines", chosen, [method.name for method in protocol.methods], name)
    run = _Run(protocol, seeds, seed, chosen, limit, dict(settings or {}), progress)
    rows = {case.key: run.listed(case, _missing(case, sources, nets)) for case in protocol.cases}

    def result() -> Reproduction:
        found = tuple(row for case in protocol.cases for row in rows[case.key])
        return Reproduction(_describe(protocol), found, run.about)

    # Everything is read and checked before the first work.
    ready = [
        run.read(case, sources[case.data], nets[case.key])
        for case in protocol.cases
        if case.data in sources and case.key in nets
    ]
    if folder is not None:
        save_reproduction(result(), folder)
    for case, net, images in ready:
        for found in run.case(case, net, images):
            rows[case.key] = found
            if folder is not None:
                save_reproduction(result(), folder)
    return result()


def draw_final(
    denoiser: DenoiserLike, noise: Tensor, sampling: Sampling, label: Tensor | None = None, *, title: str = "denoiser",
    progress: bool = False,
) -> Tensor:  # fmt: skip
    """Final images of a published reverse process, (B, C, H, W).

    x <- x0 + sigma_{i+1} / sigma_i (x - D(x, sigma_i)), where x0 is the prediction D, clipped if the protocol says so.
    """
    x = noise * sampling.scale
    levels = sampling.schedule
    for sigma, after in track(pairwise(levels.sigmas), levels.steps, title, progress):
        prediction = ask(denoiser, x, sigma, label, title)
        x0 = prediction.clamp(-1, 1) if sampling.clip else prediction
        x = x0 + (after / sigma) * (x - prediction)
    return x


@dataclass
class _Run:
    """One call of `reproduce`."""

    protocol: Protocol
    seeds: int
    seed: int
    chosen: list[str]
    limit: int | None
    settings: dict[str, Any]
    progress: bool

    def __post_init__(self) -> None:
        self.sets: dict[Any, ImageSet] = {}
        self.about: dict[str, Any] = {"seeds": self.seeds, "seed": self.seed, "version": __version__, "cases": {}}

    def listed(self, case: Case, notes: tuple[str, ...]) -> list[Row]:
        """The rows of a case that is not run."""
        return [row for method in self.protocol.methods for row in self._without_number(case, method, notes)]

    def _without_number(self, case: Case, method: Method, notes: tuple[str, ...]) -> list[Row]:
        """The rows of a machine that is not drawn: one for each published number, at least one."""
        numbers = case.published.get(method.name, {})
        return [
            Row(case.key, method.name, metric, numbers.get(metric), notes=notes)
            for metric in numbers or self.protocol.metrics[:1]
        ]

    def read(self, case: Case, source: str, network: str) -> tuple[Case, Denoiser, ImageSet]:
        """A case, its network and its images, which go together.

        Raises:
            ValueError: the network draws images of another shape, or was trained on others.
        """
        net = load_network(network, self.settings.get("device") or "cpu")
        images = self._images(case, source, net)
        check_shape(net, images)
        if not images.is_part:
            check_same_images(net, images)
        return case, net, images

    def case(self, case: Case, net: Denoiser, images: ImageSet) -> Iterator[list[Row]]:
        """All rows of a case, once for every machine that has been drawn."""
        known = None if images.is_part else check_same_images(net, images)
        noise = draw_noise(self.seeds, images.shape, self.seed)
        label = choose_labels("cycle", self.seeds, images, net) if case.conditional and net.num_classes else None
        shared = self._differences(case, images, known, label is not None)
        target, seconds = self._draw(net, noise, self.protocol.network_run, label, f"{case.key}: network")
        times: dict[str, float] = {"network": seconds}
        made: dict[str, str] = {}
        self.about["cases"][case.key] = {
            "data": images.name, "images": len(images), "fingerprint": images.fingerprint(), "network": describe(net),
            "seconds": times, "machines": made,
        }  # fmt: skip
        rows = {method.name: self._without_number(case, method, (WAITS,)) for method in self.protocol.methods}

        def all_rows() -> list[Row]:
            return self._with_speedups([row for found in rows.values() for row in found], times)

        for method in self.protocol.methods:
            machine, reason = self._machine(case, method, images)
            if machine is None:
                rows[method.name] = self._without_number(case, method, (reason,))
                continue
            notes = (*shared, *_window_note(case, method))
            drawn, taken = self._draw(machine, noise, self.protocol.machine_run, label, f"{case.key}: {method.name}")
            times[method.name], made[method.name] = taken, describe(machine)
            rows[method.name] = self._measure(case, method, drawn, target, notes)
            yield all_rows()
        yield all_rows()

    def _images(self, case: Case, source: str, net: Denoiser) -> ImageSet:
        """The images at the size of the network, with or without labels as it was trained."""
        spec = getattr(net, "spec", None)
        size = getattr(net, "size", None) or getattr(spec, "size", None) or (case.size, case.size)
        if (source, size) not in self.sets:
            images = load_images(source, self.limit, progress=self.progress)
            if images.shape[1:] != tuple(size):
                images = load_images(
                    source, self.limit, size=tuple(size), fit="stretch", resample="bilinear", progress=self.progress
                )
            self.sets[source, size] = images
        images = self.sets[source, size]
        theirs = getattr(spec, "fingerprint", "")
        if theirs and theirs != images.fingerprint():
            plain = replace(images, labels=None, classes=())
            return plain if theirs == plain.fingerprint() else images
        return images

    def _differences(self, case: Case, images: ImageSet, known: bool | None, conditional: bool) -> tuple[str, ...]:
        """How a run differs from the published one, for all of its machines."""
        notes = ["a network of our own, not the published weights"]
        if known is False:
            notes.append("it is unknown whether the network was trained on these images")
        if images.shape[1:] != (case.size, case.size):
            notes.append(f"images of {images.shape[1]} x {images.shape[2]} pixels, published {case.size} x {case.size}")
        if case.conditional and not conditional:
            notes.append("all classes together, published one class at a time")
        if images.is_part:
            notes.append(f"{images.amount}, the network was trained on all")
        return tuple(notes)

    def _machine(self, case: Case, method: Method, images: ImageSet) -> tuple[Denoiser | None, str]:
        """The machine, or None and why it is not drawn."""
        if method.name not in self.chosen:
            return None, "not asked for"
        if not method.machine:
            return None, f"not available: needs {method.why}"
        if method.machine not in TABLE:
            return None, f"not available: there is no machine {method.machine!r} here"
        settings = {**self.settings, **method.settings, **case.settings.get(method.machine, {})}
        try:
            return TABLE[method.machine].make(images, case.windows, case.borders, **settings), ""
        except (TypeError, ValueError) as error:
            return None, f"cannot be made with the published settings: {error}"

    def _draw(
        self, denoiser: DenoiserLike, noise: Tensor, sampling: Sampling, label: Tensor | None, title: str
    ) -> tuple[Tensor, float]:
        started = time.perf_counter()
        with torch.no_grad():
            images = draw_final(denoiser, noise, sampling, label, title=title, progress=self.progress)
        return images.clamp(-1, 1) if self.protocol.clamp else images, time.perf_counter() - started

    def _measure(self, case: Case, method: Method, drawn: Tensor, target: Tensor, notes: tuple[str, ...]) -> list[Row]:
        numbers = case.published.get(method.name, {})
        rows = []
        for metric in self.protocol.metrics:
            row = Row(case.key, method.name, metric, numbers.get(metric), notes=notes)
            if metric in METRICS:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a constant image: its value is NaN, and left out
                    values = METRICS[metric](drawn, target).cpu().numpy()
                ours, low, high = summarise(values, self.protocol.statistic)
                row = replace(row, ours=ours, low=low, high=high, seeds=self.seeds, values=tuple(values.tolist()))
            elif metric != SPEEDUP:
                row = replace(row, notes=(UNMEASURED[metric],))
            if row.measured or row.published is not None or metric == SPEEDUP:
                rows.append(row)
        return rows

    def _with_speedups(self, rows: Sequence[Row], seconds: Mapping[str, float]) -> list[Row]:
        """The rows with the time of PCA over that of each machine, where both were drawn."""
        slow = seconds.get(SLOW_METHOD)
        result = []
        for row in rows:
            if row.metric != SPEEDUP or row.method not in seconds:
                result.append(row)
            elif slow is not None:
                result.append(replace(row, ours=slow / seconds[row.method], seeds=self.seeds))
            else:
                result.append(replace(row, notes=(f"needs {SLOW_METHOD} beside it",)))
        return result


def _missing(case: Case, sources: Mapping[str, str], networks: Mapping[str, str]) -> tuple[str, ...]:
    """What a case needs that was not given."""
    needed = [f"--data {case.data}=SOURCE"] * (case.data not in sources)
    needed += [f"--network {case.key}=NETWORK ({case.network})"] * (case.key not in networks)
    return (f"needs {' and '.join(needed)}",) if needed else (WAITS,)


def _window_note(case: Case, method: Method) -> tuple[str, ...]:
    entry = TABLE[method.machine]
    return () if case.windows is not None or not entry.windows else ("windows of CIFAR-10's ResNet: none published",)


def _check_names(argument: str, given: Sequence[str] | Mapping[str, str], known: Any, name: str) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{argument} must name rows of {name}: {listed(list(known), 'or')}, got {key!r}")


def _describe(protocol: Protocol) -> dict[str, Any]:
    def run(sampling: Sampling) -> str:
        start = "sqrt(1 + sigma^2) n" if sampling.start == "VP" else "sigma n"
        first, last = sampling.schedule.sigmas[0], sampling.schedule.sigmas[-2]
        clip = ", predictions clipped" if sampling.clip else ""
        return (
            f"{sampling.schedule.name}, {count(sampling.schedule.steps, 'step')} from sigma {first:.4g} to {last:.4g}, "
            f"beginning at {start}{clip}"
        )

    return {
        "name": protocol.name, "paper": protocol.paper, "source": protocol.source, "seeds": protocol.seeds,
        "network_run": run(protocol.network_run), "machine_run": run(protocol.machine_run),
        "sigmas": list(protocol.machine_run.schedule.sigmas), "statistic": protocol.statistic,
        "metrics": list(protocol.metrics), "clamp": protocol.clamp, "notes": list(protocol.notes),
    }  # fmt: skip


def seed_values(result: Reproduction, case: str, method: str, metric: str) -> np.ndarray:
    """Our number of every seed for one row, float64 (B,); empty where it was not measured."""
    return np.array(
        [v for row in result.rows if (row.case, row.method, row.metric) == (case, method, metric) for v in row.values]
    )
