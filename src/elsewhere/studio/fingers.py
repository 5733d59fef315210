"""Extra fingers: hands drawn with other windows, and the hands whose number of fingers is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from elsewhere import schedules
from elsewhere.anomalies import count_fingers
from elsewhere.anomalies.counting import finger_tips
from elsewhere.machines import LocalitySchedule
from elsewhere.page.wire import pack
from elsewhere.sampling import make_noise, reverse_process, sample
from elsewhere.studio.drawing import LARGEST_SEED, RECORDED_TOP, Runs
from elsewhere.studio.questions import Question
from elsewhere.studio.subjects import NETWORK, Subjects

HANDS, NORMAL, STEPS = "hands", 5, 20
SMALLEST_SIGMA, LARGEST_SIGMA = 0.05, 50.0
MOST_SEARCHED, AT_ONCE = 64, 4
"""Seeds of one search, and hands drawn at once."""
RECORDED_HANDS = (1, 4)
"""Seeds of the gallery whose hands have six fingers and are explained in an exported page: 0.4 MB each."""


def windows(narrow: int, when: float, side: int) -> LocalitySchedule:
    """Windows that cover the image above a noise level and have a side in pixels below it."""
    sigmas = schedules.cosine(STEPS).sigmas[:-1]
    whole = 2 * side + 1
    return LocalitySchedule(sigmas, tuple(whole if sigma >= when else narrow for sigma in sigmas))


def fingers(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any]]:
    """Draw a hand with windows that shrink at a noise level, and the network's hand from the same noise.

    Fields of the question: "seed"; "window", odd side at low noise, and "when", the sigma below which it is used;
    without these two, the calibrated windows.

    Yields:
        {"step", "sigma", "window", "x0"} for each step, then {"hand", "network"}: each {"image", "count", "tips"}.
    """
    seed = question.whole("seed", 0, LARGEST_SEED, 0)
    side = subjects[HANDS].data.shape[1]
    narrow = question.whole("window", 3, 2 * side + 1) if question.has("window") else None
    when = question.number("when", SMALLEST_SIGMA, LARGEST_SIGMA) if question.has("when") else None
    question.finish()
    if (narrow is None) != (when is None) or (narrow is not None and narrow % 2 == 0):
        raise ValueError("question must have an odd window and when, or neither of them")
    subject = subjects[HANDS]
    locality = windows(narrow, when, side) if narrow is not None and when is not None else subject.windows("els")
    assert locality is not None
    machine, schedule = subject.denoiser("els", locality), schedules.cosine(STEPS)
    noise = make_noise(1, subject.data.shape, seed)
    x0 = noise
    for step in reverse_process(machine, noise * schedule.sigmas[0], schedule):
        x0 = step.x0
        sizes = {"window": locality(step.sigma), "step": step.index, "sigma": step.sigma}
        yield {**sizes, "x0": pack(x0[0], "float16")}
    theirs = sample(subject.denoiser(NETWORK), noise, schedule).images
    yield {"hand": counted(x0[0]), "network": counted(theirs[0])}


def gallery(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any]]:
    """Search seeds for hands whose number of fingers is wrong, drawn with the calibrated windows.

    Fields of the question: "first" seed and "count" of seeds.

    Yields:
        {"searched": number of seeds so far, "found": [{"seed", "image", "count", "tips", "network"}, ...]}, where
        "network" is the number of fingers that the network drew from the same noise.
    """
    first = question.whole("first", 0, LARGEST_SEED - MOST_SEARCHED, 0)
    count = question.whole("count", 1, MOST_SEARCHED, 24)
    question.finish()
    subject = subjects[HANDS]
    machine, schedule = subject.denoiser("els"), schedules.cosine(STEPS)
    for start in range(first, first + count, AT_ONCE):
        seeds = range(start, min(start + AT_ONCE, first + count))
        noise = torch.cat([make_noise(1, subject.data.shape, seed) for seed in seeds])
        process = reverse_process(machine, noise * schedule.sigmas[0], schedule)
        x0 = noise
        for step in process:
            x0 = step.x0
            if step.index + 1 < STEPS:
                yield {"searched": start - first, "found": []}
        wrong = [i for i, number in enumerate(count_fingers(x0).tolist()) if number != NORMAL]
        theirs = sample(subject.denoiser(NETWORK), noise[wrong], schedule).images if wrong else noise[:0]
        numbers = count_fingers(theirs).tolist() if wrong else []
        found = [
            {"seed": seeds[i], **counted(x0[i]), "network": number} for i, number in zip(wrong, numbers, strict=True)
        ]
        yield {"searched": seeds[-1] + 1 - first, "found": found}


def counted(image: Tensor) -> dict[str, Any]:
    """A hand (C, H, W) with its fingers counted and marked."""
    return {
        "image": pack(image, "float16"),
        "count": int(count_fingers(image[None])[0]),
        "tips": finger_tips(image).tolist(),
    }


def recorded(subjects: Subjects) -> list[tuple[str, dict[str, Any]]]:
    """The questions that an exported page can ask: the first search, and the first hand with some windows."""
    hand = {"subject": HANDS, "machines": ["els"], "steps": STEPS}
    last = {"machine": "els", "step": STEPS - 1, "top": RECORDED_TOP}
    settings = [{}, *({"window": window, "when": when} for window in (5, 9, 15) for when in (0.5, 2.0, 8.0))]
    return [
        ("about", {"subject": HANDS}),
        ("gallery", {"first": 0, "count": 24}),
        *(("explain", {**last, "draw": {**hand, "seeds": [seed]}, "seed": seed}) for seed in RECORDED_HANDS),
        *(("fingers", {"seed": RECORDED_HANDS[0], **setting}) for setting in settings),
    ]
