"""The demonstration: grown and healed patterns as pictures, a film and numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from elsewhere.files import json_text, save_bytes, write_text
from elsewhere.morphogenesis.films import coloured, save_film, side_by_side
from elsewhere.morphogenesis.growth import growth_schedule, pattern_machine
from elsewhere.morphogenesis.patterns import Pattern, measure
from elsewhere.morphogenesis.reaction_diffusion import PATTERNS, evolve, scattered, simulate
from elsewhere.morphogenesis.study import SIDE, WOUNDS, Growth, Recovery, grow, heal
from elsewhere.pictures import COLOURS, Column, grid, labelled_grid, picture_png
from elsewhere.progress import track
from elsewhere.sampling import make_noise, reverse_process, sample
from elsewhere.schedules import karras

GROWN = 3
"""Grown patterns of each kind."""
GAP = 12
"""White pixels between pictures."""
FRAMES, FILM_SIDE, FILM_STEPS = 48, 96, 6000
"""Frames of the film, side of its images in pixels, time steps of its simulation."""
HEALED = (("stripes", "disc"), ("spots", "rectangle"), ("labyrinth", "band"))
WAYS = {
    "wounded": ("wounded", ""),
    "mean": ("mean", "of the rest"),
    "IS": ("IS", "knows 16 patterns"),
    "ELS": ("ELS", "knows one pattern"),
    "reaction-diffusion": ("Gray-Scott", "simulation goes on"),
}
LARGE = 512
"""Side in pixels from which large.png takes several minutes, so that the time is estimated beforehand."""

FILES = ("growth.png", "large.png", "healing.png", "film.gif", "figures.json")


@dataclass(frozen=True)
class Tour:
    """The results of the demonstration.

    Attributes:
        growths: one for each pattern.
        recoveries: (name of the wound, result).
    """

    growths: list[Growth]
    recoveries: list[tuple[str, Recovery]]

    def figures(self) -> dict[str, Any]:
        """All measures, as written to figures.json."""
        growth, healing = {}, []
        for one in self.growths:
            grown, simulated = one.copying()
            growth[one.name] = {
                "original": _figures(measure(one.original[0, 0])),
                "grown": [_figures(pattern) for pattern in one.patterns()],
                "copying": [asdict(found) for found in grown],
                "copying_of_simulated": [asdict(found) for found in simulated],
            }
        for place, recovery in self.recoveries:
            ways = {way: [asdict(found) for found in recovery.assess(way)] for way in ("intact", *recovery.filled)}
            healing.append({"pattern": recovery.name, "wound": place, "filled": ways})
        return {"growth": growth, "healing": healing}


def seconds_of_large(side: int, seed: int = 0) -> float:
    """How long `tour` takes for large.png on this machine, estimated by growing a small canvas, which takes seconds.

    The time grows with the number of pixels: it is within 10 % of that for sides from 64 to 400 pixels.

    Args:
        side: of the canvas in large.png, in pixels.
        seed: as for `tour`.
    """
    original = simulate(PATTERNS["labyrinth"], (SIDE, SIDE), 1, seed).images()
    machine = pattern_machine(original)
    start = perf_counter()
    sample(machine, make_noise(1, (1, SIDE, SIDE), seed), growth_schedule())
    return (perf_counter() - start) * (side / SIDE) ** 2


def tour(out: str | Path, seed: int = 0, side: int = 192, *, progress: bool = False) -> Tour:
    """Grow and heal patterns; write growth.png, large.png, healing.png, film.gif and figures.json.

    Args:
        out: folder, created if missing.
        seed: seed of simulations and noise.
        side: side of the labyrinth in large.png, in pixels, 16 or more.
        progress: show progress bars with the time left.

    Raises:
        ValueError: a seed out of range, or a side below 16.
        OSError: the folder cannot be written.
    """
    if side < 16:
        raise ValueError(f"side must be 16 pixels or more, got {side}")
    folder = Path(out)
    growths = [grow(name, GROWN, seed, progress=progress) for name in PATTERNS]
    save_bytes(folder / "growth.png", picture_png(growth_picture(growths)))
    original = next(one.original for one in growths if one.name == "labyrinth")
    noise = make_noise(1, (1, side, side), seed)
    large = sample(pattern_machine(original), noise, growth_schedule(), progress=progress).images
    save_bytes(folder / "large.png", picture_png(large_picture(original, large)))
    recoveries = [(place, heal(name, WOUNDS[place], 1, seed, progress=progress)) for name, place in HEALED]
    save_bytes(folder / "healing.png", picture_png(healing_picture(recoveries)))
    save_film(folder / "film.gif", film_frames("labyrinth", seed, FRAMES, progress=progress))
    found = Tour(growths, recoveries)
    write_text(folder / "figures.json", json_text(found.figures()) + "\n")
    return found


def growth_picture(growths: list[Growth]) -> Image.Image:
    """One pattern per row: the original, another simulation, and the grown patterns."""
    columns: list[tuple[str, str, list[Tensor]]] = [
        ("original", "reaction-diffusion", [one.original for one in growths]),
        ("another", "reaction-diffusion", [one.simulated[:1] for one in growths]),
    ]
    for i in range(len(growths[0].grown)):
        columns.append((f"grown {i + 1}", "ELS, from noise", [one.grown[i : i + 1] for one in growths]))
    cells = [
        Column(title, subtitle, coloured(torch.cat(images)), [_describe(image) for image in images])
        for title, subtitle, images in columns
    ]
    return labelled_grid(cells, width=2 * SIDE).quantize(COLOURS)


def large_picture(original: Tensor, grown: Tensor) -> Image.Image:
    """An original (1, 1, H, W) and, at the same scale, the image that was grown from it."""
    small, large = (grid(coloured(images), 1, scale=1, gap=0) for images in (original, grown))
    canvas = Image.new("RGB", (small.width + GAP + large.width, max(small.height, large.height)), "white")
    canvas.paste(small, (0, 0))
    canvas.paste(large, (small.width + GAP, 0))
    return canvas.quantize(COLOURS)


def healing_picture(recoveries: list[tuple[str, Recovery]]) -> Image.Image:
    """One wound per row: before, wounded, and filled by several methods."""
    found = [recovery for _, recovery in recoveries]
    columns = [
        Column(
            "before",
            "not known",
            coloured(torch.cat([one.before[:1] for one in found])),
            [one.name for one in found],
        )
    ]
    for way, (title, subtitle) in WAYS.items():
        captions = ["" if way == "wounded" else f"error {one.assess(way)[0].error:.2f}" for one in found]
        columns.append(Column(title, subtitle, coloured(torch.cat([one.filled[way][:1] for one in found])), captions))
    return labelled_grid(columns, width=2 * SIDE).quantize(COLOURS)


def film_frames(name: str, seed: int, frames: int, *, progress: bool = False) -> list[Image.Image]:
    """Reaction-diffusion on the left, denoising on the right, on canvases of the same size.

    The right half shows the state x / sqrt(1 + sigma^2). The machine knows one pattern of 64 x 64 pixels.

    Args:
        name: a key of `PATTERNS`.
        seed: seed of simulation and noise.
        frames: number of frames, 2 or more.
        progress: show a progress bar with the time left.
    """
    size = (FILM_SIDE, FILM_SIDE)
    state = scattered(1, size, seed)
    states, times = [state], [round(FILM_STEPS * (i / (frames - 1)) ** 2) for i in range(frames)]
    for before, after in pairwise(times):
        states.append(evolve(PATTERNS[name], states[-1], after - before))
    low, high = float(states[-1].v.min()), float(states[-1].v.max())
    ends = growth_schedule().sigmas
    schedule = karras(frames - 1, sigma_min=ends[-2], sigma_max=ends[0])
    machine = pattern_machine(simulate(PATTERNS[name], (SIDE, SIDE), 1, seed).images())
    x = schedule.sigmas[0] * make_noise(1, (1, *size), seed)
    steps = track(reverse_process(machine, x, schedule), schedule.steps, "filming", progress)
    noisy = [x, *(step.next_x for step in steps)]
    return [
        side_by_side(
            [state.images(low, high)[0], (x / (1 + sigma**2) ** 0.5)[0]],
            ["reaction-diffusion", "denoising by local rules"],
            [f"time {time}", f"noise {sigma:.2f}"],
        )
        for state, time, x, sigma in zip(states, times, noisy, schedule.sigmas, strict=True)
    ]


def _describe(image: Tensor) -> str:
    found = measure(image[0, 0])
    return f"{found.kind}, {found.wavelength:.1f} px"


def _figures(pattern: Pattern) -> dict[str, Any]:
    return {"kind": pattern.kind, **asdict(pattern)}
