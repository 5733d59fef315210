"""One formula for all parametrisations: its coefficients, its times and the way back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from elsewhere.schedulers import FlowTimes, FunctionTimes, LogTimes, Preconditioning, TableTimes

TABLE = TableTimes(np.arange(5.0), np.log(np.array([0.1, 0.5, 1.0, 4.0, 20.0])), 5.0)
KINDS: list[tuple[Any, Any]] = [
    *[("vp", prediction) for prediction in ("epsilon", "v", "sample")],
    *[("flow", prediction) for prediction in ("epsilon", "sample", "flow")],
]


@pytest.mark.parametrize(("scale", "prediction"), KINDS)
def test_the_true_answer_gives_the_image_back(scale: Any, prediction: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, n = torch.randn(2, 40, generator=generator, dtype=torch.float64)
    for level in (0.01, 1.0, 30.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        c = Preconditioning(scale, prediction, TABLE)(sigma)
        if scale == "vp":
            a = 1 / math.sqrt(1 + level**2)
            s = math.sqrt(1 - a**2)
        else:
            a, s = 1 - level / (1 + level), level / (1 + level)
        x = x0 + level * n
        assert torch.allclose(c.c_in * x, a * x0 + s * n, rtol=1e-12)
        answer = {"epsilon": n, "sample": x0, "v": a * n - s * x0, "flow": n - x0}[prediction]
        assert torch.allclose(c.c_skip * x + c.c_out * answer, x0, atol=1e-12)


def test_the_coefficients_of_edm_are_those_of_its_table() -> None:
    c = Preconditioning("edm", "epsilon", LogTimes(), sigma_data=0.4)(torch.tensor(3.0, dtype=torch.float64))
    q = 9 + 0.16
    assert [float(c.c_in), float(c.c_skip), float(c.c_out)] == pytest.approx(
        [q**-0.5, 0.16 / q, 1.2 / q**0.5], rel=1e-12
    )
    assert float(Preconditioning("edm", "v", LogTimes(), 0.4)(torch.tensor(3.0)).c_out) == pytest.approx(-1.2 / q**0.5)


@pytest.mark.parametrize(("scale", "prediction"), [("vp", "sample"), ("vp", "v"), ("flow", "flow")])
def test_pure_noise_has_coefficients(scale: Any, prediction: Any) -> None:
    c = Preconditioning(scale, prediction, TABLE)(torch.tensor(math.inf, dtype=torch.float64))
    assert float(c.c_in) == 0
    assert torch.isfinite(torch.stack([c.c_skip, c.c_out])).all()


@pytest.mark.parametrize("times", [TABLE, FlowTimes(1000.0), LogTimes()], ids=repr)
def test_times_and_levels_lead_to_each_other(times: Any) -> None:
    sigma = torch.tensor([0.1, 0.3, 1.0, 11.0, 20.0], dtype=torch.float64)
    assert torch.allclose(times.level(times.time(sigma)), sigma, rtol=1e-12)
    assert (times.time(sigma).diff() > 0).all()


def test_known_times() -> None:
    one = torch.tensor([1.0], dtype=torch.float64)
    assert float(TABLE.time(one)) == 2
    assert float(TABLE.level(torch.tensor([3.5]))) == pytest.approx(math.sqrt(80))
    assert float(FlowTimes(1000.0).time(one)) == 500
    assert float(LogTimes().time(math.e * one)) == pytest.approx(0.25)
    assert float(TABLE.level(torch.tensor([5.0]))) == math.inf
    assert float(FlowTimes(1000.0).level(torch.tensor([1000.0]))) == math.inf


def test_beyond_the_levels_the_first_and_the_last_time_serve() -> None:
    far = torch.tensor([1e-6, 1e6], dtype=torch.float64)
    assert TABLE.time(far).tolist() == [0, 4]
    assert (4 * LogTimes(0.002, 80.0).time(far)).exp().tolist() == pytest.approx([0.002, 80.0])
    assert FunctionTimes(lambda sigma: sigma, 0.1, 5.0).time(far).tolist() == [0.1, 5.0]


@pytest.mark.parametrize(
    ("times", "time"),
    [(TABLE, -0.1), (TABLE, 5.1), (FlowTimes(1000.0), 0.0), (FlowTimes(1000.0), 1001.0), (LogTimes(), 10.0),
     (FunctionTimes(lambda sigma: sigma), 1.0)],
)  # fmt: skip
def test_a_time_without_a_level_is_named(times: Any, time: float) -> None:
    with pytest.raises(ValueError, match=f"timestep {time:g} has no noise level|not known here"):
        times.level(torch.tensor([1.0 if isinstance(times, FunctionTimes) else 0.5, time]))


def test_the_same_noise_is_known_by_its_levels() -> None:
    mine = Preconditioning("vp", "v", TABLE)
    assert mine.same(Preconditioning("vp", "v", TableTimes(TABLE.times, TABLE.log_sigmas + 1e-7, 5.0)))
    for other in (
        Preconditioning("vp", "epsilon", TABLE),
        Preconditioning("vp", "v", TableTimes(TABLE.times, TABLE.log_sigmas + 1e-3, 5.0)),
        Preconditioning("vp", "v", TableTimes(TABLE.times[:4], TABLE.log_sigmas[:4])),
        Preconditioning("vp", "v", LogTimes()),
        Preconditioning("flow", "flow", FlowTimes()),
    ):
        assert not mine.same(other)
    assert not Preconditioning("flow", "flow", FlowTimes()).same(Preconditioning("flow", "flow", FlowTimes(1000.0)))
    assert Preconditioning("edm", "v", LogTimes(0.1, 2.0)).same(Preconditioning("edm", "v", LogTimes()))


@pytest.mark.parametrize(("scale", "prediction"), [("vp", "flow"), ("flow", "v"), ("edm", "sample")])
def test_a_prediction_that_a_scale_does_not_have_is_refused(scale: Any, prediction: Any) -> None:
    with pytest.raises(ValueError, match=f"'{prediction}' is not defined for the scale '{scale}'"):
        Preconditioning(scale, prediction, TABLE)
