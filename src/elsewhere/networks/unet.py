"""Diffusers' UNet2DModel without attention and, by default, without normalisation."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from elsewhere.optional import require


class UNet(nn.Module):
    """A two-level UNet2DModel whose only ways of seeing are 3x3 convolutions and one halving of the image.

    Args:
        channels: 1 or 3.
        size: side of the images in pixels, a multiple of two.
        widths: feature maps of each level.
        layers: residual layers of each level.
        num_classes: 0 for no class embedding; index `num_classes` then means "no class given".
        normalise: keep diffusers' group normalisation. It sees the whole image, so the network is then not local.

    Raises:
        ImportError: diffusers is not installed.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        widths: tuple[int, ...] = (64, 64),
        layers: int = 1,
        num_classes: int = 0,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        diffusers: Any = require("diffusers", extra="networks", purpose="a UNet")
        self.inner = diffusers.UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            add_attention=False,
            norm_num_groups=8,
            num_class_embeds=num_classes + 1 if num_classes else None,
        )
        if not normalise:
            remove_normalisation(self.inner)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B,) in [0, 1], label int64 (B,) -> (B, C, H, W)."""
        out: Tensor = self.inner(x, 1000 * time, class_labels=label).sample
        return out


def remove_normalisation(module: nn.Module) -> None:
    """Put the identity in place of every group normalisation, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(module, name, nn.Identity())
        else:
            remove_normalisation(child)
