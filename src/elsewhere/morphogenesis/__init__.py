"""Patterns that assemble themselves: reaction and diffusion, and denoising by local rules."""

from elsewhere.morphogenesis.growth import Copying, copying, growth_locality, growth_schedule, pattern_machine
from elsewhere.morphogenesis.patterns import Pattern, measure
from elsewhere.morphogenesis.reaction_diffusion import PATTERNS, GrayScott, State, evolve, scattered, simulate
from elsewhere.morphogenesis.regeneration import Healing, assess, disc, rectangle

__all__ = [
    "PATTERNS",
    "Copying",
    "GrayScott",
    "Healing",
    "Pattern",
    "State",
    "assess",
    "copying",
    "disc",
    "evolve",
    "growth_locality",
    "growth_schedule",
    "measure",
    "pattern_machine",
    "rectangle",
    "scattered",
    "simulate",
]
