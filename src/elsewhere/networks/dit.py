"""Diffusers' DiTTransformer2DModel: a transformer on patches, in which everything sees the whole image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elsewhere.checks import checked
from elsewhere.optional import require

HEAD = 16
"""Feature maps of each head of attention: a small network still has several heads."""
MOST_LAYERS = 1000


class DiT(nn.Module):
    """A diffusion transformer (Peebles & Xie 2023, arXiv 2212.09748) of diffusers, on pixels.

    The image is cut into patches; each becomes a token, and every layer has self-attention among all tokens.

    Args:
        channels: 1 or 3.
        size: (height, width) of the images in pixels, or the side; square, a multiple of `patch`.
        width: feature maps of a token; a multiple of 16, which is the width of a head.
        layers: transformer layers.
        patch: side of a patch in pixels.
        num_classes: 0 for no classes; index `num_classes` then means "no class given".
        text_width: 0: this network takes no words.

    Raises:
        ImportError: diffusers is not installed.
        TypeError: an argument of another kind.
        ValueError: images that are not square or no multiple of the patch, a width that is no multiple of 16, a number
            below 1, or words.
    """

    @checked
    def __init__(
        self,
        channels: int,
        size: int | tuple[int, int],
        width: int = 128,
        layers: int = 4,
        patch: int = 4,
        num_classes: int = 0,
        text_width: int = 0,
    ) -> None:
        super().__init__()
        height, across = (size, size) if isinstance(size, int) else size
        _check(channels, height, across, width, layers, patch, num_classes, text_width)
        diffusers: Any = require("diffusers", extra="networks", purpose="a DiT", names=("DiTTransformer2DModel",))
        self.inner = diffusers.DiTTransformer2DModel(
            num_attention_heads=width // HEAD,
            attention_head_dim=HEAD,
            in_channels=channels,
            num_layers=layers,
            sample_size=height,
            patch_size=patch,
            num_embeds_ada_norm=max(1, num_classes),
        )
        places = self.inner.pos_embed
        # Part of the file, so that a network that is read has it: diffusers leaves it out, because it can be computed.
        places.register_buffer("pos_embed", places.pos_embed, persistent=True)
        for part in self.inner.modules():
            # diffusers would hide labels by torch's global generator; the training hides them by its own.
            if hasattr(part, "dropout_prob"):
                part.dropout_prob = 0.0

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None, text: None = None) -> Tensor:
        """x (B, C, H, W), time (B,) in [0, 1], label int64 (B,), no text -> (B, C, H, W)."""
        # A DiT always embeds a class; without classes there is one.
        label = torch.zeros(len(x), dtype=torch.int64, device=x.device) if label is None else label
        out: Tensor = self.inner(x, 1000 * time, class_labels=label).sample
        return out


def _check(
    channels: int, height: int, across: int, width: int, layers: int, patch: int, num_classes: int, text_width: int
) -> None:
    for name, value in (("channels", channels), ("width", width), ("layers", layers), ("patch", patch)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    if layers > MOST_LAYERS:
        raise ValueError(f"layers must be at most {MOST_LAYERS}, got {layers}")
    if num_classes < 0:
        raise ValueError(f"num_classes must be 0 (no classes) or more, got {num_classes}")
    if text_width:
        raise ValueError("a DiT takes no words here: train a UNet with --captions")
    if width % HEAD:
        raise ValueError(f"a DiT has heads of {HEAD} feature maps: width must be a multiple of {HEAD}, got {width}")
    if height != across or height < patch or height % patch:
        raise ValueError(
            f"a DiT needs square images, their side a multiple of the patch of {patch} pixels, got {height}x{across}: "
            "resize them (--size), or train a unet"
        )
