"""From a set of images to a set of latents."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch

from elsewhere.checks import check_type, checked
from elsewhere.data import ImageSet, LatentSet
from elsewhere.latents.autoencoder import Autoencoder
from elsewhere.progress import track

AT_ONCE = 256
"""Images that are encoded together: enough to share the work, few enough for a smooth progress bar."""


@checked
def encode(data: ImageSet, autoencoder: Autoencoder, *, progress: bool = False) -> LatentSet:
    """The latents of a set of images, as a set that all machines, `compare` and `explain` take.

    Args:
        data: the images.
        autoencoder: from `load_autoencoder`.
        progress: show a bar with the time left.

    Returns:
        A LatentSet with the labels and the classes of the images, which are its `pictures`.

    Raises:
        TypeError, ValueError: images of another number of channels than the autoencoder takes, sides that it cannot
            divide, or latents in place of images.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("pixel-faces", limit=20)
        >>> els.encode(data, els.load_autoencoder("emoji-vae"))
        LatentSet('pixel-faces latents', only the first 20 of 2000 latents of 4x8x8 of emoji-vae)
    """
    check_type("autoencoder", autoencoder, Autoencoder)
    if isinstance(data, LatentSet):
        raise TypeError(f"data must be images, got {data!r}: they are encoded already")
    autoencoder.latent_shape(*data.shape[1:])
    starts = range(0, len(data), AT_ONCE)
    pieces = [
        autoencoder.encode(data[start : start + AT_ONCE].scaled())
        for start in track(starts, len(starts), "encoding", progress)
    ]
    # Labels, classes and whatever else a set says of its images.
    kept: dict[str, Any] = {
        field.name: getattr(data, field.name) for field in fields(data) if field.name not in ("images", "name")
    }
    return LatentSet(torch.cat(pieces), name=f"{data.name} latents", **kept, pictures=data, autoencoder=autoencoder)
