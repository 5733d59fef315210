"""The memorisation transition: from how many training images on does a denoiser stop copying them?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.auditing import audit
from elsewhere.analysis.checks import describe
from elsewhere.analysis.transition_files import save_transition
from elsewhere.analysis.transition_result import (
    TransitionPoint,
    TransitionResult,
    default_counts,
    packed,
    read_point,
    read_transition,
)
from elsewhere.checks import check_path, check_seed, check_whole, checked
from elsewhere.data import ImageSet, to_uint8
from elsewhere.denoiser import DenoiserLike
from elsewhere.files import json_text, write_text
from elsewhere.progress import track
from elsewhere.sampling import draw, make_noise
from elsewhere.schedules import Schedule, cosine

FEWEST = 3
"""Training images that an audit needs."""
CHUNK = 16
"""Images drawn at once: the steps of the progress bar."""
FORM = "elsewhere.transition-point/1"

Maker = Callable[[ImageSet], DenoiserLike]


class Transition(TransitionResult):
    """A `TransitionResult` that can be written to files and read again."""

    @checked
    def save(self, folder: str | Path) -> list[Path]:
        """Write report.html, results.json, results.csv and transition.png, each completely or not at all.

        Returns:
            The files written.

        Raises:
            OSError: the folder cannot be created or written.
        """
        return save_transition(self, folder)

    @classmethod
    def load(cls, path: str | Path) -> Transition:
        """Read results.json, or the folder that holds it.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not such a file.
        """
        where = check_path("path", path)
        where = where / "results.json" if where.is_dir() else where
        if not where.is_file():
            raise FileNotFoundError(f"no transition at {where}: give the folder that `elsewhere transition` wrote")
        try:
            return cls(*read_transition(where.read_bytes()))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} is no result of `elsewhere transition`: {error}") from error


@checked
def transition(
    data: ImageSet,
    makers: Mapping[str, Maker],
    counts: Sequence[int] | None = None,
    *,
    networks: Mapping[str, DenoiserLike] | None = None,
    images: int = 64,
    schedule: Schedule | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Transition:
    """Measure the share of copies among generated images against the number of training images.

    For each number N, N training images are chosen; every denoiser is made from them, draws from the same noise, and
    its images are audited against exactly these N. A copy is what `audit` calls a copy or a near copy. The choices are
    nested: those for a larger N contain those for a smaller one.

    Args:
        data: the training images to choose from; classes are not used.
        makers: name in reports -> function from the chosen training images to D(x, sigma, label=None), such as
            {"IS": els.IdealScore}. For a network it is a function that trains.
        counts: numbers of training images, 3 or more each; None: 10, 30, 100, 300, ... up to all.
        networks: name -> network that was trained on all of `data`, or on these for a time: each is one point, at their
            number.
        images: how many images each denoiser draws for each number.
        schedule: noise levels; None: `schedules.cosine(20)`.
        seed: of the choice of training images and of the noise.
        cache: folder in which finished points are kept, from which a repeated call goes on; None: nowhere. A point
            belongs to the name of a denoiser, and to what its maker has as `settings`, if anything.
        about: further settings to store in the result.
        progress: show a bar with the time left.

    Returns:
        A Transition; `.save(folder)` writes the numbers, the figure and a report.

    Raises:
        TypeError, ValueError: no makers; counts below 3 or above the number of images; denoisers that cannot draw such
            images.
        OSError: the cache cannot be written.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=60)
        >>> levels = els.schedules.cosine(4)
        >>> found = els.transition(data, {"IS": els.IdealScore}, (5, 20), images=2, schedule=levels)
        >>> [point.share for point in found.of("IS")]
        [1.0, 1.0]
    """
    trained = dict(networks or {})
    if not makers and not trained:
        raise ValueError('makers is empty: give one or more, such as {"IS": IdealScore}')
    if twice := sorted(set(makers) & set(trained)):
        raise ValueError(f"networks and makers must have different names, got {twice[0]!r} in both")
    wanted = default_counts(len(data)) if counts is None else tuple(sorted(set(counts)))
    if not wanted:
        raise ValueError("counts is empty: give numbers of training images, or None")
    for number in wanted:
        check_whole("each of counts", number)
        if not FEWEST <= number <= len(data):
            raise ValueError(
                f"counts must be {FEWEST} to {len(data)}, the images of {data.name}, got {number}: an audit needs "
                f"{FEWEST} training images or more"
            )
    images, seed = check_whole("images", images, 1, 100_000), check_seed(seed)
    schedule = cosine() if schedule is None else schedule
    store = None if cache is None else check_path("cache", cache)
    settings = {
        "data": data.name,
        "fingerprint": data.fingerprint(),
        "images": images,
        "schedule": schedule.name,
        "sigmas": list(schedule.sigmas),
        "seed": seed,
        "version": __version__,
        "torch": torch.__version__,
    }
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed), device="cpu")
    cells = [_Cell(name, number, settings, maker, store) for number in wanted for name, maker in makers.items()]
    cells += [_Cell(name, len(data), settings, _Ready(network), store) for name, network in trained.items()]
    noise = make_noise(images, data.shape, seed)

    def work() -> Iterator[None]:
        for cell in cells:
            if cell.point is None:
                chosen = data.rows(order[: cell.count].sort().values)
                yield from cell.measure(chosen, noise, schedule, seed)

    each = -(-images // CHUNK) + 1
    total = each * len(cells)
    done = each * sum(cell.point is not None for cell in cells)
    for _ in track(work(), total, "transition", progress, done=done):
        pass
    points = {(cell.name, cell.count): cell.point for cell in cells if cell.point is not None}
    ordered = [points[name, number] for name in makers for number in wanted]
    ordered += [points[name, len(data)] for name in trained]
    return Transition(tuple(ordered), {**settings, **({"about": dict(about)} if about else {})})


class _Ready:
    """The maker of a network that is trained already."""

    def __init__(self, network: DenoiserLike) -> None:
        self.network = network
        # Of a network that was trained further, the settings are others.
        self.settings = [describe(network), getattr(getattr(network, "spec", None), "training", None)]

    def __call__(self, data: ImageSet) -> DenoiserLike:
        return self.network


class _Cell:
    """One denoiser at one number of training images, and the file of its finished point."""

    def __init__(self, name: str, count: int, settings: Mapping[str, Any], maker: Maker, store: Path | None) -> None:
        self.name, self.count, self.maker = name, count, maker
        known = {key: value for key, value in settings.items() if key != "torch"}
        own = getattr(maker, "settings", None)
        self.key = json.dumps({**known, "name": name, "count": count, "own": own}, sort_keys=True, default=str)
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:12]
        self.path = None if store is None else store / f"{digest}.json"
        self.point: TransitionPoint | None = None
        if self.path is not None and self.path.exists():
            self.point = self._read(self.path)

    def measure(self, training: ImageSet, noise: Tensor, schedule: Schedule, seed: int) -> Iterator[None]:
        """Draw, audit, and keep the point; yields after every piece of work."""
        start = perf_counter()
        denoiser = self.maker(training)
        drawn = []
        for some in torch.split(noise, CHUNK):
            run = draw(denoiser, some, schedule, None, keep=False, progress=False, name=self.name)
            drawn.append(run.images.detach().cpu())
            yield
        seconds = perf_counter() - start
        generated = to_uint8(torch.cat(drawn).float())
        found = audit(training, ImageSet(generated, name=self.name), pixels=0, seed=seed)
        nearest = found.measures.nearest.distances[:, 0].tolist()
        ratios = [None if ratio != ratio else ratio for ratio in found.measures.yoon.tolist()]
        self.point = TransitionPoint(
            self.name,
            self.count,
            found.verdicts,
            tuple(nearest),
            tuple(ratios),
            found.near,
            seconds,
            packed(np.asarray(generated[0])),
        )
        if self.path is not None:
            write_text(self.path, json_text({"format": FORM, "key": self.key, "point": asdict(self.point)}) + "\n")
        yield

    def _read(self, path: Path) -> TransitionPoint:
        try:
            content = json.loads(path.read_bytes())
            if content["format"] != FORM or content["key"] != self.key:
                raise ValueError("it belongs to other settings")
            return read_point(content["point"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a finished point of this transition ({error}): delete it") from error
