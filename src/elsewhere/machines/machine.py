"""What every machine shares, whatever its formula: its training images, their classes, and a bound on memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_memory, checked
from elsewhere.data import ImageSet
from elsewhere.denoiser import Denoiser, check_images
from elsewhere.engine import PixelStore, Workspace
from elsewhere.gradients import check_constant
from elsewhere.phrases import count

Data = ImageSet | Tensor | np.ndarray
DEFAULT_MEMORY = 2**30


class Machine(Denoiser):
    """A denoiser in closed form, of training images.

    Args:
        data: an ImageSet, a LatentSet, or floats (N, C, H, W) in [-1, 1].
        memory: bytes that may be used beside the images, 64 MiB or more.
        device: where to compute; default: where the data are.
        cache: see `SoftmaxMachine`.

    Attributes:
        data: the ImageSet or LatentSet; None where the images came as an array.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: data of the wrong shape, not finite or far outside [-1, 1]; memory too small; a device that is not
            there.
    """

    def __init__(
        self, data: Data, memory: int, device: str | torch.device | None, cache: str | Path | None = None
    ) -> None:
        memory = check_memory(memory)
        self.data = data if isinstance(data, ImageSet) else None
        pixels, labels = _pixels(data)
        if device is not None:
            pixels = pixels.to(device)
        store = PixelStore.of(pixels)
        # The user's own folder is looked for when an index is kept: there may be none.
        self._workspace = Workspace(store, labels, memory, None if cache is None else Path(cache))
        self.channels = store.channels
        self.image_size = store.image_size
        self.size: tuple[int, int] | None = self.image_size
        self.num_classes = self.data.num_classes if self.data else 0

    def __len__(self) -> int:
        return len(self.store)

    @property
    def workspace(self) -> Workspace:
        """The training images as the engine stores them, and what is kept of them between calls."""
        return self._workspace

    @property
    def store(self) -> PixelStore:
        """The training images as the engine stores them."""
        return self.workspace.store

    @property
    def device(self) -> torch.device:
        """Where the machine computes."""
        return self.store.pixels.device

    @checked
    def to(self, device: str | torch.device) -> Self:
        """The same machine on another device; this one stays where it is. Predictions come back to where x is.

        Args:
            device: such as "cpu", "cuda" or "cuda:1".

        Raises:
            TypeError: not a device.
            ValueError: no such device here, or one that the engine of this machine cannot use.
        """
        other = copy.copy(self)
        other._workspace = self.workspace.to(device)
        return other

    @property
    def labels(self) -> Tensor | None:
        """Class of each training image, int64 (N,), or None."""
        return self.workspace.labels

    @property
    def memory(self) -> int:
        """Bytes that may be used beside the images."""
        return self.workspace.memory

    def _describe(self, *settings: str) -> str:
        name = self.data.name if self.data else "array"
        return f"{type(self).__name__}({', '.join([f'{name!r}', count(len(self), 'image'), *settings])})"


def _pixels(data: Data) -> tuple[Tensor, Tensor | None]:
    if isinstance(data, ImageSet):
        return data.images, data.labels
    floats = check_images(data, "data")
    check_constant(floats, "data", "a machine")
    if float(floats.abs().max()) > 1.01:
        low, high = float(floats.min()), float(floats.max())
        raise ValueError(
            f"data must lie in [-1, 1], got {low:.3g} to {high:.3g}: scale it, as in x / 127.5 - 1, or give latents as "
            "an els.LatentSet"
        )
    # Adding zero turns -0.0 into 0.0: equal windows then have equal bits.
    return (floats if floats.dtype == torch.float64 else floats.float()) + 0.0, None
