from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import elsewhere as els
from elsewhere.cluster.split_machine import Distributed, distributed, merge_in_tree
from elsewhere.machines.base import SoftmaxMachine

Make = Callable[[els.ImageSet], SoftmaxMachine]
SIDE = 9


def images(count: int = 23, channels: int = 1, classes: int = 0) -> els.ImageSet:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (count, channels, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    # Equal windows and images are merged or weighed together somewhere in most engines.
    pixels[3] = pixels[1]
    pixels[:, :, :3] = 17
    labels = torch.arange(count) * classes // count if classes else None
    return els.ImageSet(pixels, labels)


def patches(**options: Any) -> Make:
    return lambda data: els.PatchScore(data, els.PatchSettings(5, **options))


MACHINES: dict[str, Make] = {
    "IS": els.IdealScore,
    "ESM": els.EquivariantScore,
    "LS": lambda data: els.LocalScore(data, 5),
    "ELS": lambda data: els.EquivariantLocalScore(data, 5),
    "ELS wrap": lambda data: els.EquivariantLocalScore(data, 5, "wrap"),
    "ELS torus": lambda data: els.EquivariantLocalScore(data, 3, "torus"),
    "ELS tapered": lambda data: els.EquivariantLocalScore(data, 5, taper=True),
    "ELS weights": lambda data: els.EquivariantLocalScore(data, 5, weights=torch.arange(len(data))),
    "LS weights": lambda data: els.LocalScore(data, 3, weights=torch.arange(len(data)) % 3),
    "pedestal, same place": patches(keys="same place", pedestal=0.3),
    "pedestal, everywhere": patches(keys="aware", pedestal=0.05, taper=True),
    "prior over shifts": patches(keys="aware", shift_width=1.5, temperature=1.4),
}
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-10}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", list(MACHINES))
def test_shards_answer_as_the_whole(name: str, dtype: torch.dtype) -> None:
    machine = MACHINES[name](images())
    x = els.make_noise(3, (1, SIDE, SIDE)).to(dtype) * torch.tensor([0.1, 1.0, 20.0], dtype=dtype)[:, None, None, None]
    sigma = torch.tensor([0.1, 1.0, 20.0])
    whole = machine(x, sigma)
    for shards in (1, 2, 5, 23):
        with distributed(machine, shards) as split:
            assert (split(x, sigma) - whole).abs().max() < TOLERANCE[dtype], shards


@settings(deadline=None, max_examples=25)
@given(cuts=st.sets(st.integers(1, 22), max_size=6), order=st.randoms(use_true_random=False))
def test_any_cut_in_any_order_is_the_whole(cuts: set[int], order: Any) -> None:
    machine = els.EquivariantLocalScore(images(channels=3), 3)
    x = els.make_noise(2, (3, SIDE, SIDE)).double()
    level = torch.full((2,), 0.7, dtype=torch.float64)
    bounds = [0, *sorted(cuts), 23]
    states = [machine.part(low, high).states(x, level, None) for low, high in itertools.pairwise(bounds)]
    order.shuffle(states)
    merged = merge_in_tree(states).mean().squeeze(-1)
    assert (merged - machine(x, 0.7)).abs().max() < 1e-10


def test_a_searched_machine_stays_within_its_tolerance() -> None:
    data = els.load_images("fashion-mini", limit=300)
    machine = els.EquivariantLocalScore(data, 3, engine="exact")
    x = els.make_noise(1, data.shape)
    with distributed(machine.with_engine("fast"), 2) as split:
        assert (split(x, 0.5) - machine(x, 0.5)).abs().max() < 2 * machine.tolerance


def test_a_class_that_some_shards_do_not_have() -> None:
    data = images(classes=4)
    machine = els.EquivariantLocalScore(data, 3)
    x = els.make_noise(4, (1, SIDE, SIDE)).double()
    with distributed(machine, 6) as split:
        assert split.num_classes == 4
        for label in (None, 2, [0, 1, 2, 3]):
            assert (split(x, 0.8, label) - machine(x, 0.8, label)).abs().max() < 1e-10
        indexes = split.prepare([None, 2])
        assert len(indexes) == 6


def test_a_sampler_takes_it() -> None:
    machine = els.LocalScore(images(), 3)
    noise = els.make_noise(2, (1, SIDE, SIDE))
    with distributed(machine, 3) as split:
        drawn = els.sample(split, noise, els.schedules.cosine(5)).images
    assert (drawn - els.sample(machine, noise, els.schedules.cosine(5)).images).abs().max() < 1e-4


def test_memory_is_shared_out() -> None:
    machine = els.LocalScore(images(), 3, memory=2**28)
    assert machine.part(0, 4).memory == 2**28
    assert machine.part(0, 4, 2**26).memory == 2**26
    with distributed(machine, 2) as split:
        parts = split._workers.parts  # type: ignore[union-attr]
        assert [part.memory for part in parts] == [2**27, 2**27]
        assert [len(part) for part in parts] == [11, 12]


def test_closed() -> None:
    split = distributed(els.IdealScore(images()), 2)
    assert repr(split) == f"Distributed({split.machine!r}, 2 shards in this process)"
    assert len(split) == 23
    assert split.data is split.machine.data
    split.close()
    split.close()
    with pytest.raises(ValueError, match="is closed"):
        split(els.make_noise(1, (1, SIDE, SIDE)), 1.0)


@pytest.mark.parametrize(
    "make",
    [
        els.Nearest,
        els.SmoothedIdeal,
        els.PCALocality,
        els.GoldenSubset,
        lambda data: els.PatchComposite(data, 3),
        patches(keys="aware", response=3),
    ],
)
def test_what_does_not_merge_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="do not merge"):
        distributed(make(images()), 2)


@pytest.mark.parametrize("shards", [0, -1, 24, 10_001, 1.5, True, "2", None])
def test_bad_shards(shards: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="shards must be"):
        distributed(els.IdealScore(images()), shards)


def test_gradients_are_refused() -> None:
    split = distributed(els.IdealScore(images()), 2)
    x = els.make_noise(1, (1, SIDE, SIDE)).requires_grad_()
    with pytest.raises(ValueError, match="no gradient"):
        split(x, 1.0)


def test_networks_are_refused() -> None:
    with pytest.raises(TypeError, match="machine must be"):
        distributed(lambda x, sigma, label=None: x, 2)  # type: ignore[arg-type]


def test_nothing_seen() -> None:
    part = els.IdealScore(images(classes=4)).part(0, 3)
    x, level = els.make_noise(1, (1, SIDE, SIDE)), torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="no shard has an image"):
        merge_in_tree([part.states(x, level, torch.tensor([3]))])


def test_it_is_exported() -> None:
    assert els.distributed is distributed
    assert els.Distributed is Distributed
