"""Checks and warnings that come before long computations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from elsewhere.checks import check_type
from elsewhere.notices import warn
from elsewhere.phrases import count


def check_pixel(pixel: tuple[int, int], height: int, width: int) -> None:
    """Check that (row, column) lies inside an image.

    Raises:
        TypeError: not a pair of integers.
        ValueError: outside the image.
    """
    check_type("pixel", pixel, tuple[int, int])
    if not (0 <= pixel[0] < height and 0 <= pixel[1] < width):
        raise ValueError(
            f"pixel must be row,column inside the {height}x{width} image, counted from 0, got {pixel[0]},{pixel[1]}"
        )


def describe(denoiser: object) -> str:
    """The repr on one line, without memory addresses, which differ in every run."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(repr(denoiser).split()))


def same_data(network: object, data: Any) -> bool | None:
    """Whether the network was trained on exactly these images; None if that is unknown."""
    theirs = getattr(getattr(network, "spec", None), "fingerprint", "")
    if not theirs or not hasattr(data, "fingerprint"):
        return None
    return bool(theirs == data.fingerprint())


def training_note(network: object, data: Any) -> list[str]:
    """A warning (one sentence) if the network was trained on other images than `data` or if that is unknown, or []."""
    known = same_data(network, data)
    if known or not hasattr(data, "fingerprint"):
        return []
    if known is None:
        return ["It is unknown on which images the network was trained."]
    trained = getattr(getattr(network, "spec", None), "data", "") or "unknown"
    ours = f"{data.name}, {getattr(data, 'amount', count(len(data.images), 'image'))}"
    return [
        f"The network was trained on other images ({trained}) than the machines use ({ours}): expect less agreement, "
        "because the theory assumes the same training set for both."
    ]


def warn_of_other_images(network: object, data: Any) -> None:
    """Warn, before the long computation, if the network is known to have been trained on other images than `data`."""
    if same_data(network, data) is False:
        give_warnings(training_note(network, data))


def give_warnings(sentences: Sequence[str]) -> None:
    """Issue each sentence as a Python warning that points to the caller of the public function."""
    for sentence in sentences:
        warn(sentence)
