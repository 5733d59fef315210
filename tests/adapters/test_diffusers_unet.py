"""A machine as a UNet: what every scheduler of the library makes of its answers is the machine's own x0hat."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.adapters import as_unet
from elsewhere.adapters.machine_unet import MachineUNet
from elsewhere.networks import DiffusersNetwork

UNCLIPPED = {"clip_sample": False}
V = {"prediction_type": "v_prediction"}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SCHEDULERS: list[tuple[str, dict[str, Any]]] = [
    *[("DDPMScheduler", {**UNCLIPPED, "prediction_type": p}) for p in ("epsilon", "v_prediction", "sample")],
    ("DDPMScheduler", {**UNCLIPPED, "beta_schedule": "squaredcos_cap_v2"}),
    ("DDIMScheduler", {**UNCLIPPED, "timestep_spacing": "trailing", "beta_schedule": "scaled_linear"}),
    ("DDIMScheduler", {**UNCLIPPED, **V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    ("EulerDiscreteScheduler", {}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("EulerDiscreteScheduler", {**V, "timestep_type": "continuous", "sigma_min": 0.002, "sigma_max": 80.0}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("HeunDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    ("DPMSolverSinglestepScheduler", V),
    ("UniPCMultistepScheduler", {}),
    ("EDMEulerScheduler", {}),
    ("EDMEulerScheduler", V),
    ("EDMDPMSolverMultistepScheduler", {}),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ("FlowMatchHeunDiscreteScheduler", {}),
]


def data(count: int = 12, classes: int = 0) -> els.ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return els.ImageSet(images, torch.arange(count) % classes if classes else None, "toys")


def x0_of_the_scheduler(scheduler: Any, step: int, out: torch.Tensor, time: Any, sample: torch.Tensor) -> torch.Tensor:
    """What a scheduler takes for x0hat, as its own step says."""
    if "FlowMatch" in type(scheduler).__name__:
        # x' = x + (u' - u) F with x = (1 - u) x0 + u n: a step to u' = 0 ends at x0.
        return sample - scheduler.sigmas[step] * out
    if type(scheduler).__name__.startswith("Heun"):
        # Its outcome says only where it goes; the first order part of its code takes sample - sigma out for x0hat.
        return sample - scheduler.sigmas[step] * out
    if hasattr(scheduler, "convert_model_output"):
        return scheduler.convert_model_output(out, sample=sample)
    return scheduler.step(out, time, sample).pred_original_sample


@pytest.mark.parametrize(("name", "settings"), SCHEDULERS, ids=[f"{n[:-9]}-{'-'.join(s)}"[:60] for n, s in SCHEDULERS])
def test_a_scheduler_reads_the_machine_s_own_answer(name: str, settings: dict[str, Any]) -> None:
    machine = els.IdealScore(data())
    make = getattr(diffusers, name)
    unet = as_unet(machine, make(**settings))
    levels = els.schedules.from_scheduler(make(**settings), 7).sigmas
    for step in (0, 3, 6):
        scheduler = make(**settings)
        scheduler.set_timesteps(7)
        # Methods of second order list a timestep twice.
        at = step if len(scheduler.timesteps) == 7 else max(0, 2 * step - 1)
        time, sigma = scheduler.timesteps[at], levels[step]
        x = data(2).scaled() + sigma * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(step))
        if name.startswith(("EDM", "Euler", "Heun")):
            sample = x
        elif "FlowMatch" in name:
            sample = x / (1 + sigma)
        else:
            sample = x / (1 + sigma**2) ** 0.5
        if hasattr(scheduler, "_init_step_index"):
            scheduler._init_step_index(time)
        given = scheduler.scale_model_input(sample, time) if hasattr(scheduler, "scale_model_input") else sample
        out = unet(given, time).sample
        found = x0_of_the_scheduler(scheduler, at, out, time, sample)
        # Predicted noise has 24 bits, and x0hat = x - sigma n loses as many as sigma has above 1.
        assert torch.allclose(found, machine(x, sigma), atol=1e-5 * max(1.0, sigma if sigma < 1e4 else 1.0)), step


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_a_ddim_pipeline_draws_what_our_sampler_draws(spacing: str) -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing=spacing)
    machine = els.EquivariantLocalScore(data(), 3)
    pipeline = diffusers.DDIMPipeline(as_unet(machine, scheduler).double(), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(2, torch.Generator().manual_seed(3), num_inference_steps=8, output_type="pt").images
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    schedule = els.schedules.from_scheduler(scheduler, 8)
    # The pipeline begins with the variance-preserving state of standard deviation 1.
    first = schedule.sigmas[0]
    run = els.sample(machine, noise * (1 + first**2) ** 0.5 / first, schedule)
    assert torch.allclose(2 * made - 1, run.images.clamp(-1, 1), atol=1e-5)
    assert float(run.images.std()) > 0.1


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_loop_over_an_euler_scheduler_takes_the_steps_of_our_sampler(name: str) -> None:
    scheduler = getattr(diffusers, name)()
    machine = els.LocalScore(data(), 3)
    unet, schedule = as_unet(machine, scheduler), els.schedules.from_scheduler(scheduler, 6)
    noise = els.make_noise(2, (1, 8, 8)).double()
    flow = name.startswith("Flow")
    sample = noise.clone() if flow else schedule.sigmas[0] * noise
    scheduler.set_timesteps(6)
    for time in scheduler.timesteps:
        given = sample if flow else scheduler.scale_model_input(sample, time)
        sample = scheduler.step(unet(given, time).sample, time, sample).prev_sample.double()
    # Schedulers step in float32 from the first sigma on.
    assert torch.allclose(sample, els.sample(machine, noise, schedule).images, atol=1e-4)


@pytest.mark.parametrize("name", ["DDPMPipeline", "PNDMPipeline"])
def test_other_pixel_pipelines_take_it(name: str) -> None:
    scheduler = getattr(diffusers, name.replace("Pipeline", "Scheduler"))()
    pipeline = getattr(diffusers, name)(as_unet(els.IdealScore(data()), scheduler), scheduler)
    pipeline.set_progress_bar_config(disable=True)
    settings = {"generator": torch.Generator().manual_seed(0), "num_inference_steps": 10, "output_type": "np"}
    images = pipeline(batch_size=2, **settings).images
    # The ideal machine ends on training images, and PNDM, which stops at sigma .01, near them.
    assert images.shape == (2, 8, 8, 1)
    away = torch.tensor(images)[:, None, :, :, 0] - (data().scaled()[None, :, 0] + 1) / 2
    nearest = away.square().mean((2, 3)).sqrt().amin(1)
    # Two of these images differ by .4.
    assert float(nearest.max()) < 0.1


@pytest.mark.parametrize("name", ["DDIMScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_read_back_as_a_network_it_is_the_machine(name: str) -> None:
    scheduler, machine = getattr(diffusers, name)(), els.LocalScore(data(classes=3), 3)
    network = DiffusersNetwork(as_unet(machine, scheduler), scheduler)
    assert (network.channels, network.size, network.num_classes, network.null_class) == (1, (8, 8), 3, 3)
    x, sigma = els.make_noise(3, (1, 8, 8)), torch.tensor([0.1, 1.0, 10.0])
    for label in (None, 2, torch.tensor([0, 1, 2])):
        assert torch.allclose(network(x, sigma, label), machine(x, sigma, label), atol=1e-4)


def test_classes_are_those_of_the_machine_and_the_last_number_means_none() -> None:
    scheduler, machine = diffusers.DDIMScheduler(prediction_type="sample"), els.IdealScore(data(classes=2))
    unet = as_unet(machine, scheduler)
    assert unet.config.num_class_embeds == 3
    x, sigma = els.make_noise(3, (1, 8, 8)), float(unet.preconditioning.times.level(torch.tensor([400.0])))
    sample = x / (1 + sigma**2) ** 0.5
    out = unet(sample, 400, class_labels=torch.tensor([0, 1, 2])).sample
    for index, label in enumerate((0, 1, None)):
        one = slice(index, index + 1)
        assert torch.allclose(out[one], machine(x[one], sigma, label), atol=1e-5)
    assert torch.allclose(unet(sample, 400).sample, machine(x, sigma), atol=1e-5)
    with pytest.raises(ValueError, match=r"class_labels must be in 0\.\.2, the last of which means none, got 3"):
        unet(sample, 400, class_labels=3)
    with pytest.raises(ValueError, match="the machine has no classes"):
        as_unet(els.IdealScore(data()), scheduler)(sample, 400, class_labels=torch.tensor([0, 0, 0]))


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("DDIMScheduler", (-1, 1000.0, 999.5)),
        ("FlowMatchEulerDiscreteScheduler", (0, -1.0, 1000.5)),
        ("EDMEulerScheduler", (900, 5.0)),
    ],
)
def test_timesteps_of_another_scheduler_are_refused(name: str, times: tuple[float, ...]) -> None:
    unet = as_unet(els.IdealScore(data()), getattr(diffusers, name)())
    for time in times:
        with pytest.raises(ValueError, match="has no noise level"):
            unet(torch.zeros(1, 1, 8, 8), time)


def test_any_denoiser_can_be_a_unet_but_only_machines_are_saved(tmp_path: Path) -> None:
    def half(x: torch.Tensor, sigma: float, label: object = None) -> torch.Tensor:
        assert isinstance(sigma, float)
        return 0.5 * x

    scheduler = diffusers.DDPMScheduler(prediction_type="sample")
    with pytest.raises(ValueError, match="does not say its size and channels: give size and channels"):
        as_unet(half, scheduler)
    unet = as_unet(half, scheduler, size=(4, 6), channels=3)
    assert (unet.config.sample_size, unet.config.in_channels) == ((4, 6), 3)
    assert torch.allclose(unet(torch.ones(1, 3, 4, 6), torch.tensor([0])).sample, torch.tensor(0.5), atol=1e-3)
    with pytest.raises(TypeError, match="machine must be"):
        unet.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="as an array, which has no name"):
        as_unet(els.IdealScore(data().scaled()), scheduler).save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="scheduler must be a diffusers scheduler"):
        as_unet(half, "ddim", size=(4, 6), channels=3)


def test_half_precision_is_that_of_the_answer_alone() -> None:
    machine, scheduler = els.IdealScore(data()), diffusers.DDIMScheduler(prediction_type="sample")
    unet = as_unet(machine, scheduler).half()
    assert unet.dtype == torch.float16
    sample = els.make_noise(1, (1, 8, 8)).half()
    out = unet(sample, 500).sample
    assert out.dtype == torch.float16
    assert torch.allclose(out.float(), as_unet(machine, scheduler)(sample.float(), 500).sample, atol=1e-3)


# ---------------------------------------------------------------------------------------------------------- files


def save(folder: Path, machine: Any = None) -> Path:
    machine = machine or els.EquivariantLocalScore(els.load_images("fashion-mini", limit=20), 5, "wrap")
    as_unet(machine, diffusers.DDIMScheduler(prediction_type="v_prediction")).save_pretrained(folder)
    return folder


def test_what_is_saved_are_settings_and_it_comes_back_by_the_name_of_its_images(tmp_path: Path) -> None:
    folder = save(tmp_path / "unet")
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert (folder / "config.json").stat().st_size < 4000
    back = MachineUNet.from_pretrained(folder)
    assert repr(back.denoiser) == repr(els.EquivariantLocalScore(els.load_images("fashion-mini", limit=20), 5, "wrap"))
    sample = els.make_noise(1, (1, 28, 28))
    first = as_unet(back.denoiser, diffusers.DDIMScheduler(prediction_type="v_prediction"))
    assert torch.equal(back(sample, 300).sample, first(sample, 300).sample)
    assert MachineUNet.from_pretrained(tmp_path, subfolder="unet", torch_dtype=torch.float16).dtype == torch.float16


def test_images_of_another_hash_are_refused_and_given_ones_taken(tmp_path: Path) -> None:
    folder = save(tmp_path / "unet", els.IdealScore(data()))
    with pytest.raises(FileNotFoundError, match=r"names the images 'toys', which cannot be loaded: give .*data="):
        MachineUNet.from_pretrained(folder)
    assert len(MachineUNet.from_pretrained(folder, data=data()).denoiser) == 12  # type: ignore[arg-type]
    other = els.ImageSet(255 - data().images, name="toys")
    with pytest.raises(ValueError, match=r"are not those of the machine .* fingerprint"):
        MachineUNet.from_pretrained(folder, data=other)
    with pytest.raises(TypeError, match="data must be an ImageSet"):
        MachineUNet.from_pretrained(folder, data=data().scaled())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timestep": None}, "timestep must be a number or a tensor of numbers, got None"),
        ({"timestep": "400"}, "timestep must be a number"),
        ({"timestep": float("nan")}, "timestep nan has no noise level"),
        ({"timestep": torch.tensor([400, 401])}, "timestep must be one number or one for each of 3 images, got 2"),
        ({"timestep": torch.tensor([])}, "one for each of 3 images, got 0"),
        ({"timestep": 1j}, "timestep must be real"),
        ({"class_labels": torch.tensor([0, 1])}, "class_labels must be one number or one for each of 3 images, got 2"),
        ({"class_labels": torch.tensor([0.4, 1.9, 1.0])}, "class_labels must be integers, got torch.float32"),
        ({"class_labels": "one"}, "class_labels must be a number"),
        ({"sample": np.zeros((3, 1, 8, 8), np.float32)}, "sample must be"),
    ],
    ids=range(10),
)
def test_bad_arguments_are_named(given: dict[str, Any], message: str) -> None:
    unet = as_unet(els.IdealScore(data(classes=2)), diffusers.DDIMScheduler())
    call = {"sample": torch.zeros(3, 1, 8, 8), "timestep": 400, "class_labels": None, **given}
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        unet(**call)


@pytest.mark.parametrize("kind", ["EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_timestep_that_is_not_a_number_is_named(kind: str) -> None:
    unet = as_unet(els.IdealScore(data()), getattr(diffusers, kind)())
    with pytest.raises(ValueError, match="timestep nan has no noise level"):
        unet(torch.zeros(1, 1, 8, 8), float("nan"))


def test_a_pipeline_is_saved_and_read_with_its_machine(tmp_path: Path) -> None:
    scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing")
    machine = els.LocalScore(els.load_images("fashion-mini", limit=15), 3)
    pipeline = diffusers.DDIMPipeline(as_unet(machine, scheduler), scheduler)
    pipeline.save_pretrained(tmp_path)
    back = diffusers.DDIMPipeline.from_pretrained(tmp_path)
    drawn = []
    for one in (pipeline, back):
        one.set_progress_bar_config(disable=True)
        drawn.append(one(1, torch.Generator().manual_seed(0), num_inference_steps=3, output_type="pt").images)
    assert torch.equal(*drawn)


def test_a_pipeline_with_another_noise_is_refused_when_it_is_read(tmp_path: Path) -> None:
    machine = els.LocalScore(els.load_images("fashion-mini", limit=15), 3)
    unet = as_unet(machine, diffusers.DDIMScheduler())
    diffusers.DDIMPipeline(unet, diffusers.DDIMScheduler(beta_schedule="scaled_linear")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has other noise or another prediction"):
        MachineUNet.from_pretrained(tmp_path / "unet")


@pytest.mark.parametrize(
    "change",
    [
        {"_class_name": "UNet2DModel"},
        {"machine": {"machine": "os", "settings": {}}},
        {"machine": {"machine": "is", "settings": {"window": 3}}},
        {"machine": {"machine": "els", "settings": {"window": 4}}},
        {"machine": {"machine": "els", "settings": {"cache": "/tmp/x"}}},
        {"machine": None},
        {"data": {"name": "fashion-mini"}},
        {"data": None},
        {"scheduler": {"_class_name": "LCMScheduler"}},
        {"scheduler": {"_class_name": "DDIMScheduler", "beta_schedule": "none"}},
        {"scheduler": None},
        # Made before it is checked, it would take all memory.
        {"scheduler": {"_class_name": "DDIMScheduler", "num_train_timesteps": 10**9}},
    ],
    ids=str,
)
def test_damaged_settings_are_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path = save(tmp_path / "unet") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r"config\.json is not readable") as caught:
        MachineUNet.from_pretrained(tmp_path / "unet")
    assert "\n" not in str(caught.value)


def test_a_folder_without_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        MachineUNet.from_pretrained(tmp_path)


def test_a_saved_machine_is_loaded_as_a_machine_and_not_as_a_network(tmp_path: Path) -> None:
    scheduler = diffusers.DDIMScheduler()
    machine = els.EquivariantLocalScore(data(), window=3)
    diffusers.DDIMPipeline(as_unet(machine, scheduler), scheduler).save_pretrained(tmp_path)
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for folder in (tmp_path, tmp_path / "unet"):
        loaded = els.adapters.load_machine(folder, data())
        assert repr(loaded) == repr(machine)
        assert torch.equal(loaded(x, 1.0), machine(x, 1.0))
        with pytest.raises(ValueError, match=r"is no trained network: read it with els\.adapters\.load_machine\("):
            els.load_network(folder)
    with pytest.raises(FileNotFoundError, match="names the images 'toys', which cannot be loaded"):
        els.adapters.load_machine(tmp_path)
