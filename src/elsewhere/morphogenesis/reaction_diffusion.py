"""Reaction-diffusion on a torus: the Gray-Scott system, which forms spots, stripes, holes and labyrinths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from elsewhere.checks import (
    MOST_IMAGES,
    check_fields,
    check_number,
    check_room,
    check_sides,
    check_type,
    check_whole,
    checked,
)
from elsewhere.denoiser import FLOATS
from elsewhere.progress import track
from elsewhere.sampling import generators

STEPS = 8000
"""Time steps of length 1 after which every pattern of `PATTERNS` has filled a torus of 64 x 64 cells."""

FASTEST = 1e6
"""Largest rate per time unit."""
BLOCK = 4
"""Side, in cells, of the initial drops of v."""
SHARE = 0.25
"""Fraction of the blocks that have a drop."""


@dataclass(frozen=True)
class GrayScott:
    """The Gray-Scott system: u is fed, and v consumes u to multiply (Gray & Scott 1984; Pearson 1993).

        du/dt = D_u lap(u) - u v^2 + feed (1 - u)
        dv/dt = D_v lap(v) + u v^2 - (feed + kill) v

    Attributes:
        feed: rate at which u is supplied, per time unit, above 0 and at most 10^6.
        kill: rate at which v decays, in addition to `feed`, per time unit, 0 to 10^6.
        diffusion_u, diffusion_v: diffusion rates (down, across) in squared cells per time unit, 0 to 10^6. If the two
            substances differ in the ratio of down to across, stripes have a preferred direction (Shoji, Iwasa,
            Mochizuki & Kondo 2002).

    Raises:
        TypeError, ValueError: a rate that is not a number or out of range.
    """

    feed: float
    kill: float
    diffusion_u: tuple[float, float] = (0.16, 0.16)
    diffusion_v: tuple[float, float] = (0.08, 0.08)

    def __post_init__(self) -> None:
        check_number("feed", self.feed, above=0, limit=FASTEST)
        check_number("kill", self.kill, 0, limit=FASTEST)
        for name in ("diffusion_u", "diffusion_v"):
            check_type(name, getattr(self, name), tuple[float, float])
            rates = getattr(self, name)
            if not all(0 <= rate <= FASTEST for rate in rates):
                raise ValueError(f"{name} must be two rates of 0 or more, (down, across), got {rates}")

    @property
    def largest_step(self) -> float:
        """Longest stable time step of the explicit Euler method, in time units.

        The fastest mode of the 5-point stencil, the chequerboard, decays at the rate 4 (D_down + D_across). u decays in
        addition at the rate feed + v^2, where v is at most about feed / (feed + kill). The Euler method is stable for
        steps of at most 2 over the fastest rate.
        """
        eaten = (self.feed / (self.feed + self.kill)) ** 2
        fastest = max(
            4 * sum(self.diffusion_u) + self.feed + eaten,
            4 * sum(self.diffusion_v) + self.feed + self.kill,
        )
        return 2 / fastest

    def steady_state(self) -> tuple[float, float]:
        """(u, v) of the homogeneous steady state with the largest v.

        It solves u v = feed + kill and u + v (feed + kill) / feed = 1, which is possible if feed >= 4 (feed + kill)^2;
        otherwise only (1, 0) is steady.
        """
        loss = self.feed + self.kill
        root = 1 - 4 * loss**2 / self.feed
        if root < 0:
            return 1.0, 0.0
        u = (1 - math.sqrt(root)) / 2
        return u, loss / u

    def growth_rate(self, down: float, across: float) -> complex:
        """Growth rate per time unit of a plane wave on the steady state; it grows if the real part is positive.

        The eigenvalue with the largest real part of the linearised system (Turing 1952), with the Laplacian of the
        5-point stencil.

        Args:
            down, across: wave numbers in radians per cell.

        Raises:
            TypeError, ValueError: not finite numbers.
        """
        check_number("down", down)
        check_number("across", across)
        u, v = self.steady_state()
        waves = tuple(2 - 2 * math.cos(number) for number in (down, across))
        spread_u, spread_v = (
            sum(rate * wave for rate, wave in zip(rates, waves, strict=True))
            for rates in (self.diffusion_u, self.diffusion_v)
        )
        a, b = -(v**2) - self.feed - spread_u, -2 * u * v
        c, d = v**2, 2 * u * v - self.feed - self.kill - spread_v
        return complex((a + d) / 2 + ((a - d) ** 2 / 4 + b * c + 0j) ** 0.5)


PATTERNS: Mapping[str, GrayScott] = MappingProxyType(
    {
        "spots": GrayScott(0.035, 0.065),
        "stripes": GrayScott(0.0545, 0.062, diffusion_v=(0.10, 0.06)),
        "labyrinth": GrayScott(0.0545, 0.062),
        "holes": GrayScott(0.039, 0.058),
    }
)
"""Kind of pattern -> system that forms it. Stripes: the labyrinth with faster diffusion of v down than across."""


@dataclass(frozen=True)
class State:
    """Concentrations on a torus.

    Attributes:
        u, v: (B, H, W), floating point.

    Raises:
        TypeError, ValueError: not such tensors, different shapes, or values that are not finite.
    """

    u: Tensor
    v: Tensor

    def __post_init__(self) -> None:
        check_fields(self)
        for name, field in (("u", self.u), ("v", self.v)):
            if field.dtype not in FLOATS:
                raise TypeError(f"{name} must be floating point, got {field.dtype}")
            if field.ndim != 3 or 0 in field.shape:
                raise ValueError(f"{name} must be (B, H, W) with no empty axis, got {tuple(field.shape)}")
            if not bool(torch.isfinite(field).all()):
                raise ValueError(f"{name} must be finite, got NaN or infinity")
        if self.u.shape != self.v.shape:
            raise ValueError(
                f"u and v must have the same shape (B, H, W), got {tuple(self.u.shape)} and {tuple(self.v.shape)}"
            )

    @checked
    def images(self, low: float | None = None, high: float | None = None) -> Tensor:
        """v as images (B, 1, H, W) in [-1, 1].

        Args:
            low, high: values of v that become -1 and 1; v is clipped to them. None: minimum and maximum of each image.

        Raises:
            TypeError, ValueError: not numbers between -10^6 and 10^6.
        """
        for name, bound in (("low", low), ("high", high)):
            if bound is not None:
                check_number(name, bound, -FASTEST, FASTEST)
        v = self.v[:, None]
        lowest = v.amin((1, 2, 3), keepdim=True) if low is None else torch.full_like(v[:, :, :1, :1], low)
        highest = v.amax((1, 2, 3), keepdim=True) if high is None else torch.full_like(v[:, :, :1, :1], high)
        span = (highest - lowest).clamp(min=torch.finfo(v.dtype).tiny)
        return (2 * (v - lowest) / span - 1).clamp(-1, 1)


@checked
def scattered(count: int, size: tuple[int, int], seed: int = 0, dtype: torch.dtype = torch.float32) -> State:
    """Initial states: (1, 0) with drops of v on a quarter of the blocks of 4 x 4 cells, and a little noise.

    Each state has its own random generator, so state i of a seed does not depend on `count`.

    Args:
        count: number of states, 1 or more.
        size: (height, width) in cells.
        seed: 0 to 2^31 - 1.
        dtype: a floating dtype.

    Raises:
        TypeError: an argument of another type, or a dtype that is not floating.
        ValueError: a number out of range.
        MemoryError: the states do not fit the memory of the computer.
    """
    size = check_sides("size", size)
    check_whole("count", count, 1, limit=MOST_IMAGES)
    check_room("count and size", (count, *size), 16 * count * size[0] * size[1])
    if not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating one, such as torch.float32, got {dtype}")
    blocks = [-(-side // BLOCK) for side in size]
    drops, noises = [], []
    for generator in generators(count, seed):
        dropped = (torch.rand(blocks, generator=generator, dtype=torch.float32, device="cpu") < SHARE).to(dtype)
        drops.append(dropped.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[: size[0], : size[1]])
        noises.append(torch.rand(2, *size, generator=generator, dtype=torch.float32, device="cpu").to(dtype))
    drop, noise = torch.stack(drops), torch.stack(noises, dim=1)
    return State(1 - 0.5 * drop - 0.02 * noise[0], 0.25 * drop + 0.02 * noise[1])


@checked
def evolve(system: GrayScott, state: State, steps: int, step: float = 1.0, *, progress: bool = False) -> State:
    """Integrate by explicit Euler steps.

    Args:
        system: the rates.
        state: the initial state, on any device; it is not changed.
        steps: number of steps, 0 or more.
        step: length of a step in time units, above 0 and at most `system.largest_step`.
        progress: show a progress bar with the time left.

    Returns:
        The final State.

    Raises:
        TypeError, ValueError: a step that is not positive or not stable, or steps below 0.

    Example:
        >>> system = PATTERNS["spots"]
        >>> evolve(system, scattered(1, (32, 32)), steps=10).v.shape
        torch.Size([1, 32, 32])
    """
    if not 0 < step <= system.largest_step:
        raise ValueError(
            f"step must be above 0 and at most {system.largest_step:.4g}, the largest stable step of {system}, "
            f"got {step}: take more and shorter steps"
        )
    steps = check_whole("steps", steps, 0)
    u, v = state.u.clone(), state.v.clone()
    for _ in track(range(steps), steps, "reacting", progress):
        eaten = u * v * v
        change_u = _spread(u, system.diffusion_u).sub_(eaten).sub_(u, alpha=system.feed).add_(system.feed)
        change_v = _spread(v, system.diffusion_v).add_(eaten).sub_(v, alpha=system.feed + system.kill)
        u.add_(change_u, alpha=step)
        v.add_(change_v, alpha=step)
    return State(u, v)


@checked
def simulate(
    system: GrayScott, size: tuple[int, int], count: int = 1, seed: int = 0, *, steps: int = STEPS, step: float = 1.0
) -> State:
    """Patterns after `steps` steps from scattered drops.

    Args, Raises: see `scattered` and `evolve`.

    Returns:
        The final State, whose `images()` are (count, 1, H, W).
    """
    return evolve(system, scattered(count, size, seed), steps, step)


def _spread(field: Tensor, rates: tuple[float, float]) -> Tensor:
    """Diffusion of a field (B, H, W): the periodic 5-point Laplacian times the rates."""
    down, across = rates
    change = field.roll(1, 1).add_(field.roll(-1, 1)).mul_(down)
    change.add_(field.roll(1, 2).add_(field.roll(-1, 2)), alpha=across)
    return change.sub_(field, alpha=2 * (down + across))
