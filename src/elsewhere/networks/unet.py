"""Diffusers' UNet2DModel, by default without attention and without normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from elsewhere.checks import checked
from elsewhere.networks.words import words_of
from elsewhere.optional import require

GROUPS = 8
HEAD = 8
"""Feature maps of each head of attention, diffusers' default."""
MIDDLE = "middle"
"""Name of the block below the coarsest level, in lists of levels with attention."""
MOST_LEVELS = 15
"""Every level but the first halves the image, and no image has more than 2^15 pixels on a side."""


class UNet(nn.Module):
    """A UNet2DModel whose only ways of seeing are 3x3 convolutions and, between its levels, halving the image.

    With `attention`, some levels see the whole image: after each of their residual layers there is self-attention among
    all places of that level (heads of 8 feature maps). Nothing else of the network changes.

    Args:
        channels: 1 or 3.
        size: (height, width) of the images in pixels, or the side of square ones; a multiple of two for every
            level but one.
        widths: feature maps of each level.
        layers: residual layers of each level.
        num_classes: 0 for no class embedding; index `num_classes` then means "no class given".
        normalise: keep diffusers' group normalisation. It sees the whole image, so the network is then not local.
        attention: levels with self-attention: 0 is that of the whole image, 1 that of half its sides, and so on;
            "middle" is the block below the coarsest level, of the same sides.
        text_width: numbers of a sentence embedding; 0 for a network without words. A network has classes or words.

    Raises:
        ImportError: diffusers is not installed.
        TypeError: an argument of another kind.
        ValueError: a size that cannot be halved often enough, no level, a number below 1, widths that
            normalisation cannot divide into its groups or attention into its heads, attention at a level that is not
            there, or both classes and words.
    """

    @checked
    def __init__(
        self,
        channels: int,
        size: int | tuple[int, int],
        widths: Sequence[int] = (64, 64),
        layers: int = 1,
        num_classes: int = 0,
        normalise: bool = False,
        text_width: int = 0,
        attention: Sequence[int | str] = (),
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        _check(channels, height, width, widths, layers, num_classes, normalise)
        _check_attention(attention, widths)
        if num_classes and text_width:
            raise ValueError(f"a UNet has classes or words, got num_classes={num_classes} and text_width={text_width}")
        diffusers: Any = require("diffusers", extra="networks", purpose="a UNet", names=("UNet2DModel",))
        levels = range(len(widths))
        self.inner = diffusers.UNet2DModel(
            sample_size=(height, width),
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            down_block_types=tuple(f"{'Attn' * (level in attention)}DownBlock2D" for level in levels),
            up_block_types=tuple(f"{'Attn' * (level in attention)}UpBlock2D" for level in reversed(levels)),
            add_attention=MIDDLE in attention,
            attention_head_dim=HEAD,
            # Where the normalisation is taken out again, one group lets every width pass.
            norm_num_groups=GROUPS if normalise else 1,
            num_class_embeds=num_classes + 1 if num_classes else None,
            # What is given in the place of class labels is added to the embedding of time.
            class_embed_type="identity" if text_width else None,
        )
        self.words = words_of(text_width, self.inner.time_embedding.linear_2.out_features)
        if not normalise:
            remove_normalisation(self.inner)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B,) in [0, 1], label int64 (B,), text as `WordEmbedding` -> (B, C, H, W)."""
        added = label if self.words is None else self.words(text, len(x))
        out: Tensor = self.inner(x, 1000 * time, class_labels=added).sample
        return out


def remove_normalisation(module: nn.Module) -> None:
    """Put the identity in place of every group normalisation, in place."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.GroupNorm):
            setattr(module, name, nn.Identity())
        else:
            remove_normalisation(child)


def _check(
    channels: int, height: int, width: int, widths: Sequence[int], layers: int, num_classes: int, normalise: bool
) -> None:
    if not len(widths):
        raise ValueError("widths must name the feature maps of at least one level, got none")
    if len(widths) > MOST_LEVELS:
        raise ValueError(f"widths must have at most {MOST_LEVELS} levels, got {len(widths)}")
    least = min(widths)
    for name, value in (("channels", channels), ("every width", least), ("layers", layers)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    if num_classes < 0:
        raise ValueError(f"num_classes must be 0 (no classes) or more, got {num_classes}")
    multiple = 2 ** (len(widths) - 1)
    if height < 1 or width < 1 or height % multiple or width % multiple:
        raise ValueError(
            f"a UNet of {len(widths)} levels needs images whose sides are multiples of {multiple}, "
            f"got {height}x{width} pixels: resize them, or use a resnet"
        )
    if normalise and any(value % GROUPS for value in widths):
        raise ValueError(f"with normalisation every width must be a multiple of {GROUPS}, got {list(widths)}")


def _check_attention(attention: Sequence[int | str], widths: Sequence[int]) -> None:
    known = [*range(len(widths)), MIDDLE]
    for level in attention:
        if level not in known:
            raise ValueError(
                f"attention must name levels of {', '.join(map(str, known))}, for a UNet of {len(widths)} levels, "
                f"got {level!r}"
            )
        maps = widths[-1 if isinstance(level, str) else level]
        if maps % HEAD:
            raise ValueError(
                f"attention has heads of {HEAD} feature maps: the width of level {level} must be a multiple of {HEAD}, "
                f"got {maps}"
            )
    if len(set(attention)) < len(attention):
        raise ValueError(f"attention must name every level once, got {', '.join(map(str, attention))}")
