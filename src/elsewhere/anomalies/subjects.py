"""What the laboratory counts: the limbs of one kind of picture."""

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
        data: a set of `load_images`.
        label: the class whose images have them, or None for all.
        network: the shipped network that was trained on that set.
        normal: how many there are in a picture without a mistake.
        count: pictures (B, C, H, W) in [-1, 1] to numbers (B,).
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
