"""EDM's UNets, put together a second time from the blocks of diffusers."""

from __future__ import annotations

import math
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elsewhere.networks.edm_unet import Block, Conv, EDMUNet
from tests.networks.toys import random_weights

WIDTHS = (128, 256)  # diffusers has one number of groups for all widths, and EDM 32 from 128 channels on


def peer(net: EDMUNet, family: str) -> Any:
    """The UNet2DModel with the same weights: two levels of one block, attention on the lower one."""
    song = family == "song"
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=WIDTHS, layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"), downsample_type="resnet", upsample_type="resnet",
        resnet_time_scale_shift="default" if song else "scale_shift", attention_head_dim=256 if song else 64,
        norm_eps=1e-6 if song else 1e-5, freq_shift=1 if song else 0, flip_sin_to_cos=not song,
        attn_norm_num_groups=32,
    )  # fmt: skip
    unet.conv_in.load_state_dict(plain(net.enc["8x8_conv"]))
    for ours, theirs in (("map_layer0", "linear_1"), ("map_layer1", "linear_2")):
        getattr(unet.time_embedding, theirs).load_state_dict(getattr(net, ours).state_dict())
    (high, low), (up_low, up_high) = unet.down_blocks, unet.up_blocks
    pairs = {"enc.8x8_block0": high.resnets[0], "enc.4x4_down": high.downsamplers[0], "enc.4x4_block0": low.resnets[0],
             "dec.4x4_in0": unet.mid_block.resnets[0], "dec.4x4_in1": unet.mid_block.resnets[1],
             "dec.4x4_block0": up_low.resnets[0], "dec.4x4_block1": up_low.resnets[1],
             "dec.8x8_up": up_low.upsamplers[0], "dec.8x8_block0": up_high.resnets[0],
             "dec.8x8_block1": up_high.resnets[1]}  # fmt: skip
    attends = {"enc.4x4_block0": low.attentions[0], "dec.4x4_in0": unet.mid_block.attentions[0],
               "dec.4x4_block0": up_low.attentions[0], "dec.4x4_block1": up_low.attentions[1]}  # fmt: skip
    if song:  # attention after the last block of a level only
        up_low.attentions[0] = Same()
        del attends["dec.4x4_block0"]
    for name, resnet in pairs.items():
        fill_resnet(net.get_submodule(name), resnet, song)
    for name, attention in attends.items():
        fill_attention(net.get_submodule(name), attention, song)
    norm, conv = (net.dec["8x8_aux_norm"], net.dec["8x8_aux_conv"]) if song else (net.out_norm, net.out_conv)
    unet.conv_norm_out.load_state_dict(norm.state_dict())
    unet.conv_out.load_state_dict(plain(conv))
    return unet.eval()


class Same(nn.Module):
    """Leaves what it is given."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x


def plain(layer: Any) -> dict[str, Tensor]:
    return {name: value for name, value in layer.state_dict().items() if name != "resample_filter"}


def fill_resnet(block: Any, resnet: Any, song: bool) -> None:
    layers = (
        ("norm0", "norm1"),
        ("conv0", "conv1"),
        ("affine", "time_emb_proj"),
        ("norm1", "norm2"),
        ("conv1", "conv2"),
    )
    for ours, theirs in layers:
        getattr(resnet, theirs).load_state_dict(plain(getattr(block, ours)))
    if block.skip is not None and block.skip.weight is not None:
        outer, inner = block.skip.weight.shape[:2]
        resnet.conv_shortcut = nn.Conv2d(inner, outer, 1)
        resnet.conv_shortcut.load_state_dict(plain(block.skip))
    else:
        assert resnet.conv_shortcut is None
    if song:
        resnet.output_scale_factor = math.sqrt(2)


def fill_attention(block: Any, attention: Any, song: bool) -> None:
    attention.group_norm.load_state_dict(block.norm2.state_dict())
    heads, width = block.heads, block.qkv.weight.shape[1]
    weight = block.qkv.weight.view(heads, width // heads, 3, width)
    bias = block.qkv.bias.view(heads, width // heads, 3)
    for index, layer in enumerate((attention.to_q, attention.to_k, attention.to_v)):
        layer.load_state_dict(
            {"weight": weight[:, :, index].reshape(width, width), "bias": bias[:, :, index].flatten()}
        )
    attention.to_out[0].load_state_dict({"weight": block.proj.weight[:, :, 0, 0], "bias": block.proj.bias})
    if song:
        attention.rescale_output_factor = math.sqrt(2)


def filled(net: EDMUNet, filters: Tensor) -> EDMUNet:
    random_weights(net)
    for module in net.modules():
        if isinstance(module, Conv) and module.resample_filter is not None:
            module.resample_filter.copy_(filters)
    return net


BOX = torch.full((1, 1, 2, 2), 0.25)
BINOMIAL = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1]))[None, None] / 64


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("family", ["song", "adm"])
def test_it_is_the_network_of_the_library_with_the_same_weights(family: Any, classes: int) -> None:
    net = filled(EDMUNet(family, 8, 3, classes, 128, [1, 2], 4, 1, [4]), BOX)
    unet = peer(net, family)
    x, time = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([-1.2, 0.9])
    labels = torch.tensor([0, 2]) if classes else None
    if classes:
        assert net.map_label is not None
        weight = net.map_label.weight
        if family == "adm":  # after the embedding of the time
            unet.class_embedding = nn.Embedding(classes, 512)
            unet.class_embedding.load_state_dict({"weight": weight.T})
            unet.register_to_config(num_class_embeds=classes)
        else:  # before it
            inner, shift = unet.time_proj, (math.sqrt(classes) * weight[:, labels] + net.map_label.bias[:, None]).T

            class Shifted(nn.Module):
                def forward(self, time: Tensor) -> Tensor:
                    return inner(time) + shift

            unet.time_proj = Shifted()
    with torch.no_grad():
        expected = unet(x, time, class_labels=labels if family == "adm" else None).sample
        assert torch.allclose(net(x, time, labels), expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("resample", ["up", "down"])
def test_resampling_with_the_long_filter_is_a_plain_sum(resample: Any) -> None:
    layer = Conv(1, 1, 0, resample, 4)
    layer.resample_filter.copy_(BINOMIAL)  # type: ignore[union-attr]
    image = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    taps = np.array([1, 3, 3, 1]) / 8
    if resample == "down":
        matrix = np.zeros((3, 6))
        for row in range(3):
            for tap, weight in enumerate(taps):
                if 0 <= 2 * row + tap - 1 < 6:
                    matrix[row, 2 * row + tap - 1] += weight
    else:
        matrix = np.zeros((12, 6))
        for column in range(6):
            for tap, weight in enumerate(taps):
                if 0 <= 2 * column + tap - 1 < 12:
                    matrix[2 * column + tap - 1, column] += 2 * weight
    expected = matrix @ image[0, 0].double().numpy() @ matrix.T
    assert np.allclose(layer(image)[0, 0].numpy(), expected, atol=1e-6)


def test_the_residual_way_down_adds_the_image_halved_again_and_again() -> None:
    settings = {"fourier": True, "noise": 2, "residual": True, "filter_length": 4}
    net = filled(EDMUNet("song", 8, 3, 0, 8, [1, 1, 1], 2, 1, [], **settings), BINOMIAL)  # type: ignore[arg-type]
    seen: dict[str, Tensor] = {}
    for name, layer in net.enc.items():
        layer.register_forward_hook(lambda _, given, out, name=name: seen.update({name: out, f"{name} in": given[0]}))
    x, time = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3])
    with torch.no_grad():
        net(x, time)
        beside = x
        for side in (4, 2):
            aux = net.enc[f"{side}x{side}_aux_residual"]
            # The convolution, then the filter and halving, in steps of the library. What is padded is added once.
            padded = torch.nn.functional.conv2d(beside, aux.weight, padding=2)  # type: ignore[arg-type]
            kernel = BINOMIAL.expand(8, 1, 4, 4)
            halved = torch.nn.functional.conv2d(padded, kernel, aux.bias, stride=2, groups=8)  # type: ignore[arg-type]
            beside = (seen[f"{side}x{side}_down"] + halved) / math.sqrt(2)
            assert torch.allclose(seen[f"{side}x{side}_block0 in"], beside, atol=1e-5)
        angles = 0.3 * 2 * math.pi * net.map_noise.freqs  # type: ignore[operator]
        assert net.map_layer0.in_features == 2 * len(angles) == 16
        first = net.map_layer0(torch.cat([angles.sin(), angles.cos()])[None])
        expected = torch.nn.functional.silu(net.map_layer1(torch.nn.functional.silu(first)))
        assert torch.allclose(net._embed(time, None), expected, atol=1e-5)
    assert isinstance(net.enc["8x8_block0"], Block)
