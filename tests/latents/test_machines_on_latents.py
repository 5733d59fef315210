"""All machines on latents of 4 and 16 channels, against the formulas written out slowly in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.latents.latent_toys import random_latents
from tests.machines.test_machines import MAKERS, SLOW

import elsewhere as els
from elsewhere.data import LatentSet
from elsewhere.engine import planner
from elsewhere.engine.search.job import SearchJob


def noisy(data: LatentSet, sigma: float, batch: int = 1) -> torch.Tensor:
    return data.images[:batch].flip(3) * 0.8 + sigma * els.make_noise(batch, data.shape, 1)


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("sigma", [0.01, 0.7, 5.0, 100.0])
@pytest.mark.parametrize(("channels", "window"), [(4, 3), (4, 7), (16, 3), (16, 5)])
def test_agrees_with_the_slow_formula(name: str, sigma: float, channels: int, window: int) -> None:
    data = random_latents(channels=channels)
    x = noisy(data, sigma)
    found = MAKERS[name](data, window)(x, sigma)
    slow = SLOW[name](x[0].double().numpy(), data.scaled(torch.float64).numpy(), sigma, window)
    # Latents reach 3.5, and noise of 100 times that: float32 rounds a few times 1e-5 of it.
    assert np.abs(found[0].numpy() - slow).max() < 5e-4


@pytest.mark.parametrize("name", MAKERS)
def test_float64_agrees_with_the_formula_to_double_precision(name: str) -> None:
    data = LatentSet(random_latents(channels=16).images.double())
    x = noisy(data, 1.0).double()
    found = MAKERS[name](data, 3)(x, 1.0)
    slow = SLOW[name](x[0].numpy(), data.images.numpy(), 1.0, 3)
    assert np.abs(found[0].numpy() - slow).max() < 1e-10


@pytest.mark.parametrize("channels", [4, 16])
@pytest.mark.parametrize("borders", ["wrap", "aware"])
@pytest.mark.parametrize("sigma", [0.05, 0.7, 3.0, 30.0])
def test_the_fast_engine_searches_latents(
    channels: int, borders: Any, sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "SEARCH_PLACES", 400)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
    searched: list[SearchJob] = []
    begin = SearchJob.__init__

    def noted(self: SearchJob, *arguments: Any, **settings: Any) -> None:
        searched.append(self)
        begin(self, *arguments, **settings)

    monkeypatch.setattr(SearchJob, "__init__", noted)
    generator = torch.Generator().manual_seed(3)
    data = LatentSet(1.5 * torch.randn(12, channels, 12, 12, generator=generator))
    x = noisy(data, sigma)
    machine = els.EquivariantLocalScore(data, 3, borders, engine="fast")
    found = machine(x, sigma)
    assert searched
    slow = SLOW["ELS" if borders == "wrap" else "bbELS"](
        x[0].double().numpy(), data.scaled(torch.float64).numpy(), sigma, 3
    )
    # Its tolerance, and that of float32.
    assert np.abs(found[0].numpy() - slow).max() < machine.tolerance + 1e-4


@pytest.mark.parametrize("name", MAKERS)
def test_the_weights_of_an_explanation_make_the_latents(name: str) -> None:
    data = random_latents(channels=4)
    machine = MAKERS[name](data, 3)
    x = noisy(data, 1.0).double()
    if name == "ESM":
        pytest.skip("its sources are shifted images: positions are not those of pixels alone")
    mosaic = els.explain(machine, x, 1.0, top=None)
    values = data.images.double()[mosaic.image_ids.clamp(min=0), :, mosaic.positions[..., 0], mosaic.positions[..., 1]]
    assert torch.allclose((mosaic.weights[..., None] * values).sum(3).permute(0, 3, 1, 2), mosaic.x0, atol=1e-9)


def test_labels_choose_latents() -> None:
    data = random_latents(channels=4, classes=2)
    x = noisy(data, 1.0)
    one = els.IdealScore(LatentSet(data.images[1::2]))(x, 1.0)
    assert torch.allclose(els.IdealScore(data)(x, 1.0, 1), one, atol=1e-5)


def test_other_machines_take_latents() -> None:
    data = random_latents(count=20, channels=4, height=8, width=8)
    x = noisy(data, 1.0)
    shares = els.MixSchedule((1.0,), ({"ELS": 0.5, "W": 0.5},))
    parts = {"ELS": els.EquivariantLocalScore(data, 3), "W": els.Wiener(data)}
    for machine in (
        els.Wiener(data), els.PatchScore(data, els.PatchSettings(3, keys="same place")), els.GoldenSubset(data),
        els.SmoothedIdeal(data), els.Nearest(data), els.mix(parts, shares),
    ):  # fmt: skip
        assert machine(x, 1.0).shape == x.shape


def test_latents_beyond_the_range_of_images_need_a_latent_set() -> None:
    latents = random_latents().images
    with pytest.raises(ValueError, match=r"data must lie in \[-1, 1\], got -3.5 to 2.5.*LatentSet"):
        els.IdealScore(latents)
