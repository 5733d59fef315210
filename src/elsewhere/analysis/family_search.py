"""The search of one noise level: which settings of the patch machine, and which Wiener share, match a network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from elsewhere.analysis.score_cache import ScoreCache
from elsewhere.denoiser import ask
from elsewhere.files import json_text
from elsewhere.machines.patch import Keys, PatchScore, PatchSettings
from elsewhere.machines.wiener import Wiener
from elsewhere.sampling import Run

PEDESTALS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
RESPONSES = (1, 3, 5, 7, 11, 15)
LEAST_GAIN = 0.003
"""A step of the search must lower the mean squared difference by this share: smaller gains are noise of few seeds."""
NEAR = 1.15
"""Windows under shifts, whose cost is some twenty times that of the same place, are searched where their mean squared
difference is at most so many times that of the same place."""
LEAST_SHARE = 0.02
"""Smaller Wiener shares change x0hat by less than rounding to a gray level: they are left out."""

Part = Literal["fit", "heldout"]
Loss = Callable[[PatchSettings], float]
Move = Callable[[PatchSettings], list[PatchSettings]]


class Moments(NamedTuple):
    """Inner products that give the squared difference of the network T and the mix of patch machine P and Wiener W, for
    any share w: |P - T|^2 - 2 w (T - P)(W - P) + w^2 |W - P|^2, as means over the numbers of an image, (seeds,) each.
    """

    patch: np.ndarray
    cross: np.ndarray
    spread: np.ndarray

    def losses(self, share: float) -> np.ndarray:
        """Mean squared difference of each seed."""
        return self.patch - 2 * share * self.cross + share**2 * self.spread

    def share(self) -> float:
        """The share with the least squared difference over all seeds, 0 to 1."""
        spread = float(self.spread.sum())
        share = min(1.0, max(0.0, float(self.cross.sum()) / spread)) if spread > 0 else 0.0
        return round(share, 3) if share >= LEAST_SHARE else 0.0


def _moments(patch: Tensor, linear: Tensor, network: Tensor) -> Moments:
    off, aside = network - patch, linear - patch
    return Moments(*(product.flatten(1).mean(1).numpy() for product in (off * off, off * aside, aside * aside)))


def _shrunk(wiener: Wiener, shrinkage: float) -> Wiener:
    """The same machine with another shrinkage; it shares the axes."""
    other = copy.copy(wiener)
    other.shrinkage = shrinkage
    return other


@dataclass(frozen=True)
class Choice:
    """Settings and Wiener share at one level."""

    settings: PatchSettings
    share: float


class Levels:
    """What network and machines answer on the network's own path.

    Args:
        machine, wiener: the two machines.
        run: of the network, with states and predictions.
        labels: class of each seed, or None.
        fit: number of seeds, the first ones, that fit; the others are held out.
        cache: finished measurements.
    """

    def __init__(
        self, machine: PatchScore, wiener: Wiener, run: Run, labels: Tensor | None, fit: int, cache: ScoreCache
    ) -> None:
        self.machine, self.wiener, self.run, self.labels, self.cache = machine, wiener, run, labels, cache
        self.parts: dict[Part, slice] = {"fit": slice(0, fit), "heldout": slice(fit, len(run.images))}
        self._linear: dict[tuple[int, Part], Tensor] = {}

    def __len__(self) -> int:
        return len(self.run.predictions)

    def measure(self, level: int, settings: PatchSettings, part: Part) -> Moments:
        """How settings compare with the network at a level, on the seeds of a part."""
        terms = json_text(asdict(settings), indent=None)
        key = f"{level}/{part}/{self.wiener.shrinkage:g}/{terms}"
        if key not in self.cache.scores:
            machine = self.machine.with_settings(settings)
            ours = self._ask(machine, level, part)
            if (level, part) not in self._linear:
                self._linear[level, part] = self._ask(self.wiener, level, part)
            theirs = self.run.predictions[level][self.parts[part]].double()
            found = _moments(ours, self._linear[level, part], theirs)
            self.cache.add(key, {name: value.tolist() for name, value in found._asdict().items()})
        return Moments(*(np.array(self.cache.scores[key][name]) for name in Moments._fields))

    def shrink(self, shrinkages: Sequence[float], settings: Sequence[PatchSettings]) -> float:
        """Give the Wiener machine the shrinkage with which it adds most to settings, one a level, and return it."""
        losses = dict.fromkeys(shrinkages, 0.0)
        for level, one in enumerate(settings):
            ours = self._ask(self.machine.with_settings(one), level, "fit")
            theirs = self.run.predictions[level][self.parts["fit"]].double()
            for shrinkage in shrinkages:
                moments = _moments(ours, self._ask(_shrunk(self.wiener, shrinkage), level, "fit"), theirs)
                # In logarithms, as levels of high noise have the largest differences.
                losses[shrinkage] += math.log(max(1e-12, float(moments.losses(moments.share()).mean())))
        self.wiener = _shrunk(self.wiener, min(shrinkages, key=lambda one: losses[one]))
        self._linear.clear()
        return self.wiener.shrinkage

    def _ask(self, machine: PatchScore | Wiener, level: int, part: Part) -> Tensor:
        which = self.parts[part]
        label = None if self.labels is None else self.labels[which]
        return ask(machine, self.run.states[level][which], self.run.sigmas[level], label, "machine").double()


class LevelSearch:
    """Coordinate descent over the settings at one level, on the seeds that fit.

    Args:
        levels: what is measured.
        level: which.
        sides: windows to try, ascending.
        keys: which keys to try; the first is "same place".
        responses: sides of pasted patches to try, ascending; the first is 1.

    Attributes:
        pool: what was measured.
        shifted: the best windows under shifts, alone.
    """

    def __init__(
        self,
        levels: Levels,
        level: int,
        sides: Sequence[int],
        keys: Sequence[Keys],
        responses: Sequence[int] = RESPONSES,
    ) -> None:
        self.levels, self.level, self.sides, self.keys = levels, level, sides, keys
        self.responses = responses
        self.pool: dict[PatchSettings, Moments] = {}
        self.shifted: dict[Keys, PatchSettings] = {}

    def windows(self, start: tuple[int, int]) -> list[PatchSettings]:
        """The best square and the best tapered window of the same place, without Wiener.

        Args:
            start: square and tapered window to begin with, the best ones of the level above.
        """
        first = (
            PatchSettings(side, taper, keys="same place") for side, taper in zip(start, (False, True), strict=True)
        )
        return [descend(one, self.pure, [self._windows, self._farther_windows]) for one in first]

    def run(self, start: tuple[int, int], above: LevelSearch | None = None) -> None:
        """Fill the pool.

        Args:
            start: as for `windows`.
            above: the search of the level above, whose best windows under shifts are tried too.
        """
        found = self.windows(start)
        moves = [self._pedestals, self._responses, self._windows, self._tapers]
        best = descend(min(found, key=self.mixed), self.mixed, moves)
        for keys in self.keys[1:]:
            first = [replace(one, keys=keys, window=min(one.window, self._widest)) for one in found]
            if above is not None and keys in above.shifted:
                first.append(above.shifted[keys])
            self.shifted[keys] = top = min(dict.fromkeys(first), key=self.pure)
            if self.pure(top) < NEAR * min(map(self.pure, found)):
                self.shifted[keys] = top = descend(top, self.pure, [self._windows, self._tapers])
                if self.mixed(top) < NEAR * self.mixed(best):
                    descend(top, self.mixed, [self._responses, self._pedestals, self._windows])

    def pure(self, settings: PatchSettings) -> float:
        """Mean squared difference without Wiener."""
        return float(self._measured(settings).patch.mean())

    def mixed(self, settings: PatchSettings) -> float:
        """Mean squared difference with the best share of Wiener."""
        moments = self._measured(settings)
        return float(moments.losses(moments.share()).mean())

    def _measured(self, settings: PatchSettings) -> Moments:
        if settings not in self.pool:
            self.pool[settings] = self.levels.measure(self.level, settings, "fit")
        return self.pool[settings]

    @property
    def _widest(self) -> int:
        """The widest window under shifts: a wider one than the image has its own place only."""
        return max(side for side in self.sides if side <= max(min(self.levels.machine.image_size), self.sides[0]))

    def _windows(self, one: PatchSettings) -> list[PatchSettings]:
        most = math.inf if one.keys == "same place" else self._widest
        sides = [side for side in _beside(self.sides, one.window) if one.response <= side <= most]
        return [replace(one, window=side) for side in sides]

    def _farther_windows(self, one: PatchSettings) -> list[PatchSettings]:
        """Two and three sides on: windows that cover nearly the whole image differ by less than a step must gain."""
        at = self.sides.index(one.window)
        steps = (at + step for step in (-3, -2, 2, 3))
        return [replace(one, window=self.sides[step]) for step in steps if 0 <= step < len(self.sides)]

    def _pedestals(self, one: PatchSettings) -> list[PatchSettings]:
        return [replace(one, pedestal=value) for value in _beside(PEDESTALS, one.pedestal)]

    def _responses(self, one: PatchSettings) -> list[PatchSettings]:
        return [replace(one, response=side) for side in _beside(self.responses, one.response) if side <= one.window]

    def _tapers(self, one: PatchSettings) -> list[PatchSettings]:
        """The other kind of window; a tapered one sees as far as a square one of some two thirds of its side."""
        most = math.inf if one.keys == "same place" else self._widest
        wider = [side for side in self.sides if (side > one.window) != one.taper and one.response <= side <= most]
        return [replace(one, window=side, taper=not one.taper) for side in (wider[-2:] if one.taper else wider[:2])]


def descend(start: PatchSettings, loss: Loss, moves: Sequence[Move]) -> PatchSettings:
    """Settings that no move improves: moves are tried in turn, and the one that helps most is repeated."""
    best, least = start, loss(start)
    idle = 0
    while idle < len(moves):
        for move in moves:
            idle += 1
            while others := move(best):
                other = min(others, key=loss)
                if loss(other) >= (1 - LEAST_GAIN) * least:
                    break
                best, least, idle = other, loss(other), 0
            if idle >= len(moves):
                break
    return best


def _beside(values: Sequence[Any], value: Any) -> list[Any]:
    at = values.index(value)
    return [*values[max(0, at - 1) : at], *values[at + 1 : at + 2]]


class Route(NamedTuple):
    """A kind of schedule that competes: what its settings may have.

    Attributes:
        name: in reports.
        shifts: windows under shifts, beside those of the same place.
        terms: pedestals and responses.
        wiener: a Wiener share.
    """

    name: str
    shifts: bool
    terms: bool
    wiener: bool

    def allows(self, one: PatchSettings) -> bool:
        """Whether settings belong to it."""
        simple = one.pedestal == 0 and one.response == 1
        return (self.shifts or one.keys == "same place") and (self.terms or simple)


ROUTES = (
    Route("windows of the same place", False, False, False),
    Route("windows", True, False, False),
    Route("same place", False, True, True),
    Route("without Wiener", True, True, False),
    Route("everything", True, True, True),
)
"""From simple to rich: of two that draw equally well the first is kept."""


def choose(search: LevelSearch, route: Route) -> tuple[Choice, list[dict[str, Any]]]:
    """The settings of a route at a level: richer ones are kept only where they pay on the held-out seeds.

    Returns:
        The choice, and what was decided about every candidate.
    """
    kept: Choice | None = None
    tried: set[Choice] = set()
    losses = np.zeros(0)
    decisions: list[dict[str, Any]] = []
    for stage in (
        route._replace(terms=False, wiener=False),
        route._replace(wiener=False),
        route._replace(terms=False),
        route,
    ):
        allowed = [one for one in search.pool if stage.allows(one)]
        best = min(allowed, key=search.mixed if stage.wiener else search.pure)
        choice = Choice(best, search.pool[best].share() if stage.wiener else 0.0)
        if choice in tried:
            continue
        tried.add(choice)
        found = search.levels.measure(search.level, best, "heldout").losses(choice.share)
        pays, gain, error = kept is None, 0.0, 0.0
        if kept is not None:
            gain, error = paired(losses - found)
            pays = gain > error
        decisions.append(
            {
                **asdict(best),
                "wiener": choice.share,
                "mse": float(found.mean()),
                "gain": gain,
                "error": error,
                "kept": pays,
            }
        )
        if pays:
            kept, losses = choice, found
    assert kept is not None
    return kept, decisions


def paired(differences: np.ndarray) -> tuple[float, float]:
    """Mean of paired differences and its standard error, 0 for a single one."""
    count = len(differences)
    error = float(differences.std(ddof=1) / math.sqrt(count)) if count > 1 else 0.0
    return float(differences.mean()), error
