"""The autoencoder and the network that come with the package are what their cards say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import elsewhere as els
from elsewhere.latents import SHIPPED, Field

CARDS = Path(els.latents.__file__).parent / "shipped"


def test_every_shipped_autoencoder_has_a_card() -> None:
    assert SHIPPED == ("emoji-vae",)
    for name in SHIPPED:
        assert (CARDS / f"{name}.md").is_file()


@pytest.mark.parametrize("name", ["emoji", "pixel-faces"])
def test_the_reconstruction_is_that_of_the_card(name: str) -> None:
    autoencoder, data = els.load_autoencoder("emoji-vae"), els.load_images(name)[:200]
    latents = els.encode(data, autoencoder)
    error = (autoencoder.decode(latents.images).clamp(-1, 1) - data.scaled()).abs().mean()
    [stated] = re.findall(rf"`{name}` \| mean absolute error ([\d.]+)", (CARDS / "emoji-vae.md").read_text())
    # Of the first images, not of all.
    assert abs(float(error) - float(stated)) < 0.01
    assert 0.9 < float(latents.images.square().mean().sqrt()) < 1.1


def test_the_decoder_is_local() -> None:
    assert els.load_autoencoder("emoji-vae").field == Field(latents=10, pixels=38, effective=16)


def test_the_latent_network_knows_its_autoencoder_and_its_images() -> None:
    latents = els.encode(els.load_images("emoji"), els.load_autoencoder("emoji-vae"))
    network = els.load_network("emoji-latents")
    decoded = els.Decoded(network, els.load_autoencoder("emoji-vae"))
    assert decoded.spec.fingerprint == latents.fingerprint()
    run = els.sample(decoded, els.make_noise(2, latents.shape), els.schedules.cosine(4), label=0)
    assert float(run.images.abs().max()) < 1.5
