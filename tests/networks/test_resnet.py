from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from elsewhere.networks.resnet import ResidualBlock, ResNet, timestep_features
from tests.networks.toys import random_weights


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_a_pixel_is_seen_by_the_window_of_its_receptive_field_and_no_further(blocks: int) -> None:
    network = random_weights(ResNet(1, width=8, blocks=blocks)).double()
    reach = 2 * blocks + 2
    side = 2 * reach + 7
    x = torch.randn(1, 1, side, side, dtype=torch.float64)
    touched = x.clone()
    touched[0, 0, side // 2, side // 2] += 1.0
    time = torch.tensor([0.5], dtype=torch.float64)
    changed = (network(touched, time) != network(x, time))[0, 0]
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    for axis in (rows, columns):
        assert (int(axis.min()), int(axis.max())) == (side // 2 - reach, side // 2 + reach)
        assert int(axis.max()) - int(axis.min()) + 1 == 4 * blocks + 5


def test_circular_padding_makes_the_network_equivariant() -> None:
    network = random_weights(ResNet(3, width=8, blocks=2, padding="circular"))
    x, time = torch.randn(2, 3, 10, 12), torch.tensor([0.2, 0.8])
    for shift in ((1, 0), (0, -5), (7, 3)):
        rolled_before = network(x.roll(shift, (2, 3)), time)
        # float32 sums of some hundred terms, in another order
        assert torch.allclose(rolled_before, network(x, time).roll(shift, (2, 3)), atol=1e-4)


def test_zero_padding_feels_the_borders() -> None:
    network = random_weights(ResNet(1, width=8, blocks=1))
    x, time = torch.randn(1, 1, 10, 10), torch.tensor([0.5])
    difference = network(x.roll(3, 3), time) - network(x, time).roll(3, 3)
    assert float(difference.abs().max()) > 0.01


def test_time_and_label_change_the_answer() -> None:
    network = random_weights(ResNet(1, width=8, blocks=1, num_classes=3))
    x, time, label = torch.randn(1, 1, 6, 6), torch.tensor([0.5]), torch.tensor([0])
    answer = network(x, time, label)
    assert not torch.allclose(network(x, time + 0.3, label), answer, atol=1e-3)
    assert not torch.allclose(network(x, time, torch.tensor([3])), answer, atol=1e-3)


def test_a_fresh_network_predicts_a_constant_whatever_its_depth() -> None:
    torch.manual_seed(0)
    out = ResNet(1, width=8, blocks=6)(torch.randn(1, 1, 8, 8), torch.tensor([0.5]))
    assert torch.equal(out, out[:, :, :1, :1].expand_as(out))


def test_a_fresh_block_is_the_identity() -> None:
    hidden = torch.randn(2, 4, 6, 6)
    assert torch.equal(ResidualBlock(4, 8, "zeros")(hidden, torch.randn(2, 8)), hidden)


def test_a_block_is_its_formula() -> None:
    # Files of weights rely on it: the embedding gives first the scales, then the shifts.
    block = random_weights(ResidualBlock(4, 8, "zeros"))
    hidden, embedding, weights = torch.randn(2, 4, 6, 6), torch.randn(2, 8), dict(block.named_parameters())

    def convolve(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    scale_shift = embedding @ weights["scale_shift.weight"].T + weights["scale_shift.bias"]
    scale, shift = (part[:, :, None, None] for part in (scale_shift[:, :4], scale_shift[:, 4:]))
    inner = convolve(hidden * hidden.sigmoid(), "first") * (1 + scale) + shift
    expected = hidden + convolve(inner * inner.sigmoid(), "second")
    assert torch.allclose(block(hidden, embedding), expected, atol=1e-5)


def test_features_of_time_are_sines_and_cosines() -> None:
    features = timestep_features(torch.tensor([0.0, 0.3]), 6)
    angles = 300.0 * torch.tensor([1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3)])
    assert torch.allclose(features[0], torch.tensor([0.0, 0, 0, 1, 1, 1]))
    assert torch.allclose(features[1], torch.cat([angles.sin(), angles.cos()]), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be 1 or more, got 0"),
        ({"blocks": 0}, "blocks must be 1 or more, got 0"),
        ({"channels": 0}, "channels must be 1 or more"),
        ({"num_classes": -1}, "num_classes must be 0"),
        ({"padding": "reflect"}, "padding must be one of 'zeros', 'circular', got 'reflect'"),
    ],
)
def test_settings_without_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(**{"channels": 1, **arguments})
