"""Explain: the training patches that made each pixel of one step of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from elsewhere.analysis import explain
from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.machines.table import AVERAGES
from elsewhere.studio.drawing import LARGEST_SEED, MOST_STEPS, Drawing, Runs
from elsewhere.studio.questions import Question
from elsewhere.studio.subjects import Subjects
from elsewhere.studio.wire import pack

TOP = 12
"""Sources of a pixel that are sent: about 47 kB for a picture of 28 x 28."""
CREDITS = 24
"""Training images in the ranked list."""


def explain_step(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any]]:
    """Explain one step of one image of a run.

    Fields of the question: "draw" (see `drawing.draw`), "machine", "seed" (one of its seeds), "step", "top".

    Yields:
        {"mosaic": see `mosaic_message`}.
    """
    drawing = Drawing.read(question.part("draw"), subjects)
    machine = question.choice("machine", [name for name in drawing.machines if name in AVERAGES])
    seed = question.whole("seed", 0, LARGEST_SEED)
    if seed not in drawing.seeds:
        raise ValueError(f"seed must be one of those drawn, {list(drawing.seeds)}, got {seed}")
    index = question.whole("step", 0, min(drawing.steps, MOST_STEPS) - 1)
    top = question.whole("top", 1, TOP, TOP)
    question.finish()
    x, sigma = runs.state(drawing, machine, index)
    one = x[drawing.seeds.index(seed)][None]
    mosaic = explain(drawing.denoiser(machine), one, sigma, top, drawing.label)
    yield {"mosaic": mosaic_message(mosaic, classes=drawing.subject.data.classes)}


def mosaic_message(
    mosaic: MosaicResult, index: int = 0, top: int = TOP, classes: tuple[str, ...] | list[str] = ()
) -> dict[str, Any]:
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
