"""Textures of any size, and missing parts of photographs, from the patches of one image."""

from elsewhere.textures.cost import Cost, estimate_cost
from elsewhere.textures.plan import TexturePlan, TextureSettings
from elsewhere.textures.process import Texture, TextureState, TextureStep, fill, texture, texture_process

__all__ = [
    "Cost",
    "Texture",
    "TexturePlan",
    "TextureSettings",
    "TextureState",
    "TextureStep",
    "estimate_cost",
    "fill",
    "texture",
    "texture_process",
]
