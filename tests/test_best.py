"""The best machine of each shipped network."""

from __future__ import annotations

import pytest
import torch

import elsewhere as els
from elsewhere.contenders import choose_contenders
from elsewhere.networks import SHIPPED


@pytest.mark.parametrize("network", SHIPPED)
def test_every_shipped_network_has_its_best_machine(network: str) -> None:
    family = els.shipped_family(network)
    net = els.load_network(network)
    assert family.sigmas == pytest.approx(els.schedules.cosine(20).sigmas[:-1])
    assert family.details["fingerprint"] == net.spec.fingerprint, "calibrated on the network's own images"
    assert family.details["kept"] in family.details["finals"]


def test_the_best_machine_has_the_settings_that_came_with_the_network() -> None:
    data = els.load_images("hands:30")
    x = els.make_noise(1, data.shape, seed=1)
    expected = els.shipped_family("hands-resnet").machine(data)
    assert torch.equal(els.best_machine("hands-resnet", data)(x, 1.0), expected(x, 1.0))
    with pytest.raises(FileNotFoundError, match="calibrate --machine best"):
        els.best_machine("nothing", data)
    found = choose_contenders(["is", "best"], data, "hands-resnet", expected)
    assert list(found.denoisers) == ["IS", "Best"]
