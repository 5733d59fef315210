"""What the tests of networks share."""

from __future__ import annotations

import torch


def random_weights(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every weight drawn anew: layers that begin at zero would hide what they see."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = max(1, parameter[0].numel() if parameter.ndim > 1 else 1) ** -0.5
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)
