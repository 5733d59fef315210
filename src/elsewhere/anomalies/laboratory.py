"""Draw with machines and a network from the same noise, keep the images, and count limbs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.checks import describe, give_warnings, training_note
from elsewhere.analysis.finals import far_outside
from elsewhere.anomalies.points import NETWORK, Point
from elsewhere.anomalies.result import Anomalies
from elsewhere.anomalies.subjects import Subject
from elsewhere.checks import check_choice, check_seed, checked
from elsewhere.data import ImageSet, to_uint8, to_unit
from elsewhere.denoiser import check_request
from elsewhere.files import atomic_path, write_text
from elsewhere.machines.locality import LocalitySchedule
from elsewhere.machines.mixing import Mix
from elsewhere.machines.patch import PatchScore
from elsewhere.optional import require
from elsewhere.progress import track
from elsewhere.samplers import NAMES as SAMPLERS
from elsewhere.samplers import SamplerName
from elsewhere.sampling import draw, make_noise
from elsewhere.schedules import Schedule

RESULTS = "results.json"
CHUNK = 8
"""Seeds drawn at once, which is the most that an interruption can lose."""
MOST_TRAINING = 500
"""Largest number of training images that are counted."""


@checked
def measure(
    subject: Subject,
    points: Sequence[Point],
    data: ImageSet,
    out: str | Path,
    *,
    schedule: Schedule,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
    sampler: SamplerName = "euler",
) -> Anomalies:
    """Draw with every point from the same noise and count limbs.

    The images of each point are stored in `out/drawn/<name>.npz`, a few seeds at a time. A repeated call counts them
    again and continues from there, also with more seeds or more points. `out/results.json` is rewritten after every few
    seeds.

    Args:
        subject: what to count.
        points: the denoisers, each with its own number of seeds.
        data: the training images. Those of the subject's class are counted too, to measure the errors of counting.
        out: folder, created if missing.
        schedule: noise levels.
        seed: seed of the noise; image i of every point is drawn from the same noise.
        about: further settings to store in the result.
        progress: show a progress bar with the time left.
        sampler: see `sample`, with `seed` for the noise that "ancestral" adds.

    Returns:
        An Anomalies.

    Raises:
        TypeError, ValueError: no points, two points of the same name, a point that cannot draw images of that shape, or
            images in `out` that were drawn with other settings.
        ImportError: scikit-image or SciPy is not installed (extra `anomalies`).
        OSError: the folder cannot be written.
    """
    names = [point.name for point in points]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"points must be one or more with different names, got {', '.join(names) or 'none'}")
    check_seed(seed)
    check_choice("sampler", sampler, SAMPLERS)
    check_request({point.name: point.denoiser for point in points}, to_unit(data.images[:1]), None, "data")
    require("scipy.stats", extra="anomalies", purpose="testing rates")  # before the long computation
    out = Path(out)
    settings = {
        "limb": subject.limb,
        "normal": subject.normal,
        "data": subject.data,
        "label": subject.label,
        "schedule": schedule.name,
        "sigmas": list(schedule.sigmas),
        "seed": seed,
        "sampler": sampler,
        **dict(about or {}),
        "version": __version__,
        "torch": torch.__version__,
    }
    stores = {point.name: _Drawn(out, point, settings) for point in points}
    own = data.images if subject.label is None or data.labels is None else data.images[data.labels == subject.label]
    settings["training_images"] = len(own)
    training = subject.count(to_unit(own[:MOST_TRAINING]))
    counts = {name: subject.count(to_unit(store.images)) for name, store in stores.items() if len(store.images)}
    outside = {name: int(store.outside.sum()) for name, store in stores.items()}
    networks = [point.denoiser for point in points if point.machine == NETWORK]
    notes = tuple(note for network in networks for note in training_note(network, data))
    result = Anomalies(subject, tuple(points), counts, training, settings, outside, notes)

    def work() -> Iterator[None]:
        for point in points:
            store = stores[point.name]
            while len(store.images) < point.count:
                first = len(store.images)
                last = min(first + CHUNK, point.count)
                noise = make_noise(last, data.shape, seed)[first:]
                images = _draw(point, noise, schedule, subject.label, sampler, seed, first)
                store.add(to_uint8(images), far_outside(images).cpu())
                outside[point.name] = int(store.outside.sum())
                new = subject.count(to_unit(store.images[first:]))
                counts[point.name] = np.concatenate([counts.get(point.name, np.zeros(0, np.int64)), new])
                write_text(out / RESULTS, result.to_json() + "\n")
                yield

    chunks = {p.name: -(-p.count // CHUNK) for p in points}
    left = {p.name: -(-max(0, p.count - len(stores[p.name].images)) // CHUNK) for p in points}
    total, remaining = sum(chunks.values()), sum(left.values())
    for _ in track(work(), total, f"counting {subject.limb}", progress, done=total - remaining):
        pass
    write_text(out / RESULTS, result.to_json() + "\n")
    give_warnings(result.warnings[: len(result.warnings) - len(notes)])
    return result


@checked
def drawn(out: str | Path, name: str) -> Tensor:
    """The images of a point as `measure` stored them, uint8 (N, C, H, W).

    Args:
        out: the folder given to `measure`.
        name: name of the point.

    Raises:
        FileNotFoundError: no such point in that folder.
        ValueError: the file was not written by `measure`.
    """
    return _read(_path(Path(out), name))[0]


def _draw(
    point: Point, noise: Tensor, schedule: Schedule, label: int | None, sampler: SamplerName, seed: int, first: int
) -> Tensor:
    # Networks without classes and denoisers of users take no label.
    known = label if getattr(point.denoiser, "num_classes", 0) else None
    run = draw(
        point.denoiser, noise, schedule, known, keep=False, progress=False, name=point.name, sampler=sampler, seed=seed,
        first=first,
    )  # fmt: skip
    return run.images


class _Drawn:
    """The file with the images of one point and the settings they were drawn with."""

    def __init__(self, out: Path, point: Point, settings: Mapping[str, Any]) -> None:
        self.path = _path(out, point.name)
        kept = {name: settings[name] for name in ("data", "label", "sigmas", "seed")}
        # Earlier versions drew with euler and did not say so: their pictures are taken.
        if settings["sampler"] != "euler":
            kept["sampler"] = settings["sampler"]
        data: Any = getattr(point.denoiser, "data", None)
        spec: Any = getattr(point.denoiser, "spec", None)
        self.settings = json.dumps(
            {
                **kept,
                "denoiser": describe(point.denoiser),
                "windows": _settings(point.denoiser),
                "fingerprint": data.fingerprint() if isinstance(data, ImageSet) else "",
                # A network that was trained further has other weights and the same name.
                **({} if spec is None else {"network": vars(spec)}),
            },
            sort_keys=True,
        )
        self.images = torch.zeros(0, dtype=torch.uint8, device="cpu")
        self.outside = torch.zeros(0, dtype=torch.bool, device="cpu")
        if self.path.exists():
            images, theirs, outside = _read(self.path)
            if theirs != self.settings:
                raise ValueError(
                    f"{self.path} was drawn with other settings ({theirs[:200]}): give another folder or delete it"
                )
            self.images, self.outside = images[: point.count], outside[: point.count]

    def add(self, images: Tensor, outside: Tensor) -> None:
        self.images = torch.cat([self.images, images]) if len(self.images) else images
        self.outside = torch.cat([self.outside, outside])
        arrays = {"images": self.images.numpy(), "outside": self.outside.numpy(), "settings": np.array(self.settings)}
        with atomic_path(self.path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _settings(denoiser: object) -> Any:
    """What the repr of a machine leaves out: all windows or settings of its noise levels."""
    window = getattr(denoiser, "window", None)
    if isinstance(denoiser, Mix):
        parts = {name: _settings(part) for name, part in denoiser.denoisers.items()}
        return {"shares": repr(denoiser.shares), **parts}
    if isinstance(denoiser, PatchScore):
        return repr(denoiser.settings)
    return list(window.windows) if isinstance(window, LocalitySchedule) else window


def _path(out: Path, name: str) -> Path:
    return out / "drawn" / f"{name.replace(' ', '-')}.npz"


def _read(path: Path) -> tuple[Tensor, str, Tensor]:
    """The images, their settings, and which were far outside [-1, 1] before rounding to 8 bits."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, settings = arrays["images"], str(arrays["settings"])
            # Files of the first version lack it.
            outside = arrays["outside"] if "outside" in arrays else np.zeros(len(images), np.bool_)
        if outside.dtype != np.bool_ or outside.shape != images.shape[:1]:
            raise ValueError(f"outside is {outside.dtype} of shape {outside.shape}")
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(f"images are {images.dtype} of shape {images.shape}")
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a file of drawn images ({error}): delete it") from error
    return torch.from_numpy(images), settings, torch.from_numpy(outside)
