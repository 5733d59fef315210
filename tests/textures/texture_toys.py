"""Small images for textures."""

from __future__ import annotations

import torch
from torch import Tensor


def toy(channels: int = 1, height: int = 13, width: int = 14) -> Tensor:
    """Random smooth stripes, (1, C, H, W) in [-1, 1]."""
    rows, columns = torch.arange(height)[:, None] * 1.0, torch.arange(width) * 1.0
    waves = [torch.sin(rows * (0.7 + 0.2 * c) + columns * 0.5) for c in range(channels)]
    noise = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(3)) - 0.5
    return (0.7 * torch.stack(waves) + 0.5 * noise)[None].clamp(-1, 1)
