"""Plain modules with a stated parametrisation: a perfect network of each kind is read as the perfect denoiser."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import elsewhere as els
from elsewhere.networks import DiffusersNetwork, wrap
from elsewhere.testing import check_denoiser
from tests.networks.test_diffusers_folder import make_unet

SIGMAS = np.geomspace(0.01, 100, 50)


class Gaussian(nn.Module):
    """What a perfect network answers for images of independent standard normal pixels times `spread`.

    With x = x0 + sigma n the best x0hat is x spread^2 / (spread^2 + sigma^2), and nhat = (x - x0hat) / sigma.
    """

    def __init__(self, kind: str, spread: float = 0.7) -> None:
        super().__init__()
        self.kind, self.spread = kind, spread
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x_in: Tensor, time: Tensor) -> Tensor:
        t = time.double()[:, None, None, None]
        if self.kind == "flow":
            sigma = t / (1 - t)
            x = x_in / (1 - t)
        elif self.kind == "edm":
            sigma = (4 * t).exp()
            x = x_in * (sigma**2 + 0.25).sqrt()
        else:
            sigma = 0.01 * 10_000 ** (t / 49)
            x = x_in * (1 + sigma**2).sqrt()
        x0 = x * self.spread**2 / (self.spread**2 + sigma**2)
        noise = (x - x0) / sigma
        return {
            "epsilon": noise,
            "v": (noise - sigma * x0) / (1 + sigma**2).sqrt(),
            "sample": x0,
            "flow": noise - x0,
            "edm": (x0 - 0.25 * x / (sigma**2 + 0.25)) / (0.5 * sigma / (sigma**2 + 0.25).sqrt()),
        }[self.kind].to(x_in.dtype)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample", "flow", "edm"])
def test_a_perfect_network_is_read_as_the_perfect_denoiser(prediction: Any) -> None:
    sigmas = None if prediction in ("flow", "edm") else SIGMAS
    denoiser = wrap(Gaussian(prediction), prediction, sigmas, name="perfect")
    assert repr(denoiser) == f"WrappedNetwork('perfect', {'epsilon' if prediction == 'edm' else prediction})"
    x = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = torch.tensor([0.02, 0.3, 2.0, 50.0], dtype=torch.float64)
    expected = x * 0.49 / (0.49 + sigma**2)[:, None, None, None]
    # The module takes float32, as its parameter is.
    assert torch.allclose(denoiser(x, sigma), expected, atol=1e-5)


def test_it_reads_a_unet_as_the_library_s_scheduler_does() -> None:
    unet, scheduler = make_unet(num_class_embeds=3), diffusers.DDPMScheduler()
    kept = scheduler.alphas_cumprod
    denoiser = wrap(unet, "epsilon", ((1 - kept) / kept) ** 0.5, channels=1, size=(8, 8), num_classes=3)
    network, x = DiffusersNetwork(unet, scheduler), els.make_noise(2, (1, 8, 8))
    for sigma in (1e-3, 0.5, 30.0, 1e4):
        assert torch.allclose(denoiser(x, sigma, 1), network(x, sigma, 1), atol=1e-6)
    check_denoiser(denoiser, 1, (8, 8), 3, unconditional=False, tolerance=1e-3)


def test_a_null_class_stands_for_no_class() -> None:
    unet, scheduler = make_unet(num_class_embeds=4), diffusers.DDPMScheduler()
    x = els.make_noise(1, (1, 8, 8))
    plain = DiffusersNetwork(unet, scheduler)
    last, first = (DiffusersNetwork(unet, scheduler, null_class=row) for row in (3, 0))
    assert (plain.num_classes, last.num_classes, first.num_classes) == (4, 3, 4)
    assert torch.equal(last(x, 1.0), plain(x, 1.0, 3))
    assert torch.equal(first(x, 1.0), plain(x, 1.0, 0))
    assert not torch.equal(last(x, 1.0), last(x, 1.0, 2))
    check_denoiser(last, 1, (8, 8), 3, tolerance=1e-3)
    with pytest.raises(ValueError, match=r"label must be in 0\.\.2, got 3"):
        last(x, 1.0, 3)
    for row, words in ((4, "between 0 and 3"), (-1, "0 or more")):
        with pytest.raises(ValueError, match=words):
            DiffusersNetwork(unet, scheduler, null_class=row)
    with pytest.raises(ValueError, match="the UNet has no classes: leave it out"):
        DiffusersNetwork(make_unet(), scheduler, null_class=0)


def test_a_time_of_its_own_and_whole_times() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> tuple[Tensor]:
            seen.append((t, label))
            return (x,)

    x = torch.zeros(2, 1, 2, 2)
    wrap(Spy(), "flow", time=lambda sigma: 1000 * sigma / (1 + sigma))(x, 3.0)
    wrap(Spy(), "sample", [0.1, 1.0, 10.0], whole_times=True, num_classes=5, null_class=7)(x, 0.9, 2)
    wrap(Spy(), "sample", [0.1, 1.0, 10.0], num_classes=5, null_class=7)(x, 10**0.5)
    assert torch.equal(seen[0][0], torch.tensor([750.0, 750.0]))
    assert torch.equal(seen[1][0], torch.tensor([1, 1]))
    assert torch.equal(seen[1][1], torch.tensor([2, 2]))
    assert torch.allclose(seen[2][0], torch.tensor([1.5, 1.5]))
    assert torch.equal(seen[2][1], torch.tensor([7, 7]))


class Bad(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, t: Tensor) -> Any:
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: None, "answered with None"),
        (lambda x: x[:, :, :1], r"answered with shape \(1, 1, 1, 2\) to images of shape \(1, 1, 2, 2\)"),
        (lambda x: x * float("nan"), "NaN"),
        (lambda x: (), "answered with tuple"),
    ],
)
def test_answers_that_are_no_images_are_named(answer: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrap(Bad(answer), "flow")(torch.zeros(1, 1, 2, 2), 1.0)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"prediction": "epsilon"}, ValueError, "sigmas is missing: .* each timestep 0, 1, 2"),
        ({"prediction": "noise"}, ValueError, "prediction must be"),
        ({"prediction": "flow", "sigmas": [1.0, 2.0]}, ValueError, "leave sigmas out"),
        ({"prediction": "v", "sigmas": [2.0, 1.0]}, ValueError, "rise with the timestep"),
        ({"prediction": "v", "sigmas": [1.0]}, ValueError, "two or more levels"),
        ({"prediction": "v", "sigmas": [0.0, 1.0]}, ValueError, "sigmas must be positive"),
        ({"prediction": "v", "sigmas": "abc"}, TypeError, "sigmas must be"),
        ({"prediction": "v", "sigmas": [1.0, 2.0], "time": abs}, ValueError, "give one of them"),
        ({"prediction": "edm", "sigma_data": 0.0}, ValueError, "sigma_data must be"),
        ({"prediction": "edm", "null_class": 3}, ValueError, "give num_classes as well"),
        ({"prediction": "edm", "num_classes": -1}, ValueError, "num_classes must be"),
        ({"prediction": "edm", "channels": 0}, ValueError, "channels must be"),
        ({"prediction": "edm", "size": (0, 1)}, ValueError, "size must be"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_named(settings: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wrap(Gaussian("flow"), **settings)


def test_a_function_is_no_module() -> None:
    with pytest.raises(TypeError, match="module must be"):
        wrap(lambda x, t: x, "flow")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "time",
    [lambda s: None, lambda s: 3.0, lambda s: s[:1].expand(5), lambda s: s * float("nan"), lambda s: s.numpy()],
    ids=["nothing", "number", "shape", "NaN", "array"],
)
@pytest.mark.parametrize("whole", [False, True])
def test_a_function_that_returns_no_times_is_named(time: Any, whole: bool) -> None:
    network = wrap(Gaussian("epsilon"), "epsilon", time=time, whole_times=whole)
    with pytest.raises(ValueError, match=r"to times returned .* for 2 levels: expected a tensor of as many finite"):
        network(els.make_noise(2, (1, 4, 4)), 1.0)
