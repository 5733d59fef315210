"""Settings of machines as plain values: made again, a machine answers alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import elsewhere as els
from elsewhere.adapters import machine_from, recipe_of
from elsewhere.machines.table import MACHINES
from tests.adapters.test_diffusers_unet import data

OTHERS: list[tuple[str, Any]] = [
    ("window", lambda d: els.LocalScore(d, 5)),
    ("taper", lambda d: els.LocalScore(d, 5, taper=True)),
    ("schedule", lambda d: els.EquivariantLocalScore(d, els.LocalitySchedule((2.0, 0.5), (5, 3), taper=True), "wrap")),
    ("engine", lambda d: els.EquivariantLocalScore(d, 3, engine="exact", tolerance=0.01)),
    ("wiener", lambda d: els.Wiener(d, rank=3, shrinkage=0.1, unbiased=False)),
    ("pca", lambda d: els.PCALocality(d, 0.1, orientation="row")),
    ("pca published", lambda d: els.PCALocality(d, published=True, batch=5)),
    ("composite", lambda d: els.PatchComposite(d, 3)),
    ("smoothed", lambda d: els.SmoothedIdeal(d, 0.3, 4, seed=7)),
    ("nearest", lambda d: els.Nearest(d, scaled=True)),
    ("golden", lambda d: els.GoldenSubset(d, average="ideal", smallest=0.3, largest=0.5, seed=2)),
    ("patch", lambda d: els.PatchScore(d, els.PatchSettings(5, pedestal=0.1, keys="same place", response=3))),
    (
        "patches",
        lambda d: els.PatchScore(d, els.PatchSchedule((2.0, 0.5), (els.PatchSettings(5), els.PatchSettings(3)))),
    ),
]
ALL = [(entry.name, entry.load()) for entry in MACHINES] + OTHERS


@pytest.mark.parametrize(("name", "make"), ALL, ids=[name for name, _ in ALL])
def test_a_machine_made_again_answers_alike(name: str, make: Any) -> None:
    machine = make(data())
    again = machine_from(json.loads(json.dumps(recipe_of(machine))), data())
    assert type(again) is type(machine)
    assert repr(again) == repr(machine)
    x = els.make_noise(2, (1, 8, 8))
    assert all(torch.equal(again(x, sigma), machine(x, sigma)) for sigma in (0.3, 3.0))


def test_machines_that_plain_values_do_not_make_again_are_refused() -> None:
    weighted = els.IdealScore(data(), weights=[1.0] * 11 + [2.0])
    with pytest.raises(ValueError, match="images have weights cannot be saved"):
        recipe_of(weighted)
    masked = els.PatchComposite(data(), masks={1.0: torch.ones(8, 8, 8, 8, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"masks=.*cannot be saved"):
        recipe_of(masked)

    class Mine(els.IdealScore):
        pass

    with pytest.raises(ValueError, match="Mine cannot be saved"):
        recipe_of(Mine(data()))
    with pytest.raises(TypeError, match="machine must be"):
        recipe_of(lambda x, sigma: x)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"machine": "is"},
        {"machine": [], "settings": {}},
        {"machine": "patch", "settings": {}},
        {"machine": "ls", "settings": {"window": {"sigmas": [1.0]}}},
        {"machine": "is", "settings": 3},
    ],
    ids=str,
)
def test_other_recipes_are_refused(recipe: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is no recipe of a machine"):
        machine_from(recipe, data())
