"""Autoencoders of diffusers: from images to latents and back, in the units in which latent networks are trained."""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elsewhere.checks import check_device, check_fields, check_whole, checked, seen
from elsewhere.denoiser import check_images
from elsewhere.layout import torch_defaults
from elsewhere.networks.diffusers_folder import read_config
from elsewhere.networks.diffusers_weights import read_model
from elsewhere.optional import require
from elsewhere.phrases import count, listed

KINDS = ("AutoencoderKL", "AutoencoderTiny", "VQModel")
"""Classes of diffusers that are understood."""
PLACES = ("", "vae", "vqvae")
"""Where in the folder of a pipeline its autoencoder is."""
PIXELS_AT_ONCE = 2**20
"""Pixels of a piece of a batch, 1,024 images of 32 x 32: a layer of 128 feature maps then takes 512 MiB."""
PROBED = 33
"""Side of the latents in which a receptive field is measured, at first; it is doubled while the field fills them."""
MOST_PROBED = 129
PROBES = 8
"""Random latents with which a receptive field is measured."""
SHARE = 0.95
"""Share of the squared change within the effective field."""


def _shipped() -> tuple[str, ...]:
    folder = files("elsewhere.latents") / "shipped"
    names = [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    return tuple(sorted(name for name in names if not name.startswith(("_", "."))))


SHIPPED = _shipped()
"""Names of the autoencoders that come with the package; beside each is <name>.md, which says how it was trained."""


@dataclass(frozen=True)
class Field:
    """Which latents a pixel is made from, as `Autoencoder.field` measures it.

    Attributes:
        latents: side, in latents, of the square that a pixel depends on: no latent outside changes it. None: the whole
            image, as with group normalisation or self-attention.
        pixels: side, in pixels, of the square that one latent changes; None: the whole image.
        effective: side, in pixels, of the square round a latent that has 95 % of the squared change.
    """

    latents: int | None
    pixels: int | None
    effective: int

    def __post_init__(self) -> None:
        check_fields(self)

    def __str__(self) -> str:
        if self.latents is None:
            return f"a pixel depends on all latents; 95 % of a latent's effect is within {self.effective} pixels"
        return (
            f"a pixel depends on {self.latents} x {self.latents} latents, a latent changes {self.pixels} x "
            f"{self.pixels} pixels, 95 % of its effect within {self.effective} x {self.effective}"
        )


class Autoencoder:
    """An autoencoder of diffusers, with its scaling: latents = (encoder(images) - shift_factor) scaling_factor.

    Of an AutoencoderKL the latents are the mean of the posterior; of a VQModel those before quantisation, and decoding
    quantises. `load_autoencoder` makes it.

    Args:
        module: a diffusers AutoencoderKL, AutoencoderTiny or VQModel; set to evaluation, without gradients, in place.
        name: what reports call it.

    Attributes:
        channels: of the images, 1 or 3.
        latent_channels: of the latents.
        factor: pixels on a side for each latent.

    Raises:
        TypeError: another module.
        ValueError: settings that are not understood.
    """

    @checked
    def __init__(self, module: nn.Module, name: str = "autoencoder") -> None:
        config: Any = getattr(module, "config", None)
        if type(module).__name__ not in KINDS or config is None:
            raise TypeError(f"module must be a diffusers {listed(KINDS, 'or')}, got {seen(module)}")
        self.module = module.eval().requires_grad_(False)
        self.name = name
        self.channels = int(config["in_channels"])
        self.latent_channels = int(config.get("vq_embed_dim") or config["latent_channels"])
        if int(config["out_channels"]) != self.channels:
            raise ValueError(
                f"the autoencoder turns {self.channels} channels into {config['out_channels']}: expected as many out "
                "as in"
            )
        levels = config.get("encoder_block_out_channels") or config["block_out_channels"]
        self.factor = 2 ** (len(levels) - 1)
        self.scaling, self.shift = config.get("scaling_factor"), config.get("shift_factor")
        self.scaling = 1.0 if self.scaling is None else float(self.scaling)
        self.shift = 0.0 if self.shift is None else float(self.shift)
        if not 0 < self.scaling < float("inf"):
            raise ValueError(f"scaling_factor of the autoencoder must be above 0, got {self.scaling}")
        if config.get("latents_mean") is not None or config.get("latents_std") is not None:
            raise ValueError(
                "the autoencoder has latents_mean or latents_std, a mean of each channel: expected scaling_factor and "
                "shift_factor alone"
            )

    def __repr__(self) -> str:
        return (
            f"Autoencoder({self.name!r}, {type(self.module).__name__}, {self.channels} channels to "
            f"{self.latent_channels}, 1/{self.factor} of the side)"
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights and of scaling and shift."""
        digest = hashlib.sha256(f"{type(self.module).__name__} {self.scaling} {self.shift}".encode())
        for name, value in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, H, W) of the latents of images of a size.

        Raises:
            TypeError, ValueError: no whole numbers of 1 and more, or a size that the autoencoder cannot divide.
        """
        height, width = check_whole("height", height, 1), check_whole("width", width, 1)
        if height % self.factor or width % self.factor:
            near = max(self.factor, round(max(height, width) / self.factor) * self.factor)
            raise ValueError(
                f"images are {height}x{width} pixels, {self.name} divides sides by {self.factor}: give data whose "
                f"sides are multiples of {self.factor}, as in load_images(..., size={near})"
            )
        return self.latent_channels, height // self.factor, width // self.factor

    @checked
    def encode(self, images: Tensor) -> Tensor:
        """Latents of images.

        Args:
            images: (B, C, H, W) in [-1, 1], sides multiples of `factor`.

        Returns:
            float32 (B, latent_channels, H / factor, W / factor), on the device of the images; differentiable in them.

        Raises:
            TypeError, ValueError: not such images.
        """
        given = check_images(images, "images")
        if given.shape[1] != self.channels:
            remedy = "load_images(..., gray=False)" if self.channels == 3 else "load_images(..., gray=True)"
            raise ValueError(
                f"images have {count(given.shape[1], 'channel')}, {self.name} takes {self.channels}: {remedy} converts "
                "them"
            )
        self.latent_shape(*given.shape[2:])
        found = self._pieces(given, given[0, 0].numel(), self._encode)
        return check_images(found, f"the latents of {self.name}")

    @checked
    def decode(self, latents: Tensor) -> Tensor:
        """Images of latents.

        Args:
            latents: (B, latent_channels, h, w), as `encode` makes them.

        Returns:
            float32 (B, C, h factor, w factor) in about [-1, 1], not clipped, on the device of the latents;
            differentiable in them.

        Raises:
            TypeError, ValueError: not such latents.
        """
        given = check_images(latents, "latents")
        if given.shape[1] != self.latent_channels:
            raise ValueError(
                f"latents have {count(given.shape[1], 'channel')}, {self.name} takes {self.latent_channels}: give the "
                "autoencoder that made them"
            )
        found = self._pieces(given, given[0, 0].numel() * self.factor**2, self._decode)
        return check_images(found, f"the images of {self.name}")

    @cached_property
    def field(self) -> Field:
        """Which latents a pixel is made from: measured by changing one latent among random ones, in float64."""
        # Normalisation and attention bring the whole image to every pixel, however little of it.
        everywhere = any(
            isinstance(part, nn.GroupNorm) or "attention" in type(part).__name__.lower()
            for part in self.module.decoder.modules()  # type: ignore[union-attr]
        )
        module, side = copy.deepcopy(self.module).double(), PROBED
        with torch_defaults(), torch.no_grad():
            while True:
                change = self._probe(module, side)
                found = _field(change, side // 2, self.factor, everywhere)
                if everywhere or found.latents is not None or side >= MOST_PROBED:
                    return found
                side = 2 * side - 1

    def _probe(self, module: nn.Module, side: int) -> Tensor:
        """The squared change of every pixel, (side factor, side factor), when the latent in the middle changes."""
        generator = torch.Generator().manual_seed(0)
        # Several: a ReLU that is shut lets nothing through.
        shape = (PROBES, self.latent_channels, side, side)
        latents = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(self.device)
        changed = latents.clone()
        changed[..., side // 2, side // 2] += 1.0
        first, second = (self._decode(one, module) for one in (latents, changed))
        return (second - first).square().sum((0, 1)).cpu()

    def _pieces(self, given: Tensor, pixels: int, work: Any) -> Tensor:
        at_once = max(1, PIXELS_AT_ONCE // pixels)
        parameter = next(self.module.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and given.requires_grad), torch_defaults():
            moved = given.to(parameter.device, parameter.dtype)
            found = torch.cat([work(some) for some in torch.split(moved, at_once)])
        return found.to(given.device, torch.promote_types(found.dtype, torch.float32))

    def _encode(self, images: Tensor) -> Tensor:
        answer = self.module.encode(images)  # type: ignore[operator]
        latents = answer.latent_dist.mode() if hasattr(answer, "latent_dist") else answer.latents
        scaled: Tensor = (latents - self.shift) * self.scaling
        return scaled

    def _decode(self, latents: Tensor, module: Any = None) -> Tensor:
        decoder: Any = self.module if module is None else module
        images: Tensor = decoder.decode(latents / self.scaling + self.shift).sample
        return images


def _field(change: Tensor, middle: int, factor: int, everywhere: bool) -> Field:
    """The field of a decoder from the squared change of every pixel, (H, W), when the latent in the middle changes."""
    size = len(change)
    # A latent covers the pixels middle * factor to (middle + 1) * factor - 1.
    start, end = middle * factor, (middle + 1) * factor
    effective = size
    for more in range(size):
        inside = change[max(0, start - more) : end + more, max(0, start - more) : end + more]
        if float(inside.sum()) >= SHARE * float(change.sum()):
            effective = min(size, factor + 2 * more)
            break
    touched = ((change > 0).any(0) | (change > 0).any(1)).nonzero()[:, 0]
    first, last = (int(touched[0]), int(touched[-1])) if len(touched) else (start, end - 1)
    if everywhere or first == 0 or last == size - 1:
        return Field(None, None, effective)
    before, after = max(0, start - first), max(0, last + 1 - end)
    # Of the pixels of a block, the one that most latents reach.
    latents = max((at + before) // factor + (factor - 1 - at + after) // factor + 1 for at in range(factor))
    return Field(latents, factor + before + after, effective)


def load_autoencoder(source: Any, device: str | torch.device | None = None, variant: str | None = None) -> Autoencoder:
    """Load an autoencoder from a name or a folder, or read one that is in memory.

    Only safetensors weights are read, no code of the folder runs, and nothing is downloaded.

    Args:
        source: one of
            a name in `latents.SHIPPED`, such as "emoji-vae", which come with the package;
            a diffusers folder of an AutoencoderKL, AutoencoderTiny or VQModel, or of a pipeline that has one in vae/ or
            vqvae/;
            such a module, or a pipeline that has one;
            an Autoencoder: it is returned as it is.
        device: where to put the weights; None: "cpu" for folders; modules in memory stay where they are.
        variant: such as "fp16"; see `load_network`. Weights are computed in float32.

    Returns:
        An Autoencoder.

    Raises:
        FileNotFoundError: no such name or folder, or no autoencoder in it.
        TypeError: source is none of these.
        ValueError: an autoencoder of another class, damaged weights, pickles, an unknown variant.
        ImportError: diffusers is not installed (extra `networks`).

    Example:
        >>> import elsewhere as els
        >>> vae = els.load_autoencoder("emoji-vae")
        >>> vae.encode(els.load_images("pixel-faces", limit=2).scaled()).shape
        torch.Size([2, 4, 8, 8])
    """
    if device is not None:
        device = check_device("device", device)
    if variant is not None and not isinstance(variant, str):
        raise TypeError(f"variant must be a name such as 'fp16' or None, got {type(variant).__name__}")
    if isinstance(source, str | os.PathLike):
        found = _read(source, variant)
    elif variant is not None:
        raise ValueError(f"variant={variant!r} was given but source is no diffusers folder: leave variant out")
    elif isinstance(source, Autoencoder):
        found = source
    else:
        parts = getattr(source, "components", None)
        module = source if not isinstance(parts, dict) else parts.get("vae") or parts.get("vqvae")
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"source must be a name, a folder, a diffusers {listed(KINDS, 'or')}, or a pipeline with one, got "
                f"{seen(source)}"
            )
        found = Autoencoder(module, type(module).__name__)
    if device is not None:
        found.module.to(device)
    return found


def _read(source: str | os.PathLike[str], variant: str | None) -> Autoencoder:
    text = os.fspath(source)
    if not isinstance(text, str) or not text:
        raise ValueError(f"source must be a name or a path, got {text!r}")
    if isinstance(source, str) and text in SHIPPED:
        with as_file(files("elsewhere.latents") / "shipped" / text) as folder:
            return _read_folder(folder, text, variant)
    path = Path(text)
    try:
        there = path.is_dir()
    except (OSError, ValueError):  # a name too long for a file, or with a zero byte
        there = False
    if not there:
        names = f"; those that come with the package: {', '.join(SHIPPED)}" if SHIPPED else ""
        raise FileNotFoundError(f"no autoencoder at {text!r}: give a diffusers folder{names}")
    return _read_folder(path, path.resolve().name, variant)


def _read_folder(folder: Path, name: str, variant: str | None) -> Autoencoder:
    homes = [folder / place for place in PLACES if (folder / place / "config.json").is_file()]
    found = [(home, read_config(home / "config.json", "an autoencoder")) for home in homes]
    of_kind = [(home, config) for home, config in found if config.get("_class_name") in KINDS]
    if not of_kind:
        if found:
            raise ValueError(
                f"{found[0][0]} holds a {found[0][1].get('_class_name')}: expected an {listed(KINDS, 'or')}"
            )
        raise FileNotFoundError(f"{folder} has no config.json, vae/ or vqvae/: expected a diffusers folder")
    home, config = of_kind[0]
    kind = str(config["_class_name"])
    diffusers: Any = require("diffusers", extra="networks", purpose="an autoencoder", names=(kind,))
    with torch_defaults():
        module = read_model(getattr(diffusers, kind), home, config, variant, _try)
    return Autoencoder(module, name)


def _try(module: Any) -> None:
    """Encode and decode on the device "meta".

    Raises:
        ValueError: the images have another size afterwards.
        Exception: whatever diffusers and torch raise.
    """
    made = Autoencoder(module)
    side = 8 * made.factor
    images = torch.zeros(1, made.channels, side, side, dtype=torch.float32, device="meta")
    answer = made._encode(images)
    if tuple(answer.shape[1:]) != made.latent_shape(side, side):
        raise ValueError(f"images of {side}x{side} become latents of shape {tuple(answer.shape[1:])}")
    if type(module).__name__ != "VQModel" and made._decode(answer).shape != images.shape:
        raise ValueError(f"latents of {side}x{side} pixels become images of another size")
