"""Runs of `elsewhere inpaint` with training images: how long they take, and unfinished work that goes on."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.adapters import recipe_of
from elsewhere.analysis.board_cells import weights_digest
from elsewhere.denoiser import Denoiser, Label, ask
from elsewhere.files import atomic_path
from elsewhere.inpainting import inpainting_process
from elsewhere.machines.machine import Machine
from elsewhere.machines.mixing import Mix
from elsewhere.phrases import count, duration, listed
from elsewhere.progress import track
from elsewhere.sampling import make_noise
from elsewhere.schedules import Schedule

NAME = "unfinished.npz"
SAVE_SECONDS = 30.0
"""Seconds between saves of unfinished work, at least: saving takes far less."""
SAMPLED = (1 / 6, 1 / 2, 5 / 6)
"""Where in a schedule calls are timed: windows, and with them the time of a call, change with the noise level."""
WARM_SECONDS = 1.0
"""A first call shorter than this is made again: short ones time the preparation of the machine, not the work."""


@dataclass(frozen=True, eq=False)
class EditRun:
    """What is drawn, by whom.

    Attributes:
        denoisers: name in the result -> D(x, sigma, label=None).
        images: (B, C, H, W) in [-1, 1].
        missing: bool (H, W), true where it is drawn.
        schedule, labels, seed, rounds: see `inpaint`.
    """

    denoisers: Mapping[str, Denoiser]
    images: Tensor
    missing: Tensor
    schedule: Schedule
    labels: Label
    seed: int
    rounds: int

    @property
    def calls(self) -> int:
        """Calls of each denoiser: the last step is made once."""
        return (self.schedule.steps - 1) * self.rounds + 1

    def key(self) -> str:
        """SHA-256 of all that decides what is drawn."""
        labels = self.labels.tolist() if isinstance(self.labels, Tensor) else self.labels
        about = {name: _identity(one) for name, one in self.denoisers.items()}
        settings = (__version__, about, self.schedule.sigmas, labels, self.seed, self.rounds, tuple(self.images.shape))
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for pixels in (self.images, self.missing):
            digest.update(pixels.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class EditState:
    """How far a run is.

    Attributes:
        finished: name -> final images, of the first denoisers.
        done: steps made by the next denoiser.
        x: its state behind them; None where it has not begun.
    """

    finished: dict[str, Tensor] = field(default_factory=dict)
    done: int = 0
    x: Tensor | None = None

    def calls(self, run: EditRun) -> int:
        """Calls that were made."""
        return len(self.finished) * run.calls + self.done * run.rounds


def draw_kept(
    folder: Path,
    run: EditRun,
    *,
    restart: bool = False,
    begin: Callable[[int], None] = lambda done: None,
    progress: bool = False,
) -> dict[str, Tensor]:
    """Draw with every denoiser, and keep unfinished work in a folder: the same call goes on from there.

    Args:
        folder: made if it is missing. `save_edit` removes the file of unfinished work.
        run: what is drawn.
        restart: do not go on from unfinished work.
        begin: called once with the calls of denoisers that were made already.
        progress: show progress.

    Returns:
        Name -> images, those of `inpaint`.

    Raises:
        OSError: the folder cannot be written.
    """
    path, key = folder / NAME, run.key()
    state = (None if restart else load_unfinished(path, run, key)) or EditState()
    begin(state.calls(run))
    saved, kept = monotonic(), state
    try:
        for now in _states(run, state, progress):
            state = now
            if monotonic() - saved >= SAVE_SECONDS:
                save_unfinished(path, state, key)
                saved, kept = monotonic(), state
    except KeyboardInterrupt:
        if state is not kept:
            save_unfinished(path, state, key)
        raise
    return state.finished


def _states(run: EditRun, state: EditState, progress: bool) -> Iterator[EditState]:
    """The state after every step."""
    for name, denoiser in run.denoisers.items():
        if name in state.finished:
            continue
        missing = run.missing[None, None]
        start = None if state.x is None else (state.done, state.x)
        process = inpainting_process(
            denoiser, run.images, missing, run.schedule, run.labels, seed=run.seed, rounds=run.rounds, start=start
        )
        for step in track(process, run.schedule.steps, f"inpainting by {name}", progress, done=state.done):
            state = EditState(state.finished, step.index + 1, step.next_x)
            if state.done < run.schedule.steps:
                yield state
        assert state.x is not None
        state = EditState({**state.finished, name: torch.where(missing, state.x, run.images)})
        yield state


def describe_cost(run: EditRun, done: int = 0) -> str:
    """How long a run takes, in words, from a few calls of every denoiser.

    Args:
        run: what is drawn.
        done: calls that were made before.
    """
    left = 1 - done / (run.calls * len(run.denoisers))
    seconds = sum(_seconds_a_call(run, one) for one in run.denoisers.values()) * run.calls * left
    each = " each" if len(run.denoisers) > 1 else ""
    return f"{count(run.calls, 'call')}{each} of {listed(list(run.denoisers))}: about {duration(seconds)}"


def _seconds_a_call(run: EditRun, denoiser: Denoiser) -> float:
    images = torch.where(run.missing, torch.zeros_like(run.images), run.images)
    noise = make_noise(1, (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))).to(images)
    sigmas = [run.schedule.sigmas[int(part * run.schedule.steps)] for part in SAMPLED]

    def timed(sigma: float) -> float:
        started = perf_counter()
        ask(denoiser, images + sigma * noise, sigma, run.labels)
        return perf_counter() - started

    first = timed(sigmas[0])
    return sum([timed(sigmas[0]) if first < WARM_SECONDS else first, *map(timed, sigmas[1:])]) / len(sigmas)


def save_unfinished(path: Path, state: EditState, key: str) -> None:
    """Write a state, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    arrays: dict[str, Any] = {f"finished {name}": images.cpu().numpy() for name, images in state.finished.items()}
    if state.x is not None:
        arrays["x"] = state.x.cpu().numpy()
    with atomic_path(path) as beside:
        np.savez(beside, key=np.array(key), done=np.array(state.done), **arrays)


def load_unfinished(path: Path, run: EditRun, key: str) -> EditState | None:
    """The state in a file, or None where there is no file, or one of another run or that is damaged."""
    names = list(run.denoisers)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            finished = {
                name: torch.from_numpy(arrays[f"finished {name}"]) for name in names if f"finished {name}" in arrays
            }
            state = EditState(finished, int(arrays["done"]), torch.from_numpy(arrays["x"]) if "x" in arrays else None)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None
    known = [*finished.values(), *([] if state.x is None else [state.x])]
    fits = all(one.shape == run.images.shape and one.dtype == run.images.dtype for one in known)
    good = fits and all(bool(one.isfinite().all()) for one in known) and list(finished) == names[: len(finished)]
    # The last denoiser's last step ends the run: nothing is left of it to go on with.
    good = good and len(finished) < len(names) and 0 <= state.done < run.schedule.steps
    return state if good and (state.x is None) == (state.done == 0) else None


def _identity(denoiser: object) -> Any:
    """Plain values that differ for denoisers that draw differently."""
    if isinstance(denoiser, Mix):
        return [repr(denoiser.shares), {name: _identity(part) for name, part in denoiser.denoisers.items()}]
    if isinstance(denoiser, Machine):
        images = "" if denoiser.data is None else denoiser.data.fingerprint()
        try:
            return [recipe_of(denoiser), images]
        except ValueError:  # settings that are no plain values
            return [repr(denoiser), images]
    return weights_digest(denoiser)
