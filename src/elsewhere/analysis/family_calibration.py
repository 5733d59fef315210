"""Calibration of the whole family: the best machine of it for a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.checks import describe, give_warnings, training_note, warn_of_other_images
from elsewhere.analysis.family_search import RESPONSES, ROUTES, Choice, Levels, LevelSearch, Route, choose, paired
from elsewhere.analysis.finals import judge_finals
from elsewhere.analysis.metrics import pearson_r
from elsewhere.analysis.score_cache import ScoreCache
from elsewhere.checks import check_choice, check_whole, checked
from elsewhere.data import ImageSet
from elsewhere.denoiser import DenoiserLike, Label, check_noise
from elsewhere.files import json_text
from elsewhere.gradients import check_constant
from elsewhere.machines.family import FamilyCalibration
from elsewhere.machines.locality import check_window
from elsewhere.machines.machine import DEFAULT_MEMORY
from elsewhere.machines.patch import KEYS, Keys, PatchScore, PatchSettings
from elsewhere.machines.wiener import Wiener
from elsewhere.phrases import count
from elsewhere.progress import track
from elsewhere.sampling import Run, draw
from elsewhere.schedules import Schedule, cosine

CACHE_FORMAT = "elsewhere.family-cache/1"
SHRINKAGES = (0.0, 0.003, 0.01, 0.03, 0.1)
HELD_OUT = 0.6
"""Share of the seeds that are held out: they also draw the final images, on which seeds differ more."""
WIDENING = 1.2
"""Windows above 17 pixels grow by this factor, as the sums of squares that tell them apart differ less and less."""
KEPT_SCORES = 5
"""Scores of each level that the result keeps."""


@checked
def calibrate_family(
    network: DenoiserLike,
    data: ImageSet,
    noise: Tensor | np.ndarray,
    *,
    heldout: int | None = None,
    schedule: Schedule | None = None,
    label: Label = None,
    keys: Sequence[Keys] = ("same place", "aware"),
    responses: Sequence[int] = RESPONSES,
    cache: str | Path | None = None,
    memory: int = DEFAULT_MEMORY,
    progress: bool = False,
) -> FamilyCalibration:
    """Find the machine of the family that best matches a network: settings of `PatchScore`, and Wiener shares.

    The network draws images from `noise`. At each noise level, machine and network get the same noisy x, and settings
    are scored by the mean squared difference of the two posterior means x0hat (least squares):

    1. square and tapered windows of the same place, beginning with those of the level above;
    2. pedestal, response and window by coordinate descent, each candidate with its own Wiener share, in closed form;
    3. the other `keys` with windows like the best ones, and their descent where they come near.

    The first seeds fit; the held-out ones decide: richer settings are kept at a level only if they lower the squared
    difference there by more than its standard error. Because the least difference at each level does not mean the most
    similar final images, schedules that are restricted (windows alone, the same place alone, without Wiener, ...) then
    draw the held-out seeds. The one with the best median Pearson r is kept, where its paired gain over simpler ones is
    more than its standard error.

    Args:
        network: D(x, sigma, label=None).
        data: its training images.
        noise: standard normal (B, C, H, W), one seed an image; 20 or more are steady.
        heldout: how many of them, the last ones, are held out; None: six tenths.
        schedule: noise levels; None: `schedules.cosine(20)`.
        label: class of every image or (B,), for machines and network.
        keys: which keys to try, "same place" first; those under shifts ("aware" for a network with zero padding, "wrap"
            for circular padding) cost some twenty times as much.
        responses: odd sides of pasted patches to try, in pixels; [1] for none. They cost some three times as much.
        cache: a JSON file with finished scores, with which an interrupted calibration continues.
        memory: bytes that machines may use beside the images.
        progress: show progress bars with the time left.

    Returns:
        A FamilyCalibration over schedule.sigmas without the final 0. Its `details` have the best scores tried, what
        was decided on the held-out seeds, r of the final images, and all settings.

    Raises:
        TypeError, ValueError: an argument that the machines or the network cannot take, fewer than two seeds, an
            unreadable cache, or a cache of other settings.

    Example:
        >>> import elsewhere as els
        >>> data, noise = els.load_images("fashion-mini", limit=20), els.make_noise(4, (1, 28, 28))
        >>> teacher = els.PatchScore(data, els.PatchSettings(5, taper=True, keys="same place"))
        >>> found = els.calibrate_family(teacher, data, noise, schedule=els.schedules.cosine(3), keys=["same place"])
        >>> [(one.window, one.taper) for one in found.settings]
        [(5, True), (5, True), (5, True)]
    """
    schedule = cosine() if schedule is None else schedule
    check_constant(noise, "noise", "calibrate_family")
    order = _check_keys(keys)
    pasted = sorted({1, *(check_window(side, "responses") for side in responses)})
    patch = PatchScore(data, PatchSettings(3, keys="same place"), engine="exact", memory=memory)
    images, labels = check_noise({"machine": patch, "network": network}, noise, label, schedule.sigmas[0])
    held = _check_heldout(heldout, len(images))
    warn_of_other_images(network, data)
    run = draw(network, images, schedule, labels, keep=True, progress=progress, name="network")
    findings = judge_finals(run.images, largest=data.largest)
    give_warnings(findings)
    settings = _settings(network, data, images, labels, schedule, held)
    sketch = [] if cache is None else run.predictions[len(run.predictions) // 2][0].flatten().tolist()
    store = ScoreCache(None if cache is None else Path(cache), CACHE_FORMAT, settings, sketch)
    levels = Levels(patch, Wiener(data, memory=memory), run, labels, len(images) - held, store)
    searches, shrinkage = _search(levels, order, pasted, progress)
    found, decisions = {}, {}
    for route in ROUTES:
        chosen = [choose(search, route) for search in searches]
        found[route] = tuple(choice for choice, _ in chosen)
        decisions[route.name] = [decided for _, decided in chosen]
    finals = _finals(found, levels, shrinkage, schedule, progress)
    best = best_route({route.name: finals[route.name] for route in found})
    details = {
        "kept": best,
        "finals": finals,
        "windows": [_window_scores(search) for search in searches],
        "decisions": decisions[best],
        "scores": [_best_scores(search) for search in searches],
        **settings,
        "warnings": [*findings, *training_note(network, data)],
        "version": __version__,
    }
    route = next(route for route in found if route.name == best)
    return _family(found[route], schedule, shrinkage, details)


@checked
def describe_gains(found: FamilyCalibration) -> str:
    """In one line, what a calibration found: the median r of every kind of schedule on the held-out seeds.

    Args:
        found: from `calibrate_family`.

    Raises:
        ValueError: it has no such details.
    """
    if "finals" not in found.details:
        raise ValueError("found has no final images: give what calibrate_family() returned")
    finals = {name: float(np.median(values)) for name, values in found.details["finals"].items()}
    kept, seeds = found.details["kept"], len(next(iter(found.details["finals"].values())))
    ratios = [level["tapered"]["mse"] / level["square"]["mse"] for level in found.details["windows"]]
    change = float(np.sqrt(np.exp(np.mean(np.log(ratios))))) - 1
    verb = "lower" if change < 0 else "raise"
    others = ", ".join(f"{name} {value:.3f}" for name, value in finals.items() if name != kept)
    return (
        f"tapered windows {verb} the rms of x0hat by {abs(change):.0%} against square ones of the same place; kept: "
        f"{kept}, median r {finals[kept]:.3f} on {count(seeds, 'held-out seed')} ({others})"
    )


def best_route(finals: dict[str, list[float]]) -> str:
    """The schedule to keep: a later one replaces an earlier one if its median r is higher, and its mean gain on the
    same seeds, in Fisher's z, is more than its standard error.

    Args:
        finals: name -> r of the final image of each seed, simple schedules first.
    """
    names = list(finals)
    best = names[0]
    for name in names[1:]:
        ours, theirs = (np.array(finals[one]) for one in (name, best))
        gain, error = paired(np.arctanh(np.clip(ours, -1, 1 - 1e-9)) - np.arctanh(np.clip(theirs, -1, 1 - 1e-9)))
        if np.median(ours) > np.median(theirs) and gain > error:
            best = name
    return best


def _check_keys(keys: Sequence[Keys]) -> tuple[Keys, ...]:
    if not keys:
        raise ValueError('keys is empty: give one or more, such as ["same place", "aware"]')
    for one in keys:
        check_choice("keys", one, KEYS)
    others = [one for one in dict.fromkeys(keys) if one != "same place"]
    return ("same place", *others)


def _check_heldout(heldout: int | None, seeds: int) -> int:
    if seeds < 2:
        raise ValueError(f"noise must have two seeds or more, one to fit and one held out, got {seeds}")
    if heldout is None:
        return min(seeds - 1, max(1, round(HELD_OUT * seeds)))
    return check_whole("heldout", heldout, 1, seeds - 1)


def _sides(size: tuple[int, int]) -> list[int]:
    """Odd sides from 3 to one that covers the image from every pixel."""
    most = 2 * max(size) - 1
    sides = [side for side in range(3, 18, 2) if side < most]
    while sides and sides[-1] * WIDENING < most and sides[-1] >= 17:
        sides.append(int(sides[-1] * WIDENING / 2) * 2 + 1)
    return [*sides, most]


def _search(
    levels: Levels, keys: Sequence[Keys], responses: Sequence[int], progress: bool
) -> tuple[list[LevelSearch], float]:
    """The searches of all levels, done, and the shrinkage of the Wiener machine."""
    sides = _sides(levels.machine.image_size)
    searches = [LevelSearch(levels, level, sides, keys, responses) for level in range(len(levels))]
    windows: list[list[PatchSettings]] = []
    start = sides[-1], sides[-1]
    for search in track(searches, len(searches), "windows", progress):
        square, tapered = search.windows(start)
        start = square.window, tapered.window
        windows.append([square, tapered])
    best = [min(pair, key=search.pure) for pair, search in zip(windows, searches, strict=True)]
    shrinkage = levels.shrink(SHRINKAGES, best)
    above = None
    for search, (square, tapered) in track(list(zip(searches, windows, strict=True)), len(searches), "terms", progress):
        search.pool.clear()
        search.run((square.window, tapered.window), above)
        above = search
    return searches, shrinkage


def _finals(
    found: dict[Route, tuple[Choice, ...]],
    levels: Levels,
    shrinkage: float,
    schedule: Schedule,
    progress: bool,
) -> dict[str, list[float]]:
    """Pearson r of the final images of every schedule with those of the network, on the held-out seeds."""
    which = levels.parts["heldout"]
    noise = levels.run.states[0][which] / levels.run.sigmas[0]
    label = None if levels.labels is None else levels.labels[which]
    linear: dict[str, Any] = {}

    def work() -> Iterator[tuple[str, list[float]]]:
        for route, choices in found.items():
            text = json_text([[asdict(one.settings), one.share] for one in choices], indent=None)
            key = f"final/{hashlib.sha256(text.encode()).hexdigest()}"
            if key not in levels.cache.scores:
                calibrated = _family(choices, schedule, shrinkage, {})
                machine = calibrated.mixed(levels.machine, levels.wiener)
                drawn: Run = draw(machine, noise, schedule, label, keep=False, progress=False, name="machine")
                levels.cache.add(key, {"r": pearson_r(drawn.images, levels.run.images[which]).tolist()})
            yield route.name, levels.cache.scores[key]["r"]

    for name, values in track(work(), len(found), "drawing", progress):
        linear[name] = values
    return linear


def _family(
    choices: Sequence[Choice], schedule: Schedule, shrinkage: float, details: dict[str, Any]
) -> FamilyCalibration:
    settings, shares = zip(*((one.settings, one.share) for one in choices), strict=True)
    return FamilyCalibration(schedule.sigmas[:-1], settings, shares, shrinkage, details)


def _window_scores(search: LevelSearch) -> dict[str, dict[str, float]]:
    """The best square and the best tapered window of the same place, alone."""
    best = {}
    for name, taper in (("square", False), ("tapered", True)):
        tried = [one for one in search.pool if one == PatchSettings(one.window, taper, keys="same place")]
        one = min(tried, key=search.pure)
        best[name] = {"window": one.window, "mse": search.pure(one)}
    return best


def _best_scores(search: LevelSearch) -> list[dict[str, Any]]:
    ranked = sorted(search.pool, key=search.mixed)[:KEPT_SCORES]
    return [{**asdict(one), "wiener": search.pool[one].share(), "mse": search.mixed(one)} for one in ranked]


def _settings(
    network: DenoiserLike, data: ImageSet, noise: Tensor, labels: Tensor | None, schedule: Schedule, heldout: int
) -> dict[str, Any]:
    """The settings that affect scores."""
    return {
        "network": describe(network),
        "data": data.name,
        "fingerprint": data.fingerprint(),
        "schedule": schedule.name,
        "sigmas": list(schedule.sigmas),
        "label": None if labels is None else labels.tolist(),
        "seeds": len(noise),
        "heldout": heldout,
        "noise": hashlib.sha256(noise.detach().cpu().contiguous().numpy().tobytes()).hexdigest(),
    }
