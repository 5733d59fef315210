"""Latents: images through an autoencoder, machines on what it makes of them, and pictures of what machines draw."""

from elsewhere.latents.autoencoder import SHIPPED, Autoencoder, Field, load_autoencoder
from elsewhere.latents.decoded import Decoded, DecodedRun
from elsewhere.latents.encoding import encode

__all__ = ["SHIPPED", "Autoencoder", "Decoded", "DecodedRun", "Field", "encode", "load_autoencoder"]
