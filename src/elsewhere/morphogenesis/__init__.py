"""Self-organised patterns: reaction-diffusion systems, and denoising by local rules."""

from elsewhere.morphogenesis.growth import Copying, copying, growth_locality, growth_schedule, pattern_machine
from elsewhere.morphogenesis.patterns import Pattern, measure
from elsewhere.morphogenesis.reaction_diffusion import PATTERNS, GrayScott, State, evolve, scattered, simulate
from elsewhere.morphogenesis.regeneration import Healing, assess, disc, rectangle
from elsewhere.morphogenesis.study import Growth, Recovery, grow, heal

__all__ = [
    "PATTERNS",
    "Copying",
    "GrayScott",
    "Growth",
    "Healing",
    "Pattern",
    "Recovery",
    "State",
    "assess",
    "copying",
    "disc",
    "evolve",
    "grow",
    "growth_locality",
    "growth_schedule",
    "heal",
    "measure",
    "pattern_machine",
    "rectangle",
    "scattered",
    "simulate",
]
