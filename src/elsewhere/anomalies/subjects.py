"""The kinds of limbs that can be counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from elsewhere.anomalies.counting import count_fingers, count_legs, count_sleeves
from elsewhere.checks import check_fields, check_whole


@dataclass(frozen=True)
class Subject:
    """One kind of limb.

    Attributes:
        limb: its name in the plural.
        data: name of the training images, as in `load_images`.
        label: number of the class whose images have such limbs; None: all images.
        network: the shipped network that was trained on these images.
        normal: the right number of limbs, 0 or more.
        count: function from images (B, C, H, W) in [-1, 1] to numbers of limbs (B,).
    """

    limb: str
    data: str
    label: int | None
    network: str
    normal: int
    count: Callable[[Any], Any]

    def __post_init__(self) -> None:
        check_fields(self)
        check_whole("normal", self.normal, 0)
        if self.label is not None:
            check_whole("label", self.label, 0)


SUBJECTS = {
    "hands": Subject("fingers", "hands", None, "hands-resnet", 5, count_fingers),
    "trousers": Subject("legs", "fashion-mini", 1, "fashion-resnet", 2, count_legs),
    "pullovers": Subject("sleeves", "fashion-mini", 2, "fashion-resnet", 2, count_sleeves),
}
"""What `elsewhere anomalies` can count, by name."""
