"""Which settings of diffusers' schedulers are understood."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from elsewhere.schedulers.preconditioning import Prediction, Scale

PREDICTIONS: dict[Scale, dict[str, Prediction]] = {
    "vp": {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"},
    "flow": {"flow_prediction": "flow", "epsilon": "epsilon", "sample": "sample"},
    "edm": {"epsilon": "epsilon", "v_prediction": "v"},
}
"""The `prediction_type` of diffusers -> what `Preconditioning` calls it."""

MOST_TIMESTEPS = 100_000
"""Published schedules have 1,000 to 4,000; a scheduler holds several tables of this length."""

VARIANCE_PRESERVING = (
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

FLOW_MATCHING = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
"""Schedulers that give the network (1 - u) x0 + u n and u num_train_timesteps."""

BOTH = (
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
)
"""Variance-preserving schedulers that do the same with `use_flow_sigmas`."""

PRECONDITIONED = ("EDMDPMSolverMultistepScheduler", "EDMEulerScheduler")
"""Schedulers that give the network x / sqrt(sigma^2 + sigma_data^2) and ln(sigma) / 4."""

SCHEDULERS = (*VARIANCE_PRESERVING, *FLOW_MATCHING, *PRECONDITIONED)

READ = {
    # Settings that `preconditioning_of` or the scheduler's alphas_cumprod takes into account, whatever their value.
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
    "use_flow_sigmas",
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

OWN: dict[Scale, set[str]] = {
    "vp": set(),
    # Where the steps lie, and how they are combined.
    "flow": {
        "shift",
        "use_dynamic_shifting",
        "base_shift",
        "max_shift",
        "base_image_seq_len",
        "max_image_seq_len",
        "shift_terminal",
        "stochastic_sampling",
    },
    "edm": {"sigma_data", "sigma_schedule", "rho"},
}
"""Further settings of a kind of scheduler: they are read or change the steps only."""

ONLY = {
    # With "log_linear" the sigma of a step is not that of its t.
    "interpolation_type": ("linear", None),
    # Noise at the time 0 (Mochi).
    "invert_sigmas": (False, None),
    "use_dynamic_shifting": (False, None),
    "shift_terminal": (None,),
    # Of early versions of diffusers.
    "predict_epsilon": (True, None),
}
"""Settings that are understood with these values alone."""


def check_settings(settings: Mapping[str, Any], kind: type | None = None) -> tuple[Scale, Prediction]:
    """Make sure that a scheduler's class and every setting of it are understood.

    An unknown setting may change what the network is asked, so it is refused.

    Args:
        settings: the contents of a scheduler_config.json; names that begin with an underscore are notes of diffusers.
        kind: the scheduler's class. Its own default is accepted for settings that a later diffusers has added.

    Returns:
        Scale of the input and prediction: see `Preconditioning`.

    Raises:
        ValueError: a class, setting or value that is not understood; it is named.
    """
    name = settings.get("_class_name")
    if name not in SCHEDULERS:
        raise ValueError(
            f"the scheduler {brief(name)} cannot be read as D(x, sigma): expected a variance-preserving one, such as "
            "DDPMScheduler, DDIMScheduler or EulerDiscreteScheduler, one for flow matching (FlowMatchEuler...), or "
            "EDM's (EDMEuler...); if the network was trained with such noise, save that scheduler in its place "
            "(save_pretrained)"
        )
    scale = _scale(name, settings)
    defaults = {} if kind is None else inspect.signature(kind).parameters
    for key, value in settings.items():
        if key.startswith("_") or key in READ or key in SAMPLING or key in OWN[scale]:
            continue
        if key not in ONLY and key in defaults and value == defaults[key].default:
            continue
        if key not in ONLY:
            raise ValueError(
                f"the scheduler has the unknown setting {key}={brief(value)}: if it does not change what the network "
                "was trained with, remove it from scheduler_config.json"
            )
        if not any(value is allowed or (isinstance(value, str) and value == allowed) for allowed in ONLY[key]):
            raise ValueError(
                f"{key}={brief(value)} of the scheduler is another convention of noise or prediction: expected "
                f"{ONLY[key][0]!r}"
            )
    prediction = _prediction(name, scale, settings)
    _check_timesteps(settings, prediction)
    return scale, prediction


def _scale(name: str, settings: Mapping[str, Any]) -> Scale:
    if name in FLOW_MATCHING:
        return "flow"
    if name in PRECONDITIONED:
        sigma_data = settings.get("sigma_data", 0.5)
        if type(sigma_data) not in (int, float) or not 0 < sigma_data < math.inf:
            raise ValueError(f"sigma_data={brief(sigma_data)} of the scheduler: expected a positive number")
        return "edm"
    flow = settings.get("use_flow_sigmas")
    if flow is not None and (type(flow) is not bool or (flow and name not in BOTH)):
        raise ValueError(
            f"use_flow_sigmas={brief(flow)} of the scheduler: expected {'True or ' if name in BOTH else ''}False"
        )
    return "flow" if flow else "vp"


def _prediction(name: str, scale: Scale, settings: Mapping[str, Any]) -> Prediction:
    if name in FLOW_MATCHING:
        return "flow"
    given = settings.get("prediction_type", "epsilon")
    known = {"epsilon": PREDICTIONS["vp"]["epsilon"]} if name == "RePaintScheduler" else PREDICTIONS[scale]
    if not isinstance(given, str) or given not in known:
        way = " with use_flow_sigmas" if scale == "flow" else ""
        raise ValueError(f"prediction_type={brief(given)} of the {name}{way}: expected {', '.join(known)}")
    return known[given]


def _check_timesteps(settings: Mapping[str, Any], prediction: Prediction) -> None:
    count = settings.get("num_train_timesteps", 1000)
    if type(count) is not int or not 2 <= count <= MOST_TIMESTEPS:
        raise ValueError(
            f"num_train_timesteps={brief(count)} of the scheduler: expected an integer from 2 to {MOST_TIMESTEPS:,}"
        )
    for name in ("beta_start", "beta_end"):
        beta = settings.get(name, 0.01)
        if type(beta) not in (int, float) or not 0 < beta <= 1:
            raise ValueError(f"{name}={brief(beta)} of the scheduler: expected a number above 0, at most 1")
    schedule = settings.get("beta_schedule", "linear")
    if type(schedule) is not str:
        raise ValueError(f"beta_schedule={brief(schedule)} of the scheduler: expected a name")
    betas = settings.get("trained_betas")
    if betas is not None and (not isinstance(betas, (list, tuple, np.ndarray)) or len(betas) != count):
        length = f"{len(betas)} values" if hasattr(betas, "__len__") else brief(betas)
        raise ValueError(f"trained_betas of the scheduler has {length}: expected num_train_timesteps={count}")
    for beta in () if betas is None else betas:
        if not isinstance(beta, Real) or isinstance(beta, bool):
            raise ValueError(f"trained_betas of the scheduler has {brief(beta)}: expected numbers")  # noqa: TRY004
    kind = settings.get("timestep_type", "discrete")
    # Only this scheduler has the setting, and with other predictions it goes on with discrete timesteps.
    euler = settings["_class_name"] == "EulerDiscreteScheduler"
    if kind != "discrete" and not (kind == "continuous" and euler and prediction == "v"):
        raise ValueError(
            f"timestep_type={brief(kind)} of the scheduler: expected 'discrete', or 'continuous' in an "
            "EulerDiscreteScheduler with prediction_type 'v_prediction'"
        )


def brief(value: object) -> str:
    """A value of a setting, short enough for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
