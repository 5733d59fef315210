from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from elsewhere.networks.diffusers_folder import DiffusersNetwork, read_diffusers
from elsewhere.testing import check_denoiser
from tests.networks.toys import random_weights

BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
PREDICTIONS = ("epsilon", "v_prediction", "sample")


def make_unet(**settings: Any) -> Any:
    defaults = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "add_attention": False,
        "norm_num_groups": 4,
    }
    return random_weights(diffusers.UNet2DModel(**{**defaults, **settings}))


def make_folder(folder: Path, unet: Any = None, scheduler: Any = None) -> Path:
    (unet or make_unet()).save_pretrained(folder / "unet")
    (scheduler or diffusers.DDPMScheduler()).save_pretrained(folder / "scheduler")
    return folder


def alphas_cumprod(schedule: str) -> np.ndarray:
    """The published schedules: Ho et al. (2020), Rombach et al. (2022), Nichol & Dhariwal (2021, eq. 17)."""
    if schedule == "linear":
        betas = np.linspace(1e-4, 0.02, 1000)
    elif schedule == "scaled_linear":
        betas = np.linspace(1e-4**0.5, 0.02**0.5, 1000) ** 2
    else:
        kept = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = np.minimum(1 - kept[1:] / kept[:-1], 0.999)
    return np.cumprod(1 - betas)


@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_at_a_timestep_it_is_the_published_formula(schedule: str, prediction: str, tmp_path: Path) -> None:
    unet = make_unet()
    scheduler = diffusers.DDPMScheduler(beta_schedule=schedule, prediction_type=prediction)
    network = read_diffusers(make_folder(tmp_path, unet, scheduler))
    for t in (0, 1, 250, 500, 750):
        kept = alphas_cumprod(schedule)[t]
        x_vp = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(t))
        out = unet(x_vp, torch.tensor([t, t])).sample
        if prediction == "epsilon":
            expected = (x_vp - (1 - kept) ** 0.5 * out) / kept**0.5
        elif prediction == "v_prediction":
            expected = kept**0.5 * x_vp - (1 - kept) ** 0.5 * out
        else:
            expected = out
        sigma = ((1 - kept) / kept) ** 0.5
        x0 = network(x_vp / kept**0.5, float(sigma))
        # The library computes its schedule in float32: relative errors of sigma up to 1e-3 at the first timestep.
        assert torch.allclose(x0, expected, atol=2e-4 * (1 + float(sigma)), rtol=1e-3)


@pytest.mark.parametrize("schedule", BETAS)
def test_noise_levels_between_timesteps_are_interpolated_in_log_sigma(schedule: str) -> None:
    network = DiffusersNetwork(make_unet(), diffusers.DDIMScheduler(beta_schedule=schedule))
    kept = alphas_cumprod(schedule)
    sigmas = torch.tensor(((1 - kept) / kept) ** 0.5)[:990]
    assert torch.allclose(network.timestep(sigmas), torch.arange(990.0), atol=0.01)
    middle = (sigmas[400] * sigmas[401]).sqrt()[None]
    assert float(network.timestep(middle)) == pytest.approx(400.5, abs=0.01)


def test_outside_the_schedule_the_first_and_last_timestep_serve() -> None:
    network = DiffusersNetwork(make_unet(), diffusers.DDPMScheduler())
    lowest, highest = (math.exp(network.preconditioning.times.log_sigmas[i]) for i in (0, -1))
    steps = network.timestep(torch.tensor([1e-4, lowest, highest, 1e4]))
    assert steps.tolist() == [0.0, 0.0, 999.0, 999.0]
    x = torch.rand(1, 1, 8, 8) * 2 - 1
    # Below: hardly any noise is left to take away.
    assert torch.allclose(network(x, 1e-6), x, atol=1e-4)
    # Above: the answer depends on the noise alone, and an error of the network does not grow with sigma.
    noise = torch.randn(1, 1, 8, 8)
    last = network(highest * noise, highest)
    for sigma in (1e3, 1e5):
        assert torch.allclose(network(sigma * noise, sigma), last, atol=1e-3 * float(last.abs().max()))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_it_has_every_property_of_a_denoiser(prediction: str) -> None:
    scheduler = diffusers.DDPMScheduler(prediction_type=prediction)
    check_denoiser(DiffusersNetwork(make_unet(), scheduler), 1, (8, 8), tolerance=1e-3)


def test_a_ddim_run_is_the_run_of_the_library() -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False, prediction_type="v_prediction", set_alpha_to_one=True)
    unet = make_unet()
    network = DiffusersNetwork(unet, scheduler)
    scheduler.set_timesteps(5)
    x_vp = torch.randn(1, 1, 8, 8)
    kept = scheduler.alphas_cumprod.double()
    sigmas = ((1 - kept) / kept).sqrt()[scheduler.timesteps].tolist()
    x = x_vp / kept[scheduler.timesteps[0]].sqrt().float()
    for t, sigma, after in zip(scheduler.timesteps, sigmas, [*sigmas[1:], 0.0], strict=True):
        x_vp = scheduler.step(unet(x_vp, t).sample, t, x_vp).prev_sample
        x0 = network(x, sigma)
        x = x0 + after / sigma * (x - x0)
    assert torch.allclose(x, x_vp, atol=1e-4)


def test_classes_need_a_label_and_use_it(tmp_path: Path) -> None:
    unet = make_unet(num_class_embeds=3)
    network = read_diffusers(make_folder(tmp_path, unet))
    assert network.num_classes == 3
    check_denoiser(network, 1, (8, 8), 3, unconditional=False, tolerance=1e-3)
    with pytest.raises(ValueError, match=r"trained with classes.*give label=0\.\.2"):
        network(torch.zeros(1, 1, 8, 8), 1.0)


def test_attention_and_colour_and_oblong_images_are_taken(tmp_path: Path) -> None:
    unet = make_unet(
        sample_size=(8, 16),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        add_attention=True,
    )
    network = read_diffusers(make_folder(tmp_path, unet))
    assert (network.channels, network.size) == (3, (8, 16))
    assert network(torch.zeros(1, 3, 8, 16), 1.0).shape == (1, 3, 8, 16)


def test_learned_variances_are_left_aside() -> None:
    unet = make_unet(out_channels=2)
    network = DiffusersNetwork(unet, diffusers.DDPMScheduler(variance_type="learned_range", prediction_type="sample"))
    x = torch.randn(1, 1, 8, 8)
    level = torch.tensor([1.0])
    expected = unet(x / 2**0.5, network.timestep(level)).sample[:, :1]
    assert torch.allclose(network(x, 1.0), expected, atol=1e-5)


def test_a_learned_time_embedding_gets_whole_timesteps() -> None:
    unet = make_unet(time_embedding_type="learned", num_train_timesteps=1000)
    network = DiffusersNetwork(unet, diffusers.DDPMScheduler())
    assert float(network.timestep(torch.tensor([1.0]))).is_integer()
    assert torch.isfinite(network(torch.zeros(1, 1, 8, 8), 1.0)).all()


def test_zero_terminal_signal_is_taken() -> None:
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    check_denoiser(DiffusersNetwork(make_unet(), scheduler), 1, (8, 8), tolerance=1e-3)


@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize(
    "scheduler",
    [
        "DDIMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_samplers_that_write_another_number_for_no_signal_read_alike(
    scheduler: str, schedule: str, tmp_path: Path
) -> None:
    settings = {"rescale_betas_zero_snr": True, "beta_schedule": schedule, "prediction_type": "v_prediction"}
    unet, made = make_unet(), getattr(diffusers, scheduler)(**settings)
    expected = DiffusersNetwork(unet, diffusers.DDPMScheduler(**settings))
    network = read_diffusers(make_folder(tmp_path, unet, made))
    assert network.preconditioning.times.times.tolist() == list(range(999))
    np.testing.assert_allclose(
        network.preconditioning.times.log_sigmas, expected.preconditioning.times.log_sigmas, rtol=1e-6
    )
    for sigma in (2.0, 1e6):
        x = sigma * torch.randn(1, 1, 8, 8)
        assert torch.allclose(network(x, sigma), expected(x, sigma), atol=1e-5)


@pytest.mark.parametrize(
    "scheduler", ["DDIMScheduler", "EulerDiscreteScheduler", "PNDMScheduler", "UniPCMultistepScheduler"]
)
def test_other_samplers_of_the_same_noise_read_alike(scheduler: str, tmp_path: Path) -> None:
    unet, x = make_unet(), torch.randn(1, 1, 8, 8)
    made = getattr(diffusers, scheduler)()
    expected = DiffusersNetwork(unet, diffusers.DDPMScheduler())(x, 2.0)
    assert torch.allclose(read_diffusers(make_folder(tmp_path, unet, made))(x, 2.0), expected, atol=1e-5)


def test_a_bare_unet_with_its_scheduler_beside_is_taken(tmp_path: Path) -> None:
    unet, x = make_unet(), torch.randn(1, 1, 8, 8)
    whole = make_folder(tmp_path / "pipeline", unet)
    bare = tmp_path / "bare"
    unet.save_pretrained(bare)
    diffusers.DDPMScheduler().save_pretrained(bare)
    expected = read_diffusers(whole)(x, 1.0)
    assert torch.equal(read_diffusers(whole / "unet")(x, 1.0), expected)
    assert torch.equal(read_diffusers(bare)(x, 1.0), expected)


def test_half_precision_weights_are_computed_in_float32(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    assert read_diffusers(folder)(torch.zeros(1, 1, 8, 8), 1.0).dtype == torch.float32


def _edit(path: Path, **changes: Any) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


def _latent(folder: Path) -> None:
    (folder / "movq").mkdir()


def _conditional(folder: Path) -> None:
    _edit(folder / "unet" / "config.json", _class_name="UNet3DConditionModel")


def _fourier(folder: Path) -> None:
    make_unet(time_embedding_type="fourier").save_pretrained(folder / "unet")


def _class_vectors(folder: Path) -> None:
    _edit(folder / "unet" / "config.json", class_embed_type="identity")


def _two_to_one(folder: Path) -> None:
    make_unet(in_channels=2).save_pretrained(folder / "unet")


def _exploding(folder: Path) -> None:
    diffusers.ScoreSdeVeScheduler().save_pretrained(folder / "scheduler")


def _flow(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", prediction_type="flow_prediction")


def _no_scheduler_class(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", _class_name="UNet2DModel")


def _base_scheduler(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", _class_name="SchedulerMixin")


def _unknown_betas(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", beta_schedule="wavy")


def _still_betas(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", trained_betas=[0.1, 0.0, 0.1], num_train_timesteps=3)


def _turning_back(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", trained_betas=[0.1, 0.1, -0.1], num_train_timesteps=3)


def _bad_json(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("{")


def _list_json(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("[1]")


def _cut_weights(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _missing_weights(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if k != "conv_in.weight"}, path, {"format": "pt"})


def _other_shape(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file({**weights, "conv_in.weight": weights["conv_in.weight"].flatten()}, path, {"format": "pt"})


def _renamed_weights(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_inn.weight"] = weights.pop("conv_in.weight")
    save_file(weights, path, {"format": "pt"})


def _not_finite(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_in.weight"][0] = torch.nan
    save_file(weights, path, {"format": "pt"})


def _pickled(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never opened")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_latent, "has movq/, so its network needs more than noisy images"),
        (_conditional, "holds a UNet3DConditionModel: expected a UNet2DModel"),
        (_fourier, "fourier time embedding"),
        (_class_vectors, "class embeddings of type 'identity'"),
        (_two_to_one, "turns 2 channels into 1"),
        (_exploding, "scheduler 'ScoreSdeVeScheduler' cannot be read.*expected a variance-preserving one"),
        (_flow, "prediction_type='flow_prediction' of the DDPMScheduler: expected epsilon"),
        (_no_scheduler_class, "scheduler 'UNet2DModel' cannot be read"),
        (_base_scheduler, "scheduler 'SchedulerMixin' cannot be read"),
        (_unknown_betas, "wavy"),
        (_still_betas, "does not grow with the timestep"),
        (_turning_back, "does not grow with the timestep"),
        (_bad_json, "config.json is not a readable JSON object"),
        (_list_json, "config.json is not a readable JSON object"),
        (_cut_weights, "does not hold a readable UNet2DModel"),
        (_missing_weights, "do not fit config.json, which asks for .* numbers: found"),
        (_renamed_weights, "do not fit config.json: 1 .*_keys, such as conv_"),
        (_other_shape, "does not hold a readable UNet2DModel"),
        (_not_finite, "NaN or infinite values in conv_in.weight"),
        (_pickled, "pickles can run code and are never read"),
    ],
)
def test_what_cannot_be_read_is_said(spoil: Any, message: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net")
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        read_diffusers(folder)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("scheduler", "has no scheduler/scheduler_config.json"),
        ("unet/config.json", "the settings of a network"),
        ("unet/diffusion_pytorch_model.safetensors", "the weights of the model"),
    ],
)
def test_what_is_missing_is_named(lost: str, message: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net")
    if (folder / lost).is_dir():
        shutil.rmtree(folder / lost)
    else:
        (folder / lost).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        read_diffusers(folder)


def test_a_missing_diffusers_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"a diffusers folder needs the library diffusers.*elsewhere\[networks\]"):
        read_diffusers(folder)
