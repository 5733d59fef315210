"""The local MMSE estimator against its definition, written slowly in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.operators import Operator

SIDE, COUNT, CHANNELS = 6, 7, 2
SIGMA = 0.3
MISSING = np.zeros((SIDE, SIDE), bool)
MISSING[1:3, 2:4] = True
KERNEL = np.array([[0.1, 0.2, 0.0], [0.0, 0.4, 0.1], [0.0, 0.1, 0.1]])
OPERATORS: dict[str, Any] = {
    "identity": lambda x: x,
    "mask": els.operators.mask(MISSING),
    "blur": els.operators.blur(KERNEL, "reflect"),
    "blur that wraps": els.operators.blur(KERNEL, "wrap"),
    "blur of zeros": els.operators.blur(KERNEL, "zeros"),
    "downsample": els.operators.downsample(2),
    "gray": lambda x: x.mean(1, keepdim=True),
    "columns": lambda x: x[..., ::3] + 0.5 * x[..., 1::3],
}
Operator_ = Any


def training(count: int = COUNT) -> np.ndarray:
    rng = np.random.default_rng(0)
    waves = rng.normal(size=(count, CHANNELS, SIDE, SIDE)).cumsum(2).cumsum(3)
    return waves / np.abs(waves).max()


def matrix(operator: Operator_) -> np.ndarray:
    """A as a matrix on flattened images of all channels."""
    numbers = CHANNELS * SIDE * SIDE
    basis = torch.eye(numbers, dtype=torch.float64).view(numbers, CHANNELS, SIDE, SIDE)
    return operator(basis).flatten(1).T.numpy()


def window(row: int, column: int, radius: int, wraps: bool) -> list[tuple[int, int]]:
    """The pixels of a window."""
    pixels = [(row + i, column + j) for i in range(-radius, radius + 1) for j in range(-radius, radius + 1)]
    if wraps:
        return [(i % SIDE, j % SIDE) for i, j in pixels]
    return [(i, j) for i, j in pixels if 0 <= i < SIDE and 0 <= j < SIDE]


def reach(row: int, column: int, radius: int) -> tuple[int, ...]:
    """How far a window reaches before the borders cut it off."""
    return tuple(min(radius, d) for d in (row, SIDE - 1 - row, column, SIDE - 1 - column))


def slow(images: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, kind: str, radius: int) -> np.ndarray:
    """LE-MMSE as defined: arXiv 2601.10334, with places whose window of noise has another covariance left out."""
    flat = images.reshape(len(images), -1)
    z, degraded, gram = b @ y.ravel(), flat @ (b @ a).T, b @ b.T
    wraps = kind == "torus"
    everywhere = [(i, j) for i in range(SIDE) for j in range(SIDE)]

    def numbers(place: tuple[int, int]) -> list[int]:
        pixels = window(*place, radius, wraps)
        return [c * SIDE * SIDE + i * SIDE + j for c in range(CHANNELS) for i, j in pixels]

    out = np.zeros((CHANNELS, SIDE, SIDE))
    for p in everywhere:
        mine = numbers(p)
        covariance = gram[np.ix_(mine, mine)]
        logs, values = [], []
        for q in everywhere:
            theirs = numbers(q)
            if (kind == "LS" and q != p) or (not wraps and reach(*q, radius) != reach(*p, radius)):
                continue
            if not np.allclose(gram[np.ix_(theirs, theirs)], covariance, atol=1e-9):
                continue
            inverse = np.linalg.pinv(covariance, rcond=1e-8, hermitian=True)
            for image, blurred in zip(images, degraded, strict=True):
                difference = z[mine] - blurred[theirs]
                logs.append(-difference @ inverse @ difference / (2 * SIGMA**2))
                values.append(image[:, q[0], q[1]])
        weights = np.exp(np.array(logs) - max(logs))
        out[:, p[0], p[1]] = weights @ np.array(values) / weights.sum()
    return out


def machine(kind: str, window: int = 3, **settings: Any) -> Any:
    if kind == "LS":
        return els.LocalScore(training(), window, **settings)
    borders: Any = {"ELS": "aware", "torus": "torus"}[kind]
    return els.EquivariantLocalScore(training(), window, borders, **settings)


def measured(operator: Operator_, count: int = 2) -> torch.Tensor:
    x = torch.from_numpy(training(COUNT + count)[COUNT:])
    y = operator(x)
    return y + SIGMA * els.make_noise(count, tuple(y.shape[1:]), 3).double()


@pytest.mark.parametrize("kind", ["LS", "ELS", "torus"])
@pytest.mark.parametrize("inverse", ["none", "pseudo"])
@pytest.mark.parametrize("name", OPERATORS)
def test_it_is_its_definition(name: str, inverse: str, kind: str) -> None:
    operator, a = OPERATORS[name], matrix(OPERATORS[name])
    y = measured(operator)
    if inverse == "none" and y.shape[1:] != (CHANNELS, SIDE, SIDE):
        pytest.skip("the measurements are no images of the same size")
    b = np.eye(len(a)) if inverse == "none" else np.linalg.pinv(a, rcond=1e-3)
    found = els.restore(machine(kind), y, operator, SIGMA, inverse=inverse)  # type: ignore[arg-type]
    expected = np.stack([slow(training(), one, a, b, kind, 1) for one in y.numpy()])
    assert float(found.abs().max()) > 0.05
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_ideal_machine_gives_the_posterior_mean(name: str) -> None:
    operator, images = OPERATORS[name], training()
    y = measured(operator)
    found = els.restore(els.IdealScore(images), y, operator, SIGMA)
    logs = -((y.flatten(1)[:, None] - operator(torch.from_numpy(images)).flatten(1)) ** 2).sum(2) / (2 * SIGMA**2)
    expected = torch.einsum("bn,nchw->bchw", logs.softmax(1), torch.from_numpy(images))
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["IS", "LS", "ELS", "ELS wrap", "ELS torus", "schedule", "weights"])
def test_denoising_is_the_machine_itself(kind: str) -> None:
    data = els.load_images("fashion-mini", 30)
    of_levels = els.LocalitySchedule((2.0, 0.5), (9, 5))
    made = {
        "IS": lambda: els.IdealScore(data), "LS": lambda: els.LocalScore(data, 5),
        "ELS": lambda: els.EquivariantLocalScore(data, 5),
        "ELS wrap": lambda: els.EquivariantLocalScore(data, 5, "wrap"),
        "ELS torus": lambda: els.EquivariantLocalScore(data, 5, "torus"),
        "schedule": lambda: els.LocalScore(data, of_levels),
        "weights": lambda: els.EquivariantLocalScore(data, 5, weights=np.linspace(0, 1, 30)),
    }[kind]()  # fmt: skip
    y = data.scaled()[5:7] + 0.5 * els.make_noise(2, data.shape)
    for label in (None, torch.tensor([2, 9])):
        found = els.restore(made, y, lambda x: x, 0.5, label)
        # Other sums of the same numbers in float32.
        assert torch.allclose(found, made(y, 0.5, label), atol=1e-4)


def test_little_memory_gives_the_same_images() -> None:
    data = els.load_images("fashion-mini", 20)
    y = els.make_noise(40, data.shape)
    few, many = (
        els.restore(els.EquivariantLocalScore(data, 3, memory=memory), y, els.operators.blur(KERNEL), 1.0)
        for memory in (2**26, 2**32)
    )
    assert torch.allclose(few, many, atol=1e-5)


def test_restoring_is_nearer_to_the_truth_than_what_was_measured() -> None:
    data = els.load_images("fashion-mini", 600)
    training, x = els.ImageSet(data.images[:592]), data.scaled()[592:]
    hole = torch.zeros(28, 28, dtype=torch.bool)
    hole[10:16, 10:16] = True
    for operator in (
        els.operators.mask(hole),
        els.operators.downsample(2),
        els.operators.blur(torch.full((3, 3), 1 / 9)),
    ):
        y = operator(x)
        y = y + 0.3 * els.make_noise(8, tuple(y.shape[1:]))
        plain = y if y.shape == x.shape else operator.pseudo_inverse(y)  # type: ignore[misc]
        restored = els.restore(els.LocalScore(training, 5), y, operator, 0.3)
        assert float((restored - x).square().mean()) < 0.5 * float((plain - x).square().mean())


def test_numpy_stays_numpy_and_keeps_its_type() -> None:
    y = measured(OPERATORS["downsample"]).numpy().astype(np.float32)
    found = els.restore(machine("LS"), y, OPERATORS["downsample"], SIGMA)
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (np.float32, (2, CHANNELS, SIDE, SIDE))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"machine": 3}, TypeError, "machine"),
        ({"machine": lambda: els.SmoothedIdeal(training())}, TypeError, "machine must be an IdealScore, LocalScore"),
        ({"machine": lambda: els.LocalScore(training(), 3, taper=True)}, ValueError, "taper=False"),
        ({"operator": 3}, TypeError, "operator"),
        ({"operator": lambda x: x + 1}, ValueError, "operator must be linear"),
        ({"operator": lambda x: x.flatten(1)}, TypeError, "operator must return a tensor"),
        ({"operator": els.operators.downsample(2)}, ValueError, r"y must be \(B, 2, 3, 3\)"),
        ({"noise": 0.0}, ValueError, "noise must be positive"),
        ({"inverse": "best"}, ValueError, "inverse must be one of"),
        ({"label": 1}, ValueError, "no classes"),
        ({"y": torch.zeros(6, 6)}, ValueError, "y must be"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    valid = {"machine": machine("LS"), "y": measured(lambda x: x), "operator": lambda x: x, "noise": SIGMA}
    given = {k: v() if k == "machine" and callable(v) else v for k, v in arguments.items()}
    with pytest.raises(error, match=message):
        els.restore(**{**valid, **given})


def test_windows_that_wrap_need_the_same_noise() -> None:
    wrap = els.EquivariantLocalScore(training(), 3, "wrap")
    with pytest.raises(ValueError, match="borders='aware' or 'torus'"):
        els.restore(wrap, measured(OPERATORS["mask"]), OPERATORS["mask"], SIGMA)


def test_an_operator_in_float32_shares_as_many_places() -> None:
    # The same blur as a function that knows float32 only: rounding must not tear places apart.
    kernel = torch.from_numpy(KERNEL).float()
    y = measured(OPERATORS["blur that wraps"]).float()

    def mine(x: torch.Tensor) -> torch.Tensor:
        around = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="circular")
        turned = kernel.flip(0, 1).expand(CHANNELS, 1, 3, 3)
        return torch.nn.functional.conv2d(around, turned, groups=CHANNELS)

    found = els.restore(machine("torus"), y, mine, SIGMA, inverse="pseudo")
    expected = els.restore(machine("torus"), y, OPERATORS["blur that wraps"], SIGMA, inverse="pseudo")
    assert torch.allclose(found, expected, atol=1e-4)


def test_too_large_a_matrix_is_refused() -> None:
    data = els.ImageSet(torch.zeros(2, 1, 128, 128, dtype=torch.uint8))
    blur = els.operators.blur(KERNEL)
    with pytest.raises(ValueError, match=r"memory must be 8192 MiB or more.*inverse='none'"):
        els.restore(els.LocalScore(data, 3), torch.zeros(1, 1, 128, 128), blur, 0.1, inverse="pseudo")


def test_a_user_makes_an_operator_with_a_pseudo_inverse() -> None:
    double = Operator("double", lambda x: 2 * x, lambda y: y / 2)
    y = measured(double)
    found = els.restore(machine("ELS"), y, double, SIGMA)
    assert torch.allclose(found, els.restore(machine("ELS"), y / 2, lambda x: x, SIGMA / 2), atol=1e-12)


def test_windows_that_read_pixels_twice_are_refused_for_a_pseudo_inverse() -> None:
    images = torch.randint(0, 256, (6, 1, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = els.ImageSet(images, name="toys")
    machine = els.EquivariantLocalScore(data, 7, borders="torus")
    y = data.scaled()[:1] + 2 * els.make_noise(1, data.shape)
    with pytest.raises(ValueError, match=r"windows of 7 pixels a side, which wrap round images of 5x5 and read pixels"):
        els.restore(machine, y, lambda x: x, 2.0, inverse="pseudo")
    for one, inverse in ((machine, "none"), (machine.with_window(5), "pseudo")):
        found = els.restore(one, y, lambda x: x, 2.0, inverse=inverse)
        assert torch.allclose(found, one(y, 2.0), atol=1e-5)
