"""Machines on images of any number of channels, against the formulas written out in `tests/reference.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.engine.workspace import Workspace
from elsewhere.machines.base import SoftmaxMachine
from tests import reference

CHANNELS = [1, 3, 4, 16]
SHAPE = 8, 7
COUNT = 19  # more than a vector holds, and no multiple of it
BORDERS: dict[str, Callable[..., np.ndarray]] = {
    "aware": reference.border_aware,
    "wrap": reference.wrapped,
    "torus": reference.torus,
}


def training(channels: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand((COUNT, channels, *SHAPE), generator=torch.Generator().manual_seed(seed)) - 1


def noisy(data: torch.Tensor, sigma: float) -> torch.Tensor:
    """Means of two images, with noise: several keys have about the same weight."""
    return (data[:2] + data[2:4]) / 2 + sigma * els.make_noise(2, (data.shape[1], *SHAPE))


def expected(formula: Callable[..., np.ndarray], x: torch.Tensor, data: torch.Tensor, *args: Any) -> np.ndarray:
    return np.stack([formula(image, data.double().numpy(), *args) for image in x.double().numpy()])


def labelled(machine: SoftmaxMachine, labels: torch.Tensor) -> SoftmaxMachine:
    """The machine with classes, which float arrays do not bring."""
    old = machine._planner.workspace
    machine._planner = replace(machine._planner, workspace=Workspace(old.store, labels, old.memory, old.folder))
    machine.num_classes = int(labels.max()) + 1
    return machine


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("sigma", [0.05, 0.5, 4.0])
def test_the_ideal_machine_is_its_formula(channels: int, sigma: float) -> None:
    data = training(channels)
    x = noisy(data, sigma)
    found = els.IdealScore(data)(x, sigma)
    np.testing.assert_allclose(found, expected(reference.ideal, x, data, sigma), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("taper", [False, True], ids=["square", "tapered"])
@pytest.mark.parametrize(("sigma", "window"), [(0.05, 3), (0.5, 5), (4.0, 17)])
def test_the_local_machine_is_its_formula(channels: int, taper: bool, sigma: float, window: int) -> None:
    data = training(channels)
    x = noisy(data, sigma)
    found = els.LocalScore(data, window, taper=taper)(x, sigma)
    np.testing.assert_allclose(found, expected(reference.local, x, data, sigma, window, taper), rtol=0, atol=5e-5)


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("borders", BORDERS)
@pytest.mark.parametrize("taper", [False, True], ids=["square", "tapered"])
@pytest.mark.parametrize(("sigma", "window"), [(0.02, 3), (0.3, 3), (0.5, 5), (4.0, 7)])
def test_the_equivariant_machine_is_its_formula(
    channels: int, borders: str, taper: bool, sigma: float, window: int
) -> None:
    data = training(channels)
    x = noisy(data, sigma)
    found = els.EquivariantLocalScore(data, window, borders, taper=taper)(x, sigma)  # type: ignore[arg-type]
    mean = expected(BORDERS[borders], x, data, sigma, window, taper)
    # Machines round x to float32: by 3e-8, which 1 / sigma^2 enlarges.
    np.testing.assert_allclose(found, mean, rtol=0, atol=5e-5 + 5e-8 / sigma**2)


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", ["ideal", "local", "equivariant"])
def test_a_label_chooses_the_training_images(channels: int, name: str) -> None:
    data, sigma = training(channels), 0.5
    labels = (torch.arange(COUNT) >= COUNT - 17).long()
    x = noisy(data, sigma)
    choices: dict[str, tuple[SoftmaxMachine, Callable[..., np.ndarray]]] = {
        "ideal": (els.IdealScore(data), reference.ideal),
        "local": (els.LocalScore(data, 5), partial(reference.local, window=5)),
        "equivariant": (els.EquivariantLocalScore(data, 5), partial(reference.border_aware, window=5)),
    }
    machine, formula = choices[name]
    found = labelled(machine, labels)(x, sigma, label=[1, 0])
    for image, label in enumerate([1, 0]):
        one = expected(formula, x[image : image + 1], data[labels == label], sigma)
        np.testing.assert_allclose(found[image : image + 1], one, rtol=0, atol=5e-5)


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("sigma", [0.3, 2.0])
@pytest.mark.parametrize("name", ["ideal", "local", "aware", "wrap", "torus"])
def test_explained_weights_are_those_of_the_formula(channels: int, sigma: float, name: str) -> None:
    data = training(channels)
    x = noisy(data, sigma)
    machine: SoftmaxMachine
    if name == "ideal":
        machine = els.IdealScore(data)
    elif name == "local":
        machine = els.LocalScore(data, 5)
    else:
        machine = els.EquivariantLocalScore(data, 5, name)  # type: ignore[arg-type]
    mosaic = els.explain(machine, x, sigma, top=6)
    shares = torch.zeros(2, COUNT, dtype=torch.float64)
    for image in range(2):
        for row in range(SHAPE[0]):
            for column in range(SHAPE[1]):
                weights = plain_weights(name, x[image].double(), data.double(), sigma, row, column)
                largest = weights.flatten().sort(descending=True).values[:6]
                pixel = image, row, column
                torch.testing.assert_close(mosaic.weights[pixel], largest, rtol=2e-3, atol=1e-6)
                place = mosaic.positions[pixel].unbind(1)
                named = weights[(mosaic.image_ids[pixel], *place)]
                torch.testing.assert_close(named, largest, rtol=2e-3, atol=1e-6)
                shares[image] += weights.sum((1, 2)) / (SHAPE[0] * SHAPE[1])
    torch.testing.assert_close(mosaic.credits().double(), shares, rtol=1e-3, atol=1e-6)


def plain_weights(
    name: str, x: torch.Tensor, data: torch.Tensor, sigma: float, row: int, column: int, radius: int = 2
) -> torch.Tensor:
    """Weight of every window of the training images at one pixel of x (C, H, W), 0 for no key, (N, H, W)."""
    height, width = SHAPE
    if name == "ideal":
        logs = -(data - x).square().sum((1, 2, 3)) / (2 * sigma**2)
        weights = torch.zeros(COUNT, *SHAPE, dtype=torch.float64)
        weights[:, row, column] = logs.softmax(0)
        return weights
    pad = (radius,) * 4
    padded = torch.nn.functional.pad(x[None], pad, mode="circular" if name in ("wrap", "torus") else "constant")[0]
    images = torch.nn.functional.pad(data, pad, mode="circular" if name == "torus" else "constant")
    query = padded[:, row : row + 2 * radius + 1, column : column + 2 * radius + 1]
    keys = images.unfold(2, 2 * radius + 1, 1).unfold(3, 2 * radius + 1, 1)
    squares = (keys - query[:, None, None]).square().sum((1, 4, 5))
    down, across = (
        [(min(i, radius), min(side - 1 - i, radius)) for i in range(side)] for side in (height, width)
    )  # how much of a window lies inside, before and after its centre
    if name == "torus":
        allowed = torch.ones(SHAPE, dtype=torch.bool)
    elif name == "local":
        allowed = torch.zeros(SHAPE, dtype=torch.bool)
        allowed[row, column] = True
    else:
        here = ((radius, radius),) * 2 if name == "wrap" else (down[row], across[column])
        allowed = torch.tensor([[(i, j) == here for j in across] for i in down])
    logs = (-squares / (2 * sigma**2)).masked_fill(~allowed, -torch.inf)
    return logs.flatten().softmax(0).view(logs.shape)


@pytest.mark.parametrize("channels", [2, 5])
def test_images_are_drawn_and_inpainted(channels: int) -> None:
    data = training(channels)
    machine = els.EquivariantLocalScore(data, 3)
    run = els.sample(machine, els.make_noise(2, (channels, *SHAPE)), els.schedules.cosine(4))
    assert run.images.shape == (2, channels, *SHAPE)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[2:5, 3:6] = True
    held = els.inpaint(machine, data[:1], mask, els.schedules.cosine(4), rounds=1).images
    assert torch.equal(held[..., ~mask], data[:1][..., ~mask])
    assert not torch.equal(held[..., mask], data[:1][..., mask])


def test_other_numbers_of_channels_than_those_of_the_data_are_named() -> None:
    with pytest.raises(ValueError, match=r"x has 3 channels, .* was made for 4"):
        els.LocalScore(training(4), 3)(torch.zeros(1, 3, *SHAPE), 1.0)
