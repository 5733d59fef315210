"""How often machines and a network draw a wrong number of limbs, and what the windows have to do with it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.checks import describe, give_warnings, training_note
from elsewhere.analysis.finals import QUESTION, far_outside
from elsewhere.anomalies.statistics import Agreement, Rate, agreement, more_often, rate
from elsewhere.anomalies.subjects import Subject
from elsewhere.checks import (
    MOST_IMAGES,
    check_choice,
    check_fields,
    check_path,
    check_seed,
    check_whole,
    checked,
    seen_text,
)
from elsewhere.data import ImageSet, to_uint8, to_unit
from elsewhere.denoiser import DenoiserLike, check_request
from elsewhere.files import atomic_path, json_text, write_text
from elsewhere.machines.locality import LocalitySchedule, check_window
from elsewhere.machines.table import WINDOWED_REPORTS
from elsewhere.optional import require
from elsewhere.phrases import count, decimal
from elsewhere.progress import track
from elsewhere.sampling import draw, make_noise
from elsewhere.schedules import Schedule

FORMAT = "elsewhere.anomalies/1"
RESULTS = "results.json"
NETWORK = "network"
CHUNK = 8
"""Seeds drawn at once: what an interruption can lose."""
MOST_TRAINING = 500
SIGNIFICANT = 0.05

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Point:
    """One drawer of the measurement.

    Attributes:
        name: what tables call it, also the name of its file.
        machine: "IS", "LS", "ELS" or "network".
        denoiser: D(x, sigma, label=None).
        late: the window after the shrinking, or None.
        shrink: the noise level at and below which the window is `late`: above it the window is the large one. inf for
            one window at every level, None where the question makes no sense.
        count: seeds to draw.
    """

    name: str
    machine: str
    denoiser: DenoiserLike
    count: int
    late: int | None = None
    shrink: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_whole("count", self.count, 1, limit=MOST_IMAGES)
        check_path("name", self.name, "a name that a file can have")
        if Path(self.name).name != self.name:
            raise ValueError(f"name must be a name that a file can have, got {seen_text(self.name)}")
        if self.late is not None:
            check_window(self.late, "late")
        if self.shrink is not None and not self.shrink >= 0:
            raise ValueError(f"shrink must be a noise level of 0 or more, got {self.shrink}")


@checked
def two_windows(large: int, small: int, shrink: float, schedule: Schedule) -> LocalitySchedule:
    """A large window while sigma is above `shrink`, a small one from there on.

    Raises:
        TypeError, ValueError: windows that are not odd, small above large, or a noise level below 0.

    Example:
        >>> from elsewhere.schedules import Schedule
        >>> two_windows(9, 3, 0.5, Schedule((2.0, 1.0, 0.5, 0.1, 0.0))).windows
        (9, 9, 3, 3)
    """
    if check_window(small, "small") > check_window(large, "large"):
        raise ValueError(f"small must not be above the large one, {large}, got {small}")
    if shrink < 0:
        raise ValueError(f"shrink must be a noise level of 0 or more, got {shrink}")
    levels = schedule.sigmas[:-1]
    return LocalitySchedule(levels, tuple(large if sigma > shrink else small for sigma in levels))


@dataclass(frozen=True)
class Anomalies:
    """What was counted.

    Attributes:
        subject: what limbs.
        points: the drawers, in order.
        counts: name of a point -> limbs of every picture, in the order of the seeds.
        training: limbs counted on the training images: what is wrong there is the counting.
        settings: what is needed to run this again.
        outside: name of a point -> how many of its pictures are far outside [-1, 1]: see `analysis.finals`.
        notes: what a reader must know of the network's training images.
    """

    subject: Subject
    points: tuple[Point, ...]
    counts: dict[str, Integers]
    training: Integers
    settings: dict[str, Any]
    outside: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before the numbers: sentences, none when all is well."""
        far = self.outside.get(NETWORK, 0)
        if not far:
            return self.notes
        which = f"{far} of the network's {count(len(self.counts[NETWORK]), 'picture')} {'is' if far == 1 else 'are'}"
        return f"{which} far outside -1..1: {QUESTION} What is counted on them means nothing.", *self.notes

    def __post_init__(self) -> None:
        check_fields(self)

    def wrong(self, name: str) -> NDArray[np.bool_]:
        """Which pictures of a point have another number of limbs than they should.

        Raises:
            TypeError, ValueError: no point of that name has been counted.
        """
        check_choice("name", name, self.counts)
        return np.asarray(self.counts[name] != self.subject.normal)

    def agreements(self) -> dict[str, Agreement]:
        """Point -> how its mistakes go with those of the network; empty without a network."""
        if NETWORK not in self.counts:
            return {}
        theirs = self.wrong(NETWORK)
        result = {}
        for name in (point.name for point in self.points):
            if name != NETWORK and name in self.counts:
                ours = self.wrong(name)
                shared = min(len(ours), len(theirs))
                result[name] = agreement(ours[:shared], theirs[:shared])
        return result

    def verdicts(self) -> list[dict[str, Any]]:
        """The claim "late windows too small to count cause extra limbs", tested on the seeds that points share.

        For each machine and each noise level at which the window shrinks: has the smallest late window more pictures
        with extra limbs than the largest? And for each machine and late window: has the earliest shrinking more than
        the latest? Each by McNemar's exact test, two-sided. "confirmed": more, with p below 0.05; "refuted": fewer,
        with p below 0.05; else "undecided".
        """
        found = []
        for machine in WINDOWED_REPORTS:
            mine = [point for point in self.points if point.machine == machine and point.shrink is not None]
            for shrink in sorted({point.shrink for point in mine if point.shrink is not None}, reverse=True):
                alike = sorted((p for p in mine if p.shrink == shrink), key=lambda p: p.late or 0)
                found += self._test(alike[0], alike[-1], "smaller late window", shrink)
            for late in sorted({point.late for point in mine if point.late is not None}):
                alike = sorted((p for p in mine if p.late == late), key=lambda p: -(p.shrink or 0))
                found += self._test(alike[0], alike[-1], "earlier shrinking", late)
        return found

    def _test(self, first: Point, second: Point, what: str, fixed: float) -> list[dict[str, Any]]:
        if first.name == second.name or not {first.name, second.name} <= set(self.counts):
            return []
        shared = min(len(self.counts[point.name]) for point in (first, second))
        ours, theirs = (self.counts[point.name][:shared] > self.subject.normal for point in (first, second))
        more, fewer = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        p = more_often(more, fewer)
        verdict = "undecided" if p >= SIGNIFICANT else "confirmed" if more > fewer else "refuted"
        return [
            {
                "question": what,
                "machine": first.machine,
                "at": _number(fixed),
                "points": [first.name, second.name],
                "seeds": shared,
                "rates": [float(ours.mean()), float(theirs.mean())],
                "only_first": more,
                "only_second": fewer,
                "p": p,
                "verdict": verdict,
            }
        ]

    def table(self) -> list[dict[str, Any]]:
        """One row a point: rates of wrong, extra and missing limbs with their intervals, and how often each number."""
        rows = []
        for point in self.points:
            if point.name not in self.counts:
                continue
            counts = self.counts[point.name]
            normal = self.subject.normal
            shares = {"wrong": counts != normal, "extra": counts > normal, "missing": counts < normal}
            rows.append(
                {
                    "name": point.name,
                    "machine": point.machine,
                    "late_window": point.late,
                    "shrink": _number(point.shrink),
                    "denoiser": describe(point.denoiser),
                    **{name: vars(rate(hits)) for name, hits in shares.items()},
                    "counts": counts.tolist(),
                }
            )
        return rows

    def tables(self) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
        """Header and rows in words: the rates; with a network, whose mistakes go together; the verdicts."""
        limbs = self.subject.limb
        rows: list[tuple[str, ...]] = [
            (self._training_title(), str(len(self.training)), str(rate(self.training != self.subject.normal)), "", "")
        ]
        for row in self.table():
            shares = [Rate(**row[kind]) for kind in ("wrong", "extra", "missing")]
            rows.append((row["name"], str(shares[0].total), str(shares[0]), *(f"{s.share:.1%}" for s in shares[1:])))
        tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [
            (("", "pictures", f"wrong number of {limbs} (95 %)", "extra", "missing"), rows)
        ]
        together: list[tuple[str, ...]] = [
            (
                name,
                *(str(n) for n in (a.both, a.only_machine, a.only_network, a.neither)),
                decimal(a.kappa, ".2f"),
                _p(a.fisher),
            )
            for name, a in self.agreements().items()
        ]
        if together:
            header = ("wrong:", "both", "only it", "only network", "neither", "kappa", "p (Fisher)")
            tables.append((header, together))
        verdicts: list[tuple[str, ...]] = [
            (
                v["machine"],
                f"{v['question']}, at {v['at']}",
                f"{v['rates'][0]:.1%} and {v['rates'][1]:.1%}",
                _p(v["p"]),
                v["verdict"],
            )
            for v in self.verdicts()
        ]
        if verdicts:
            tables.append((("", f"more extra {limbs} with", "rates", "p (McNemar)", "the claim"), verdicts))
        return tables

    def _training_title(self) -> str:
        """Of a large set only the first images are counted."""
        counted, total = len(self.training), self.settings.get("training_images") or 0
        return "training images" if counted >= total else f"training images, first {counted} of {total}"

    def to_json(self) -> str:
        """Everything but the pictures, as JSON text."""
        content = {
            "format": FORMAT,
            "settings": self.settings,
            "warnings": self.warnings,
            "training_images_counted_wrong": vars(rate(self.training != self.subject.normal)),
            "table": self.table(),
            "agreement_with_network": {name: found.to_dict() for name, found in self.agreements().items()},
            "verdicts": self.verdicts(),
        }
        return json_text(content)


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
) -> Anomalies:
    """Draw with every point from the same noises and count limbs.

    The pictures of each point are kept in `out/drawn/<name>.npz`, a few seeds at a time; the same call counts them
    again and goes on from there, also with more seeds or more points. `out/results.json` is written anew after every
    few seeds.

    Args:
        subject: what to count.
        points: who draws, each with its own number of seeds.
        data: the training images; those of the subject's class are counted too, to see how well counting does.
        out: folder, made when missing.
        schedule: noise levels.
        seed: of the noise; picture i of every point comes from the same noise.
        about: further settings to put on record.
        progress: show a bar with the time left.

    Raises:
        TypeError, ValueError: two points of one name, a point that draws no images of that shape, pictures in `out`
            that were drawn otherwise.
        ImportError: scikit-image or scipy is not installed.
        OSError: the folder cannot be written.
    """
    names = [point.name for point in points]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"points need names of their own, one or more, got {', '.join(names) or 'none'}")
    check_seed(seed)
    check_request({point.name: point.denoiser for point in points}, to_unit(data.images[:1]), None, "data")
    require("scipy.stats", extra="anomalies", purpose="testing rates")  # missed now, not after the long work
    out = Path(out)
    settings = {
        "limb": subject.limb,
        "normal": subject.normal,
        "data": subject.data,
        "label": subject.label,
        "schedule": schedule.name,
        "sigmas": list(schedule.sigmas),
        "seed": seed,
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
                images = _draw(point, make_noise(last, data.shape, seed)[first:], schedule, subject.label)
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
    """The pictures of a point as `measure` kept them, uint8 (N, C, H, W).

    Raises:
        FileNotFoundError: no such point in that folder.
        ValueError: not such a file.
    """
    return _read(_path(Path(out), name))[0]


def _draw(point: Point, noise: Tensor, schedule: Schedule, label: int | None) -> Tensor:
    # A network without classes, and a user's denoiser, takes no label.
    known = label if getattr(point.denoiser, "num_classes", 0) else None
    return draw(point.denoiser, noise, schedule, known, keep=False, progress=False, name=point.name).images


class _Drawn:
    """The pictures of one point, and the settings they were drawn with, in a file."""

    def __init__(self, out: Path, point: Point, settings: Mapping[str, Any]) -> None:
        self.path = _path(out, point.name)
        kept = {name: settings[name] for name in ("data", "label", "sigmas", "seed")}
        window = getattr(point.denoiser, "window", None)
        data: Any = getattr(point.denoiser, "data", None)
        spec: Any = getattr(point.denoiser, "spec", None)
        self.settings = json.dumps(
            {
                **kept,
                "denoiser": describe(point.denoiser),
                "windows": list(window.windows) if isinstance(window, LocalitySchedule) else window,
                "fingerprint": data.fingerprint() if isinstance(data, ImageSet) else "",
                # A network trained further has other weights under the same name.
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
                    f"{self.path} was drawn with other settings ({theirs[:200]}): name another folder or delete it"
                )
            self.images, self.outside = images[: point.count], outside[: point.count]

    def add(self, images: Tensor, outside: Tensor) -> None:
        self.images = torch.cat([self.images, images]) if len(self.images) else images
        self.outside = torch.cat([self.outside, outside])
        arrays = {"images": self.images.numpy(), "outside": self.outside.numpy(), "settings": np.array(self.settings)}
        with atomic_path(self.path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _path(out: Path, name: str) -> Path:
    return out / "drawn" / f"{name.replace(' ', '-')}.npz"


def _read(path: Path) -> tuple[Tensor, str, Tensor]:
    """Pictures, the settings they were drawn with, and which were far outside [-1, 1] before they became bytes."""
    if not path.is_file():
        raise FileNotFoundError(f"no drawn pictures {path}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, settings = arrays["images"], str(arrays["settings"])
            # Files of the first version do not say.
            outside = arrays["outside"] if "outside" in arrays else np.zeros(len(images), np.bool_)
        if outside.dtype != np.bool_ or outside.shape != images.shape[:1]:
            raise ValueError(f"outside is {outside.dtype} of shape {outside.shape}")
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(f"images are {images.dtype} of shape {images.shape}")
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} does not hold drawn pictures ({error}): delete it") from error
    return torch.from_numpy(images), settings, torch.from_numpy(outside)


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _number(value: float | None) -> float | str | None:
    """For JSON, which has no infinity."""
    return "always" if value == float("inf") else value
