"""Every machine against published outputs, against the slow formula, and against what theory says of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import elsewhere as els
from elsewhere.engine import SoftmaxState, positions, run
from elsewhere.engine.dense import DenseJob
from elsewhere.engine.kernels import loader
from elsewhere.engine.runner import MOST_PIECES
from elsewhere.engine.sliding import SlidingJob
from elsewhere.machines.base import SoftmaxMachine
from tests import reference

# All of this holds with the compiled loop, which takes few images too here, and without.
pytestmark = pytest.mark.usefixtures("loop")
GOLDEN = Path(__file__).parents[1] / "golden"
MAKERS: dict[str, Callable[..., SoftmaxMachine]] = {
    "IS": lambda data, window, **kw: els.IdealScore(data, **kw),
    "LS": els.LocalScore,
    "ELS": lambda data, window, **kw: els.EquivariantLocalScore(data, window, "wrap", **kw),
    "bbELS": lambda data, window, **kw: els.EquivariantLocalScore(data, window, "aware", **kw),
    "torus": lambda data, window, **kw: els.EquivariantLocalScore(data, window, "torus", **kw),
    "ESM": lambda data, window, **kw: els.EquivariantScore(data, **kw),
    "tapered LS": lambda data, window, **kw: els.LocalScore(data, window, taper=True, **kw),
    "tapered bbELS": lambda data, window, **kw: els.EquivariantLocalScore(data, window, "aware", taper=True, **kw),
}
SLOW: dict[str, Callable[..., np.ndarray]] = {
    "IS": lambda x, images, sigma, window: reference.ideal(x, images, sigma),
    "LS": reference.local,
    "ELS": reference.wrapped,
    "bbELS": reference.border_aware,
    "torus": reference.torus,
    "ESM": lambda x, images, sigma, window: reference.shifted(x, images, sigma),
    "tapered LS": partial(reference.local, taper=True),
    "tapered bbELS": partial(reference.border_aware, taper=True),
}
few = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def random_set(
    count: int = 6, channels: int = 1, height: int = 9, width: int = 8, seed: int = 0, classes: int = 0
) -> els.ImageSet:
    generator = torch.Generator().manual_seed(seed)
    # Few levels, so that windows repeat and merging has something to do.
    levels = torch.randint(0, 4, (count, channels, height, width), generator=generator) * 85
    labels = torch.arange(count) % classes if classes else None
    return els.ImageSet(levels.to(torch.uint8), labels)


def noisy(data: els.ImageSet, sigma: float, batch: int = 1, seed: int = 1) -> torch.Tensor:
    """Noisy images near, but not of, the training set, float32."""
    noise = els.make_noise(batch, data.shape, seed)
    return data.scaled()[:batch].flip(3) * 0.8 + sigma * noise


@pytest.mark.parametrize("name", ["IS", "LS", "ELS", "bbELS"])
@pytest.mark.parametrize("window", [3, 7, 15, 21])
@pytest.mark.parametrize("file", ["gray_all", "gray_conditional", "colour_all", "colour_conditional"])
def test_agrees_with_the_published_implementation(file: str, window: int, name: str) -> None:
    with np.load(GOLDEN / f"{file}.npz") as golden:
        labels = torch.from_numpy(golden["labels"].astype(np.int64))
        data = els.ImageSet(torch.from_numpy(golden["images_u8"]), labels)
        label = int(golden["label"]) if "label" in golden else None
        a, s = float(golden[f"a_k{window}"]), float(golden[f"s_k{window}"])
        x0 = MAKERS[name](data, window)(golden[f"x_vp_k{window}"] / a, s / a, label)
        # The published code works in float32 and differs from the float64 formula by up to 4e-5.
        assert np.abs(x0 - golden[f"{name}_k{window}_published"]).max() < 1e-4
        assert np.abs(x0 - golden[f"{name}_k{window}_exact"]).max() < 2e-5


@pytest.mark.parametrize("name", ["IS", "LS", "ELS", "bbELS"])
def test_whole_runs_agree_with_the_published_implementation(name: str) -> None:
    with np.load(GOLDEN / "trajectories.npz") as golden:
        sigmas = [math.tan(math.pi / 2 * i / 20 / 1.008) for i in range(19, 0, -1)]
        windows = tuple(int(golden["scales"][i]) for i in range(19, 0, -1))
        locality = els.LocalitySchedule(tuple(sigmas), windows)
        machine = MAKERS[name](els.ImageSet(torch.from_numpy(golden["images_u8"])), locality)
        # The published run starts from x_vp = noise, that is x = noise / a.
        start = golden["noise"][:1] * math.sqrt(1 + sigmas[0] ** 2) / sigmas[0]
        run = els.sample(machine, start, els.schedules.Schedule((*sigmas, 0.0)))
        # Each of 19 steps passes on the float32 rounding of the published one.
        assert np.abs(run.images.numpy() - golden[f"{name}_final"][:1]).max() < 5e-4


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("sigma", [1e-3, 0.01, 0.1, 0.5, 2.0, 20.0, 1e3])
@pytest.mark.parametrize(("channels", "window"), [(1, 3), (3, 5), (1, 7)])
def test_agrees_with_the_slow_formula_at_every_noise_level(name: str, sigma: float, channels: int, window: int) -> None:
    data = random_set(channels=channels)
    x = noisy(data, sigma)
    fast = MAKERS[name](data, window)(x, sigma)
    slow = SLOW[name](x[0].double().numpy(), data.scaled(torch.float64).numpy(), sigma, window)
    assert np.abs(fast[0].numpy() - slow).max() < 1e-4


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("sigma", [1e-3, 3e-3, 0.01, 0.03])
def test_near_duplicates_are_told_apart_at_small_noise(name: str, sigma: float) -> None:
    # Images one gray level apart in one pixel: their log-weights differ by what float32 would lose.
    base = random_set(count=1, channels=3, height=16, width=16).images
    images = base.repeat(12, 1, 1, 1)
    images[torch.arange(12), 0, 8, 8] = torch.arange(100, 112, dtype=torch.uint8)
    data = els.ImageSet(images)
    x = data.scaled()[:1] + sigma * els.make_noise(1, data.shape)
    fast = MAKERS[name](data, 13)(x, sigma)
    slow = SLOW[name](x[0].double().numpy(), data.scaled(torch.float64).numpy(), sigma, 13)
    assert np.abs(fast[0].numpy() - slow).max() < 1e-4


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("window", [9, 11, 17, 41])
def test_windows_up_to_and_beyond_the_image(name: str, window: int) -> None:
    data = random_set()
    x = noisy(data, 1.0)
    fast = MAKERS[name](data, window)(x, 1.0)
    # With no interior place left, the wrapping machine falls back to the same places.
    slow = SLOW["LS" if name == "ELS" else name]
    expected = slow(x[0].double().numpy(), data.scaled(torch.float64).numpy(), 1.0, window)
    assert np.abs(fast[0].numpy() - expected).max() < 1e-4


@pytest.mark.parametrize(("borders", "slow"), [("wrap", reference.wrapped), ("torus", reference.torus)])
@pytest.mark.parametrize("sigma", [1e-3, 0.1, 2.0, 1e3])
@pytest.mark.parametrize(("channels", "window"), [(1, 3), (3, 5), (1, 7)])
def test_tapered_windows_that_wrap_agree_with_the_slow_formula(
    borders: Any, slow: Callable[..., np.ndarray], sigma: float, channels: int, window: int
) -> None:
    data = random_set(channels=channels)
    x = noisy(data, sigma)
    fast = els.EquivariantLocalScore(data, window, borders, taper=True)(x, sigma)
    expected = slow(x[0].double().numpy(), data.scaled(torch.float64).numpy(), sigma, window, taper=True)
    assert np.abs(fast[0].numpy() - expected).max() < 1e-4


def test_rolling_the_noise_rolls_an_image_of_tapered_windows() -> None:
    data = random_set(channels=3)
    machine = els.EquivariantLocalScore(data, 5, "wrap", taper=True)
    x = noisy(data, 0.7)
    assert torch.allclose(machine(x.roll((2, 3), (2, 3)), 0.7), machine(x, 0.7).roll((2, 3), (2, 3)), atol=1e-4)


def test_a_schedule_says_whether_its_windows_are_tapered() -> None:
    data = random_set()
    x = noisy(data, 0.7)
    tapered = els.LocalitySchedule((2.0, 0.5), (7, 5), taper=True)
    machine = els.EquivariantLocalScore(data, tapered)
    plain = els.EquivariantLocalScore(data, 5)
    same = els.EquivariantLocalScore(data, 5, taper=True)
    assert torch.equal(machine(x, 0.5), same(x, 0.5))
    assert torch.equal(machine.with_window(5)(x, 0.5), same(x, 0.5))
    assert torch.equal(plain.with_window(tapered)(x, 0.5), same(x, 0.5))
    assert not torch.allclose(plain(x, 0.5), same(x, 0.5), atol=1e-3)
    assert torch.equal(same.with_window(els.LocalitySchedule((1.0,), (5,)))(x, 0.5), plain(x, 0.5))
    assert "taper=True" in repr(machine)
    assert "taper" not in repr(plain)


def test_tapered_windows_are_weighed_one_by_one_by_any_engine() -> None:
    data = random_set()
    x = noisy(data, 0.7)
    fast = els.EquivariantLocalScore(data, 5, taper=True, engine="fast")
    assert torch.equal(fast(x, 0.7), fast.with_engine("exact")(x, 0.7))
    assert fast.last_error.eq(0).all()
    assert fast.prepare() == []


def test_a_window_over_everything_makes_the_local_machine_ideal() -> None:
    data = random_set()
    x = noisy(data, 1.0, batch=3)
    whole = els.LocalScore(data, 17)(x, 1.0)
    assert torch.allclose(whole, els.IdealScore(data)(x, 1.0), atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_float64_agrees_with_the_formula_to_double_precision(name: str) -> None:
    data = random_set(channels=3)
    x = noisy(data, 0.7).double()
    fast = MAKERS[name](data, 5)(x, 0.7)
    assert fast.dtype == torch.float64
    slow = SLOW[name](x[0].numpy(), data.scaled(torch.float64).numpy(), 0.7, 5)
    assert np.abs(fast[0].numpy() - slow).max() < 1e-12


@pytest.mark.parametrize("name", MAKERS)
def test_float_arrays_and_image_sets_give_the_same(name: str) -> None:
    data = random_set()
    x = noisy(data, 0.5, batch=2)
    one = MAKERS[name](data, 5)(x, 0.5)
    for floats in (data.scaled(), data.scaled().numpy(), data.scaled(torch.float64)):
        assert torch.allclose(MAKERS[name](floats, 5)(x, 0.5), one, atol=5e-6)


@pytest.mark.parametrize("name", MAKERS)
@few
@given(seed=st.integers(0, 1000), sigma=st.floats(0.01, 50))
def test_the_order_of_the_training_set_does_not_matter(name: str, seed: int, sigma: float) -> None:
    data = random_set(classes=2)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    assert data.labels is not None
    mixed = els.ImageSet(data.images[order], data.labels[order])
    x = noisy(data, sigma, seed=seed)
    for label in (None, 1):
        assert torch.allclose(
            MAKERS[name](data, 5)(x, sigma, label), MAKERS[name](mixed, 5)(x, sigma, label), atol=1e-5
        )


@pytest.mark.parametrize("name", MAKERS)
@few
@given(copies=st.integers(2, 4), sigma=st.floats(0.01, 50))
def test_copying_the_whole_training_set_changes_nothing(name: str, copies: int, sigma: float) -> None:
    data = random_set()
    many = els.ImageSet(data.images.repeat(copies, 1, 1, 1))
    x = noisy(data, sigma)
    assert torch.allclose(MAKERS[name](data, 5)(x, sigma), MAKERS[name](many, 5)(x, sigma), atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_a_copied_image_counts_twice(name: str) -> None:
    data = random_set(count=3)
    twice = els.ImageSet(torch.cat([data.images, data.images[:1]]))
    x = noisy(data, 5.0)
    images = twice.scaled(torch.float64).numpy()
    slow = SLOW[name](x[0].double().numpy(), images, 5.0, 5)
    assert np.abs(MAKERS[name](twice, 5)(x, 5.0)[0].numpy() - slow).max() < 1e-5


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Labels of a set, in any order and some classes without images; and some that are asked for."""
    classes = draw(st.integers(1, 5))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=9))
    return labels, draw(st.lists(st.sampled_from(labels), min_size=1, max_size=4))


@pytest.mark.parametrize("name", MAKERS)
@few
@given(case=labelled(), sigma=st.floats(0.05, 20), window=st.sampled_from([3, 5]))
def test_a_label_keeps_only_its_own_images(
    name: str, case: tuple[list[int], list[int]], sigma: float, window: int
) -> None:
    labels, asked = torch.tensor(case[0]), case[1]
    data = els.ImageSet(random_set(count=len(labels)).images, labels)
    # In float32 log-weights may be rounded by 1e-4 nats, and are so in another way for another number of queries.
    x = (data.scaled()[:1].flip(3) * 0.8 + sigma * els.make_noise(len(asked), data.shape)).double()
    mixed = MAKERS[name](data, window)(x, sigma, torch.tensor(asked))
    for row, label in enumerate(asked):
        alone = MAKERS[name](els.ImageSet(data.images[labels == label]), window)
        assert torch.allclose(mixed[row], alone(x[row : row + 1], sigma)[0], atol=1e-5)


@few
@given(down=st.integers(-9, 9), right=st.integers(-9, 9), window=st.sampled_from([3, 5, 7]), sigma=st.floats(0.05, 20))
def test_rolling_the_noise_rolls_the_wrapped_image(down: int, right: int, window: int, sigma: float) -> None:
    data = random_set()
    machine = els.EquivariantLocalScore(data, window, "wrap")
    x = sigma * els.make_noise(1, data.shape)
    rolled = machine(x.roll((down, right), (2, 3)), sigma)
    assert torch.allclose(rolled, machine(x, sigma).roll((down, right), (2, 3)), atol=1e-5)


def test_rolling_the_noise_rolls_a_whole_wrapped_run() -> None:
    data = els.load_images("fashion-mini", 12)
    machine = els.EquivariantLocalScore(data, 5, "wrap")
    noise = els.make_noise(1, data.shape)
    one, other = els.sample(machine, noise), els.sample(machine, noise.roll((3, -5), (2, 3)))
    assert torch.allclose(one.images.roll((3, -5), (2, 3)), other.images, atol=1e-4)


def test_the_border_aware_machine_feels_the_border() -> None:
    data = els.load_images("fashion-mini", 12)
    noise = els.make_noise(1, data.shape)
    aware = els.EquivariantLocalScore(data, 5)
    difference = aware(noise.roll(3, 2), 1.0) - aware(noise, 1.0).roll(3, 2)
    assert float(difference.abs().max()) > 0.1


@pytest.mark.parametrize("name", MAKERS)
def test_a_batch_is_its_images_one_by_one(name: str) -> None:
    data = random_set(channels=3, classes=2)
    machine = MAKERS[name](data, els.LocalitySchedule((5.0, 1.0, 0.2), (7, 5, 3), taper="tapered" in name))
    sigma, label = torch.tensor([5.0, 0.2, 1.0, 5.0]), torch.tensor([0, 1, 1, 0])
    x = noisy(data, 1.0, batch=4)
    together = machine(x, sigma, label)
    for i in range(4):
        alone = machine(x[i : i + 1], float(sigma[i]), int(label[i]))
        assert torch.allclose(together[i], alone[0], atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_the_engine_in_little_memory_gives_the_same(name: str) -> None:
    data = els.load_images("fashion-mini", 30)
    x = noisy(data, 1.0, batch=6)
    plenty, little = MAKERS[name](data, 7)(x, 1.0), MAKERS[name](data, 7, memory=2**26)(x, 1.0)
    assert torch.allclose(plenty, little, atol=1e-5)


@pytest.mark.parametrize("name", ["ELS", "bbELS", "torus"])
def test_another_size_than_the_training_images(name: str) -> None:
    data = random_set()
    x = 0.8 * els.make_noise(1, (1, 13, 11))
    fast = MAKERS[name](data, 5)(x, 0.8)
    slow = SLOW[name](x[0].double().numpy(), data.scaled(torch.float64).numpy(), 0.8, 5)
    assert np.abs(fast[0].numpy() - slow).max() < 1e-5


def waiting() -> int:
    """States of a sliding-window job that wait to be merged, at most."""
    return positions.MOST_RANGES if positions.MOST_IMAGES else MOST_PIECES


@pytest.mark.parametrize("name", ["ELS", "bbELS", "torus"])
@pytest.mark.parametrize("memory", [1, 40_000, 150_000])
def test_a_canvas_asked_in_groups_is_the_same(monkeypatch: pytest.MonkeyPatch, name: str, memory: int) -> None:
    asked: list[int] = []

    def watch(jobs: list[DenseJob | SlidingJob], device: object) -> list[SoftmaxState]:
        asked.extend(job.count for job in jobs)
        return run(jobs)

    monkeypatch.setattr("elsewhere.engine.planner.run", watch)
    data = random_set()
    x = els.make_noise(1, (1, 11, 13), 3)
    whole, in_groups = MAKERS[name](data, 5), MAKERS[name](data, 5)
    expected = whole(x, 0.7)
    asked.clear()
    in_groups._planner.workspace.memory = memory
    # Products of other shapes round otherwise: log-weights of about 50 in float32.
    torch.testing.assert_close(in_groups(x, 0.7), expected, rtol=0, atol=1e-5)
    if loader.library() is None:
        # A pixel costs 16 bytes for each number of its window, 3 x 3 in a corner, and of the 64 states that wait.
        assert max(asked) <= max(1, memory // 4 // (16 * (9 + 64 * 3)))
    else:
        # Bands of whole rows, of which a pixel costs 8 bytes for each number of the states that wait.
        assert max(asked) <= max(13, memory // 4 // (8 * waiting() * 3))
    assert sum(asked) == 11 * 13


def test_queries_cost_the_same_memory_on_any_canvas(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def watch(jobs: list[DenseJob | SlidingJob], device: object) -> list[SoftmaxState]:
        held.append(
            sum(
                job.count if isinstance(job, SlidingJob) else sum(block.rows.numel() for block in job.blocks)
                for job in jobs
            )
        )
        return run(jobs)

    monkeypatch.setattr("elsewhere.engine.planner.run", watch)
    machine = els.EquivariantLocalScore(random_set(count=1), 7, "torus")
    machine._planner.workspace.memory = 2**20
    most = {}
    for side in (16, 32, 64):
        held.clear()
        machine(torch.zeros(1, 1, side, side), 1.0)
        most[side] = max(held)
    if loader.library() is None:
        assert most[64] == most[32]
        assert most[32] < 1.1 * most[16]
    else:
        assert all(pixels <= machine.memory // 4 // (8 * waiting() * 3) for pixels in most.values())


def test_a_roll_of_the_training_image_changes_nothing_on_the_torus() -> None:
    data = random_set(count=2)
    rolled = els.ImageSet(data.images.roll((4, -3), (2, 3)))
    x = noisy(data, 0.8)
    answers = [els.EquivariantLocalScore(some, 5, "torus")(x, 0.8) for some in (data, rolled)]
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=1e-5)


def test_another_size_than_training_places_allow_is_refused() -> None:
    with pytest.raises(ValueError, match="use a smaller window"):
        els.EquivariantLocalScore(random_set(), 11)(els.make_noise(1, (1, 13, 11)), 1.0)


def test_the_ideal_machine_ends_on_a_training_image() -> None:
    data = els.load_images("fashion-mini", 200)
    run = els.sample(els.IdealScore(data), els.make_noise(8, data.shape))
    distances = torch.cdist(run.images.flatten(1), data.scaled().flatten(1)).amin(1) / math.sqrt(784)
    assert float(distances.max()) < 1e-3


@pytest.mark.parametrize("name", ["LS", "ELS", "bbELS"])
def test_local_machines_end_on_locally_consistent_images(name: str) -> None:
    # At sigma -> 0 every pixel is the centre of the training window nearest to its own.
    data = els.load_images("fashion-mini", 12)
    machine = MAKERS[name](data, 5)
    end = els.fixed_point(machine, els.sample(machine, els.make_noise(1, data.shape)).images)
    assert float(end.converged_fraction.min()) >= 0.99
    images, windows = data.scaled(torch.float64).numpy(), end.images.double().numpy()
    # The same share with the nearest window found by the slow formula, at a sigma that leaves one window only.
    nearest = SLOW[name](windows[0], images, 1e-4, 5)
    assert (np.abs(nearest - windows[0]) <= 0.5 / 127.5).mean() >= 0.99


def test_equivariant_images_are_not_training_images() -> None:
    data = els.load_images("fashion-mini", 40)
    images = els.sample(els.EquivariantLocalScore(data, 5), els.make_noise(2, data.shape)).images
    distances = torch.cdist(images.flatten(1), data.scaled().flatten(1)).amin(1) / math.sqrt(784)
    assert float(distances.min()) > 0.1


@pytest.mark.parametrize("name", ["LS", "ELS", "bbELS"])
def test_another_window_shares_the_data(name: str) -> None:
    data = random_set()
    machine = MAKERS[name](data, 3)
    x = noisy(data, 1.0)
    other = machine.with_window(7)  # type: ignore[attr-defined]
    assert torch.equal(other(x, 1.0), MAKERS[name](data, 7)(x, 1.0))
    assert torch.equal(machine(x, 1.0), MAKERS[name](data, 3)(x, 1.0))


@pytest.mark.parametrize("name", MAKERS)
def test_the_input_is_left_alone(name: str) -> None:
    data = random_set()
    x = noisy(data, 1.0)
    before = x.clone()
    MAKERS[name](data, 5)(x, 1.0)
    assert torch.equal(x, before)


BAD_CALLS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": [[1.0]]}, TypeError, "torch tensor or NumPy array"),
    ({"x": torch.zeros(1, 1, 9, 8, dtype=torch.int64)}, TypeError, "floating point"),
    ({"x": np.zeros((1, 1, 9, 8), np.uint8)}, TypeError, "floating point"),
    ({"x": torch.zeros(1, 9, 8)}, ValueError, "(B, C, H, W)"),
    ({"x": torch.zeros(0, 1, 9, 8)}, ValueError, "no empty axis"),
    ({"x": torch.full((1, 1, 9, 8), math.nan)}, ValueError, "NaN"),
    ({"x": torch.full((1, 1, 9, 8), math.inf)}, ValueError, "infinite"),
    ({"x": torch.zeros(1, 3, 9, 8)}, ValueError, "3 channels"),
    ({"sigma": 0.0}, ValueError, "positive"),
    ({"sigma": -1.0}, ValueError, "-1.0"),
    ({"sigma": math.nan}, ValueError, "nan"),
    ({"sigma": math.inf}, ValueError, "finite"),
    ({"sigma": "high"}, TypeError, "number"),
    ({"sigma": torch.ones(3)}, ValueError, "each of 2 images"),
    ({"label": 2}, ValueError, "0..1"),
    ({"label": -1}, ValueError, "0..1"),
    ({"label": 0.5}, TypeError, "integer"),
    ({"label": torch.tensor([0, 1, 0])}, ValueError, "each of 2 images"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_CALLS)
@pytest.mark.parametrize("name", MAKERS)
def test_bad_calls_say_what_is_wrong(name: str, change: dict[str, Any], error: type[Exception], message: str) -> None:
    machine = MAKERS[name](random_set(classes=2), 5)
    arguments = {"x": torch.zeros(2, 1, 9, 8), "sigma": 1.0, "label": None, **change}
    with pytest.raises(error) as caught:
        machine(arguments["x"], arguments["sigma"], arguments["label"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


GOOD = torch.zeros(3, 1, 9, 8)
BAD_MACHINES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: els.EquivariantLocalScore(GOOD, 4), ValueError, "odd"),
    (lambda: els.EquivariantLocalScore(GOOD, 0), ValueError, "positive"),
    (lambda: els.EquivariantLocalScore(GOOD, -3), ValueError, "-3"),
    (lambda: els.LocalScore(GOOD, 3.0), TypeError, "an integer or a LocalitySchedule"),  # type: ignore[arg-type]
    (lambda: els.LocalScore(GOOD, True), TypeError, "an integer or a LocalitySchedule"),
    (lambda: els.LocalScore(GOOD, "3"), TypeError, "an integer or a LocalitySchedule"),  # type: ignore[arg-type]
    (lambda: els.LocalScore(GOOD, 3, taper=1), TypeError, "taper must be True or False"),  # type: ignore[arg-type]
    (lambda: els.LocalScore(GOOD, els.LocalitySchedule((1.0,), (3,)), taper=True), ValueError, "leave taper out"),
    (lambda: els.EquivariantLocalScore(GOOD, 3, "mirror"), ValueError, "'mirror'"),  # type: ignore[arg-type]
    (lambda: els.IdealScore(GOOD, engine="quick"), ValueError, "'quick'"),  # type: ignore[arg-type]
    (lambda: els.IdealScore(GOOD, memory=1000), ValueError, "64 MiB"),
    (lambda: els.IdealScore(GOOD, memory="1GB"), TypeError, "memory must be an integer"),  # type: ignore[arg-type]
    (lambda: els.IdealScore(GOOD + 3), ValueError, "[-1, 1]"),
    (lambda: els.IdealScore(GOOD * math.nan), ValueError, "data has NaN"),
    (lambda: els.IdealScore(GOOD[0]), ValueError, "data must be (B, C, H, W)"),
    (lambda: els.IdealScore(GOOD.to(torch.uint8)), TypeError, "floating point"),
    (lambda: els.IdealScore("fashion-mini"), TypeError, "data must be"),  # type: ignore[arg-type]
    (lambda: els.IdealScore(random_set())(torch.zeros(1, 1, 9, 9), 1.0), ValueError, "9x9 pixels"),
    (lambda: els.IdealScore(GOOD)(torch.zeros(1, 1, 9, 8), 1.0, 0), ValueError, "no classes"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD_MACHINES)
def test_bad_settings_say_what_is_wrong(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_without_images_is_named() -> None:
    data = els.ImageSet(random_set(count=2).images, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="label 1 has no training image"):
        els.IdealScore(data)(torch.zeros(1, 1, 9, 8), 1.0, 1)


@pytest.mark.parametrize("name", MAKERS)
def test_a_mean_stays_in_the_range_of_its_images(name: str) -> None:
    # Rounding took some a little below -1, and files of what was drawn could not be read again.
    data = random_set(count=6)
    images = data.images.clone()
    images[:, :, ::2] = 0
    images[:, :, 1::2] = 255
    machine = MAKERS[name](els.ImageSet(images), 3)
    for sigma in (1e-3, 0.1, 1.0, 30.0):
        x0 = machine(3 * torch.randn(4, *data.shape, generator=torch.Generator().manual_seed(1)), sigma)
        assert -1 <= float(x0.min()) <= float(x0.max()) <= 1
