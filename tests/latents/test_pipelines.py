"""Latent pipelines of diffusers: tiny random ones of the classes of Stable Diffusion, LDM and DiT, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from tests.latents.latent_toys import kl, pictures, vq
from tests.networks.toys import random_weights

import elsewhere as els
from elsewhere.networks.diffusers_folder import DiffusersNetwork

WIDTH, TOKENS = 16, 5


def conditional_unet(**settings: Any) -> Any:
    defaults: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return random_weights(diffusers.UNet2DConditionModel(**{**defaults, **settings}))


def text_encoder() -> Any:
    settings = transformers.CLIPTextConfig(
        vocab_size=50, hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=TOKENS, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    return random_weights(transformers.CLIPTextModel(settings))


def stable_diffusion(folder: Path) -> Path:
    """As StableDiffusionPipeline.save_pretrained writes it, without its tokenizer."""
    pipeline = diffusers.StableDiffusionPipeline(
        kl(scaling_factor=0.18215), text_encoder(), None, conditional_unet(),
        diffusers.PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True),
        None, None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stable_diffusion(tmp_path_factory.mktemp("tiny-sd"))


def embedding(batch: int | None = None, seed: int = 0) -> torch.Tensor:
    tokens = torch.randint(0, 50, (batch or 1, TOKENS), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        found: torch.Tensor = text_encoder()(tokens).last_hidden_state
    return found if batch else found[0]


def test_a_pipeline_of_stable_diffusion_draws_pictures_beside_machines_on_its_latents(folder: Path) -> None:
    autoencoder = els.load_autoencoder(folder)
    assert (autoencoder.scaling, autoencoder.factor, autoencoder.latent_channels) == (0.18215, 2, 4)
    network = els.load_network(folder)
    assert isinstance(network, DiffusersNetwork)
    told = network.with_text(embedding())
    latents = els.encode(pictures(), autoencoder)
    noise, levels = els.make_noise(2, latents.shape), els.schedules.cosine(3)
    run = els.sample(els.Decoded(told, autoencoder), noise, levels, keep=True)
    assert run.images.shape == (2, 3, 16, 16)
    assert len(run.predictions) == 3
    machine = els.Decoded(els.EquivariantLocalScore(latents, 3), autoencoder)
    found = els.compare({"ELS": machine}, els.Decoded(told, autoencoder), noise, schedule=levels)
    assert found.images["network"].equal(run.images)
    assert found.nearest["ELS"].images.shape == (2, 3, 16, 16)


def test_it_is_the_formula_of_the_scheduler(folder: Path) -> None:
    told = els.load_network(folder)
    assert isinstance(told, DiffusersNetwork)
    words = embedding()
    scheduler = diffusers.PNDMScheduler.from_pretrained(folder / "scheduler")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    kept = scheduler.alphas_cumprod[400].double()
    sigma = float(((1 - kept) / kept) ** 0.5)
    x = 3 * els.make_noise(2, (4, 8, 8))
    with torch.no_grad():
        answer = unet((kept**0.5 * x).float(), 400, encoder_hidden_states=words.expand(2, -1, -1)).sample
    # A fractional timestep is found by interpolation, to some 1e-5 of a step.
    assert torch.allclose(told.with_text(words)(x, sigma), x - sigma * answer, atol=1e-3)


def test_every_image_has_its_own_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = els.load_network(folder)
    assert isinstance(network, DiffusersNetwork)
    words, x = embedding(3), els.make_noise(3, (4, 8, 8))
    one_by_one = torch.cat([network.with_text(words[i])(x[i : i + 1], 1.0) for i in range(3)])
    assert torch.allclose(network.with_text(words)(x, 1.0), one_by_one, atol=1e-5)
    assert not torch.allclose(one_by_one, network.with_text(words[0])(x, 1.0), atol=1e-3)
    # In pieces of one image.
    monkeypatch.setattr("elsewhere.networks.diffusers_folder.PIXELS_AT_ONCE", 64)
    monkeypatch.setattr("elsewhere.networks.base.PIXELS_AT_ONCE", 64)
    assert torch.allclose(network.with_text(words)(x, 1.0), one_by_one, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (torch.zeros(TOKENS, 3), ValueError, r"embedding must be \(tokens, 16\) or .* got \(5, 3\)"),
        (torch.zeros(16), ValueError, r"embedding must be .* got \(16,\)"),
        (torch.full((TOKENS, WIDTH), torch.nan), ValueError, "NaN"),
        (torch.zeros(TOKENS, WIDTH, dtype=torch.int64), TypeError, "floating point"),
        ("a cat", TypeError, "embedding must be"),
        (torch.zeros(2, TOKENS, WIDTH), ValueError, "x has 3 images, the network was given texts for 2"),
        (None, ValueError, "was trained with texts: give it one"),
    ],
)
def test_texts_that_do_not_fit_are_named(folder: Path, words: Any, error: type[Exception], message: str) -> None:
    network = els.load_network(folder)
    assert isinstance(network, DiffusersNetwork)
    x = els.make_noise(3, (4, 8, 8))
    with pytest.raises(error, match=message):
        (network if words is None else network.with_text(words))(x, 1.0)


def test_a_network_without_texts_refuses_one() -> None:
    unet = random_weights(diffusers.UNet2DModel(8, 4, 4, block_out_channels=(8,), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False))  # fmt: skip
    network = els.load_network((unet, diffusers.DDPMScheduler()))
    assert isinstance(network, DiffusersNetwork)
    with pytest.raises(ValueError, match="takes no text"):
        network.with_text(embedding())


def test_a_pipeline_of_ldm_works_on_latents_of_its_vqmodel(tmp_path: Path) -> None:
    unet = random_weights(diffusers.UNet2DModel(8, 3, 3, block_out_channels=(8,), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False))  # fmt: skip
    diffusers.LDMPipeline(vq(), unet, diffusers.DDIMScheduler()).save_pretrained(tmp_path)
    network, autoencoder = els.load_network(tmp_path), els.load_autoencoder(tmp_path)
    run = els.sample(els.Decoded(network, autoencoder), els.make_noise(2, (3, 8, 8)), els.schedules.cosine(2))
    assert run.images.shape == (2, 3, 16, 16)


def test_a_dit_is_asked_with_classes_and_with_none(tmp_path: Path) -> None:
    transformer = random_weights(
        diffusers.DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=4, in_channels=4, out_channels=8, num_layers=1, sample_size=8,
            patch_size=2, num_embeds_ada_norm=10, norm_num_groups=4,
        )
    )  # fmt: skip
    pipeline = diffusers.DiTPipeline(transformer, kl(), diffusers.DDIMScheduler())
    pipeline.save_pretrained(tmp_path)
    network = els.load_network(tmp_path)
    assert (network.num_classes, network.has_null_class, network.channels) == (10, True, 4)
    x = els.make_noise(2, (4, 8, 8))
    answers = [network(x, 1.0, label) for label in (None, 3, 4)]
    assert all(answer.shape == x.shape for answer in answers)
    assert not torch.allclose(answers[1], answers[2], atol=1e-4)
    # The last row is that of no class.
    sigma = torch.tensor([1.0])
    steps = network.timestep(sigma).expand(2)  # type: ignore[attr-defined]
    rows = torch.full((2,), 10)
    with torch.no_grad():
        answer = transformer((x * 2**-0.5), timestep=steps, class_labels=rows).sample[:, :4]
    assert torch.allclose(answers[0], x - answer, atol=1e-4)
    assert els.load_network(pipeline).num_classes == 10  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time_cond_proj_dim": 4}, "the UNet has time_cond_proj_dim"),
        ({"in_channels": 9}, "turns 9 channels into 4"),
        ({"class_embed_type": "timestep"}, "class embeddings of type 'timestep'"),
    ],
)
def test_networks_that_need_more_than_a_text_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        els.load_network((conditional_unet(**settings), diffusers.DDIMScheduler()))
