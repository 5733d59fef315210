"""Machines differentiated with respect to x: against the slow formulas, and against autograd through a short one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import elsewhere as els
from elsewhere.engine import Planner, planner
from elsewhere.machines.base import SoftmaxMachine
from elsewhere.sampling import reverse_process
from tests.machines.test_machines import MAKERS, SLOW, noisy, random_set

DATA = random_set(20, height=6, width=5, classes=2)
COLOUR = random_set(20, 3, 6, 5)
NAMES = {"IS": els.IdealScore, "LS": els.LocalScore, "ELS": els.EquivariantLocalScore}


def exactly(data: els.ImageSet) -> torch.Tensor:
    """The images in [-1, 1] as float64: rounded to float32 they would be others at low noise."""
    return data.images.double() / 127.5 - 1


def between(data: els.ImageSet, sigma: float, seed: int = 1) -> torch.Tensor:
    """A noisy image half-way between two training images, so that several keys count at any noise level, float64."""
    first, second = exactly(data)[:2]
    return (first + second)[None] / 2 + sigma * els.make_noise(1, data.shape, seed).double()


def directions(like: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A direction in x and a gradient with respect to x0hat."""
    generator = torch.Generator().manual_seed(seed)
    x, x0 = (torch.randn(like.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, x0


def gradient(
    denoiser: Callable[..., torch.Tensor], x: torch.Tensor, upstream: torch.Tensor, *arguments: object
) -> torch.Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(denoiser(x, *arguments), x, upstream.to(x.dtype))
    return found


def agrees_with_differences(machine: SoftmaxMachine, x: torch.Tensor, sigma: torch.Tensor, label: object) -> None:
    """Along one direction for each image, by central differences of the machine in float64."""
    along, upstream = directions(x)
    step = 1e-5 * float(sigma.min())
    change = (machine(x + step * along, sigma, label) - machine(x - step * along, sigma, label)) / (2 * step)
    found = gradient(machine, x, upstream, sigma, label)
    torch.testing.assert_close((found * along).sum((1, 2, 3)), (change * upstream).sum((1, 2, 3)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 8.0])
@pytest.mark.parametrize("data", [DATA, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("name", MAKERS)
def test_the_gradient_is_that_of_the_slow_formula(name: str, data: els.ImageSet, sigma: float) -> None:
    x, images = between(data, sigma / 10), exactly(data).numpy()
    along, upstream = directions(x)
    step = 1e-5 * sigma
    ends = [SLOW[name]((x + sign * step * along)[0].numpy(), images, sigma, 3) for sign in (1, -1)]
    change = float(((ends[0] - ends[1]) / (2 * step) * upstream[0].numpy()).sum())
    machine = MAKERS[name](data, 3)
    for dtype, rounding in ((torch.float64, 1e-5), (torch.float32, 2e-3)):
        found = gradient(machine, x.to(dtype), upstream, sigma)
        assert found.dtype == dtype
        # Central differences are off by the third derivative; x in float32 is another x.
        assert float((found.double() * along).sum()) == pytest.approx(change, rel=rounding, abs=rounding)


@pytest.mark.parametrize("sigma", [1e-3, 0.02, 0.5, 3.0])
def test_the_gradient_of_the_ideal_machine_is_the_posterior_covariance(sigma: float) -> None:
    x, values = between(DATA, sigma / 10), exactly(DATA)

    def formula(x: torch.Tensor) -> torch.Tensor:
        logs = -(values - x).square().sum((1, 2, 3)) / (2 * sigma**2)
        return (logs.softmax(0)[:, None, None, None] * values).sum(0, keepdim=True)

    _, upstream = directions(x)
    torch.testing.assert_close(
        gradient(els.IdealScore(DATA), x, upstream, sigma),
        gradient(formula, x, upstream),
        rtol=1e-6,
        atol=1e-8,
    )


@pytest.mark.parametrize("borders", ["aware", "wrap", "torus"])
def test_batches_of_several_levels_windows_and_classes(borders: Any) -> None:
    schedule = els.LocalitySchedule((2.0, 0.5, 0.2), (11, 5, 3))
    x = noisy(DATA, 0.5, 3).double()
    machine = els.EquivariantLocalScore(DATA, schedule, borders)
    agrees_with_differences(machine, x, torch.tensor([3.0, 0.6, 0.1]), torch.tensor([0, 1, 1]))


@pytest.mark.parametrize("borders", ["aware", "wrap", "torus"])
@pytest.mark.parametrize("taper", [False, True])
def test_images_of_another_size_than_the_training_images(borders: Any, taper: bool) -> None:
    x = 0.5 * els.make_noise(2, (3, 7, 9)).double()
    machine = els.EquivariantLocalScore(COLOUR, 3, borders, taper=taper)
    agrees_with_differences(machine, x, torch.tensor([0.5, 0.7]), None)


def test_gradcheck_of_torch_passes() -> None:
    x = between(DATA, 0.1).requires_grad_()
    for machine in (els.IdealScore(DATA), els.LocalScore(DATA, 3), els.EquivariantLocalScore(DATA, 3)):
        assert torch.autograd.gradcheck(lambda x, D=machine: D(x, 0.5), x, fast_mode=True)


def test_floats_as_training_images() -> None:
    data = torch.rand(8, 1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    agrees_with_differences(els.EquivariantLocalScore(data, 3), 0.9 * data[:1], torch.tensor([0.4]), None)


def test_little_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = between(DATA, 0.1).expand(3, -1, -1, -1)
    _, upstream = directions(x)
    machine = els.EquivariantLocalScore(DATA, 3)
    expected = gradient(machine, x, upstream, 0.5)
    parts = []
    honest = Planner.plan

    def counted(self: Planner, *arguments: Any, **settings: Any) -> Any:
        for group in honest(self, *arguments, **settings):
            parts.append(group)
            yield group

    monkeypatch.setattr(Planner, "plan", counted)
    machine._planner.workspace.memory = 2**18
    torch.testing.assert_close(gradient(machine, x, upstream, 0.5), expected)
    assert len(parts) > 12


def test_a_row_of_the_jacobian_weighs_for_one_pixel_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from elsewhere.engine.dense import DenseJob
    from elsewhere.machines import gradient as module

    asked: list[int] = []
    honest = module.pull_back

    def counted(parts: Any, device: torch.device) -> Any:
        asked.extend(part.job.count for part in parts if isinstance(part.job, DenseJob))
        return honest(parts, device)

    monkeypatch.setattr(module, "pull_back", counted)
    x = between(DATA, 0.1).requires_grad_()
    for machine in (els.IdealScore(DATA), els.EquivariantLocalScore(DATA, 3)):
        torch.autograd.grad(machine(x, 0.5)[0, 0, 2, 2], x)
    assert asked == [1, 1]


def test_the_same_question_has_the_same_gradient_bit_for_bit() -> None:
    x = between(DATA, 0.1)
    _, upstream = directions(x)
    one, other = (gradient(els.EquivariantLocalScore(DATA, 3), x, upstream, 0.5) for _ in range(2))
    assert torch.equal(one, other)


def test_a_machine_that_searches_has_the_gradient_of_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SEARCH_PLACES", 100)
    monkeypatch.setattr(planner, "SEARCH_PLACES_A_NUMBER", 0)
    x = between(DATA, 0.1).float()
    _, upstream = directions(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fast, exact = (els.EquivariantLocalScore(DATA, 3, engine=engine) for engine in ("fast", "exact"))
        assert torch.equal(gradient(fast, x, upstream, 0.5), gradient(exact, x, upstream, 0.5))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_recorded_where_nothing_is_asked(name: str) -> None:
    machine = MAKERS[name](DATA, 3)
    x = noisy(DATA, 0.5)
    expected = machine(x, 0.5)
    assert not expected.requires_grad
    followed = x.clone().requires_grad_()
    assert torch.equal(machine(followed, 0.5), expected)
    with torch.no_grad():
        assert torch.equal(machine(followed, 0.5), expected)
        assert not machine(followed, torch.tensor(0.5, requires_grad=True)).requires_grad
    with torch.inference_mode():
        assert torch.equal(machine(followed, 0.5), expected)


def test_a_reverse_process_is_differentiable_from_end_to_end() -> None:
    schedule = els.schedules.karras(4, sigma_min=0.3, sigma_max=3.0)
    machine = els.EquivariantLocalScore(DATA, 3)
    x = els.make_noise(1, DATA.shape).double()
    along, upstream = directions(x)

    def drawn(x: torch.Tensor) -> torch.Tensor:
        return els.sample(machine, x, schedule).images

    ends = [float((drawn(x + step * along) * upstream).sum()) for step in (1e-6, -1e-6)]
    assert float((gradient(drawn, x, upstream) * along).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)
    *_, last = reverse_process(machine, x.clone().requires_grad_(), schedule)
    assert last.next_x.requires_grad


def test_score_fixed_point_and_inpaint_are_differentiable() -> None:
    machine, x = els.EquivariantLocalScore(DATA, 3), between(DATA, 0.1)
    along, upstream = directions(x)
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[2:4, 1:3] = True
    schedule = els.schedules.karras(3, sigma_min=0.5, sigma_max=3.0)
    calls: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "score": lambda x: els.score(machine, x, 0.5),
        "fixed_point": lambda x: els.fixed_point(machine, x, sigma=0.5, max_iters=3).images,
        "inpaint": lambda x: els.inpaint(machine, x, mask, schedule, rounds=2).images,
    }
    for name, call in calls.items():
        ends = [float((call(x + step * along) * upstream).sum()) for step in (1e-6, -1e-6)]
        found = float((gradient(call, x, upstream) * along).sum())
        assert found == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4), name


@pytest.mark.parametrize("name", NAMES)
def test_functions_of_torch_func_that_need_one_derivative(name: str) -> None:
    machine, x = MAKERS[name](DATA, 3), between(DATA, 0.1)

    def pixels(x: torch.Tensor) -> torch.Tensor:
        return machine(x, 0.5)[0, 0, 2, :3]

    rows = torch.autograd.functional.jacobian(pixels, x)
    assert torch.equal(torch.func.jacrev(pixels)(x), rows)
    torch.testing.assert_close(torch.func.grad(lambda x: pixels(x).sum())(x), rows.sum(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda D, x: D(x, torch.tensor(0.5, requires_grad=True)), r"sigma requires gradients, .*sigma.detach\(\)"),
        (lambda D, x: torch.func.jvp(lambda x: D(x, 0.5), (x,), (x,)), "IdealScore.* forward mode"),
        (lambda D, x: torch.autograd.functional.hessian(lambda x: D(x, 0.5).sum(), x), "second derivatives"),
        (lambda D, x: torch.func.hessian(lambda x: D(x, 0.5).sum())(x), "forward mode|cannot be mapped"),
        (lambda D, x: torch.func.vmap(lambda x: D(x[None], 0.5))(x), "x cannot be mapped .* pass a batch"),
        (lambda D, x: torch.func.vmap(torch.func.grad(lambda x: D(x[None], 0.5).sum()))(x), "x cannot be mapped"),
        (lambda D, x: torch.func.vmap(lambda s: D(x, s))(torch.ones(2)), "sigma cannot be mapped"),
        (
            lambda D, x: torch.autograd.functional.jacobian(lambda x: D(x, 0.5)[0, 0, 0], x, vectorize=True),
            "the gradient cannot be mapped .*jacrev",
        ),
        (lambda D, x: els.explain(D, x.clone().requires_grad_(), 0.5), r"x requires gradients, .*x.detach\(\)"),
        (lambda D, x: els.compare({"IS": D}, D, x.clone().requires_grad_()), "noise requires gradients, but compare"),
        (lambda D, x: els.IdealScore(x.clone().requires_grad_().clamp(-1, 1)), "data requires gradients"),
    ],
    ids=[
        "sigma",
        "forward mode",
        "second derivatives",
        "torch.func.hessian",
        "vmap",
        "vmap of grad",
        "vmap over sigma",
        "vectorize",
        "explain",
        "compare",
        "data",
    ],
)
def test_derivatives_that_are_not_there_are_refused(
    call: Callable[[SoftmaxMachine, torch.Tensor], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(els.IdealScore(DATA), between(DATA, 0.1))


def test_x_is_left_as_it_was() -> None:
    x = between(DATA, 0.1).requires_grad_()
    kept = x.detach().clone()
    els.LocalScore(DATA, 3)(x, 0.5).sum().backward()
    assert torch.equal(x.detach(), kept)
    assert x.grad is not None
    assert x.grad.shape == x.shape
