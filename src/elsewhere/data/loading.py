"""From a name or a path to an ImageSet."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch

from elsewhere.data.images import ImageSet

FASHION_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
EMBEDDED = {"fashion-mini": FASHION_CLASSES, "pixel-faces": ()}


def load_images(source: str | Path, limit: int | None = None) -> ImageSet:
    """Load images."""
    if str(source) in EMBEDDED:
        return _embedded(str(source)).take(limit)
    raise ValueError(f"unknown source {source}")


def _embedded(name: str) -> ImageSet:
    with as_file(files("elsewhere.data") / "embedded" / f"{name}.npz") as path, np.load(path, allow_pickle=False) as npz:
        images = torch.from_numpy(npz["images"])
        labels = torch.from_numpy(npz["labels"].astype(np.int64)) if "labels" in npz else None
    return ImageSet(images, labels, name, EMBEDDED[name])
