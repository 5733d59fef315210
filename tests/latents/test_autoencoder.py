"""Autoencoders: their units, what they refuse, and which latents a pixel is made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from tests.latents.latent_toys import kl, pictures, tiny, vq
from tests.networks.toys import random_weights

import elsewhere as els
from elsewhere.latents import Autoencoder


@pytest.mark.parametrize("make", [kl, vq, lambda: tiny().module], ids=["kl", "vq", "tiny"])
def test_a_saved_folder_is_the_module(make: Callable[[], Any], tmp_path: Path) -> None:
    module = make()
    module.save_pretrained(tmp_path / "net")
    found, data = els.load_autoencoder(tmp_path / "net"), pictures()
    assert found.fingerprint == els.load_autoencoder(module).fingerprint
    latents = els.encode(data, found)
    assert latents.images.equal(els.encode(data, els.load_autoencoder(module)).images)
    assert found.decode(latents.images).shape == (6, 3, 16, 16)


def test_latents_are_in_the_units_of_latent_networks() -> None:
    module, data = kl(scaling_factor=0.3, shift_factor=0.2), pictures()
    found = els.load_autoencoder(module)
    with torch.no_grad():
        mean = module.encode(data.scaled()).latent_dist.mean
        # As in StableDiffusion3Pipeline: scaled after, and unscaled before the decoder.
        latents, back = (mean - 0.2) * 0.3, module.decode(mean).sample
    assert torch.allclose(els.encode(data, found).images, latents, atol=1e-6)
    assert torch.allclose(found.decode(latents), back, atol=1e-4)


def test_a_pixel_depends_on_the_latents_of_its_field_and_no_others() -> None:
    found = tiny(num_decoder_blocks=(0, 1, 0))
    # Convolutions of 3: one on latents, one and three on twice the side, two on the full one: 4 + 4 * 2 + 2 pixels.
    assert found.field.pixels == 4 + 2 * 14
    assert found.field.latents == 8
    latents = torch.randn(1, 4, 20, 20, dtype=torch.float64)
    latents.requires_grad_()
    doubled = Autoencoder(found.module.double(), "doubled")
    for row in range(36, 44):
        [slopes] = torch.autograd.grad(doubled.decode(latents)[0, :, row, 40].sum(), latents)
        reached = slopes.abs().sum((0, 1)).sum(1).nonzero()[:, 0]
        assert int(reached[-1] - reached[0]) + 1 <= found.field.latents


def test_normalisation_and_attention_bring_all_latents_to_every_pixel() -> None:
    for module in (kl(), vq(), kl(mid_block_add_attention=False)):
        field = els.load_autoencoder(module).field
        assert field.latents is None
        assert "all latents" in str(field)


def test_sides_that_the_autoencoder_cannot_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images are 18x18 pixels, tiny divides sides by 4: give .*size=16"):
        els.encode(pictures(side=18), tiny())


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"images have 1 channel, tiny takes 3: load_images\(..., gray=False\)"):
        els.encode(pictures(channels=1), tiny())
    with pytest.raises(ValueError, match=r"latents have 3 channels, tiny takes 4: give the autoencoder that made"):
        tiny().decode(torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_latents_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="latents has NaN or infinite values"):
        tiny().decode(torch.full((1, 4, 4, 4), value))
    spoilt = tiny()
    spoilt.module.encoder.layers[0].bias.data.fill_(value)  # type: ignore[union-attr, index]
    with pytest.raises(ValueError, match="the latents of tiny has NaN or infinite values"):
        els.encode(pictures(), spoilt)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere", FileNotFoundError, "no autoencoder at 'nowhere': give a diffusers folder"),
        ("", ValueError, "must be a name or a path"),
        (None, TypeError, "source must be a name, a folder"),
        (torch.nn.Linear(1, 1), TypeError, "module must be a diffusers AutoencoderKL"),
        (3, TypeError, "source must be a name, a folder"),
    ],
)
def test_what_is_no_autoencoder_is_named(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        els.load_autoencoder(source)


def _edit(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def _pickled(folder: Path) -> None:
    torch.save({}, folder / "diffusion_pytorch_model.bin")
    (folder / "diffusion_pytorch_model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda f: _edit(f, _class_name="UNet2DModel"), ValueError, "holds a UNet2DModel: expected an AutoencoderKL"),
        (lambda f: _edit(f, block_out_channels=[8, 16]), ValueError, "do not fit config.json"),
        (lambda f: _edit(f, layers_per_block=10**9), ValueError, "more than the .* tensors"),
        (lambda f: _edit(f, scaling_factor=0), ValueError, "scaling_factor of the autoencoder must be above 0"),
        (lambda f: _edit(f, latents_mean=[0.0] * 4), ValueError, "latents_mean or latents_std"),
        (_pickled, ValueError, "pickles can run code and are never read"),
        (lambda f: (f / "config.json").unlink(), FileNotFoundError, "has no config.json, vae/ or vqvae/"),
        (shutil.rmtree, FileNotFoundError, "no autoencoder at"),
    ],
)
def test_folders_that_cannot_be_read_are_named(
    spoil: Callable[[Path], Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    kl().save_pretrained(tmp_path / "net")
    spoil(tmp_path / "net")
    with pytest.raises(error, match=message):
        els.load_autoencoder(tmp_path / "net")


def test_a_variant_belongs_to_folders(tmp_path: Path) -> None:
    module = kl()
    module.save_pretrained(tmp_path, variant="fp16")
    assert els.load_autoencoder(tmp_path, variant="fp16").fingerprint == els.load_autoencoder(module).fingerprint
    with pytest.raises(ValueError, match="variant='fp16' was given but source is no diffusers folder"):
        els.load_autoencoder(module, variant="fp16")


def test_decoding_is_differentiable_in_latents() -> None:
    latents = torch.randn(1, 4, 4, 4, requires_grad=True)
    [slopes] = torch.autograd.grad(tiny().decode(latents).sum(), latents)
    assert float(slopes.abs().max()) > 0


def test_an_autoencoder_of_more_outputs_than_inputs_is_refused() -> None:
    module = random_weights(
        diffusers.AutoencoderKL(3, 1, ("DownEncoderBlock2D",), ("UpDecoderBlock2D",), (8,), norm_num_groups=4)
    )
    with pytest.raises(ValueError, match="turns 3 channels into 1"):
        Autoencoder(module)
