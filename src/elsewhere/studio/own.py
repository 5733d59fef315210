"""Pictures that a page adds: they become one more subject, for as long as that page is open."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any

import torch
from torch import Tensor

from elsewhere.checks import check_type
from elsewhere.data import ImageSet
from elsewhere.studio.questions import Question, whole_numbers
from elsewhere.studio.subjects import Subject

MOST_PICTURES, MOST_CLASSES = 2000, 50
LONGEST_NAME = 60
"""Characters of the name of a class."""
SIDES = (16, 64)
"""Shortest and longest side in pixels."""
LARGEST_BODY = 2**25
"""Bytes of a request: 2,000 colour pictures of 64 x 64 in base64."""


def read_own(body: bytes) -> Subject:
    """A subject with a name that cannot be guessed.

    Args:
        body: JSON with "side", "channels" (1 or 3), "pictures" (bytes of (C, side, side) in base64 of each), and, with
            "classes" (names), "labels" (one number for each picture).

    Raises:
        TypeError, ValueError: anything else.
    """
    question = Question.parse(body, "pictures", LARGEST_BODY)
    side, channels = question.whole("side", *SIDES), question.whole("channels", 1, 3)
    if channels == 2:
        raise ValueError("pictures.channels must be 1 or 3, got 2")
    items = question.items("pictures", MOST_PICTURES)
    if len(items) < 2:
        raise ValueError(f"pictures must be two or more, got {len(items)}")
    pixels = torch.stack([picture(item, (channels, side, side)) for item in items])
    classes = question.items("classes", MOST_CLASSES, ())
    check_type("pictures.classes", classes, list[str])
    labels = question.items("labels", MOST_PICTURES, ())
    question.finish()
    if bool(classes) != bool(labels) or (labels and len(labels) != len(items)):
        raise ValueError(f"pictures.labels must be one number for each of {len(items)} pictures, got {len(labels)}")
    numbers = whole_numbers(labels, "labels", 0, len(classes) - 1) if labels else None
    data = ImageSet(
        pixels,
        None if numbers is None else torch.tensor(numbers, dtype=torch.int64, device="cpu"),
        "your pictures",
        tuple(name[:LONGEST_NAME] for name in classes),
    )
    return Subject(f"own-{secrets.token_urlsafe(12)}", data)


def picture(item: Any, shape: tuple[int, int, int]) -> Tensor:
    """A picture from its bytes in base64, uint8 (C, H, W).

    Raises:
        ValueError: no base64, or bytes of another number than the shape has.
    """
    try:
        content = base64.b64decode(item, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError("a picture must be bytes in base64") from error
    size = shape[0] * shape[1] * shape[2]
    if len(content) != size:
        raise ValueError(f"a picture must have {size} bytes, {shape} as the training images, got {len(content)}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).view(shape)
