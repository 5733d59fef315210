"""Calibration: the window at each noise level that makes a machine most like a network."""

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
from elsewhere.checks import check_choice, checked
from elsewhere.denoiser import DenoiserLike, Label, ask, check_request
from elsewhere.files import entry, json_object, json_text, write_text
from elsewhere.gradients import check_constant
from elsewhere.machines.locality import LocalitySchedule, check_window
from elsewhere.pictures import save_figure
from elsewhere.progress import track
from elsewhere.sampling import Run, draw
from elsewhere.schedules import Schedule, cosine

CRITERIA = ("cosine", "least-squares")
CACHE_FORMAT = "elsewhere.calibration-cache/1"
CHUNK = 16
"""Seeds a machine is asked for at once: enough to share the work on the keys, few enough to see progress."""

Scores = dict[str, dict[str, list[float]]]


@runtime_checkable
class WindowedMachine(Protocol):
    """A machine that can look through another window."""

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
    """The window per noise level with which the machine best matches the network on the network's own path.

    The network draws its images from `noise`. At every noise level on the way, machine and network see the
    same noisy x, and every window is scored:

    - "cosine", the published way (Kamb & Ganguli 2025, as their code has it): cosine similarity of the two
      scores (D(x, sigma) - x) / sigma^2, each a vector over the whole image. Highest wins.
    - "least-squares": mean squared difference of the two posterior means x0hat. Lowest wins.

    A level's window is the one with the best mean over seeds, and the smaller of two that are exactly equal; no
    smoothing and no monotonicity are imposed. (The published code picks a window for each seed and takes the
    median of those.) At high noise both scores are nearly -x / sigma^2, so every cosine is close to 1 and
    1 - cosine is about |difference of x0hat across the score|^2 / (2 |x - x0hat|^2): still a ranking, which is why
    it is computed in float64, but one in which many windows nearly tie. `details["tied"]` lists, for each level,
    the windows whose mean is within one standard error (of the paired difference over seeds) of the best.

    Args:
        machine: has `with_window(window)`; its own window does not matter.
        network: D(x, sigma, label=None).
        noise: standard normal (B, C, H, W), one seed an image; 20 or more give a steady answer.
        schedule: `schedules.cosine(20)` when None.
        label: class of every image or (B,), for machine and network.
        windows: odd sides to try; every one from 3 to the longer image side when None.
        criterion: "cosine" or "least-squares"; both are measured, this one decides.
        cache: a JSON file that keeps finished work, so that an interrupted calibration goes on where it stopped.
            `windows` and `criterion` may change between runs, anything else asks for another file.
        progress: show a bar with the time left.

    Returns:
        A LocalitySchedule over schedule.sigmas without the final 0. `details` has, for both criteria, mean and
        standard error over seeds as [level][window] (None for a single seed), and every setting.

    Raises:
        TypeError, ValueError: arguments that do not fit, an unreadable cache or one of other settings.
    """
    check_choice("criterion", criterion, CRITERIA)
    schedule = cosine() if schedule is None else schedule
    check_constant(noise, "noise", "calibrate")
    images, labels = check_request({"machine": machine, "network": network}, noise, label)
    sides = _check_windows(windows, max(images.shape[2:]))
    warn_of_other_images(network, getattr(machine, "data", None))
    run = draw(network, images, schedule, labels, keep=True, progress=progress, name="network")
    findings = judge_finals(run.images)
    give_warnings(findings)
    settings = _settings(machine, network, images, labels, schedule)
    if cache is None:
        store = _Store(None, settings, [])
    else:
        store = _Store(Path(cache), settings, _sketch(machine, run, labels))
    _score_windows(machine, run, labels, sides, store, progress)
    settings["warnings"] = [*findings, *training_note(network, getattr(machine, "data", None))]
    found = _choose(store.scores, sides, schedule, criterion, settings)
    # Sides that were found for tapered windows are for these alone.
    return replace(found, taper=getattr(machine, "taper", False))


@checked
def save_calibration_plots(schedule: LocalitySchedule, folder: str | Path) -> None:
    """Write scores.png (how well every window did at every noise level) and windows.png (the windows chosen).

    Raises:
        ValueError: the schedule does not come from `calibrate`.
        OSError: the folder cannot be written.
    """
    if "tied" not in schedule.details:
        raise ValueError("schedule has no calibration scores: use one returned by calibrate()")
    save_figure(Path(folder) / "scores.png", calibration_heat_map(schedule))
    save_figure(Path(folder) / "windows.png", window_curves({schedule.details["data"] or "calibrated": schedule}))


def _check_windows(windows: Sequence[int] | None, side: int) -> list[int]:
    if windows is None:
        return list(range(3, side + 1, 2)) or [1]
    sides = sorted({check_window(window, "windows") for window in windows})
    if not sides:
        raise ValueError("windows is empty: give at least one odd window side, such as [3, 5, 7]")
    # From every pixel such a window reaches every other.
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
    """Everything that changes a score and can be named; `_sketch` stands for weights and for data without a name."""
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
    """What network and machine answer to one image half way: other weights or training images answer otherwise."""
    level = len(run.predictions) // 2
    x, sigma = run.states[level][:1], run.sigmas[level]
    x0 = _answer(machine.with_window(3), x, sigma, None if labels is None else labels[:1])
    return [*run.predictions[level][0].flatten().tolist(), *x0.flatten().tolist()]


class _Store:
    """Finished scores, "window/level" -> criterion -> one value a seed, kept in a file when there is a path."""

    def __init__(self, path: Path | None, settings: dict[str, Any], sketch: list[float]) -> None:
        self.path, self.settings, self.sketch = path, settings, sketch
        self.scores = {} if path is None or not path.exists() else self._read(path)

    def add(self, key: str, scores: dict[str, list[float]]) -> None:
        self.scores[key] = scores
        if self.path is not None:
            content = {
                "format": CACHE_FORMAT,
                "settings": self.settings,
                "sketch": self.sketch,
                "scores": self.scores,
            }
            write_text(self.path, json_text(content, indent=None))

    def _read(self, path: Path) -> Scores:
        try:
            content = json_object(path.read_bytes(), CACHE_FORMAT)
            settings, sketch, scores = (entry(content, name) for name in ("settings", "sketch", "scores"))
            settings = dict(settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a calibration cache: {error}; delete it, or give another cache") from error
        different = [name for name, value in self.settings.items() if settings.get(name) != value]
        # With a tolerance: the last digits of an answer depend on the number of threads.
        if not different and not np.allclose(sketch, self.sketch, rtol=0, atol=1e-3):
            different = ["network weights or training images"]
        if different:
            raise ValueError(
                f"{path} holds the scores of another calibration (different {', '.join(different)}): delete it, or "
                "give another cache"
            )
        return dict(scores)


def _score_windows(
    machine: WindowedMachine, run: Run, labels: Tensor | None, sides: list[int], store: _Store, progress: bool
) -> None:
    """Score every window at every level that is not done yet, one window after the other.

    A machine may prepare its keys for a window: so each window is made once, and let go before the next.
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
        # A score of zero has no direction: the cosine is undefined there, which `_choose` deals with.
        warnings.simplefilter("ignore")
        # The factor 1 / sigma^2 of the score does not turn a vector.
        cosine = cosine_similarity(ours.double() - state, theirs.double() - state)
    return {"cosine": cosine, "least-squares": mse(ours, theirs)}


def _answer(machine: DenoiserLike, x: Tensor, sigma: float, label: Tensor | None) -> Tensor:
    return ask(machine, x, sigma, label, "machine")


def _choose(
    scores: Scores, sides: list[int], schedule: Schedule, criterion: str, settings: dict[str, Any]
) -> LocalitySchedule:
    levels = range(schedule.steps)
    # Undefined scores are null in the cache, None here: NaN as an array.
    table = {
        name: np.array([[scores[_key(s, i)][name] for s in sides] for i in levels], np.float64) for name in CRITERIA
    }
    loss = 1 - table["cosine"] if criterion == "cosine" else table["least-squares"]
    means = _mean(loss)
    for level in levels:
        if np.isnan(means[level]).all():
            raise ValueError(
                f"no window can be chosen at sigma {schedule.sigmas[level]:.4g}: network or machine returns its input "
                "there, a score of zero, which has no direction: use the criterion least-squares"
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
    """Windows (rows) whose paired difference to the best, over seeds (columns), is at most its standard error.

    The best alone where fewer than two seeds have a value for both: one difference has no standard error.
    """
    worse = loss - loss[best]
    mean, error = _mean(worse), _error(worse)
    return [j for j in range(len(loss)) if j == best or mean[j] <= error[j]]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the values that are defined; NaN where none is."""
    count = (~np.isnan(values)).sum(-1)
    return _divide(np.nansum(values, -1), count, count > 0)


def _error(values: np.ndarray) -> np.ndarray:
    """Standard error of that mean; NaN where fewer than two values are defined."""
    count = (~np.isnan(values)).sum(-1)
    squares = np.nansum((values - _mean(values)[..., None]) ** 2, -1)
    return np.asarray(np.sqrt(_divide(squares, (count - 1) * count, count > 1)))


def _divide(above: np.ndarray, below: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """The ratio where it is defined, else NaN."""
    ratio: np.ndarray = np.divide(above, below, out=np.full(above.shape, np.nan), where=defined)
    return ratio


def _mean_and_error(values: np.ndarray) -> dict[str, Any]:
    """Mean and standard error over the last axis, as lists for JSON; NaN where undefined."""
    several = values.shape[-1] > 1
    return {"mean": _mean(values).tolist(), "standard_error": _error(values).tolist() if several else None}
