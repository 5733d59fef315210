"""A denoiser on latents whose results are pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elsewhere.checks import check_device, check_type, checked
from elsewhere.data import ImageSet, LatentSet
from elsewhere.denoiser import Denoiser, DenoiserLike, ask
from elsewhere.guidance import moved
from elsewhere.latents.autoencoder import Autoencoder
from elsewhere.sampling import Run


@dataclass(frozen=True, repr=False)
class DecodedRun(Run):
    """A run on latents, decoded.

    `images` and `predictions` are what the decoder makes of the final latents and of each x0hat. A noisy state is
    decoded as sqrt(1 + sigma^2) times the image of state / sqrt(1 + sigma^2): films divide by that root again.

    Attributes:
        latents: the run itself, with its latents; None: unknown.
    """

    latents: Run | None = None


class Decoded(Denoiser):
    """A denoiser on latents, together with the decoder that makes pictures of what it draws.

    It is called with latents and answers with latents, as the denoiser does. `els.sample` returns a run of pictures,
    whose `latents` are the run itself; `els.compare` compares pictures; `els.explain` says which training images made
    each pixel, through the decoder.

    Args:
        machine: D(x, sigma, label=None) on latents: a machine of an `els.encode` set, or a latent network.
        autoencoder: the one that made the latents; None: that of the machine's data.

    Raises:
        TypeError: an argument of another kind.
        ValueError: another autoencoder than that of the machine's latents, or one of another number of channels; a
            machine on images; None without data that know theirs.

    Example:
        >>> import elsewhere as els
        >>> vae = els.load_autoencoder("emoji-vae")
        >>> latents = els.encode(els.load_images("pixel-faces", limit=20), vae)
        >>> machine = els.Decoded(els.EquivariantLocalScore(latents, window=3), vae)
        >>> els.sample(machine, els.make_noise(2, latents.shape), els.schedules.cosine(3)).images.shape
        torch.Size([2, 3, 32, 32])
    """

    @checked
    def __init__(self, machine: DenoiserLike, autoencoder: Autoencoder | None = None) -> None:
        if isinstance(machine, Decoded):
            raise TypeError("machine is decoded already: give the denoiser on latents")
        data = getattr(machine, "data", None)
        if autoencoder is None:
            autoencoder = getattr(data, "autoencoder", None)
            if not isinstance(autoencoder, Autoencoder):
                raise ValueError("autoencoder must be given: the machine has no data that know theirs")
        check_type("autoencoder", autoencoder, Autoencoder)
        channels = getattr(machine, "channels", None)
        if channels is not None and channels != autoencoder.latent_channels:
            raise ValueError(
                f"machine draws {channels} channels, {autoencoder.name} decodes {autoencoder.latent_channels}: give "
                "the autoencoder of these latents"
            )
        if data is not None and not isinstance(data, LatentSet):
            raise ValueError(f"machine has images ({data!r}), not latents: make it of els.encode(data, autoencoder)")
        known = None if data is None else data.autoencoder
        if known is not None and known.fingerprint != autoencoder.fingerprint:
            raise ValueError(
                f"autoencoder is {autoencoder.name}, the latents of the machine are of {known.name} with other "
                "weights: give that one"
            )
        trained = getattr(getattr(machine, "spec", None), "training", {})
        if trained.get("autoencoder_fingerprint", autoencoder.fingerprint) != autoencoder.fingerprint:
            raise ValueError(
                f"autoencoder is {autoencoder.name}, the network was trained on latents of {trained['autoencoder']} "
                "with other weights: give that one"
            )
        self.machine = machine
        self.autoencoder = autoencoder
        self.channels = autoencoder.latent_channels
        size = getattr(machine, "size", None)
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.num_classes = getattr(machine, "num_classes", 0)
        self.has_null_class = getattr(machine, "has_null_class", True)

    def __repr__(self) -> str:
        return f"Decoded({self.machine!r}, {self.autoencoder.name})"

    @property
    def data(self) -> LatentSet | None:
        """The latents of the machine, None where it has none."""
        found: LatentSet | None = getattr(self.machine, "data", None)
        return found

    @property
    def spec(self) -> Any:
        """What a trained network says of itself; None for machines."""
        return getattr(self.machine, "spec", None)

    @property
    def entropy(self) -> Any:
        """What the machine says of the entropy of its weights, in latents: see `SoftmaxMachine.entropy`.

        Raises:
            AttributeError: the machine has no weights.
        """
        return self.machine.entropy  # type: ignore[attr-defined]

    @property
    def window(self) -> Any:
        """The window of the machine, in latents; None where it has none."""
        return getattr(self.machine, "window", None)

    @checked
    def to(self, device: str | torch.device) -> Decoded:
        """The same with the denoiser on another device; the decoder stays where it is, and takes latents of any device.

        Raises:
            TypeError: not a device.
            ValueError: no such device here, or one that the denoiser cannot use.
        """
        check_device("device", device)
        return Decoded(moved(self.machine, device), self.autoencoder)

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        level: Any = sigma if len(set(sigma.tolist())) > 1 else float(sigma[0])
        return ask(self.machine, x, level, label, repr(self.machine))

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents: see `Autoencoder.decode`."""
        return self.autoencoder.decode(latents)

    def decode_run(self, run: Run) -> DecodedRun:
        """A run of this denoiser as pictures.

        Args:
            run: on latents, as `els.sample(machine.machine, ...)` returns it.
        """
        check_type("run", run, Run)
        if run.images.ndim != 4 or run.images.shape[1] != self.channels:
            raise ValueError(
                f"run must have latents of {self.channels} channels, got images of shape {tuple(run.images.shape)}"
            )
        roots = [math.sqrt(1 + sigma**2) for sigma in run.sigmas]
        return DecodedRun(
            self.decode(run.images),
            run.sigmas,
            [root * self.decode(state / root) for root, state in zip(roots, run.states, strict=False)],
            [self.decode(x0) for x0 in run.predictions],
            run.sampler,
            run.entropy,
            latents=run,
        )


def decoded(denoiser: Denoiser, data: ImageSet) -> Denoiser:
    """A denoiser with the decoder of its data, where these are latents that know theirs; else the denoiser itself.

    Args:
        denoiser: of these data.
        data: images or latents.
    """
    autoencoder = data.autoencoder if isinstance(data, LatentSet) else None
    return Decoded(denoiser, autoencoder) if isinstance(autoencoder, Autoencoder) else denoiser
