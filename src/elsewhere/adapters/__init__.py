"""Machines as objects of other libraries, and the settings that make a machine again."""

from elsewhere.adapters.diffusers_unet import as_unet
from elsewhere.adapters.recipe import machine_from, recipe_of

__all__ = ["as_unet", "machine_from", "recipe_of"]
