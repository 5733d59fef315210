"""The sources of a pixel by their captions, and what each word of a prompt did for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from elsewhere.analysis.checks import check_pixel
from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.analysis.mosaic_plots import varied_pixel

SOURCES = 3
"""Sources and words of a pixel in a table."""
LEAST = 1e-3
"""Weights below this are not named."""

Words = Sequence[tuple[str, Tensor]]


def pixel_sources(
    mosaic: MosaicResult, index: int, captions: Sequence[str], words: Words = (), pixel: tuple[int, int] | None = None
) -> dict[str, Any]:
    """What made one pixel of an image, in words, for JSON.

    Args:
        mosaic: the explanation.
        index: image of the batch.
        captions: of the training images.
        words: each word of a prompt with its effect on every training image, nats (N,): see `PromptWeights.words`.
        pixel: row and column; None: one in varied surroundings, as `mosaic_figure` chooses it.

    Returns:
        "row", "column"; "sources": training images with "caption", "weight" (several windows of one image are added
        up), the largest first; "words": each with "nats", the mean of its effect on the sources, with their weights.

    Raises:
        ValueError: no such pixel.
    """
    _, height, width, _ = mosaic.image_ids.shape
    if pixel is not None:
        check_pixel(pixel, height, width)
    row, column = pixel or varied_pixel(mosaic.x0[index])
    ids, weights = mosaic.image_ids[index, row, column].cpu(), mosaic.weights[index, row, column].cpu()
    ids, weights = ids[ids >= 0], weights[ids >= 0]
    every, place = torch.unique(ids, return_inverse=True)
    shares = torch.zeros(len(every), dtype=torch.float64, device="cpu").index_add_(0, place, weights)
    order = shares.argsort(descending=True, stable=True)
    sources = [
        {"image": int(every[j]), "caption": captions[int(every[j])], "weight": float(shares[j])}
        for j in order.tolist()
        if j == order[0] or float(shares[j]) >= LEAST
    ]
    total = max(float(shares.sum()), 1e-300)
    effects = [{"word": word, "nats": float((effect[every] * shares).sum()) / total} for word, effect in words]
    return {"row": row, "column": column, "sources": sources, **({"words": effects} if words else {})}


def pixel_rows(found: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of `pixel_sources`, one row for each image."""
    rows = []
    for index, one in enumerate(found):
        made = ", ".join(f"{source['weight']:.0%} {source['caption']}" for source in one["sources"][:SOURCES])
        ordered = sorted(one.get("words", ()), key=lambda effect: -effect["nats"])
        words = ", ".join(f"{effect['word']} {effect['nats']:+.1f}" for effect in ordered[:SOURCES])
        rows.append((str(index), f"{one['row']},{one['column']}", made, *([words] if "words" in one else [])))
    return ("image", "pixel", "made of", *(["words (nats)"] if found and "words" in found[0] else [])), rows
