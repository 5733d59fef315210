"""Machines as objects of other libraries, and the settings that make a machine again."""

from elsewhere.adapters.diffusers_unet import as_unet, load_machine
from elsewhere.adapters.recipe import machine_from, recipe_of

__all__ = ["as_unet", "load_machine", "machine_from", "recipe_of"]
