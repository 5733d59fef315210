from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from elsewhere.networks.unet import UNet
from tests.networks.toys import random_weights


@pytest.mark.parametrize(("size", "widths"), [((8, 12), (4, 8)), ((6, 7), (8,)), ((8, 8), (6, 5, 4))])
def test_shapes_are_kept(size: tuple[int, int], widths: tuple[int, ...]) -> None:
    network = random_weights(UNet(3, size, widths, num_classes=2))
    x = torch.randn(2, 3, *size)
    assert network(x, torch.tensor([0.1, 0.9]), torch.tensor([0, 2])).shape == x.shape


def test_without_normalisation_far_pixels_do_not_matter() -> None:
    x = torch.randn(1, 1, 64, 64)
    touched = x.clone()
    touched[0, 0, 0, 0] += 1
    changed = {}
    for normalise in (False, True):
        network = random_weights(UNet(1, 64, (8, 8), normalise=normalise))
        time = torch.tensor([0.5])
        changed[normalise] = float((network(touched, time) - network(x, time))[0, 0, 63, 63].abs())
    assert changed[False] == 0
    assert changed[True] > 0


def test_attention_is_where_it_was_asked_for_and_changes_nothing_else() -> None:
    plain = UNet(1, 8, (8, 16), normalise=True)
    network = UNet(1, 8, (8, 16), normalise=True, attention=(0, "middle"))
    added = {name.split(".attentions")[0] for name, _ in network.inner.named_modules() if ".attentions." in name}
    assert added == {"down_blocks.0", "up_blocks.1", "mid_block"}
    kept = {name: value.shape for name, value in network.state_dict().items() if ".attentions." not in name}
    assert kept == {name: value.shape for name, value in plain.state_dict().items()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 27}, "multiples of 2, got 27x27 pixels"),
        ({"size": (28, 27)}, "got 28x27"),
        ({"size": 30, "widths": (8, 8, 8)}, "3 levels needs images whose sides are multiples of 4"),
        ({"widths": ()}, "at least one level"),
        ({"widths": (8, 0)}, "every width must be 1 or more, got 0"),
        ({"layers": 0}, "layers must be 1 or more"),
        ({"channels": 0}, "channels must be 1 or more"),
        ({"num_classes": -2}, "num_classes must be 0"),
        ({"widths": (8, 12), "normalise": True}, r"a multiple of 8, got \[8, 12\]"),
        ({"widths": (8, 8), "attention": (2,)}, "levels of 0, 1, middle, for a UNet of 2 levels, got 2"),
        ({"widths": (8, 8), "attention": ("top",)}, "got 'top'"),
        ({"widths": (8, 12), "attention": (1,)}, "the width of level 1 must be a multiple of 8, got 12"),
        ({"widths": (8, 12), "attention": ("middle",)}, "the width of level middle"),
        ({"widths": (8, 8), "attention": (1, 1)}, "every level once, got 1, 1"),
    ],
)
def test_settings_without_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet(**{"channels": 1, "size": 8, **arguments})


def test_a_missing_diffusers_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"a UNet needs the library diffusers.*elsewhere\[networks\]"):
        UNet(1, 8)
