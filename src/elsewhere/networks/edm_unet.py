"""The UNets of EDM (Karras et al. 2022): DDPM++ and NCSN++ (Song et al. 2021) and ADM (Dhariwal & Nichol 2021).

Layers have the names of EDM's files, so that their weights fit without a table of names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Family = Literal["song", "adm"]
Resample = Literal["up", "down"] | None


class Conv(nn.Module):
    """A convolution after resampling by two with a fixed filter; side 0 resamples only.

    With `fused`, the convolution of a "down" comes first, and both together pad once.
    """

    def __init__(
        self,
        inner: int,
        outer: int,
        side: int,
        resample: Resample = None,
        filter_length: int = 2,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.resample, self.fused, self.inner, self.outer = resample, fused, inner, outer
        self.weight = (
            nn.Parameter(torch.zeros(outer, inner, side, side, device="cpu", dtype=torch.float32)) if side else None
        )
        self.bias = nn.Parameter(torch.zeros(outer, device="cpu", dtype=torch.float32)) if side else None
        # Its values are in the file.
        shape = (1, 1, filter_length, filter_length)
        self.resample_filter: Tensor | None
        self.register_buffer(
            "resample_filter", torch.zeros(shape, device="cpu", dtype=torch.float32) if resample else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            return self._fused(x)
        if self.resample_filter is not None:
            # In groups of one: every feature map is filtered alone.
            kernel = self.resample_filter.expand(self.inner, -1, -1, -1)
            margin = (kernel.shape[-1] - 1) // 2
            if self.resample == "up":
                x = F.conv_transpose2d(x, 4 * kernel, stride=2, padding=margin, groups=self.inner)
            else:
                x = F.conv2d(x, kernel, stride=2, padding=margin, groups=self.inner)
        if self.weight is None:
            return x
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)

    def _fused(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        assert self.resample_filter is not None
        kernel = self.resample_filter.expand(self.outer, -1, -1, -1)
        x = F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2 + (kernel.shape[-1] - 1) // 2)
        return F.conv2d(x, kernel, self.bias, stride=2, groups=self.outer)


def _norm(width: int, eps: float) -> nn.GroupNorm:
    """32 groups, or fewer so that each has 4 channels or more."""
    return nn.GroupNorm(min(32, width // 4), width, eps)


class Block(nn.Module):
    """Two convolutions with the embedding between them, added to the input; self-attention where `heads` is not 0."""

    def __init__(
        self,
        inner: int,
        outer: int,
        embedding: int,
        family: Family,
        heads: int = 0,
        resample: Resample = None,
        filter_length: int = 2,
    ) -> None:
        super().__init__()
        song = family == "song"
        eps = 1e-6 if song else 1e-5
        self.inner, self.heads, self.scales = inner, heads, not song
        # The sum of two branches keeps the variance of one.
        self.share = math.sqrt(0.5) if song else 1.0
        self.norm0 = _norm(inner, eps)
        self.conv0 = Conv(inner, outer, 3, resample, filter_length)
        self.affine = nn.Linear(embedding, outer * (2 if self.scales else 1))
        self.norm1 = _norm(outer, eps)
        self.conv1 = Conv(outer, outer, 3)
        projects = inner != outer or (song and resample is not None)
        self.skip = (
            Conv(inner, outer, int(projects), resample, filter_length) if projects or resample is not None else None
        )
        if heads:
            self.norm2 = _norm(outer, eps)
            self.qkv = Conv(outer, 3 * outer, 1)
            self.proj = Conv(outer, outer, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv0(F.silu(self.norm0(x)))
        given = self.affine(embedding)[:, :, None, None]
        if self.scales:
            scale, shift = given.chunk(2, 1)
            hidden = self.norm1(hidden) * (1 + scale) + shift
        else:
            hidden = self.norm1(hidden + given)
        hidden = self.conv1(F.silu(hidden))
        x = self.share * (hidden + (x if self.skip is None else self.skip(x)))
        return self.share * (x + self._attention(x)) if self.heads else x

    def _attention(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        # Each head's channels hold query, key and value in turn.
        parts = self.qkv(self.norm2(x)).view(batch, self.heads, channels // self.heads, 3, height * width)
        query, key, value = (part.transpose(2, 3) for part in parts.unbind(3))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(2, 3)
        out: Tensor = self.proj(mixed.reshape(x.shape))
        return out


class EDMUNet(nn.Module):
    """F(x, t, label) of EDM's DDPM++, NCSN++ and ADM networks.

    Args:
        family: "song" for DDPM++ and NCSN++, "adm".
        side: of the images in pixels.
        channels: of the images.
        num_classes: 0 for none.
        width: feature maps; each level has a multiple of it.
        multiples: one a level; each level but the first halves the image.
        embedding: length of the embedding, as a multiple of width.
        blocks: residual blocks of a level.
        attention: sides of the levels with attention.
        fourier: whether the time is embedded by given random frequencies (NCSN++).
        noise: length of the embedding of the time, as a multiple of width.
        residual: whether the input, halved again and again, is added to every level of the way down (NCSN++).
        filter_length: of the filter that resamples: 2 in DDPM++ and ADM, 4 in NCSN++.
    """

    def __init__(
        self,
        family: Family,
        side: int,
        channels: int,
        num_classes: int,
        width: int,
        multiples: Sequence[int],
        embedding: int,
        blocks: int,
        attention: Sequence[int],
        fourier: bool = False,
        noise: int = 1,
        residual: bool = False,
        filter_length: int = 2,
    ) -> None:
        super().__init__()
        self.family, self.num_classes, self.noise = family, num_classes, noise * width
        song, length = family == "song", embedding * width
        self.map_noise = nn.Module()
        if fourier:
            self.map_noise.register_buffer("freqs", torch.zeros(self.noise // 2, device="cpu", dtype=torch.float32))
        self.map_layer0 = nn.Linear(self.noise, length)
        self.map_layer1 = nn.Linear(length, length)
        self.map_label = nn.Linear(num_classes, self.noise if song else length, bias=song) if num_classes else None

        def block(inner: int, outer: int, attends: bool = False, resample: Resample = None) -> Block:
            heads = 0 if not attends else 1 if song else outer // 64
            return Block(inner, outer, length, family, heads, resample, filter_length)

        widths = [width * multiple for multiple in multiples]
        sides = [side >> level for level in range(len(widths))]
        now = width if song else widths[0]
        enc: dict[str, nn.Module] = {f"{side}x{side}_conv": Conv(channels, now, 3)}
        skips, beside = [now], channels
        for level, (size, outer) in enumerate(zip(sides, widths, strict=True)):
            if level:
                enc[f"{size}x{size}_down"] = block(now, now, resample="down")
                skips.append(now)
                if residual:
                    enc[f"{size}x{size}_aux_residual"] = Conv(beside, now, 3, "down", filter_length, fused=True)
                    beside = now
            for index in range(blocks):
                enc[f"{size}x{size}_block{index}"] = block(now, outer, size in attention)
                now = outer
                skips.append(now)
        dec: dict[str, nn.Module] = {}
        for level, (size, outer) in reversed(list(enumerate(zip(sides, widths, strict=True)))):
            if level == len(widths) - 1:
                dec[f"{size}x{size}_in0"] = block(now, now, True)
                dec[f"{size}x{size}_in1"] = block(now, now)
            else:
                dec[f"{size}x{size}_up"] = block(now, now, resample="up")
            for index in range(blocks + 1):
                attends = size in attention and (index == blocks or not song)
                dec[f"{size}x{size}_block{index}"] = block(now + skips.pop(), outer, attends)
                now = outer
        norm, conv = _norm(now, 1e-6 if song else 1e-5), Conv(now, channels, 3)
        if song:
            dec |= {f"{side}x{side}_aux_norm": norm, f"{side}x{side}_aux_conv": conv}
        else:
            self.out_norm, self.out_conv = norm, conv
        self.enc, self.dec = nn.ModuleDict(enc), nn.ModuleDict(dec)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B,), label int64 (B,), or None for none of the classes -> (B, C, H, W)."""
        embedding = self._embed(time, label)
        beside, skips = x, list[Tensor]()
        for name, layer in self.enc.items():
            if name.endswith("_aux_residual"):
                x = skips[-1] = beside = math.sqrt(0.5) * (x + layer(beside))
                continue
            x = layer(x, embedding) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for layer in self.dec.values():
            if isinstance(layer, Block):
                x = layer(x if layer.inner == x.shape[1] else torch.cat([x, skips.pop()], 1), embedding)
        *_, norm, conv = self.dec.values() if self.family == "song" else (self.out_norm, self.out_conv)
        out: Tensor = conv(F.silu(norm(x)))
        return out

    def _embed(self, time: Tensor, label: Tensor | None) -> Tensor:
        song = self.family == "song"
        frequencies = getattr(self.map_noise, "freqs", None)
        if frequencies is None:
            half = self.noise // 2
            exponents = torch.arange(half, device=time.device, dtype=time.dtype) / (half - song)
            angles = time[:, None] * 10_000.0**-exponents
        else:
            angles = time[:, None] * (2 * math.pi * frequencies)
        parts = (angles.sin(), angles.cos()) if song else (angles.cos(), angles.sin())
        features = torch.cat(parts, 1)
        classes: Tensor | int = 0
        if self.map_label is not None:
            chosen = time.new_zeros(len(time), self.num_classes)
            if label is not None:
                chosen[torch.arange(len(time), device=time.device), label] = (
                    math.sqrt(self.num_classes) if song else 1.0
                )
            classes = self.map_label(chosen)
        if song:
            return F.silu(self.map_layer1(F.silu(self.map_layer0(features + classes))))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(features))) + classes)
