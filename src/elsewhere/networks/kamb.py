"""The networks of Kamb & Ganguli (2025), as their repository "convolutional_diffusion" trains and saves them.

Both predict the noise n of a x0 + s n at a time in [0, 1]. Layers have the names of the files. All normalisation but
that of the embedding, which no pixel changes, is optional and off in the published networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from elsewhere.networks.resnet import Padding


class Embedding(nn.Module):
    """Sines and cosines of the time, and the class where there are classes, (B, width)."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.width = width
        self.class_embeddings = nn.Embedding(num_classes, width) if num_classes else None

    def forward(self, time: Tensor, label: Tensor | None) -> Tensor:
        half = self.width // 2
        exponents = torch.arange(half, device=time.device, dtype=time.dtype) / (half - 1)
        angles = time[:, None] / 10_000**exponents
        features = torch.cat([angles.sin(), angles.cos()], 1)
        return features if self.class_embeddings is None else features + self.class_embeddings(label)


def _conv(inner: int, outer: int, side: int, padding: Padding) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, side, padding="same", padding_mode=padding)


class KambResNet(nn.Module):
    """A residual network: every layer adds relu(conv(h + embedding of the layer)) to h.

    Args:
        channels: of the images.
        width: feature maps, a multiple of 8, and length of the embedding.
        layers: how many.
        padding: "zeros" or "circular".
        num_classes: 0 for none.
        side, last_side: of the convolutions and of the last one, in pixels.
        normalise: group normalisation in every layer.
        last_embedding: whether the embedding is also added after the last layer; otherwise its output is doubled.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int,
        padding: Padding,
        num_classes: int = 0,
        side: int = 3,
        last_side: int = 3,
        normalise: bool = False,
        last_embedding: bool = True,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(width, num_classes)
        self.up_projection = _conv(channels, width, side, padding)
        self.embs = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GroupNorm(8, width), nn.ReLU())
            for _ in range(layers + last_embedding)
        )
        norms = 1 if normalise else 0
        self.convs = nn.ModuleList(
            nn.Sequential(
                _conv(width, width, side, padding), *(nn.GroupNorm(8, width) for _ in range(norms)), nn.ReLU()
            )
            for _ in range(layers)
        )
        leave = _conv(width, channels, last_side, padding)
        self.down_projection = nn.Sequential(nn.GroupNorm(8, width), leave) if normalise else leave

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B,), label int64 (B,) -> (B, C, H, W)."""
        embedding = self.embedding(time, label)
        shifts = [layer(embedding)[:, :, None, None] for layer in self.embs]
        hidden = self.up_projection(x)
        for conv, shift in zip(self.convs, shifts, strict=False):
            hidden = hidden + conv(hidden + shift)
        hidden = hidden + (shifts[-1] if len(shifts) > len(self.convs) else hidden)
        out: Tensor = self.down_projection(hidden)
        return out


class _Block(nn.Module):
    """Two convolutions, each with a ReLU, of the input plus the embedding."""

    def __init__(self, inner: int, outer: int, embedding: int, side: int, padding: Padding, normalise: bool) -> None:
        super().__init__()
        self.emb = nn.Sequential(nn.ReLU(), nn.Linear(embedding, inner))
        layers: list[nn.Module] = []
        for width in (inner, outer):
            layers.append(_conv(width, outer, side, padding))
            if normalise:
                layers.append(nn.GroupNorm(min(32, outer), outer))
            layers.append(nn.ReLU())
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        out: Tensor = self.model(x + self.emb(embedding)[:, :, None, None])
        return out


class KambUNet(nn.Module):
    """A UNet of blocks, maximum pooling and transposed convolutions.

    Args:
        channels: of the images.
        widths: feature maps of each level.
        padding: "zeros" or "circular".
        num_classes: 0 for none.
        embedding: its length.
        side, last_side: of the convolutions on the way down and of the last one, in pixels; those on the way up are 3.
        normalise: group normalisation in every block.
        last_normalise: and before the last convolution.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        padding: Padding,
        num_classes: int = 0,
        embedding: int = 256,
        side: int = 3,
        last_side: int = 3,
        normalise: bool = False,
        last_normalise: bool = False,
    ) -> None:
        super().__init__()
        first, steps = widths[0], list(pairwise(widths))
        inputs = [channels, *widths[:-2]]
        self.embedding = Embedding(embedding, num_classes)
        self.feature_blocks = nn.ModuleList(
            _Block(inner, outer, embedding, side, padding, normalise)
            for inner, outer in zip(inputs, widths[:-1], strict=True)
        )
        self.bottleneck = _Block(*steps[-1], embedding, side, padding, normalise)
        self.upsamples = nn.ModuleList(nn.ConvTranspose2d(below, above, 2, 2) for above, below in reversed(steps))
        self.output_blocks = nn.ModuleList(
            _Block(2 * above, above, embedding, 3, padding, normalise) for above, _ in reversed(steps)
        )
        self.last_emb = nn.Sequential(nn.ReLU(), nn.Linear(embedding, first))
        self.output_conv = _conv(first, channels, last_side, padding)
        self.pool = nn.MaxPool2d(2)
        self.last_normalizer = nn.GroupNorm(min(32, first), first) if last_normalise else None

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B,), label int64 (B,) -> (B, C, H, W); each level but one halves the sides."""
        embedding = self.embedding(time, label)
        skips = []
        for block in self.feature_blocks:
            x = block(x, embedding)
            skips.append(x)
            x = self.pool(x)
        x = self.bottleneck(x, embedding)
        for up, block in zip(self.upsamples, self.output_blocks, strict=True):
            x = block(torch.cat([skips.pop(), up(x)], 1), embedding)
        x = x + self.last_emb(embedding)[:, :, None, None]
        out: Tensor = self.output_conv(x if self.last_normalizer is None else self.last_normalizer(x))
        return out
