"""A mosaic as a message to the explanation view of pages: the studio, reports and notebooks show the same view."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.page.wire import pack

TOP = 12
"""Sources of a pixel that are sent: about 47 kB for a picture of 28 x 28."""
CREDITS = 24
"""Training images in the ranked list."""


def mosaic_message(
    mosaic: MosaicResult, index: int = 0, top: int = TOP, numbers: Tensor | None = None
) -> dict[str, Any]:
    """One image of a mosaic as a message: everything that the explanation view shows.

    Args:
        mosaic: from `explain`.
        index: which image of the batch.
        top: sources of each pixel that are kept.
        numbers: what the training images are called, int64 (N,), where the machine had only some of a larger set.

    Returns:
        An object with arrays "ids", "rows", "columns", "weights", "counts" (H, W, top) and "x0" (C, H, W); "window",
        its side; "candidates", the number of windows that each pixel's was compared with, at most; "entropy", that of
        all weights of each pixel in nats, (H, W), NaN where it is not known; "credits", pairs of
        training image and share; and the training images that occur, "shown" (their numbers) and "images"
        (K, C, H, W), uint8.
    """
    ids = mosaic.image_ids[index, ..., :top]
    credits, owners = mosaic.credits()[index].sort(descending=True)
    ranked = [(int(i), float(share)) for i, share in zip(owners[:CREDITS], credits[:CREDITS], strict=True) if share > 0]
    shown = torch.cat([ids.flatten(), owners[: len(ranked)].to(ids)])
    shown = torch.unique(shown[shown >= 0])
    positions = mosaic.positions[index, ..., :top, :]
    training, _, height, width = mosaic.store.pixels.shape
    unknown = torch.full(ids.shape[:2], torch.nan, dtype=torch.float64, device="cpu")
    numbers = torch.arange(training, device=ids.device) if numbers is None else numbers.to(ids.device)
    return {
        "ids": pack(torch.where(ids >= 0, numbers[ids], ids), "int32"),
        "rows": pack(positions[..., 0], "int32"),
        "columns": pack(positions[..., 1], "int32"),
        "weights": pack(mosaic.weights[index, ..., :top], "float32"),
        "counts": pack(mosaic.counts[index, ..., :top], "int32"),
        "x0": pack(mosaic.x0[index], "float32"),
        "window": mosaic.windows[index],
        "candidates": mosaic.compared[index] * (1 if _in_place(mosaic, index) else height * width),
        "entropy": pack(unknown if mosaic.nats is None else mosaic.nats[index], "float32"),
        "credits": [[int(numbers[i]), share] for i, share in ranked],
        "shown": numbers[shown].tolist(),
        "images": pack(mosaic.store.pixels[shown], "uint8"),
    }


def _in_place(mosaic: MosaicResult, index: int) -> bool:
    """Whether all sources of an image lie at their pixel's own place, as those of IS and LS do."""
    positions, there = mosaic.positions[index], mosaic.image_ids[index] >= 0
    rows, columns = (torch.arange(side, device=positions.device) for side in positions.shape[:2])
    own = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)[:, :, None]
    return bool(((positions == own).all(-1) | ~there).all())
