"""Attention weights against a softmax written out, and attention held to windows."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere.networks import (
    NetworkSpec,
    TrainedNetwork,
    attention_layers,
    attention_weights,
    load_network,
    within_window,
)
from elsewhere.networks.attention import grid_of, inside, positions
from tests.networks.toys import random_weights

SIDE = 8
DOWN = "inner.down_blocks.1.attentions.0"
SIGMA = 0.7


def toy(attention: tuple[int | str, ...] = (1, "middle"), classes: int = 0) -> TrainedNetwork:
    options = {"widths": (8, 16), "normalise": True, "attention": attention}
    spec = NetworkSpec("unet", 1, (SIDE, SIDE), classes, options)
    return TrainedNetwork(random_weights(spec.build()), spec)


@pytest.fixture
def x() -> Tensor:
    return els.make_noise(3, (1, SIDE, SIDE), seed=5)


def layer_of(network: TrainedNetwork, name: str) -> Any:
    return dict(network.module.named_modules())[name]


def test_weights_are_the_softmax_of_query_and_key(x: Tensor) -> None:
    network = toy()
    layer, given = layer_of(network, DOWN), []
    handle = layer.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    network(x, SIGMA)
    handle.remove()
    [hidden] = given
    tokens = layer.group_norm(hidden.flatten(2)).transpose(1, 2)
    query, key = layer.to_q(tokens).double(), layer.to_k(tokens).double()
    size = query.shape[2] // layer.heads
    found = attention_weights(network, x, SIGMA)[DOWN]
    assert found.shape == (3, 2, 16, 16)
    for b in range(3):
        for head in range(2):
            some = slice(head * size, (head + 1) * size)
            for i in range(16):
                logits = [float(query[b, i, some] @ key[b, j, some]) / math.sqrt(size) for j in range(16)]
                parts = [math.exp(value - max(logits)) for value in logits]
                expected = torch.tensor([part / sum(parts) for part in parts])
                # float32 in the network, float64 here.
                torch.testing.assert_close(found[b, head, i], expected, atol=1e-5, rtol=1e-4)


def test_only_self_attention_is_listed_and_networks_without_have_none() -> None:
    assert attention_layers(toy()) == (DOWN, *(f"inner.up_blocks.0.attentions.{i}" for i in (0, 1)), MIDDLE)
    assert attention_layers(toy(("middle",))) == (MIDDLE,)
    assert attention_layers(toy(())) == ()
    assert attention_layers(load_network("fashion-resnet")) == ()
    with pytest.raises(TypeError, match="network must be"):
        attention_layers(lambda x, sigma, label=None: x)  # type: ignore[arg-type]


MIDDLE = "inner.mid_block.attentions.0"


def test_a_window_that_reaches_every_corner_changes_nothing(x: Tensor) -> None:
    network = toy()
    # Softmax by another routine of torch: float32.
    torch.testing.assert_close(within_window(network, 2 * SIDE - 1)(x, SIGMA), network(x, SIGMA), atol=1e-5, rtol=1e-4)
    assert float((within_window(network, 5)(x, SIGMA) - network(x, SIGMA)).abs().max()) > 1e-3


def test_within_a_window_no_weight_lies_outside_and_the_others_keep_their_ratios(x: Tensor) -> None:
    network = toy(("middle",))  # one layer, so that its input is the same with and without the mask
    whole, held = (
        attention_weights(network, x, SIGMA)[MIDDLE],
        attention_weights(within_window(network, 5), x, SIGMA)[MIDDLE],
    )
    allowed = inside(SIDE, SIDE, (4, 4), 5)
    assert not held[..., ~allowed].any()
    kept = whole * allowed
    torch.testing.assert_close(held, kept / kept.sum(-1, keepdim=True), atol=1e-6, rtol=1e-4)


def test_a_window_of_one_pixel_leaves_every_place_to_itself(x: Tensor) -> None:
    held = attention_weights(within_window(toy(), 1), x, SIGMA)
    assert all(torch.equal(weights, torch.eye(weights.shape[2]).expand_as(weights)) for weights in held.values())


def test_far_pixels_do_not_matter_where_attention_is_held_to_a_window() -> None:
    options = {"widths": (8, 8), "normalise": True, "attention": (1,)}
    spec = NetworkSpec("unet", 1, (64, 64), options=options)
    module = spec.build()
    # Without its normalisation, which sees the whole image, attention is all that carries anything so far.
    from elsewhere.networks.unet import remove_normalisation

    remove_normalisation(module.inner)
    network = TrainedNetwork(random_weights(module), spec)
    x = els.make_noise(1, (1, 64, 64))
    touched = x.clone()
    touched[0, 0, 0, 0] += 1

    def change(denoiser: Any) -> float:
        return float((denoiser(touched, 1.0) - denoiser(x, 1.0))[0, 0, 63, 63].abs())

    assert change(network) > 0
    assert change(within_window(network, 5)) == 0


def test_the_network_itself_is_left_as_it_is_and_windows_can_be_combined(x: Tensor) -> None:
    network = toy()
    before = network(x, SIGMA)
    small = within_window(network, 3)
    assert torch.equal(network(x, SIGMA), before)
    torch.testing.assert_close(within_window(within_window(network, 7), 3)(x, SIGMA), small(x, SIGMA))


def test_a_held_network_is_differentiable_and_takes_labels(x: Tensor) -> None:
    network = within_window(toy(classes=2), 5)
    x.requires_grad_()
    network(x, SIGMA, 1).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


def test_places_are_the_middles_of_blocks() -> None:
    assert grid_of(8, 12, 6) == (2, 3)
    assert positions(8, 12, (2, 3))[:2].tolist() == [[1.5, 1.5], [1.5, 5.5]]
    assert grid_of(28, 28, 784) == (28, 28)
    # Neighbours of a grid of 4 pixels are 4 pixels apart: a window of 9 reaches them, one of 7 does not.
    assert inside(8, 8, (2, 2), 9).all()
    assert torch.equal(inside(8, 8, (2, 2), 7), torch.eye(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="no square blocks of 8x12 pixels"):
        grid_of(8, 12, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n, x: within_window(n, 4), "window must be odd, got 4: give 3 or 5"),
        (lambda n, x: within_window(n, 0), "window must be 1 or more, got 0"),
        (lambda n, x: within_window(toy(()), 3), "no self-attention that can be read"),
        (lambda n, x: attention_weights(toy(()), x, 1.0), "no self-attention that can be read"),
        (lambda n, x: attention_weights(n, x[:, :, :4], 1.0), "x is 4x8 pixels, network was made for 8x8"),
        (lambda n, x: attention_weights(n, x, 1.0, 1), "no classes"),
        (lambda n, x: attention_weights(n, x * math.nan, 1.0), "NaN"),
        (lambda n, x: attention_weights(n, x, -1.0), "sigma"),
    ],
)
def test_bad_input_is_refused(x: Tensor, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(toy(), x)
