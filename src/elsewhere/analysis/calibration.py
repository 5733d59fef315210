"""Calibration: the window at each noise level with which a machine best matches a network."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.checks import describe, give_warnings, training_note, warn_of_other_images
from elsewhere.analysis.figures import calibration_heat_map, window_curves
from elsewhere.analysis.finals import judge_finals
from elsewhere.analysis.metrics import cosine_similarity, mse
from elsewhere.analysis.score_cache import ScoreCache
from elsewhere.checks import check_choice, checked
from elsewhere.denoiser import DenoiserLike, Label, ask, check_noise
from elsewhere.gradients import check_constant
from elsewhere.machines.locality import LocalitySchedule, check_window
from elsewhere.pictures import save_figure
from elsewhere.progress import track
from elsewhere.sampling import Run, draw
from elsewhere.schedules import Schedule, cosine

CRITERIA = ("cosine", "least-squares")
CACHE_FORMAT = "elsewhere.calibration-cache/1"
CHUNK = 16
"""Seeds per call of a machine: enough to share the work on the keys, few enough for a smooth progress bar."""

Scores = dict[str, dict[str, list[float]]]


@runtime_checkable
class WindowedMachine(Protocol):
    """A machine that can be copied with another window."""

    def __call__(self, x: Any, sigma: Any, label: Any = None) -> Any: ...

    def with_window(self, window: int) -> DenoiserLike: ...


@checked
def calibrate(
    machine: WindowedMachine,
    network: DenoiserLike,
    noise: Tensor | np.ndarray,
    *,
    schedule: Schedule | None = None,
    label: Label = None,
    windows: Sequence[int] | None = None,
    criterion: str = "cosine",
    cache: str | Path | None = None,
    progress: bool = False,
) -> LocalitySchedule:
    """Find the window at each noise level with which the machine best matches the network on the network's own path.

    The network draws images from `noise`. At every noise level, machine and network get the same noisy x, and every
    window is scored by one of two criteria:

    - "cosine", the published one (Kamb & Ganguli 2025, as in their code): cosine similarity of the two scores
      (D(x, sigma) - x) / sigma^2, each as a vector over the whole image. The highest wins.
    - "least-squares": mean squared difference of the two posterior means x0hat. The lowest wins.

    The window of a level is the one with the best mean over seeds, the smaller one of exact ties. There is no smoothing
    and no constraint of monotonicity. (The published code picks a window for each seed and takes the median of these.)
    At high noise both scores are nearly -x / sigma^2, so every cosine is close to 1, and 1 - cosine is about
    |difference of x0hat across the score|^2 / (2 |x - x0hat|^2). That still ranks windows, in float64, but many nearly
    tie: `details["tied"]` lists, for each level, the windows whose mean is within one standard error (of the paired
    difference over seeds) of the best.

    Args:
        machine: has `with_window(window)`; its own window is ignored.
        network: D(x, sigma, label=None).
        noise: standard normal (B, C, H, W), one seed per image; 20 or more give a stable result.
        schedule: noise levels; None: `schedules.cosine(20)`.
        label: class of every image or (B,), for machine and network.
        windows: odd sides to try, in pixels; None: 3, 5, ... up to the longer side of the images.
        criterion: "cosine" or "least-squares". Both are measured; this one chooses the windows.
        cache: a JSON file with finished scores, with which an interrupted calibration continues. `windows` and
            `criterion` may change between runs; other changes need another file.
        progress: show a progress bar with the time left.

    Returns:
        A LocalitySchedule over schedule.sigmas without the final 0. Its `details` have, for both criteria, mean and
        standard error over seeds as `[level][window]` (None for a single seed), and all settings.

    Raises:
        TypeError, ValueError: an argument that the machine or the network cannot take, an unreadable cache, or a cache
            of other settings.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=20)
        >>> machine, noise = els.EquivariantLocalScore(data, 3), els.make_noise(2, data.shape)
        >>> teacher = machine.with_window(5)
        >>> els.calibrate(machine, teacher, noise, schedule=els.schedules.cosine(3), windows=[3, 5, 7]).windows
        (5, 5, 5)
    """
    check_choice("criterion", criterion, CRITERIA)
    schedule = cosine() if schedule is None else schedule
    check_constant(noise, "noise", "calibrate")
    images, labels = check_noise({"machine": machine, "network": network}, noise, label, schedule.sigmas[0])
    sides = _check_windows(windows, max(images.shape[2:]))
    warn_of_other_images(network, getattr(machine, "data", None))
    run = draw(network, images, schedule, labels, keep=True, progress=progress, name="network")
    findings = judge_finals(run.images, largest=getattr(getattr(machine, "data", None), "largest", 1.0))
    give_warnings(findings)
    settings = _settings(machine, network, images, labels, schedule)
    path, sketch = (None, []) if cache is None else (Path(cache), _sketch(machine, run, labels))
    store = ScoreCache(path, CACHE_FORMAT, settings, sketch)
    _score_windows(machine, run, labels, sides, store, progress)
    settings["warnings"] = [*findings, *training_note(network, getattr(machine, "data", None))]
    found = _choose(store.scores, sides, schedule, criterion, settings)
    # Sides found for tapered windows do not apply to square ones.
    return replace(found, taper=getattr(machine, "taper", False))


@checked
def save_calibration_plots(schedule: LocalitySchedule, folder: str | Path) -> None:
    """Write scores.png (the score of every window at every noise level) and windows.png (the chosen windows).

    Args:
        schedule: from `calibrate`.
        folder: created if missing.

    Raises:
        ValueError: the schedule is not from `calibrate`.
        OSError: the folder cannot be written.
    """
    if "tied" not in schedule.details:
        raise ValueError("schedule has no calibration scores: give one that calibrate() returned")
    save_figure(Path(folder) / "scores.png", calibration_heat_map(schedule))
    save_figure(Path(folder) / "windows.png", window_curves({schedule.details["data"] or "calibrated": schedule}))


def _check_windows(windows: Sequence[int] | None, side: int) -> list[int]:
    if windows is None:
        return list(range(3, side + 1, 2)) or [1]
    sides = sorted({check_window(window, "windows") for window in windows})
    if not sides:
        raise ValueError("windows is empty: give one or more odd sides, such as [3, 5, 7]")
    # Such a window covers the whole image from every pixel.
    most = 2 * side - 1
    if sides[-1] > most:
        raise ValueError(
            f"windows must be at most {most} for images of {side} pixels, got {sides[-1]}: a window of {most} already "
            "covers the whole image"
        )
    return sides


def _settings(
    machine: WindowedMachine, network: DenoiserLike, noise: Tensor, labels: Tensor | None, schedule: Schedule
) -> dict[str, Any]:
    """The settings that affect scores. `_sketch` represents the network's weights and unnamed data."""
    data: Any = getattr(machine, "data", None)
    return {
        "machine": describe(machine.with_window(3)),
        "network": describe(network),
        "data": getattr(data, "name", ""),
        "fingerprint": data.fingerprint() if hasattr(data, "fingerprint") else "",
        "schedule": schedule.name,
        "sigmas": list(schedule.sigmas),
        "label": None if labels is None else labels.tolist(),
        "seeds": len(noise),
        "noise": hashlib.sha256(noise.detach().cpu().contiguous().numpy().tobytes()).hexdigest(),
    }


def _sketch(machine: WindowedMachine, run: Run, labels: Tensor | None) -> list[float]:
    """The predictions of network and machine for one image at the middle level, which change with weights and data."""
    level = len(run.predictions) // 2
    x, sigma = run.states[level][:1], run.sigmas[level]
    x0 = _answer(machine.with_window(3), x, sigma, None if labels is None else labels[:1])
    return [*run.predictions[level][0].flatten().tolist(), *x0.flatten().tolist()]


def _score_windows(
    machine: WindowedMachine, run: Run, labels: Tensor | None, sides: list[int], store: ScoreCache, progress: bool
) -> None:
    """Score every window at every level that is missing in the store, window by window.

    A machine may prepare keys for its window, so each window is made once and released before the next one.
    """
    levels = len(run.predictions)
    chunks = range(0, len(run.images), CHUNK)
    total = len(sides) * levels * len(chunks)
    left = [(side, level) for side in sides for level in range(levels) if _key(side, level) not in store.scores]

    def work() -> Iterator[None]:
        current: tuple[int, DenoiserLike] | None = None
        for side, level in left:
            if current is None or current[0] != side:
                current = side, machine.with_window(side)
            found: dict[str, list[float]] = {name: [] for name in CRITERIA}
            for start in chunks:
                part = slice(start, start + CHUNK)
                scores = _score(current[1], run, level, part, None if labels is None else labels[part])
                for name in CRITERIA:
                    found[name] += scores[name].tolist()
                yield
            store.add(_key(side, level), found)

    for _ in track(work(), total, "calibrating", progress, done=total - len(left) * len(chunks)):
        pass


def _key(side: int, level: int) -> str:
    return f"{side}/{level}"


def _score(machine: DenoiserLike, run: Run, level: int, part: slice, label: Tensor | None) -> dict[str, Tensor]:
    x, theirs, sigma = run.states[level][part], run.predictions[level][part], run.sigmas[level]
    ours = _answer(machine, x, sigma, label)
    state = x.double()
    with warnings.catch_warnings():
        # The cosine with a score of zero is undefined; `_choose` handles it.
        warnings.simplefilter("ignore")
        # The factor 1 / sigma^2 of the score does not change the cosine.
        cosine = cosine_similarity(ours.double() - state, theirs.double() - state)
    return {"cosine": cosine, "least-squares": mse(ours, theirs)}


def _answer(machine: DenoiserLike, x: Tensor, sigma: float, label: Tensor | None) -> Tensor:
    return ask(machine, x, sigma, label, "machine")


def _choose(
    scores: Scores, sides: list[int], schedule: Schedule, criterion: str, settings: dict[str, Any]
) -> LocalitySchedule:
    levels = range(schedule.steps)
    # Undefined scores are null in the cache and None here; the array has NaN.
    table = {
        name: np.array([[scores[_key(s, i)][name] for s in sides] for i in levels], np.float64) for name in CRITERIA
    }
    loss = 1 - table["cosine"] if criterion == "cosine" else table["least-squares"]
    means = _mean(loss)
    for level in levels:
        if np.isnan(means[level]).all():
            raise ValueError(
                f"the criterion cosine is undefined at sigma {schedule.sigmas[level]:.4g}, because network or machine "
                "returns its input there (a score of zero): use the criterion least-squares"
            )
    best = np.nanargmin(means, axis=1)
    details = {
        "criterion": criterion,
        "windows": sides,
        "tied": [[sides[j] for j in _tied(loss[i], best[i])] for i in levels],
        **{name: _mean_and_error(values) for name, values in table.items()},
        **settings,
        "version": __version__,
    }
    return LocalitySchedule(schedule.sigmas[:-1], tuple(sides[j] for j in best), details)


def _tied(loss: np.ndarray, best: int) -> list[int]:
    """Windows (rows) whose mean paired difference to the best, over seeds (columns), is at most its standard error.

    With fewer than two seeds there is no standard error, and only the best window is returned.
    """
    worse = loss - loss[best]
    mean, error = _mean(worse), _error(worse)
    return [j for j in range(len(loss)) if j == best or mean[j] <= error[j]]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the defined values; NaN if there are none."""
    count = (~np.isnan(values)).sum(-1)
    return _divide(np.nansum(values, -1), count, count > 0)


def _error(values: np.ndarray) -> np.ndarray:
    """Standard error of that mean; NaN for fewer than two defined values."""
    count = (~np.isnan(values)).sum(-1)
    squares = np.nansum((values - _mean(values)[..., None]) ** 2, -1)
    return np.asarray(np.sqrt(_divide(squares, (count - 1) * count, count > 1)))


def _divide(above: np.ndarray, below: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """`above / below` where `defined`, else NaN."""
    ratio: np.ndarray = np.divide(above, below, out=np.full(above.shape, np.nan), where=defined)
    return ratio


def _mean_and_error(values: np.ndarray) -> dict[str, Any]:
    """Mean and standard error over the last axis as lists for JSON; NaN where undefined."""
    several = values.shape[-1] > 1
    return {"mean": _mean(values).tolist(), "standard_error": _error(values).tolist() if several else None}
