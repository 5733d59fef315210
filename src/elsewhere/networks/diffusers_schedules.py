"""Which settings of diffusers' schedulers are understood, and the noise level of each timestep."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch

PREDICTIONS = ("epsilon", "v_prediction", "sample")

MOST_TIMESTEPS = 100_000
"""Published schedules have 1,000 to 4,000; a scheduler holds several tables of this length."""

SCHEDULERS = (
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "RePaintScheduler",
    "SASolverScheduler",
    "UnCLIPScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers that give the network x_vp = sqrt(acp_t) x0 + sqrt(1 - acp_t) n and the timestep t."""

READ = {
    # Settings that this module or the scheduler's alphas_cumprod takes into account, whatever their value.
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
    "variance_type",
    "timestep_type",
    "sigma_min",
    "sigma_max",
}

SAMPLING = {
    # Where a sampler puts its steps: the network is asked with the t of their sigma, as here. (Some samplers round t.)
    "timestep_spacing",
    "steps_offset",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "lambda_min_clipped",
    # The last step, and how steps are combined.
    "final_sigmas_type",
    "set_alpha_to_one",
    "skip_prk_steps",
    "algorithm_type",
    "solver_type",
    "solver_order",
    "predictor_order",
    "corrector_order",
    "lower_order_final",
    "euler_at_final",
    "predict_x0",
    "disable_corrector",
    "solver_p",
    "tau_func",
    "eta",
    "tensor_format",
    # Changes of x0hat after the network has spoken. D is the network, so x0hat is never clipped.
    "clip_sample",
    "clip_sample_range",
    "thresholding",
    "dynamic_thresholding_ratio",
    "sample_max_value",
    # Settings of flow schedules, which count only with use_flow_sigmas.
    "flow_shift",
    "time_shift_type",
}

ONLY = {
    # With "log_linear" the sigma of a step is not that of its t.
    "interpolation_type": ("linear", None),
    "use_flow_sigmas": (False, None),
    "use_dynamic_shifting": (False, None),
    "shift_terminal": (None,),
    # Of early versions of diffusers.
    "predict_epsilon": (True, None),
}
"""Settings that are understood with these values alone."""


def check_settings(settings: Mapping[str, Any], kind: type | None = None) -> str:
    """Make sure that a scheduler's class and every setting of it are understood.

    An unknown setting may change what the network is asked, so it is refused.

    Args:
        settings: the contents of a scheduler_config.json; names that begin with an underscore are notes of diffusers.
        kind: the scheduler's class. Its own default is accepted for settings that a later diffusers has added.

    Returns:
        The prediction type.

    Raises:
        ValueError: a class, setting or value that is not understood; it is named.
    """
    name = settings.get("_class_name")
    if name not in SCHEDULERS:
        raise ValueError(
            f"the scheduler {_brief(name)} cannot be read as D(x, sigma): expected a variance-preserving one, such as "
            "DDPMScheduler, DDIMScheduler or EulerDiscreteScheduler; if the network was trained with such noise, save "
            "that scheduler in its place (save_pretrained)"
        )
    defaults = {} if kind is None else inspect.signature(kind).parameters
    for key, value in settings.items():
        if key.startswith("_") or key in READ or key in SAMPLING:
            continue
        if key not in ONLY and key in defaults and value == defaults[key].default:
            continue
        if key not in ONLY:
            raise ValueError(
                f"the scheduler has the unknown setting {key}={_brief(value)}: if it does not change what the network "
                "was trained with, remove it from scheduler_config.json"
            )
        if not any(value is allowed or (isinstance(value, str) and value == allowed) for allowed in ONLY[key]):
            raise ValueError(
                f"{key}={_brief(value)} of the scheduler is another convention of noise or prediction: expected "
                f"{ONLY[key][0]!r}; networks for flow matching cannot be read"
            )
    prediction = settings.get("prediction_type", "epsilon")
    known = PREDICTIONS[:1] if name == "RePaintScheduler" else PREDICTIONS
    if prediction not in known:
        raise ValueError(f"prediction_type={_brief(prediction)} of the {name}: expected {', '.join(known)}")
    _check_timesteps(settings, prediction)
    return str(prediction)


def _check_timesteps(settings: Mapping[str, Any], prediction: str) -> None:
    count = settings.get("num_train_timesteps", 1000)
    if type(count) is not int or not 2 <= count <= MOST_TIMESTEPS:
        raise ValueError(
            f"num_train_timesteps={_brief(count)} of the scheduler: expected an integer from 2 to {MOST_TIMESTEPS:,}"
        )
    for name in ("beta_start", "beta_end"):
        beta = settings.get(name, 0.01)
        if type(beta) not in (int, float) or not 0 < beta <= 1:
            raise ValueError(f"{name}={_brief(beta)} of the scheduler: expected a number above 0, at most 1")
    schedule = settings.get("beta_schedule", "linear")
    if type(schedule) is not str:
        raise ValueError(f"beta_schedule={_brief(schedule)} of the scheduler: expected a name")
    betas = settings.get("trained_betas")
    if betas is not None and (not isinstance(betas, (list, tuple, np.ndarray)) or len(betas) != count):
        length = f"{len(betas)} values" if hasattr(betas, "__len__") else _brief(betas)
        raise ValueError(f"trained_betas of the scheduler has {length}: expected num_train_timesteps={count}")
    for beta in () if betas is None else betas:
        if not isinstance(beta, Real) or isinstance(beta, bool):
            raise ValueError(f"trained_betas of the scheduler has {_brief(beta)}: expected numbers")  # noqa: TRY004
    kind = settings.get("timestep_type", "discrete")
    # Only this scheduler has the setting, and with other predictions it goes on with discrete timesteps.
    euler = settings["_class_name"] == "EulerDiscreteScheduler"
    if kind != "discrete" and not (kind == "continuous" and euler and prediction == "v_prediction"):
        raise ValueError(
            f"timestep_type={_brief(kind)} of the scheduler: expected 'discrete', or 'continuous' in an "
            "EulerDiscreteScheduler with prediction_type 'v_prediction'"
        )


def noise_levels(scheduler: Any) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps and log sigma of each, both float64 and rising; a fractional timestep lies on the line between two.

    Levels without noise or without image are left out.

    Raises:
        ValueError: noise that does not grow with the timestep, or of no range.
    """
    settings = scheduler.config
    kept = torch.as_tensor(scheduler.alphas_cumprod, device="cpu").double().numpy()
    inside = (kept > 0) & (kept < 1)
    if settings.get("rescale_betas_zero_snr"):
        # The last level has no image. Some schedulers write 2^-24 in place of the 0, which can be above its neighbour.
        inside[-1:] = False
    timesteps = np.arange(len(kept), dtype=np.float64)[inside]
    logs = 0.5 * np.log((1 - kept[inside]) / kept[inside])
    if len(logs) < 2 or (np.diff(logs) <= 0).any():
        raise ValueError(f"the noise of {type(scheduler).__name__} does not grow with the timestep: check its betas")
    if settings.get("timestep_type") != "continuous":
        return timesteps, logs
    # diffusers asks the network with log(sigma) / 4 at every sigma, from sigma_min to sigma_max where these are given.
    ends = []
    for name, least in (("sigma_min", logs[0]), ("sigma_max", logs[-1])):
        value = settings.get(name)
        if value is not None and not (isinstance(value, (int, float)) and 0 < value < math.inf):
            raise ValueError(f"{name}={_brief(value)} of the scheduler: expected a positive number")
        ends.append(float(least) if value is None else math.log(value))
    if ends[0] >= ends[1]:
        raise ValueError("sigma_max of the scheduler must be greater than sigma_min")
    return 0.25 * np.array(ends), np.array(ends)


def _brief(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
