"""k-diffusion's samplers run on machines unchanged. Skipped where the package is not installed (docs/samplers.md)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import elsewhere as els
from elsewhere.sampling import generators, standard_normal

NEEDED = ("k_diffusion", "torchdiffeq", "torchsde", "scipy", "tqdm")
missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")

PAGE = Path(__file__).resolve().parents[1] / "docs/samplers.md"
GRID = ("euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpmpp_2s_ancestral", "dpmpp_sde",
        "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde")  # fmt: skip
"""Samplers that take noise levels."""
RANGE = ("dpm_fast", "dpm_adaptive")
"""Samplers that choose the levels between two."""
LAST = 0.01


@pytest.fixture(scope="module")
def sampling() -> Any:
    """The module, loaded as the page says."""
    [block] = re.findall(r"runs this block -->\n```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    names: dict[str, Any] = {"importlib": importlib}
    exec(compile(block, str(PAGE), "exec"), names)
    return names["sampling"]


def drawn(sampling: Any, name: str, machine: Any, noise: torch.Tensor, **settings: Any) -> torch.Tensor:
    sigmas = sampling.get_sigmas_karras(8, LAST, 20.0)
    x = noise * sigmas[0]
    function = getattr(sampling, f"sample_{name}")
    torch.manual_seed(0)  # some samplers draw from the global generator
    if name in RANGE:
        steps = {"n": 12} if name == "dpm_fast" else {}
        return function(machine, x, LAST, 20.0, **steps, disable=True, **settings)
    return function(machine, x, sigmas, disable=True, **settings)


def test_all_of_its_samplers_are_known(sampling: Any) -> None:
    assert {name for name in vars(sampling) if name.startswith("sample_")} == {f"sample_{n}" for n in GRID + RANGE}


@pytest.mark.parametrize("name", GRID + RANGE)
def test_every_sampler_draws_with_a_machine(sampling: Any, name: str) -> None:
    data = els.load_images("fashion-mini", 60)
    machine = els.EquivariantLocalScore(data, 7)
    images = drawn(sampling, name, machine, els.make_noise(2, data.shape), extra_args={"label": 3})
    assert images.shape == (2, 1, 28, 28)
    # Means of training pixels, but for the steps of multistep samplers that overshoot.
    assert float(images.abs().max()) < 1.25
    assert float(images.std()) > 0.1


@pytest.mark.parametrize("name", GRID + RANGE)
def test_every_sampler_ends_on_the_only_training_image(sampling: Any, name: str) -> None:
    data = els.load_images("fashion-mini", 1)
    images = drawn(sampling, name, els.IdealScore(data), els.make_noise(2, data.shape))
    # Those of a range stop at the last level, five standard deviations of whose noise are allowed.
    allowed = 5 * LAST if name in RANGE else 1e-4
    assert float((images - data.scaled()).abs().max()) < allowed


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("euler", "euler"), ("heun", "heun"), ("dpmpp_2m", "dpmpp-2m"), ("euler_ancestral", "ancestral")],
)
def test_samplers_that_both_have_agree(sampling: Any, theirs: str, ours: str) -> None:
    data = els.load_images("fashion-mini", 40)
    machine, noise = els.LocalScore(data, 9), els.make_noise(2, data.shape).double()
    settings = {}
    if ours == "ancestral":
        draws = generators(2, 0)
        standard_normal(noise, draws)
        settings["noise_sampler"] = lambda sigma, after: standard_normal(noise, draws)
    expected = drawn(sampling, theirs, machine, noise, **settings)
    sigmas = sampling.get_sigmas_karras(8, LAST, 20.0).tolist()
    run = els.sample(machine, noise, els.schedules.Schedule(tuple(sigmas)), sampler=ours)  # type: ignore[arg-type]
    # Its levels are float32; a machine at the last level is steep.
    assert torch.allclose(run.images, expected.double(), atol=1e-5)
