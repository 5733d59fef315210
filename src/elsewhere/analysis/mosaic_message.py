"""A mosaic as a message to the explanation view of pages: the studio, reports and notebooks show the same view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.page.wire import pack

TOP = 12
"""Sources of a pixel that are sent: about 47 kB for a picture of 28 x 28."""
CREDITS = 24
"""Training images in the ranked list."""


def mosaic_message(mosaic: MosaicResult, index: int = 0, top: int = TOP, classes: Sequence[str] = ()) -> dict[str, Any]:
    """One image of a mosaic as a message: everything that the explanation view shows.

    Args:
        mosaic: from `explain`.
        index: which image of the batch.
        top: sources of each pixel that are kept.
        classes: names of the classes.

    Returns:
        An object with arrays "ids", "rows", "columns", "weights", "counts" (H, W, top), "x", "x0" (C, H, W), "credits"
        (pairs of training image and share), "thumbnails" (id -> position in "images", (K, C, H, W) uint8), and numbers.
    """
    ids = mosaic.image_ids[index, ..., :top]
    credits, owners = mosaic.credits()[index].sort(descending=True)
    ranked = [(int(i), float(share)) for i, share in zip(owners[:CREDITS], credits[:CREDITS], strict=True) if share > 0]
    shown = torch.cat([ids.flatten(), owners[: len(ranked)].to(ids)])
    shown = torch.unique(shown[shown >= 0])
    positions = mosaic.positions[index, ..., :top, :]
    training = len(mosaic.store.pixels)
    return {
        "ids": pack(ids, "int32"),
        "rows": pack(positions[..., 0], "int32"),
        "columns": pack(positions[..., 1], "int32"),
        "weights": pack(mosaic.weights[index, ..., :top], "float32"),
        "counts": pack(mosaic.counts[index, ..., :top], "int32"),
        "x": pack(mosaic.x[index], "float32"),
        "x0": pack(mosaic.x0[index], "float32"),
        "sigma": mosaic.sigmas[index],
        "window": mosaic.windows[index],
        "wraps": bool(mosaic.wraps[index].training),
        "step": mosaic.step,
        "training": training,
        "log_training": math.log(max(1, training)),
        "credits": [list(pair) for pair in ranked],
        "shown": shown.tolist(),
        "images": pack(mosaic.store.pixels[shown], "uint8"),
        "classes": list(classes),
    }
