"""Published networks, read from files in their authors' formats, held against the formulas of those networks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from elsewhere import load_network
from elsewhere.factory import borders_of
from elsewhere.networks import PublishedNetwork, read_published
from elsewhere.networks.edm_unet import EDMUNet
from elsewhere.testing import check_denoiser
from tests.networks.published_toys import kamb_resnet, kamb_unet, write_edm, write_kamb
from tests.networks.toys import random_weights

Weights = dict[str, Tensor]

# ------------------------------------------------------------------- the networks of Kamb & Ganguli, straight from them


def filtered(x: Tensor, weights: Weights, name: str, padding: str) -> Tensor:
    kernel = weights[f"{name}.weight"]
    margin = kernel.shape[-1] // 2
    padded = F.pad(x, (margin,) * 4, mode="circular" if padding == "circular" else "constant")
    return F.conv2d(padded, kernel, weights[f"{name}.bias"])


def embedded(weights: Weights, time: float, width: int, label: int | None) -> Tensor:
    half = width // 2
    angles = torch.tensor([time / 10_000 ** (i / (half - 1)) for i in range(half)])
    features = torch.cat([angles.sin(), angles.cos()])
    return features if label is None else features + weights["embedding.class_embeddings.weight"][label]


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def resnet(weights: Weights, x: Tensor, time: float, padding: str, label: int | None) -> Tensor:
    width = len(weights["up_projection.bias"])

    def shift(layer: int) -> Tensor:
        groups = linear(embedded(weights, time, width, label), weights, f"embs.{layer}.0").view(8, -1)
        normal = (groups - groups.mean(1, keepdim=True)) / (groups.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        scaled = normal.flatten() * weights[f"embs.{layer}.1.weight"] + weights[f"embs.{layer}.1.bias"]
        return scaled.relu()[None, :, None, None]

    h = filtered(x, weights, "up_projection", padding)
    layers = sum(name.startswith("convs") and name.endswith("0.weight") for name in weights)
    for layer in range(layers):
        h = h + filtered(h + shift(layer), weights, f"convs.{layer}.0", padding).relu()
    return filtered(h + shift(layers), weights, "down_projection", padding)


def unet(weights: Weights, x: Tensor, time: float, padding: str, label: int | None) -> Tensor:
    features = embedded(weights, time, 16, label)

    def block(x: Tensor, name: str) -> Tensor:
        x = x + linear(features.relu(), weights, f"{name}.emb.1")[None, :, None, None]
        x = filtered(x, weights, f"{name}.model.0", padding).relu()
        return filtered(x, weights, f"{name}.model.2", padding).relu()

    kept = []
    levels = sum(name.startswith("upsamples") and name.endswith("weight") for name in weights)
    for level in range(levels):
        x = block(x, f"feature_blocks.{level}")
        kept.append(x)
        x = F.max_pool2d(x, 2)
    x = block(x, "bottleneck")
    for level in range(levels):
        up = F.conv_transpose2d(x, weights[f"upsamples.{level}.weight"], weights[f"upsamples.{level}.bias"], stride=2)
        x = block(torch.cat([kept[-1 - level], up], 1), f"output_blocks.{level}")
    x = x + linear(features.relu(), weights, "last_emb.1")[None, :, None, None]
    return filtered(x, weights, "output_conv", padding)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize(("padding", "classes"), [("zeros", 0), ("circular", 3)])
@pytest.mark.parametrize("kind", ["resnet", "unet"])
def test_a_whole_network_of_kamb_is_its_own_formula(
    kind: str, padding: str, classes: int, wrapped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "backbone_epoch3.pt"
    if kind == "resnet":
        weights = write_kamb(path, kamb_resnet, 16, 2, padding, classes, False, wrapped=wrapped)
    else:
        weights = write_kamb(path, kamb_unet, [4, 6, 8], padding, classes, wrapped=wrapped)
    network = load_network(path)
    assert isinstance(network, PublishedNetwork)
    assert (network.channels, network.num_classes, network.padding) == (1, classes, padding)
    assert borders_of(network) == {"zeros": "aware", "circular": "wrap"}[padding]
    label = 2 if classes else None
    for time in (0.05, 0.5, 1.0):
        beta = 1 - math.cos(math.pi / 2 * time / 1.008) ** 2
        x_vp = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        noise = (resnet if kind == "resnet" else unet)(weights, x_vp, time, padding, label)
        x0 = (x_vp - beta**0.5 * noise) / (1 - beta) ** 0.5
        sigma = (beta / (1 - beta)) ** 0.5
        found = network(x_vp * (1 + sigma**2) ** 0.5, sigma, label)
        assert torch.allclose(found, x0, atol=1e-5 * (1 + sigma), rtol=1e-4)


def test_normalised_layers_are_read_too(tmp_path: Path) -> None:
    weights = write_kamb(tmp_path / "net.pt", kamb_resnet, 16, 1, "zeros", 0, True)
    network = read_published(tmp_path / "net.pt")
    assert torch.equal(network.module.state_dict()["down_projection.0.weight"], weights["down_projection.0.weight"])
    check_denoiser(network, 1, (8, 8), tolerance=1e-3)


def test_another_schedule_or_padding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    write_kamb(path, kamb_resnet, 16, 1, "zeros", 0, False, schedule="linear_noise_schedule")
    with pytest.raises(ValueError, match=r"noise schedule is utils\.noise_schedules\.linear_noise_schedule: expected"):
        read_published(path)
    write_kamb(path, kamb_resnet, 16, 1, "reflect", 0, False)
    with pytest.raises(ValueError, match="padding is reflect: expected zeros or circular"):
        read_published(path)


def test_layers_that_are_not_known_are_refused(tmp_path: Path) -> None:
    def attends(kinds: Any, *arguments: Any) -> Any:
        net = kamb_unet(kinds, *arguments)
        net.attention_layer = torch.nn.Linear(2, 2)
        return net

    write_kamb(tmp_path / "net.pt", attends, [4, 6], "zeros", 0)
    with pytest.raises(ValueError, match=r"unexpected weight attention_layer"):
        read_published(tmp_path / "net.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    def broken(kinds: Any, *arguments: Any) -> Any:
        net = kamb_resnet(kinds, *arguments)
        net.register_buffer("mark", torch.zeros(1))
        return net

    write_kamb(tmp_path / "net.pt", broken, 16, 1, "zeros", 0, False)
    with pytest.raises(ValueError, match="unexpected weight mark"):
        read_published(tmp_path / "net.pt")
    weights = EDMUNet("adm", 8, 1, 0, 8, [1], 2, 1, []).state_dict()
    settings = {"img_resolution": 8, "in_channels": 1, "out_channels": 1, "label_dim": 0, "model_channels": 8,
                "channel_mult": [1], "channel_mult_emb": 2, "num_blocks": 1, "attn_resolutions": []}  # fmt: skip
    weights["out_conv.bias"][0] = math.nan
    write_edm(tmp_path / "net.pkl", weights, "DhariwalUNet", settings, sigma_data=0.5)
    with pytest.raises(ValueError, match=r"NaN or infinite values in out_conv\.bias"):
        read_published(tmp_path / "net.pkl")


# -------------------------------------------------------------------------------------------------------------- EDM

SONG = {"img_resolution": 8, "in_channels": 3, "out_channels": 3, "label_dim": 0, "model_channels": 8,
        "channel_mult": [1, 2], "channel_mult_emb": 2, "num_blocks": 1, "attn_resolutions": [4],
        "dropout": 0.13, "augment_dim": 9}  # fmt: skip


def song(classes: int = 0, **settings: Any) -> Any:
    return random_weights(EDMUNet("song", 8, 3, classes, 8, [1, 2], 2, 1, [4], **settings))


@pytest.mark.parametrize("outer", ["EDMPrecond", "VPPrecond"])
def test_a_snapshot_of_edm_is_its_preconditioning_around_the_unet(outer: str, tmp_path: Path) -> None:
    net = song()
    weights = {**net.state_dict(), "map_augment.weight": torch.ones(8, 9)}
    extra = (
        {"sigma_data": 0.5}
        if outer == "EDMPrecond"
        else {"beta_d": 19.9, "beta_min": 0.1, "M": 1000, "epsilon_t": 1e-5}
    )
    write_edm(tmp_path / "edm.pkl", weights, "SongUNet", SONG, outer, **extra)
    network = load_network(tmp_path / "edm.pkl")
    assert isinstance(network, PublishedNetwork)
    assert (network.channels, network.size, network.num_classes) == (3, (8, 8), 0)
    for sigma in (0.05, 1.0, 40.0):
        x = sigma * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        if outer == "EDMPrecond":
            # Karras et al. (2022), table 1.
            total = sigma**2 + 0.25
            answer = net(x / total**0.5, torch.full((2,), math.log(sigma) / 4))
            expected = 0.25 / total * x + sigma * 0.5 / total**0.5 * answer
        else:
            # Their table 1, column VP: t from sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1).
            t = ((0.1**2 + 2 * 19.9 * math.log(1 + sigma**2)) ** 0.5 - 0.1) / 19.9
            expected = x - sigma * net(x / (1 + sigma**2) ** 0.5, torch.full((2,), 999 * t))
        assert torch.allclose(network(x, sigma), expected, atol=1e-5 * (1 + sigma), rtol=1e-4)


def test_classes_of_edm_need_a_label_unless_some_were_dropped_in_training(tmp_path: Path) -> None:
    net = song(classes=4)
    for dropout in (0, 0.1):
        settings = {**SONG, "label_dim": 4, "label_dropout": dropout}
        write_edm(tmp_path / "edm.pkl", net.state_dict(), "SongUNet", settings, sigma_data=0.5)
        network = read_published(tmp_path / "edm.pkl")
        assert network.num_classes == 4
        check_denoiser(network, 3, (8, 8), 4, unconditional=bool(dropout), tolerance=1e-3)
    read_published(tmp_path / "edm.pkl")(torch.zeros(1, 3, 8, 8), 1.0)
    write_edm(tmp_path / "edm.pkl", net.state_dict(), "SongUNet", {**SONG, "label_dim": 4}, sigma_data=0.5)
    with pytest.raises(ValueError, match=r"trained with classes.*give label=0\.\.3"):
        read_published(tmp_path / "edm.pkl")(torch.zeros(1, 3, 8, 8), 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_blocks": 10**6}, "not of one network"),
        ({"num_blocks": 2}, "expected floats"),
        ({"channel_mult": "12"}, "not of one network"),
        ({"model_channels": 16}, "expected floats"),
        ({"encoder_type": "skip"}, "'skip' is not read"),
        ({"out_channels": 6}, "turns 3 channels into 6"),
        ({"warp": 1}, "unknown setting warp of its SongUNet"),
    ],
    ids=str,
)
def test_settings_that_the_weights_do_not_have_are_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_edm(tmp_path / "edm.pkl", song().state_dict(), "SongUNet", {**SONG, **change}, sigma_data=0.5)
    with pytest.raises(ValueError, match=rf"edm\.pkl holds no network that can be read: .*{words}"):
        read_published(tmp_path / "edm.pkl")


def test_other_networks_and_other_contents_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    write_edm(path, song().state_dict(), "SongUNet", SONG, "VEPrecond")
    with pytest.raises(ValueError, match="an object of the class VEPrecond; expected a whole network"):
        read_published(path)
    for content, words in ((song().state_dict(), "weights alone"), ([1, 2], "holds a list"), (None, "holds a None")):
        torch.save(content, path)
        with pytest.raises(ValueError, match=words):
            read_published(path)
    torch.save(song().state_dict(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="of before 2020"):
        read_published(path)
    with pytest.raises(FileNotFoundError, match="no network file"):
        read_published(tmp_path / "none.pkl")
