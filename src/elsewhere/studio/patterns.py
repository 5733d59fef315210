"""Morphogenesis: patterns that the local machine grows from noise, and wounds that it heals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from elsewhere.denoiser import Denoiser
from elsewhere.inpainting import inpainting_process
from elsewhere.machines import IdealScore
from elsewhere.morphogenesis import PATTERNS, assess, growth_schedule, measure, pattern_machine
from elsewhere.morphogenesis.reaction_diffusion import STEPS, evolve, scattered
from elsewhere.page.wire import pack
from elsewhere.sampling import make_noise, reverse_process
from elsewhere.studio.drawing import Runs
from elsewhere.studio.questions import Question, whole_numbers
from elsewhere.studio.subjects import Subjects
from elsewhere.studio.turns import Working

SIDE = 64
"""Side of a pattern in pixels."""
REMEMBERED = 16
"""Patterns that the ideal machine knows; the local machine knows the first of them."""
MOST_SEED, MOST_DISCS = 10_000, 200
ROUNDS = 2
"""Rounds of inpainting: four fit a little better and take twice as long."""
MACHINES = ("els", "is")
PIECES = 100
"""Pieces in which patterns are simulated: each takes a fraction of a second."""
MOST_GROWN = 64
"""Patterns that are kept until they are wounded."""


Pattern = tuple[str, int]
"""Name and seed."""
_known: dict[str, tuple[dict[str, Denoiser], Tensor]] = {}
_grown: dict[Pattern, Tensor] = {}


def machines(name: str) -> Working[tuple[dict[str, Denoiser], Tensor]]:
    """Both machines of a pattern, and the pattern that the local one knows, (64, 64)."""
    if name not in _known:
        state = scattered(REMEMBERED, (SIDE, SIDE), 0)
        for _ in range(PIECES):
            state = evolve(PATTERNS[name], state, STEPS // PIECES)
            yield None
        known = state.images()
        _known[name] = {"els": pattern_machine(known[:1]), "is": IdealScore(known)}, known[0, 0]
    return _known[name]


def grown(pattern: Pattern, machine: Denoiser) -> Working[Tensor]:
    """The pattern (1, 1, 64, 64) that the local machine draws."""
    if pattern not in _grown:
        schedule = growth_schedule()
        x0 = make_noise(1, (1, SIDE, SIDE), pattern[1])
        for step in reverse_process(machine, x0 * schedule.sigmas[0], schedule):
            x0 = step.x0
            yield None
        _keep(pattern, x0)
    return _grown[pattern]


def _keep(pattern: Pattern, image: Tensor) -> None:
    if len(_grown) >= MOST_GROWN:
        _grown.pop(next(iter(_grown)))
    _grown[pattern] = image


def grow(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any] | None]:
    """Grow a pattern from noise with both machines.

    Fields of the question: "pattern" and "seed".

    Yields:
        {"original", "rates"}: the pattern that ELS knows, and the rates of the reaction-diffusion system; for each step
        {"step", "els", "is"}, predictions (64, 64); at last {"els", "is"}, measures in words.
    """
    name, seed = _read(question)
    question.finish()
    system = PATTERNS[name]
    both, original = yield from machines(name)
    yield {
        "original": pack(original, "float16"),
        "rates": {
            "feed": system.feed, "kill": system.kill, "u": list(system.diffusion_u), "v": list(system.diffusion_v)
        },
    }  # fmt: skip
    schedule = growth_schedule()
    x = make_noise(1, (1, SIDE, SIDE), seed) * schedule.sigmas[0]
    processes = {machine: reverse_process(both[machine], x, schedule) for machine in MACHINES}
    last: dict[str, Tensor] = {}
    for index in range(schedule.steps):
        last = {machine: next(process).x0[0, 0] for machine, process in processes.items()}
        yield {"step": index, **{machine: pack(image, "float16") for machine, image in last.items()}}
    _keep((name, seed), last["els"][None, None])
    yield {"measured": {machine: _measured(image) for machine, image in last.items()}}


def heal(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any] | None]:
    """Cut a wound into the pattern that the local machine grew, and fill it with both machines.

    Fields of the question: "pattern", "seed" and "wound", discs (row, column, radius) on the torus.

    Yields:
        For both machines {"machine", "before"}; then of each {"machine", "step", "image"} for every step, and
        {"machine", "measured", "misfit"}: rms distance of the windows around the wound to the nearest windows of the
        pattern that ELS knows.
    """
    name, seed = _read(question)
    wound = _wound(question.items("wound", MOST_DISCS))
    question.finish()
    both, original = yield from machines(name)
    window = 2 * int(measure(original).wavelength // 2) + 1
    before = yield from grown((name, seed), both["els"])
    for machine in MACHINES:
        yield {"machine": machine, "before": pack(before[0, 0], "float16")}
    held, schedule, healed = before.clamp(-1, 1), growth_schedule(), before
    for machine in MACHINES:
        for step in inpainting_process(both[machine], held, wound, schedule, None, seed=seed, rounds=ROUNDS):
            healed = torch.where(wound, step.x0, held)
            yield {"machine": machine, "step": step.index, "image": pack(healed[0, 0], "float16")}
        found = assess(healed[0, 0], before[0, 0], wound, original, window)
        yield {
            "machine": machine,
            "measured": _measured(healed[0, 0]),
            "misfit": found.strangeness,
        }


def _read(question: Question) -> tuple[str, int]:
    return question.choice("pattern", tuple(PATTERNS), "spots"), question.whole("seed", 0, MOST_SEED, 0)


def _wound(discs: list[Any]) -> Tensor:
    """bool (64, 64): the union of discs on the torus."""
    wound = torch.zeros(SIDE, SIDE, dtype=torch.bool, device="cpu")
    at = torch.arange(SIDE, device="cpu")
    for disc in discs:
        if not isinstance(disc, list) or len(disc) != 3:
            raise ValueError("a disc of question.wound must be a list of row, column and radius")
        row, column, radius = whole_numbers(disc, "disc", 0, SIDE - 1)
        down, across = ((at - centre + SIDE // 2) % SIDE - SIDE // 2 for centre in (row, column))
        wound |= down[:, None] ** 2 + across[None] ** 2 <= radius**2
    if not bool(wound.any()) or bool(wound.all()):
        raise ValueError("question.wound must be a part of the picture, and not all of it")
    return wound


def _measured(image: Tensor) -> dict[str, Any]:
    found = measure(image)
    return {"kind": found.kind, "wavelength": found.wavelength}


def recorded(subjects: Subjects) -> list[tuple[str, dict[str, Any]]]:
    """The questions that an exported page can ask: every kind of pattern, and one wound in each."""
    asked = [{"pattern": name, "seed": 0} for name in PATTERNS]
    return [*(("grow", one) for one in asked), *(("heal", {**one, "wound": [[32, 32, 10]]}) for one in asked)]
