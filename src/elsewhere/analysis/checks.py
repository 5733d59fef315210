"""Checks that calibration and comparison make before the first long computation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from elsewhere.checks import check_type
from elsewhere.notices import warn
from elsewhere.phrases import count


def check_pixel(pixel: tuple[int, int], height: int, width: int) -> None:
    """Make sure that a row and a column lie in an image.

    Raises:
        TypeError, ValueError: they do not.
    """
    check_type("pixel", pixel, tuple[int, int])
    if not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
        raise ValueError(
            f"pixel must be a row and a column of {height}x{width} pixels, counted from 0, got {pixel[0]},{pixel[1]}"
        )


def describe(denoiser: object) -> str:
    """The repr on one line, without the memory address that differs in every run."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(repr(denoiser).split()))


def same_data(network: object, data: Any) -> bool | None:
    """Whether the network was trained on exactly these images; None where either does not say."""
    theirs = getattr(getattr(network, "spec", None), "fingerprint", "")
    if not theirs or not hasattr(data, "fingerprint"):
        return None
    return bool(theirs == data.fingerprint())


def training_note(network: object, data: Any) -> list[str]:
    """What a reader must know of the network's training images: one sentence, or none where they are `data`."""
    known = same_data(network, data)
    if known or not hasattr(data, "fingerprint"):
        return []
    if known is None:
        return ["The network does not say on which images it was trained."]
    trained = getattr(getattr(network, "spec", None), "data", "") or "unknown"
    ours = f"{data.name}, {getattr(data, 'amount', count(len(data.images), 'image'))}"
    return [
        f"The network was trained on other images ({trained}) than the machines use ({ours}): expect less agreement, "
        "because the theory assumes one training set for both."
    ]


def warn_of_other_images(network: object, data: Any) -> None:
    """Warn, before the long work, where the network is known to have been trained on other images than `data`."""
    if same_data(network, data) is False:
        give_warnings(training_note(network, data))


def give_warnings(sentences: Sequence[str]) -> None:
    """Issue each sentence as a Python warning that points to the caller of the public function."""
    for sentence in sentences:
        warn(sentence)
