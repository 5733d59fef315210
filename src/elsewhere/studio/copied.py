"""Was it copied? The audit of some pictures, and examples to try it on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from elsewhere import schedules
from elsewhere.analysis import audit
from elsewhere.data import to_unit
from elsewhere.data.images import to_uint8
from elsewhere.page.wire import pack
from elsewhere.sampling import make_noise, reverse_process
from elsewhere.studio.drawing import Runs
from elsewhere.studio.own import picture
from elsewhere.studio.questions import Question
from elsewhere.studio.subjects import MEMORY, Subject, Subjects

MOST_PICTURES = 16
NULL, TRACED = 200, 4
"""Training images that are compared with the others, and pictures that are traced pixel by pixel: seconds in all."""
EXAMPLES = ("altered", "drawn", "remembered")


def examples(subject: Subject, kind: str) -> Iterator[Tensor]:
    """Pictures to try the audit on, uint8 (B, C, H, W), as they are drawn step by step; the last ones count.

    "altered": a training image as it is, with noise, shifted, mirrored. "drawn": four pictures of the local machine,
    "remembered": of the ideal machine.
    """
    if kind == "altered":
        image = to_unit(subject.data.images[7 % len(subject.data)][None])
        noisy = image + 0.1 * make_noise(1, subject.data.shape, 0)
        moved = torch.nn.functional.pad(image, (2, 0, 0, 0), mode="replicate")[..., :-2]
        yield to_uint8(torch.cat([image, noisy.clamp(-1, 1), moved, image.flip(-1)]))
        return
    machine = subject.denoiser("els" if kind == "drawn" else "is")
    noise = torch.cat([make_noise(1, subject.data.shape, seed) for seed in range(4)])
    schedule = schedules.cosine(20)
    for step in reverse_process(machine, noise * schedule.sigmas[0], schedule, 0 if subject.classes else None):
        yield to_uint8(step.x0.clamp(-1, 1))


def copied(question: Question, subjects: Subjects, runs: Runs) -> Iterator[dict[str, Any]]:
    """Audit pictures against the training images of a subject.

    Fields of the question: "subject", and "example", one of EXAMPLES, or "pictures", bytes (C H W) of each in base64.

    Yields:
        {"pictures": (B, C, H, W)}, repeatedly while they are drawn. Then for each picture "verdicts", "distances" (rms,
        to the nearest training image that may be shifted and mirrored), "nearest" (its number), "images" (itself) and
        "changes" (how it was moved); "near", the threshold of near copies; "null", the same distances of training
        images among themselves, sorted; and a "headline".
    """
    subject = subjects[question.text("subject", subjects.names[0])]
    # Pictures that are given go before an example.
    question.has("example")
    if question.has("pictures"):
        shown = iter([_pictures(question.items("pictures", MOST_PICTURES), subject)])
    else:
        shown = examples(subject, question.choice("example", EXAMPLES, EXAMPLES[0]))
    question.finish()
    pictures = None
    for pictures in shown:
        yield {"pictures": pack(pictures, "uint8")}
    assert pictures is not None
    found = audit(subject.data, to_unit(pictures), null=NULL, pixels=TRACED, memory=MEMORY)
    aligned = found.measures.aligned
    owners = aligned.indices[:, 0]
    yield {
        "verdicts": list(found.verdicts),
        "distances": aligned.distances[:, 0].tolist(),
        "nearest": owners.tolist(),
        "images": pack(subject.data.images[owners], "uint8"),
        "changes": [found.change(i) for i in range(len(pictures))],
        "near": found.near,
        "null": sorted(found.null.aligned.distances[:, 0].tolist()),
        "headline": found.headline,
    }


def _pictures(items: list[Any], subject: Subject) -> Tensor:
    if not items:
        raise ValueError("question.pictures must have one picture or more")
    return torch.stack([picture(item, subject.data.shape) for item in items])


def recorded(subjects: Subjects) -> list[tuple[str, dict[str, Any]]]:
    """The questions that an exported page can ask: the examples."""
    return [("copied", {"subject": subjects.names[0], "example": example}) for example in EXAMPLES]
