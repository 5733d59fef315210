"""Textures of any size, and missing parts of photographs, from the patches of one image."""

from elsewhere.textures.plan import TextureSettings
from elsewhere.textures.process import Texture, fill, texture

__all__ = ["Texture", "TextureSettings", "fill", "texture"]
