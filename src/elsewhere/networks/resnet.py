"""A small convolutional residual network: local and, but for its padding, equivariant."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elsewhere.checks import checked
from elsewhere.networks.words import words_of

Padding = Literal["zeros", "circular"]

TIME_FEATURES = 64
EMBEDDING = 128


def timestep_features(time: Tensor, width: int) -> Tensor:
    """Sines and cosines of 1000 * time, (B,) -> (B, width) for even widths, as in transformers and DDPM."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=time.device, dtype=torch.float32) * (-math.log(10_000) / half))
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
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """hidden (B, width, H, W), embedding (B, embedding) -> (B, width, H, W)."""
        scale, shift = self.scale_shift(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = self.first(F.silu(hidden))
        out: Tensor = hidden + self.second(F.silu(inner * (1 + scale) + shift))
        return out


class ResNet(nn.Module):
    """Residual network of 3x3 convolutions with no normalisation, so that no pixel sees past its window.

    The receptive field is 4 * blocks + 5 pixels wide.

    Args:
        channels: 1 or 3.
        width: feature maps in every layer.
        blocks: residual blocks of two convolutions.
        num_classes: 0 for no class embedding; index `num_classes` then means "no class given".
        padding: "zeros" lets the network feel the borders, "circular" makes it exactly equivariant.
        text_width: numbers of a sentence embedding; 0 for a network without words.

    Raises:
        TypeError: an argument of another kind.
        ValueError: a size below 1, num_classes or text_width below 0, or an unknown padding.
    """

    @checked
    def __init__(
        self,
        channels: int,
        width: int = 64,
        blocks: int = 4,
        num_classes: int = 0,
        padding: Padding = "zeros",
        text_width: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("width", width), ("blocks", blocks)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        if num_classes < 0:
            raise ValueError(f"num_classes must be 0 (no classes) or more, got {num_classes}")
        self.time = nn.Sequential(nn.Linear(TIME_FEATURES, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.label = nn.Embedding(num_classes + 1, EMBEDDING) if num_classes else None
        self.enter = nn.Conv2d(channels, width, 3, padding=1, padding_mode=padding)
        self.blocks = nn.ModuleList(ResidualBlock(width, EMBEDDING, padding) for _ in range(blocks))
        self.leave = nn.Conv2d(width, channels, 3, padding=1, padding_mode=padding)
        nn.init.zeros_(self.leave.weight)
        # Last: the weights that a seed gives a network without words stay what they were.
        self.words = words_of(text_width, EMBEDDING)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B,) in [0, 1], label int64 (B,), text as `WordEmbedding` -> (B, C, H, W)."""
        embedding = self.time(timestep_features(time, TIME_FEATURES).to(x.dtype))
        if self.label is not None:
            embedding = embedding + self.label(label)
        if self.words is not None:
            embedding = embedding + self.words(text, len(x))
        embedding = F.silu(embedding)
        hidden = self.enter(x)
        for block in self.blocks:
            hidden = block(hidden, embedding)
        out: Tensor = self.leave(F.silu(hidden))
        return out
