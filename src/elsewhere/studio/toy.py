"""A toy: two pictures of 8 x 8, the machine that remembers them beside the local machine that recombines them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from elsewhere import schedules
from elsewhere.analysis import explain
from elsewhere.data import ImageSet
from elsewhere.machines import EquivariantLocalScore, IdealScore
from elsewhere.page.wire import pack
from elsewhere.sampling import make_noise, reverse_process
from elsewhere.studio.drawing import LARGEST_SEED, Runs
from elsewhere.studio.questions import Question, whole_numbers
from elsewhere.studio.subjects import Subjects

SIDE, WINDOW, STEPS = 8, 3, 10
DRAWN = {
    "cross": "00011000 00011000 00011000 11111111 11111111 00011000 00011000 00011000",
    "ring": "00000000 01111110 01000010 01000010 01000010 01000010 01111110 00000000",
}
"""The two pictures that the page begins with, row by row."""


def toy(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any]]:
    """Denoise the same noise with both machines.

    Fields of the question: "pictures", two lists of 64 numbers, 0 or 1, and "seed".

    Yields:
        For each of the STEPS {"step", "sigma", "x", "is", "els", "share"}: the noisy picture of the local machine, what
        each machine predicts, and the share of each pixel of the local machine that comes from the first picture, all
        (8, 8); with the last one "nearest", rms differences of both results to both pictures.
    """
    pictures = question.items("pictures", 2)
    if len(pictures) != 2 or any(not isinstance(one, list) or len(one) != SIDE**2 for one in pictures):
        raise ValueError(f"question.pictures must be two lists of {SIDE**2} numbers")
    pixels = torch.tensor([whole_numbers(one, "pictures", 0, 1) for one in pictures], dtype=torch.uint8, device="cpu")
    seed = question.whole("seed", 0, LARGEST_SEED, 0)
    question.finish()
    data = ImageSet(255 * pixels.view(2, 1, SIDE, SIDE), name="two pictures")
    ideal, local = IdealScore(data), EquivariantLocalScore(data, WINDOW)
    schedule = schedules.cosine(STEPS)
    x = make_noise(1, data.shape, seed) * schedule.sigmas[0]
    both = zip(reverse_process(ideal, x, schedule), reverse_process(local, x, schedule), strict=True)
    for remembered, created in both:
        mosaic = explain(local, created.x, created.sigma, None)
        share = (mosaic.weights * (mosaic.image_ids == 0)).sum(-1)[0]
        message: dict[str, Any] = {
            "step": created.index,
            "sigma": created.sigma,
            "x": pack(created.x[0, 0], "float32"),
            "is": pack(remembered.x0[0, 0], "float32"),
            "els": pack(created.x0[0, 0], "float32"),
            "share": pack(share, "float32"),
        }
        if created.index == STEPS - 1:
            originals = data.scaled()[:, 0]
            message["nearest"] = {
                name: (x0[0, 0] - originals).square().mean((1, 2)).sqrt().tolist()
                for name, x0 in (("is", remembered.x0), ("els", created.x0))
            }
        yield message


def pictures() -> list[list[int]]:
    """The two pictures that the page begins with."""
    return [[int(cell) for cell in text if cell != " "] for text in DRAWN.values()]


def recorded(subjects: Subjects) -> list[tuple[str, dict[str, Any]]]:
    """The questions that an exported page can ask: some seeds."""
    return [("toy", {"pictures": pictures(), "seed": seed}) for seed in range(12)]
