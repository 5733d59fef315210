"""Machines, mixes, networks and sets of images on a device; where there is a GPU, on both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import elsewhere as els
from elsewhere.checks import devices, objects
from elsewhere.machines.table import TABLE
from elsewhere.networks import NetworkSpec, TrainedNetwork

OTHERS = [name for name in devices() if name != "cpu"]
"""Devices here beside the processor."""


def toy_set() -> els.ImageSet:
    images = torch.randint(0, 256, (12, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return els.ImageSet(images, torch.arange(12) % 2, "toys")


def network() -> TrainedNetwork:
    spec = NetworkSpec("resnet", 1, (8, 8), 2, {"width": 4, "blocks": 1})
    return TrainedNetwork(spec.build(), spec)


MAKERS: dict[str, Callable[[els.ImageSet], Any]] = {
    **{name: lambda data, entry=entry: entry.make(data, 3, "aware") for name, entry in TABLE.items()},
    "masks": lambda data: els.PatchComposite(data, masks=torch.ones(8, 8, 8, 8, dtype=torch.bool)),
    "weights": lambda data: els.LocalScore(data, 3, weights=torch.arange(1.0, 13)),
    "mix": lambda data: els.mix(
        {"IS": els.IdealScore(data), "f": lambda x, sigma, label=None: x}, {"IS": 0.5, "f": 0.5}
    ),
    "network": lambda data: network(),
}


@pytest.mark.parametrize("device", ["cpu", *OTHERS])
@pytest.mark.parametrize("name", MAKERS)
def test_a_denoiser_that_was_moved_gives_the_same_answers(name: str, device: str) -> None:
    one = MAKERS[name](toy_set())
    x = els.make_noise(2, (1, 8, 8))
    before = one(x, 0.7, 1)
    moved = one.to(device)
    assert moved is not one
    assert type(moved) is type(one)
    assert repr(moved) == repr(one)
    after = moved(x, 0.7, 1)
    assert after.device == x.device
    # The sums of a GPU are in another order.
    torch.testing.assert_close(after, before, atol=2e-5, rtol=0)
    torch.testing.assert_close(one(x, 0.7, 1), before, atol=1e-6, rtol=0)
    if hasattr(one, "device"):
        assert moved.device.type == torch.device(device).type
        assert one.device.type == "cpu"


@pytest.mark.parametrize("device", ["cpu", *OTHERS])
def test_a_machine_computes_where_its_images_are(device: str) -> None:
    data = toy_set().to(device)
    assert data.device.type == torch.device(device).type
    assert data.fingerprint() == toy_set().fingerprint()
    assert data[data.labels == 1][2].device == data.device  # type: ignore[index]
    machine = els.EquivariantLocalScore(data, 3)
    assert machine.device == data.device
    assert data._repr_html_() == toy_set()._repr_html_()


@pytest.mark.parametrize("device", OTHERS)
def test_results_of_a_gpu_can_be_shown_and_saved(device: str, tmp_path: Any) -> None:
    data = toy_set().to(device)
    machine = els.EquivariantLocalScore(data, 3)
    noise = els.make_noise(2, data.shape).to(device)
    run = els.sample(machine, noise, els.schedules.cosine(2), keep=True)
    result = els.compare({"ELS": machine}, network().to(device), noise, schedule=els.schedules.cosine(2))
    mosaic = els.explain(machine, run.states[0], run.sigmas[0], top=2)
    for thing in (data, run, result, mosaic):
        assert thing._repr_html_()
    run.save(tmp_path / "run.gif")
    run.save(tmp_path / "run.npz")
    result.save(tmp_path)


def test_what_a_machine_has_beside_its_images_moves_with_it() -> None:
    local = els.PCALocality(toy_set())
    moved = local.to("cpu")
    assert moved.workspace is not local.workspace
    assert moved._learnt_from is moved.workspace


@pytest.mark.parametrize(
    "thing",
    [toy_set(), els.IdealScore(toy_set()), els.Wiener(toy_set()), network(), MAKERS["mix"](toy_set())],
    ids=lambda thing: type(thing).__name__,
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(thing: Any) -> None:
    for bad in ("cuda:99", "nonsense", "meta", torch.device("meta"), ""):
        with pytest.raises(ValueError, match=r"^device .* cannot be used here \(.*\): choose of cpu"):
            thing.to(bad)
    for bad in (None, 3, ["cpu"]):
        with pytest.raises(TypeError, match=r"^device must be"):
            thing.to(bad)


def test_the_message_says_why_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for version, said in ((None, "was built without CUDA"), ("12.8", "torch finds no GPU")):
        monkeypatch.setattr(torch.version, "cuda", version)
        monkeypatch.setattr(torch.version, "hip", None)
        assert said in objects._why_not("cuda:0", RuntimeError("some text of torch"))
    assert objects._why_not("tpu", RuntimeError("no tpu. And more")) == "no tpu"


def test_the_fast_engine_stays_on_processors() -> None:
    if not OTHERS:
        pytest.skip("no other device here")
    with pytest.raises(ValueError, match="the fast engine runs on processors"):
        els.EquivariantLocalScore(toy_set(), 3, engine="fast").to(OTHERS[0])
