"""A small convolutional residual network: local and, but for its padding, equivariant."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Padding = Literal["zeros", "circular"]


def timestep_features(time: Tensor, width: int) -> Tensor:
    """Sines and cosines of 1000 * time, (B,) -> (B, width), as in transformers and DDPM."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=time.device) * (-math.log(10_000) / half))
    angles = 1000 * time[:, None].float() * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an embedding of time and class, added to the input."""

    def __init__(self, width: int, embedding: int, padding: Padding) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding)
        self.second = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding)
        self.scale_shift = nn.Linear(embedding, 2 * width)
        # Without normalisation the depth would multiply the variance: each block starts as the identity.
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias) if self.second.bias is not None else None

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.scale_shift(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = self.first(F.silu(hidden))
        return hidden + self.second(F.silu(inner * (1 + scale) + shift))


class ResNet(nn.Module):
    """Residual network of 3x3 convolutions with no normalisation, so that no pixel sees past its window.

    The receptive field is 4 * blocks + 5 pixels wide.

    Args:
        channels: 1 or 3.
        width: feature maps in every layer.
        blocks: residual blocks of two convolutions.
        num_classes: 0 for no class embedding; index `num_classes` then means "no class given".
        padding: "zeros" lets the network feel the borders, "circular" makes it exactly equivariant.
    """

    def __init__(
        self, channels: int, width: int = 64, blocks: int = 4, num_classes: int = 0, padding: Padding = "zeros"
    ) -> None:
        super().__init__()
        embedding = 128
        self.time = nn.Sequential(nn.Linear(64, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Embedding(num_classes + 1, embedding) if num_classes else None
        self.enter = nn.Conv2d(channels, width, 3, padding=1, padding_mode=padding)
        self.blocks = nn.ModuleList(ResidualBlock(width, embedding, padding) for _ in range(blocks))
        self.leave = nn.Conv2d(width, channels, 3, padding=1, padding_mode=padding)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B,) in [0, 1], label int64 (B,) -> (B, C, H, W)."""
        embedding = self.time(timestep_features(time, 64).to(x.dtype))
        if self.label is not None:
            embedding = embedding + self.label(label)
        embedding = F.silu(embedding)
        hidden = self.enter(x)
        for block in self.blocks:
            hidden = block(hidden, embedding)
        out: Tensor = self.leave(F.silu(hidden))
        return out
