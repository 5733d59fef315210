"""Options of networks, from files or callers: those of another kind are refused by name, before memory is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest

from elsewhere.networks import NetworkSpec
from elsewhere.networks.diffusers_folder import read_diffusers
from elsewhere.schedulers.settings import check_settings
from tests.networks.test_diffusers_folder import make_folder

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("resnet", {"width": 2.5}, "width must be an integer, got float 2.5"),
    ("resnet", {"width": True}, "width must be an integer"),
    ("resnet", {"width": 10**30}, "width"),
    ("resnet", {"blocks": True}, "blocks must be an integer"),
    ("resnet", {"blocks": "4"}, "blocks must be an integer"),
    ("resnet", {"padding": None}, "padding must be .zeros. or .circular., got None"),
    ("unet", {"widths": 8}, "widths must be"),
    ("unet", {"widths": "88"}, "widths must be|widths.* must be an integer"),
    ("unet", {"widths": [8, 8.0]}, r"widths\[1\] must be an integer"),
    ("unet", {"widths": [[8]]}, r"widths\[0\] must be an integer"),
    ("unet", {"widths": [8] * 100_000}, "widths must have at most"),
    ("unet", {"layers": 1e9}, "layers must be an integer"),
    ("unet", {"normalise": 1}, "normalise must be"),
]


@pytest.mark.parametrize(("kind", "options", "message"), BAD, ids=[f"{kind} {o!s:.40}" for kind, o, _ in BAD])
def test_an_option_of_another_kind_is_named(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        NetworkSpec(kind, 1, (8, 8), options=options).build(shapes_only=True)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("beta", [None, "0.1", True, [0.1]])
def test_a_beta_that_is_no_number_is_named(beta: Any) -> None:
    settings = {"_class_name": "DDPMScheduler", "num_train_timesteps": 2, "trained_betas": [0.1, beta]}
    with pytest.raises(ValueError, match=r"trained_betas of the scheduler has .*: expected numbers"):
        check_settings(settings)


@pytest.mark.parametrize("setting", ["solver_order", "algorithm_type", "sample_max_value"])
def test_settings_of_samplers_do_not_reach_diffusers(setting: str, tmp_path: Path) -> None:
    """A list of `solver_order` items would be made, of 10^19 bytes here."""
    folder = make_folder(tmp_path, scheduler=diffusers.DPMSolverMultistepScheduler())
    path = folder / "scheduler" / "scheduler_config.json"
    before = read_diffusers(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), setting: 10**18}))
    assert (read_diffusers(folder).preconditioning.times.log_sigmas == before.preconditioning.times.log_sigmas).all()
