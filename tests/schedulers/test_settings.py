"""Every scheduler that is read is held against its own step; all others, and settings nobody knows, are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from elsewhere.networks.diffusers_folder import DiffusersNetwork, read_diffusers
from elsewhere.schedulers.settings import MOST_TIMESTEPS, SCHEDULERS, VARIANCE_PRESERVING
from tests.networks.test_diffusers_folder import make_folder, make_unet

EULER = {"timestep_type": "continuous", "prediction_type": "v_prediction", "sigma_min": 0.002, "sigma_max": 700.0}
PUBLISHED = "squaredcos_cap_v2"

UNCLIPPED = {"clip_sample": False}
READ: list[tuple[str, dict[str, Any]]] = [
    *[("DDPMScheduler", {**UNCLIPPED, "prediction_type": p}) for p in ("epsilon", "v_prediction", "sample")],
    *[("DDPMScheduler", {**UNCLIPPED, "beta_schedule": b}) for b in ("scaled_linear", PUBLISHED, "sigmoid")],
    ("DDPMScheduler", {**UNCLIPPED, "trained_betas": [0.01 + 0.001 * t for t in range(50)], "num_train_timesteps": 50}),
    ("DDPMParallelScheduler", UNCLIPPED),
    ("DDIMScheduler", {**UNCLIPPED, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
    ("DDIMScheduler", {**UNCLIPPED, "steps_offset": 1, "set_alpha_to_one": False, "timestep_spacing": "trailing"}),
    ("DDIMParallelScheduler", UNCLIPPED),
    ("UnCLIPScheduler", {**UNCLIPPED, "prediction_type": "sample"}),
    ("EulerDiscreteScheduler", {"prediction_type": "sample", "timestep_spacing": "leading"}),
    ("EulerDiscreteScheduler", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
    ("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min", "timestep_spacing": "trailing"}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 20.0}),
    ("EulerDiscreteScheduler", {"use_exponential_sigmas": True}),
    ("EulerDiscreteScheduler", {**EULER, "use_karras_sigmas": True}),
    ("EulerDiscreteScheduler", {"timestep_type": "continuous", "prediction_type": "v_prediction"}),
    ("EulerAncestralDiscreteScheduler", {"prediction_type": "v_prediction", "timestep_spacing": "leading"}),
    ("HeunDiscreteScheduler", {"beta_schedule": "exp"}),
    ("HeunDiscreteScheduler", {"prediction_type": "v_prediction", "use_karras_sigmas": True}),
    ("KDPM2DiscreteScheduler", {"prediction_type": "v_prediction"}),
    ("KDPM2AncestralDiscreteScheduler", {}),
    ("LMSDiscreteScheduler", {"use_karras_sigmas": True, "prediction_type": "sample"}),
    ("DPMSolverMultistepScheduler", {"prediction_type": "v_prediction", "lambda_min_clipped": -5.1}),
    ("DPMSolverSinglestepScheduler", {"prediction_type": "sample", "solver_order": 1}),
    ("UniPCMultistepScheduler", {"prediction_type": "v_prediction", "final_sigmas_type": "sigma_min"}),
    ("SASolverScheduler", {"algorithm_type": "data_prediction"}),
    ("EDMEulerScheduler", {}),
    ("EDMEulerScheduler", {"prediction_type": "v_prediction", "sigma_data": 0.7, "sigma_schedule": "exponential"}),
    ("EDMDPMSolverMultistepScheduler", {"sigma_max": 50.0}),
    ("FlowMatchEulerDiscreteScheduler", {}),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "num_train_timesteps": 500}),
    ("FlowMatchHeunDiscreteScheduler", {}),
]


def steps(scheduler: Any) -> list[Any]:
    scheduler.set_timesteps(10)
    return list(scheduler.timesteps)


def x0_of_the_library(scheduler: Any, unet: Any, at: int) -> tuple[torch.Tensor, float, torch.Tensor]:
    """What the scheduler itself makes of the network at one of its steps: (x, sigma, x0hat), x = x0 + sigma n."""
    time = steps(scheduler)[at]
    noise = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(at))
    name = type(scheduler).__name__
    scaled = name.startswith(("Euler", "Heun", "KDPM2", "LMS", "EDM"))
    kept = None if hasattr(scheduler, "sigmas") else float(scheduler.alphas_cumprod[int(time)])
    if name.startswith("Flow"):
        scheduler._init_step_index(time)
        share = float(scheduler.sigmas[scheduler.step_index])
        with torch.no_grad():
            out = unet(noise, time).sample
        # The step from the share of noise u to 0: x' = x + (0 - u) F.
        scheduler.sigmas[scheduler.step_index + 1] = 0
        return noise / (1 - share), share / (1 - share), scheduler.step(out, time, noise).prev_sample
    if kept is None:
        scheduler._init_step_index(time)
        sigma = float(scheduler.sigmas[scheduler.step_index])
    else:
        sigma = ((1 - kept) / kept) ** 0.5
    x = (1 + sigma**2) ** 0.5 * noise
    given = x if scaled else noise
    with torch.no_grad():
        out = unet(scheduler.scale_model_input(given, time), time).sample
    if hasattr(scheduler, "convert_model_output"):
        return x, sigma, scheduler.convert_model_output(out, sample=given)
    return x, sigma, scheduler.step(out, time, given).pred_original_sample


@pytest.mark.parametrize(("name", "settings"), READ, ids=[f"{n[:-9]}-{'-'.join(s)}"[:70] for n, s in READ])
def test_the_reading_is_that_of_the_scheduler_s_own_step(name: str, settings: dict[str, Any]) -> None:
    unet = make_unet()
    network = DiffusersNetwork(unet, getattr(diffusers, name)(**settings))
    held = 0
    for at in (2, 4, 8):
        x, sigma, expected = x0_of_the_library(getattr(diffusers, name)(**settings), unet, at)
        if network.preconditioning.times.least <= sigma <= network.preconditioning.times.greatest:
            off = float((network(x, sigma) - expected).abs().max() / expected.abs().max())
            assert off < 1e-5, f"{off} at sigma {sigma}"
            held += 1
    assert held >= 2


def test_every_scheduler_of_the_list_is_known_to_the_library_and_read() -> None:
    unet = make_unet()
    for name in VARIANCE_PRESERVING:
        betas = {"beta_start": 1e-4, "beta_end": 0.02} if name != "UnCLIPScheduler" else {}
        expected = diffusers.DDPMScheduler(beta_schedule="linear" if betas else PUBLISHED)
        networks = (DiffusersNetwork(unet, made) for made in (getattr(diffusers, name)(**betas), expected))
        ours, theirs = (network.preconditioning.times.log_sigmas for network in networks)
        assert abs(ours - theirs).max() < 1e-3, name


@pytest.mark.parametrize("spacing", ["use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas"])
@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"])
def test_samplers_that_round_their_timesteps_ask_with_ours(name: str, spacing: str) -> None:
    if spacing == "use_lu_lambdas" and not name.startswith("DPM"):
        pytest.skip("only DPM-Solver has these steps")
    scheduler = getattr(diffusers, name)(**{spacing: True})
    network, times = DiffusersNetwork(make_unet(), scheduler), steps(scheduler)
    ours = network.timestep(scheduler.sigmas[: len(times)])
    assert float((ours - torch.stack(times)).abs().max()) <= 1.0


OTHERS = sorted(
    name
    for name in dir(diffusers)
    if name.endswith("Scheduler") and name not in SCHEDULERS and isinstance(getattr(diffusers, name), type)
)


def _scheduler(folder: Path, **settings: Any) -> Path:
    make_folder(folder)
    place = folder / "scheduler" / "scheduler_config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **settings}))
    return folder


def test_schedulers_of_other_conventions_are_refused_by_name(tmp_path: Path) -> None:
    assert len(OTHERS) > 10
    for name in (*OTHERS, "SchedulerMixin", "UNet2DModel", None, ["DDPMScheduler"], "diffusers"):
        folder = _scheduler(tmp_path / "net", _class_name=name)
        with pytest.raises(ValueError, match=r"the scheduler .* cannot be read as D\(x, sigma\)"):
            read_diffusers(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"},
        {"_class_name": "DDIMScheduler", "timestep_type": "continuous", "prediction_type": "v_prediction"},
        {"timestep_type": "rectified"},
        {"_class_name": "EulerDiscreteScheduler", "interpolation_type": "log_linear"},
        {"use_flow_sigmas": True},
        {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True, "prediction_type": "v_prediction"},
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True},
        {"_class_name": "EDMEulerScheduler", "prediction_type": "sample"},
        {"_class_name": "EDMEulerScheduler", "sigma_data": 0},
        {"_class_name": "EDMEulerScheduler", "sigma_min": 3.0, "sigma_max": 2.0},
        {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": 1},
        {"_class_name": "DPMSolverMultistepScheduler", "use_dynamic_shifting": True},
        {"_class_name": "UniPCMultistepScheduler", "shift_terminal": 0.1},
        {"_class_name": "DEISMultistepScheduler", "prediction_type": "flow_prediction"},
        {"_class_name": "RePaintScheduler", "prediction_type": "sample"},
        {"prediction_type": "trigflow"},
        {"prediction_type": ["epsilon"]},
        {"predict_epsilon": False},
        {"snr_shift_scale": 3.0},
        {"sigma_data": 0.5},
        {"timestep_scaling": 10.0},
        {"shift": 3.0},
        {"never_heard_of": 1},
        {"num_train_timesteps": 10**9},
        {"num_train_timesteps": MOST_TIMESTEPS + 1},
        {"num_train_timesteps": 0},
        {"num_train_timesteps": 1000.0},
        {"num_train_timesteps": True},
        {"trained_betas": [0.1, 0.2]},
        {"trained_betas": "linear"},
        {"beta_start": float("nan")},
        {"beta_end": [1]},
        {"beta_schedule": {}},
        {**EULER, "_class_name": "EulerDiscreteScheduler", "sigma_min": -1.0},
        {**EULER, "_class_name": "EulerDiscreteScheduler", "sigma_max": 0.001},
        {**EULER, "_class_name": "EulerDiscreteScheduler", "sigma_max": "large"},
    ],
    ids=str,
)
def test_settings_of_another_convention_are_refused_by_name(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = _scheduler(tmp_path / "net", **settings)
    key = next(reversed(settings)).split("_")[0]
    with pytest.raises(ValueError, match=rf"net.*{key}") as caught:
        read_diffusers(folder)
    assert "\n" not in str(caught.value)


def test_a_scheduler_s_own_default_for_a_new_setting_is_taken() -> None:
    class Later(diffusers.DDPMScheduler):  # type: ignore[misc]
        """A later version, which has one more setting."""

        def __init__(self, num_train_timesteps: int = 1000, warp: float = 1.0) -> None:
            super().__init__(num_train_timesteps)
            self.register_to_config(warp=warp)

    Later.__name__ = "DDPMScheduler"
    DiffusersNetwork(make_unet(), Later())
    with pytest.raises(ValueError, match=r"unknown setting warp=2\.0"):
        DiffusersNetwork(make_unet(), Later(warp=2.0))


def test_settings_nested_deeply_or_too_long_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net")
    place = folder / "scheduler" / "scheduler_config.json"
    for text, words in (("[" * 100_000, "nested too deeply"), (" " * 2**22 + "{}", "more than")):
        place.write_text(text)
        with pytest.raises(ValueError, match=rf"scheduler_config\.json.*{words}"):
            read_diffusers(folder)
