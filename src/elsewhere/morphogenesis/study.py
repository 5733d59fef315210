"""The two experiments: grow patterns from one original, and heal wounds in other patterns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import median

import torch
from torch import Tensor

from elsewhere.checks import check_choice, check_fields, check_seed, check_whole, checked
from elsewhere.inpainting import inpaint
from elsewhere.machines import IdealScore
from elsewhere.morphogenesis.growth import Copying, copying, growth_schedule, pattern_machine
from elsewhere.morphogenesis.patterns import Pattern, measure
from elsewhere.morphogenesis.reaction_diffusion import PATTERNS, STEPS, State, evolve, simulate
from elsewhere.morphogenesis.regeneration import Healing, assess, check_wound, disc, rectangle
from elsewhere.sampling import make_noise, sample

SIDE = 64
"""Side of the patterns in pixels."""
REMEMBERED = 16
"""Patterns that the ideal machine knows."""
MOST_PATTERNS = 10_000
"""Largest number of patterns, which bounds time and memory."""
WOUNDS = {
    "disc": disc((SIDE, SIDE), 12),
    "band": rectangle((SIDE, SIDE), 16, SIDE),
    "rectangle": rectangle((SIDE, SIDE), 20, 28),
}

GROWTH_HEADER = (
    "pattern",
    "same kind",
    "wavelength",
    "grown / original",
    "distance",
    "(simulated)",
    "coherence",
    "(simulated)",
    "largest",
    "(simulated)",
)
HEALING_HEADER = ("pattern and wound", "filled by", "error", "strangeness", "same kind", "wavelength")


@dataclass(frozen=True)
class Growth:
    """Patterns grown by the equivariant local machine from one original of 64 x 64 pixels.

    Attributes:
        name: a key of `PATTERNS`.
        original: the simulated pattern that the machine knows, (1, 1, 64, 64) in [-1, 1].
        simulated: patterns simulated from other seeds, (count, 1, 64, 64).
        grown: patterns that the machine drew from noise, (count, 1, 64, 64).
    """

    name: str
    original: Tensor
    simulated: Tensor
    grown: Tensor

    def __post_init__(self) -> None:
        check_fields(self)

    def patterns(self) -> list[Pattern]:
        """Measures of each grown image."""
        return [measure(image[0]) for image in self.grown]

    def wavelength_ratio(self) -> float:
        """Median wavelength of the grown patterns divided by that of the original."""
        return median(pattern.wavelength for pattern in self.patterns()) / measure(self.original[0, 0]).wavelength

    def kept(self) -> float:
        """Fraction of the grown patterns that are of the original's kind, 0 to 1."""
        kind = measure(self.original[0, 0]).kind
        return sum(pattern.kind == kind for pattern in self.patterns()) / len(self.grown)

    def copying(self) -> tuple[list[Copying], list[Copying]]:
        """How much of each grown and of each simulated image is a copy of the original. Simulated ones are not."""
        return self._copying

    @cached_property
    def _copying(self) -> tuple[list[Copying], list[Copying]]:
        grown, simulated = (
            [copying(image[0], self.original[0, 0], _window(self.original)) for image in images]
            for images in (self.grown, self.simulated)
        )
        return grown, simulated


@checked
def grow(name: str, count: int, seed: int = 0, *, progress: bool = False) -> Growth:
    """Simulate an original, and grow patterns from noise by the machine that knows only this image.

    Args:
        name: a key of `PATTERNS`.
        count: number of patterns to grow, 1 to 10,000.
        seed: seed of the simulation and of the noise.
        progress: show a progress bar with the time left.

    Raises:
        TypeError, ValueError: no such pattern, or a number out of range.
    """
    check_choice("name", name, PATTERNS)
    check_whole("count", count, 1, limit=MOST_PATTERNS)
    check_seed(seed)
    simulated = simulate(PATTERNS[name], (SIDE, SIDE), count + 1, seed).images()
    original = simulated[:1]
    noise = make_noise(count, (1, SIDE, SIDE), seed)
    run = sample(pattern_machine(original), noise, growth_schedule(), progress=progress)
    return Growth(name, original, simulated[1:], run.images)


@dataclass(frozen=True)
class Recovery:
    """Wounded patterns, filled by several methods.

    Attributes:
        name: a key of `PATTERNS`.
        wound: bool (64, 64).
        original: the pattern that ELS knows, (1, 1, 64, 64) in [-1, 1].
        before: the patterns before the wound, unknown to all machines, (count, 1, 64, 64).
        filled: method -> the filled patterns, (count, 1, 64, 64); "wounded" has them with the wound set to 0.
    """

    name: str
    wound: Tensor
    original: Tensor
    before: Tensor
    filled: dict[str, Tensor]

    def __post_init__(self) -> None:
        check_fields(self)

    def assess(self, way: str) -> list[Healing]:
        """Measure each image that was filled by one method.

        Args:
            way: a key of `filled`, or "intact" for the images before the wound.

        Raises:
            TypeError, ValueError: no such method.
        """
        check_choice("way", way, ("intact", *self.filled))
        return self._assessed[way]

    @cached_property
    def _assessed(self) -> dict[str, list[Healing]]:
        window = _window(self.original)
        return {
            way: [
                assess(image[0], before[0], self.wound, self.original[0, 0], window)
                for image, before in zip(images, self.before, strict=True)
            ]
            for way, images in {"intact": self.before, **self.filled}.items()
        }


@checked
def heal(name: str, wound: Tensor, count: int = 1, seed: int = 0, *, progress: bool = False) -> Recovery:
    """Wound patterns and fill the wounds by several methods.

    - "mean": the mean of the rest;
    - "noise": pixels of the rest in random order;
    - "IS": inpainting by the ideal machine that knows 16 other patterns;
    - "ELS": inpainting by the equivariant local machine that knows one of these;
    - "reaction-diffusion": the simulation continues from a wound without v, which also changes the rest.

    Args:
        name: a key of `PATTERNS`.
        wound: the pixels to fill, bool (64, 64).
        count: number of patterns, 1 to 10,000.
        seed: seed of the simulation and of the noise.
        progress: show progress bars with the time left.

    Raises:
        TypeError, ValueError: no such pattern, not such a wound, or a number out of range.
    """
    check_choice("name", name, PATTERNS)
    check_whole("count", count, 1, limit=MOST_PATTERNS)
    check_seed(seed)
    check_wound(wound, (SIDE, SIDE))
    if not bool(wound.any()) or bool(wound.all()):
        raise ValueError(f"wound must be some but not all pixels, got {int(wound.sum())} of {wound.numel()}")
    state = simulate(PATTERNS[name], (SIDE, SIDE), REMEMBERED + count, seed)
    images = state.images()
    known, before = images[:REMEMBERED], images[REMEMBERED:]
    wounded = torch.where(wound, torch.zeros_like(before), before)
    rest = before[..., ~wound]
    order = torch.randperm(rest.shape[-1], generator=torch.Generator().manual_seed(seed), device="cpu")[
        : int(wound.sum())
    ]
    filled = {"wounded": wounded, "mean": wounded.clone(), "noise": wounded.clone()}
    filled["mean"][..., wound] = rest.mean(-1, keepdim=True)
    filled["noise"][..., wound] = rest[..., order.repeat(-(-int(wound.sum()) // len(order)))[: int(wound.sum())]]
    for way, machine in (("IS", IdealScore(known)), ("ELS", pattern_machine(known[:1]))):
        filled[way] = inpaint(machine, wounded, wound, growth_schedule(), seed=seed, progress=progress).images
    filled["reaction-diffusion"] = _react(name, State(state.u[REMEMBERED:], state.v[REMEMBERED:]), wound)
    return Recovery(name, wound, known[:1], before, filled)


def growth_row(growth: Growth) -> tuple[str, ...]:
    """A row of the table with GROWTH_HEADER."""
    grown, simulated = growth.copying()
    return (
        growth.name,
        f"{growth.kept():.0%} of {len(growth.grown)}",
        f"{measure(growth.original[0, 0]).wavelength:.1f}",
        f"{growth.wavelength_ratio():.2f}",
        *(
            f"{median(getattr(one, figure) for one in ones):.2f}"
            for figure in ("distance", "coherence", "largest")
            for ones in (grown, simulated)
        ),
    )


def healing_rows(place: str, recovery: Recovery) -> list[tuple[str, ...]]:
    """Rows of the table with HEALING_HEADER: the intact images and each method."""
    rows: list[tuple[str, ...]] = []
    for way in ("intact", *recovery.filled):
        found = recovery.assess(way)
        kept = sum(one.pattern.kind == recovery.name for one in found) / len(found)
        rows.append(
            (
                f"{recovery.name}, {place}",
                way,
                f"{median(one.error for one in found):.3f}",
                f"{median(one.strangeness for one in found):.3f}",
                f"{kept:.0%} of {len(found)}",
                f"{median(one.pattern.wavelength for one in found):.1f}",
            )
        )
    return rows


def _window(original: Tensor) -> int:
    """Side of the windows that are compared: one wavelength of the original (1, 1, H, W), as an odd number."""
    return 2 * int(measure(original[0, 0]).wavelength // 2) + 1


def _react(name: str, state: State, wound: Tensor) -> Tensor:
    """Continue the simulation from a wound without v; images on the scale of `state`."""
    bare = State(torch.where(wound, 1.0, state.u), torch.where(wound, 0.0, state.v))
    after = evolve(PATTERNS[name], bare, STEPS // 2)
    return torch.cat(
        [
            State(u[None], v[None]).images(float(was.min()), float(was.max()))
            for u, v, was in zip(after.u, after.v, state.v, strict=True)
        ]
    )
