from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from elsewhere.networks import NetworkSpec, TrainedNetwork, base, read_network, save_network
from elsewhere.networks.trained import DESCRIPTION
from elsewhere.tensor_files import write_tensors
from elsewhere.testing import check_denoiser
from tests.networks.toys import random_weights

RESNET = NetworkSpec("resnet", 1, (6, 8), 3, {"width": 8, "blocks": 1}, "toys", "abc", {"steps": 5})
UNET = NetworkSpec("unet", 3, (6, 8), 0, {"widths": [4, 4]}, "toys")


def trained(spec: NetworkSpec) -> TrainedNetwork:
    return TrainedNetwork(random_weights(spec.build()), spec)


class Recording(torch.nn.Module):
    """A network that answers v = 0.5 and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.asked: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]] = []

    def forward(self, x: torch.Tensor, time: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        self.asked.append((x, time, label))
        return torch.full_like(x, 0.5)


@pytest.mark.parametrize("spec", [RESNET, UNET], ids=["resnet", "unet"])
def test_it_is_differentiable_in_x_only(spec: NetworkSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PIXELS_AT_ONCE", 48)
    network = trained(spec)
    x = torch.randn(3, spec.channels, *spec.size, generator=torch.Generator().manual_seed(0))
    assert not network(x, 1.0).requires_grad
    followed = x.clone().requires_grad_()
    x0 = network(followed, 1.0)
    assert torch.equal(x0, network(x, 1.0))
    (found,) = torch.autograd.grad(x0[1].sum(), followed)
    # Each image has a gradient of its own, though each is a piece of the batch.
    assert not found[0].any()
    assert found[1].any()
    assert not any(parameter.requires_grad for parameter in network.module.parameters())
    with torch.no_grad():
        assert not network(followed, 1.0).requires_grad
    with pytest.raises(ValueError, match=r"sigma requires gradients, but TrainedNetwork.*sigma.detach\(\)"):
        network(x, torch.tensor(1.0, requires_grad=True))


@pytest.mark.parametrize("spec", [RESNET, UNET], ids=["resnet", "unet"])
def test_it_has_every_property_of_a_denoiser(spec: NetworkSpec) -> None:
    check_denoiser(trained(spec), spec.channels, spec.size, spec.num_classes)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 1.0, 7.0, 300.0])
def test_a_known_velocity_gives_back_the_clean_image(sigma: float) -> None:
    clean, noise = torch.rand(1, 1, 4, 4, dtype=torch.float64) * 2 - 1, torch.randn(1, 1, 4, 4, dtype=torch.float64)
    a, s = 1 / math.sqrt(1 + sigma**2), sigma / math.sqrt(1 + sigma**2)

    class Perfect(Recording):
        def forward(self, x: torch.Tensor, time: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
            assert torch.allclose(x.double(), a * clean + s * noise, atol=1e-5)
            assert math.isclose(math.tan(math.pi / 2 * float(time)), sigma, rel_tol=1e-2 if sigma > 100 else 1e-4)
            return a * noise - s * clean

    network = TrainedNetwork(Perfect(), NetworkSpec("resnet", 1, (4, 4)))
    assert torch.allclose(network(clean + sigma * noise, sigma), clean, atol=1e-9 * (1 + sigma))


def test_without_noise_the_image_stays_and_without_image_the_network_speaks() -> None:
    network = trained(RESNET)
    x = torch.rand(1, 1, 6, 8, dtype=torch.float64)
    assert torch.allclose(network(x, 1e-8), x, atol=1e-7)
    # At sigma -> infinity  a -> 0, s -> 1 and  D -> -F(n, 1).
    velocity = network.module(x.float(), torch.ones(1), torch.tensor([3]))
    assert torch.allclose(network(1e6 * x, 1e6), -velocity.double(), atol=1e-4)


def test_no_label_asks_for_all_classes_together() -> None:
    module = Recording()
    network = TrainedNetwork(module, RESNET)
    network(torch.zeros(2, 1, 6, 8), 1.0)
    network(torch.zeros(2, 1, 6, 8), 1.0, [1, 2])  # type: ignore[arg-type]
    assert [asked[2].tolist() for asked in module.asked if asked[2] is not None] == [[3, 3], [1, 2]]


def test_large_batches_go_through_in_pieces_with_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    network = trained(RESNET)
    x, sigma, label = torch.randn(7, 1, 6, 8), torch.linspace(0.1, 3, 7), torch.arange(7) % 3
    whole = network(x, sigma.numpy(), label)
    monkeypatch.setattr(base, "PIXELS_AT_ONCE", 3 * 6 * 8)
    seen: list[int] = []
    network.module.register_forward_pre_hook(lambda _module, arguments: seen.append(len(arguments[0])))
    assert torch.allclose(network(x, sigma.numpy(), label), whole, atol=1e-5)
    assert seen == [3, 3, 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_is_taken_and_given_back(dtype: Any) -> None:
    x0 = trained(RESNET)(np.zeros((1, 1, 6, 8), dtype), 1.0)
    assert x0.dtype == dtype


def test_half_precision_does_not_overflow_on_the_way() -> None:
    x = torch.full((1, 1, 6, 8), 6e4, dtype=torch.float16)
    assert torch.isfinite(trained(RESNET)(x, 1e5)).all()


def test_a_unet_keeps_to_its_size_and_a_resnet_does_not() -> None:
    assert trained(RESNET)(torch.zeros(1, 1, 5, 9), 1.0).shape == (1, 1, 5, 9)
    with pytest.raises(ValueError, match=r"5x9 pixels.*made for 6x8"):
        trained(UNET)(torch.zeros(1, 3, 5, 9), 1.0)


@pytest.mark.parametrize("spec", [RESNET, UNET], ids=["resnet", "unet"])
def test_saved_and_read_it_is_the_same(spec: NetworkSpec, tmp_path: Path) -> None:
    network = trained(spec)
    save_network(tmp_path / "deeper" / "net.safetensors", network.module, spec)
    state = torch.random.get_rng_state()
    read = read_network(tmp_path / "deeper" / "net.safetensors")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert read.spec == spec
    x = torch.randn(2, spec.channels, *spec.size)
    assert torch.equal(read(x, 0.7), network(x, 0.7))


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.safetensors"
    network = trained(RESNET)
    save_network(path, network.module, RESNET)
    before = path.read_bytes()

    def half(tensors: object, target: Path, metadata: object) -> None:
        Path(target).write_bytes(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("elsewhere.tensor_files.save_file", half)
    with pytest.raises(KeyboardInterrupt):
        save_network(path, network.module, RESNET)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NetworkSpec("transformer", 1, (4, 4)), "unknown kind of network 'transformer': expected resnet, unet or dit"),
        (NetworkSpec("resnet", 1, (4, 4), 0, {"depth": 3}), "a resnet has no option 'depth': expected width, blocks"),
        (NetworkSpec("resnet", 1, (4, 4), 0, {"channels": 3}), "a resnet has no option 'channels'"),
        (
            NetworkSpec("resnet", 1, (4, 4), 0, {"width": "8"}),
            "bad options for a resnet: width must be an integer, got str '8'",
        ),
        (NetworkSpec("unet", 1, (4, 4), 0, {"blocks": 3}), "a unet has no option 'blocks': expected widths, layers"),
        (NetworkSpec("unet", 1, (4, 5)), "multiples of 2, got 4x5"),
    ],
)
def test_a_spec_that_cannot_be_built_says_why(spec: NetworkSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec.build()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _garbage(path: Path) -> None:
    path.write_bytes(b"not tensors at all")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _other_tensors(path: Path) -> None:
    write_tensors(path, {"weight": torch.zeros(2)}, {DESCRIPTION: json.dumps({"kind": "resnet", "channels": 1})})


def _other_weights(path: Path) -> None:
    fields = {"kind": "resnet", "channels": 1, "size": [4, 4]}
    write_tensors(path, {"weight": torch.zeros(2)}, {DESCRIPTION: json.dumps(fields)})


def _no_json(path: Path) -> None:
    write_tensors(path, {"weight": torch.zeros(2)}, {DESCRIPTION: "{"})


def _deep_json(path: Path) -> None:
    write_tensors(path, {"weight": torch.zeros(2)}, {DESCRIPTION: "[" * 100_000})


def _spec(path: Path, **changes: Any) -> None:
    """The file again, with a right checksum, but with a spec that asks for another network."""
    fields = {**asdict(RESNET), **changes}
    write_tensors(path, load_file(path), {DESCRIPTION: json.dumps(fields)})


def _endless(path: Path) -> None:
    _spec(path, options={"width": 8, "blocks": 10**7})


def _huge(path: Path) -> None:
    _spec(path, options={"width": 10**6, "blocks": 1})


def _beyond(path: Path) -> None:
    _spec(path, options={"width": 2**62, "blocks": 1})


def _classes(path: Path) -> None:
    _spec(path, num_classes=2**40)


def _no_size(path: Path) -> None:
    _spec(path, size=3)


def _not_finite(path: Path) -> None:
    weights = load_file(path)
    weights["enter.weight"].view(-1)[0] = torch.inf
    write_tensors(path, weights, {DESCRIPTION: json.dumps(asdict(RESNET))})


def _unsealed(path: Path) -> None:
    save_file(load_file(path), path, {DESCRIPTION: json.dumps(asdict(RESNET))})


def _foreign(path: Path) -> None:
    write_tensors(path, {"weight": torch.zeros(2)}, {})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_cut, "not a readable safetensors file"),
        (_garbage, "not a readable safetensors file"),
        (_empty, "not a readable safetensors file"),
        (_other_tensors, "does not describe a network of this version"),
        (_other_weights, "does not describe a network of this version"),
        (_no_json, "does not describe a network of this version"),
        (_deep_json, "JSON nested too deeply"),
        (_endless, "10000000 blocks need more weights than the"),
        (_huge, "blocks.0.first.bias is torch.float32"),
        (_beyond, "does not describe a network of this version"),
        (_classes, "num_classes must be at most 1000000"),
        (_no_size, "does not describe a network of this version"),
        (_not_finite, "NaN or infinite values in enter.weight"),
        (_unsealed, "has no checksum.*save_network"),
        (_foreign, "has no network description"),
    ],
)
def test_a_broken_file_is_named(spoil: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_network(path, trained(RESNET).module, RESNET)
    spoil(path)
    with pytest.raises(ValueError, match=rf"net\.safetensors.*{message}"):
        read_network(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no network file"):
        read_network(tmp_path / "none.safetensors")
