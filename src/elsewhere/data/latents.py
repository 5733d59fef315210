"""Sets of latents: what an autoencoder makes of images, with any number of channels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_dense, check_type, checked, seen
from elsewhere.data.images import ImageSet
from elsewhere.data.store import Stored
from elsewhere.denoiser import check_images
from elsewhere.layout import plain

REMEDY = "els.encode(data, autoencoder) makes such sets"


@runtime_checkable
class Decoder(Protocol):
    """What a set of latents knows of its autoencoder: see `latents.Autoencoder`."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def decode(self, latents: Tensor) -> Tensor: ...

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]: ...


@dataclass(frozen=True, repr=False)
class LatentSet(ImageSet):
    """A set of latents, as `els.encode` returns it; all machines take it in place of images.

    Indexing, classes and names are those of `ImageSet`. `scaled()` returns the latents as they are: no range is known
    of them. Pictures (`grid`, `show`, `save`) are the images that were encoded or, without these, the decoded latents.

    Attributes:
        images: the latents, float32 or float64 (N, C, H, W), any C.
        pictures: the images that were encoded, or None.
        autoencoder: what encoded them, or None. `Decoded` refuses another one.

    Raises:
        TypeError: latents that are not floating point, pictures that are no ImageSet.
        ValueError: wrong number of axes, NaN or infinite values, another number of pictures than of latents; see
            `ImageSet`.

    Example:
        >>> import torch
        >>> from elsewhere.data import LatentSet
        >>> LatentSet(torch.zeros(2, 4, 8, 8))
        LatentSet('images', 2 latents of 4x8x8)
    """

    pictures: ImageSet | None = None
    autoencoder: Decoder | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pictures is not None:
            check_type("pictures", self.pictures, ImageSet)
            if len(self.pictures) != len(self.images):
                raise ValueError(
                    f"pictures must be the images that were encoded, {len(self.images)} of them, got "
                    f"{len(self.pictures)}"
                )
        if self.autoencoder is not None:
            check_type("autoencoder", self.autoencoder, Decoder)

    def _check_images(self) -> None:
        if isinstance(self.images, np.ndarray) and self.images.dtype in (np.float32, np.float64):
            object.__setattr__(self, "images", plain(self.images.copy()))
        if not isinstance(self.images, Tensor) or self.images.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                "images must be latents, a float32 or float64 tensor, got "
                f"{getattr(self.images, 'dtype', seen(self.images))}: {REMEDY}"
            )
        check_dense("images", self.images)
        # Adding zero turns -0.0 into 0.0: equal windows then have equal bits.
        object.__setattr__(self, "images", check_images(self.images, "images").detach() + 0.0)

    def __repr__(self) -> str:
        shape = "x".join(str(side) for side in self.shape)
        of = "" if self.autoencoder is None else f" of {self.autoencoder.name}"
        return f"LatentSet({self.name!r}, {self.amount.replace('image', 'latent')} of {shape}{of})"

    def _repr_html_(self) -> str | None:
        if self.pictures is None and self.autoencoder is None:
            return None
        channels, height, width = self.shape
        return self._card(self.name, [self.amount, f"latents of {channels} channels, {height}x{width}"])

    def rows(self, index: int | slice | Sequence[int] | Sequence[bool] | Tensor | np.ndarray) -> LatentSet:
        """The set of some of the latents and their pictures. See `ImageSet.rows`."""
        # Without pictures for a moment: their number is checked.
        part = ImageSet.rows(replace(self, pictures=None), index)
        assert isinstance(part, LatentSet)
        return replace(part, pictures=None if self.pictures is None else self.pictures.rows(index))

    @checked
    def to(self, device: str | torch.device) -> LatentSet:
        """The same set on another device; the pictures stay where they are. See `ImageSet.to`."""
        moved = super().to(device)
        assert isinstance(moved, LatentSet)
        return moved

    @checked
    def take(self, limit: int | None) -> LatentSet:
        """The first `limit` latents (all when None). See `ImageSet.take`."""
        part = ImageSet.take(replace(self, pictures=None), limit)
        assert isinstance(part, LatentSet)
        return replace(part, pictures=None if self.pictures is None else self.pictures.take(limit))

    @cached_property
    def largest(self) -> float:
        """The largest absolute value of the latents."""
        return float(self.images.abs().max())

    @checked
    def scaled(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """All latents, (N, C, H, W).

        Raises:
            TypeError: not a floating dtype.
        """
        if not dtype.is_floating_point:
            raise TypeError(f"dtype must be floating point, got {dtype}")
        return self.images.to(dtype)

    def fingerprint(self) -> str:
        """SHA-256 of the images and the autoencoder or, where these are unknown, of the latents, shape and labels.

        Latents are rounded differently by different processors; images and weights are not.
        """
        if self.pictures is None or self.autoencoder is None:
            return super().fingerprint()
        known = f"latents {self.pictures.fingerprint()} {self.autoencoder.fingerprint}"
        return hashlib.sha256(known.encode()).hexdigest()

    def _floats(self, number: int) -> Tensor:
        if self.pictures is not None:
            return self.pictures._floats(number)
        if self.autoencoder is not None:
            return self.autoencoder.decode(self.images[:number]).detach().cpu().float()
        raise ValueError(f"latents without pictures or an autoencoder cannot be drawn: {REMEDY}")

    def stored(self) -> Stored:
        raise ValueError(
            "latents are not written as a store, which has images: save the pictures, and encode them again"
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        raise ValueError("latents are not written as .npz, which has images: save(folder) writes their pictures")
