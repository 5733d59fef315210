from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import elsewhere as els
from elsewhere.networks import NetworkSpec, TrainedNetwork, attention_weights, save_network, within_window
from elsewhere.networks.dit import DiT
from tests.networks.toys import random_weights

X = els.make_noise(2, (1, 8, 8), seed=3)


def toy(classes: int = 0) -> TrainedNetwork:
    spec = NetworkSpec("dit", 1, (8, 8), classes, {"width": 32, "layers": 2, "patch": 2})
    return TrainedNetwork(random_weights(spec.build()), spec)


def test_every_pixel_sees_every_pixel_unless_attention_is_held() -> None:
    touched = X.clone()
    touched[:, :, 0, 0] += 1
    network = toy()
    assert float((network(touched, 1.0) - network(X, 1.0))[:, :, 7, 7].abs().min()) > 0
    held = within_window(network, 1)  # of its own patch alone
    assert not (held(touched, 1.0) - held(X, 1.0))[:, :, 2:, 2:].any()
    assert (held(touched, 1.0) - held(X, 1.0))[:, :, :2, :2].any()


def test_attention_of_every_layer_is_read() -> None:
    weights = attention_weights(toy(), X, 1.0)
    assert {name: tuple(found.shape) for name, found in weights.items()} == {
        f"inner.transformer_blocks.{i}.attn1": (2, 2, 16, 16) for i in (0, 1)
    }


def test_labels_matter_and_the_row_after_the_classes_means_none() -> None:
    network = toy(2)
    answers = [network(X, 1.0, label) for label in (None, 0, 1)]
    assert not torch.equal(answers[1], answers[2])
    time, half = torch.full((2,), 0.5), torch.full((2, 1, 1, 1), 0.5)  # sigma 1: a^2 = s^2 = 1/2
    v = network.module(half.sqrt() * X, time, torch.tensor([2, 2]))
    torch.testing.assert_close(answers[0], half * X - half.sqrt() * v)


def test_a_saved_network_answers_as_before_and_training_hides_no_labels_by_itself(tmp_path: Path) -> None:
    network = toy(2)
    save_network(tmp_path / "network.safetensors", network.module, network.spec)
    assert torch.equal(els.load_network(tmp_path)(X, 0.5, 1), network(X, 0.5, 1))
    network.module.train()
    once, twice = (network.module(X, torch.full((2,), 0.3), torch.tensor([0, 1])) for _ in range(2))
    assert torch.equal(once, twice)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 10}, "multiple of the patch of 4 pixels, got 10x10"),
        ({"size": (8, 12)}, "square images.*got 8x12"),
        ({"width": 24}, "a multiple of 16, got 24"),
        ({"layers": 0}, "layers must be 1 or more"),
        ({"patch": 0}, "patch must be 1 or more"),
        ({"num_classes": -1}, "num_classes must be 0"),
        ({"text_width": 4}, "takes no words"),
    ],
)
def test_settings_without_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiT(**{"channels": 1, "size": 8, **arguments})


def test_a_missing_diffusers_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"a DiT needs the library diffusers.*elsewhere\[networks\]"):
        DiT(1, 8)
