"""What the tests of latents share."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from tests.networks.toys import random_weights

import elsewhere as els
from elsewhere.data import LatentSet
from elsewhere.latents import Autoencoder


def tiny(seed: int = 0, channels: int = 3, latent_channels: int = 4, **settings: Any) -> Autoencoder:
    """A local autoencoder of 1/4 of the side: AutoencoderTiny with hardly any layers."""
    defaults: dict[str, Any] = {
        "encoder_block_out_channels": (4, 4, 4),
        "decoder_block_out_channels": (4, 4, 4),
        "num_encoder_blocks": (0, 0, 0),
        "num_decoder_blocks": (0, 0, 0),
    }
    module = diffusers.AutoencoderTiny(channels, channels, latent_channels=latent_channels, **{**defaults, **settings})
    return Autoencoder(random_weights(module, seed), "tiny")


def kl(**settings: Any) -> Any:
    """An AutoencoderKL of 1/2 of the side, with normalisation and attention as in Stable Diffusion."""
    defaults: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "latent_channels": 4,
    }
    return random_weights(diffusers.AutoencoderKL(3, 3, **{**defaults, **settings}))


def vq(**settings: Any) -> Any:
    """A VQModel of 1/2 of the side."""
    defaults: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "latent_channels": 3,
        "num_vq_embeddings": 16,
    }
    return random_weights(diffusers.VQModel(3, 3, **{**defaults, **settings}))


def pictures(count: int = 6, side: int = 16, channels: int = 3, seed: int = 0) -> els.ImageSet:
    """Random pictures of two classes."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, channels, side, side), generator=generator).to(torch.uint8)
    return els.ImageSet(images, torch.arange(count) % 2, "toys", ("one", "two"))


def random_latents(
    count: int = 6, channels: int = 4, height: int = 9, width: int = 8, seed: int = 0, classes: int = 0
) -> LatentSet:
    """Latents far outside [-1, 1], of a few values, so that windows repeat and merging has something to do."""
    generator = torch.Generator().manual_seed(seed)
    levels = 2.0 * torch.randint(0, 4, (count, channels, height, width), generator=generator) - 3.5
    return LatentSet(levels, torch.arange(count) % classes if classes else None)
