"""Every source and weight against all windows written out in float64, and what mosaics promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import reference

import elsewhere as els
from elsewhere.analysis.mosaic import read_windows
from elsewhere.engine import Planner

# All of this holds with the compiled loop, which takes few images too here, and without.
pytestmark = pytest.mark.usefixtures("loop")
MAKERS: dict[str, Callable[..., Any]] = {
    "IS": lambda data, window, **kw: els.IdealScore(data, **kw),
    "LS": els.LocalScore,
    "wrap": lambda data, window, **kw: els.EquivariantLocalScore(data, window, "wrap", **kw),
    "aware": lambda data, window, **kw: els.EquivariantLocalScore(data, window, "aware", **kw),
    "torus": lambda data, window, **kw: els.EquivariantLocalScore(data, window, "torus", **kw),
    "tapered": lambda data, window, **kw: els.EquivariantLocalScore(data, window, taper=True, **kw),
}
Source = tuple[int, int, int]


def few_images(count: int = 6, channels: int = 1, height: int = 7, width: int = 8, classes: int = 0) -> els.ImageSet:
    """Images of two levels, every third one a copy of the first: windows repeat within images and between them."""
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 2, (count, channels, height, width), generator=generator).mul(255).byte()
    pixels[::3] = pixels[0].clone()
    return els.ImageSet(pixels, torch.arange(count) % classes if classes else None)


def noisy(data: els.ImageSet, sigma: float, batch: int = 1) -> torch.Tensor:
    return data.scaled(torch.float64)[-batch:].flip(3) * 0.8 + sigma * els.make_noise(batch, data.shape).double()


def brute_force(
    name: str, x: np.ndarray, images: np.ndarray, sigma: float, window: int, taper: bool = False
) -> Iterator[tuple[int, int, dict[Source, float], dict[Source, bytes]]]:
    """Row and column of every pixel of x (C, H, W), the log-weight of every source in order, and its window."""
    r, (count, _, height, width) = window // 2, images.shape
    pad = ((0, 0), (0, 0), (r, r), (r, r))
    # A further channel of ones inside the image: a window that ends at the border is not one of zeros.
    keys = np.concatenate([images, np.ones_like(images[:, :1])], 1)
    keys = np.pad(keys, pad, mode="wrap" if name == "torus" else "constant")
    asking = np.concatenate([x, np.ones_like(x[:1])])[None]
    asking = np.pad(asking, pad, mode="wrap" if name in ("wrap", "torus") else "constant")[0]

    counted = reference.counts(window, taper)

    def reach(i: int, j: int) -> tuple[int, ...]:
        return min(i, r), min(height - 1 - i, r), min(j, r), min(width - 1 - j, r)

    places = [(i, j) for i in range(height) for j in range(width)]
    for i, j in places:
        allowed = {
            "IS": [(i, j)],
            "LS": [(i, j)],
            "wrap": [place for place in places if reach(*place) == (r, r, r, r)],
            "torus": places,
            "aware": [place for place in places if reach(*place) == reach(i, j)],
        }[name]
        logs, seen = {}, {}
        for n in range(count):
            for a, b in allowed:
                key = images[n] if name == "IS" else keys[n, :, a : a + window, b : b + window]
                query = x if name == "IS" else asking[:, i : i + window, j : j + window]
                squares = (key - query) ** 2
                logs[n, a, b] = -float((squares if name == "IS" else squares * counted).sum()) / (2 * sigma**2)
                seen[n, a, b] = key.tobytes()
        total = np.logaddexp.reduce(list(logs.values()))
        yield i, j, {source: float(log - total) for source, log in logs.items()}, seen


def entries(logs: dict[Source, float], windows: dict[Source, bytes], merged: bool) -> list[tuple[Source, float, int]]:
    """Source, weight and count, heaviest first; equal windows as one, under the name of the first."""
    groups: dict[Any, list[Source]] = {}
    for source, window in windows.items():
        groups.setdefault(window if merged else source, []).append(source)
    found = [(group[0], logs[group[0]] + np.log(len(group)), len(group)) for group in groups.values()]
    # Rounded, so that equal weights are equal here too: then the order of the images decides.
    found.sort(key=lambda entry: (-round(entry[1], 8), entry[0]))
    return [(source, float(np.exp(log)), count) for source, log, count in found]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("sigma", [0.1, 0.6, 5.0])
@pytest.mark.parametrize(("channels", "window"), [(1, 3), (3, 5), (1, 17)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sources_and_weights_are_those_of_the_formula(
    name: str, sigma: float, channels: int, window: int, dtype: torch.dtype
) -> None:
    data, top = few_images(channels=channels), 5
    x = noisy(data, sigma).to(dtype)
    # In float32 log-weights of any size that matters are exact to 1e-4, and exp(-80) is taken for what is less.
    rtol, atol, beyond = (1e-9, 1e-300, 1e-11) if dtype == torch.float64 else (1e-3, 1e-30, 1e-4)
    mosaic = els.explain(MAKERS[name](data, window), x, sigma, top)
    # A window over everything has its own place only, but for the torus, whose windows go round and round.
    slow = "LS" if window == 17 and name not in ("IS", "torus") else name.replace("tapered", "aware")
    images = data.scaled(torch.float64).numpy()
    credits = np.zeros(len(data))
    for i, j, logs, windows in brute_force(slow, x[0].double().numpy(), images, sigma, window, name == "tapered"):
        radius = window // 2
        inside = radius <= i < data.shape[1] - radius and radius <= j < data.shape[2] - radius
        merged = slow in ("wrap", "torus") or (slow == "aware" and inside)
        expected = entries(logs, windows, merged)[:top]
        there = slice(0, len(expected))
        ids, places = mosaic.image_ids[0, i, j].tolist(), mosaic.positions[0, i, j].tolist()
        found = [(n, *place) for n, place in zip(ids, places, strict=True)]
        # Equal windows that are entries of their own are equal in weight but for the last bit, which then decides.
        assert [windows[source] for source in found[there]] == [windows[source] for source, _, _ in expected]
        assert len(set(found[there])) == len(expected)
        if merged:
            assert found[there] == [source for source, _, _ in expected]
        np.testing.assert_allclose(mosaic.weights[0, i, j, there], [w for _, w, _ in expected], rtol=rtol, atol=atol)
        assert mosaic.counts[0, i, j, there].tolist() == [count for _, _, count in expected]
        assert set(found[len(expected) :]) <= {(-1, -1, -1)}
        assert float(mosaic.unexplained[0, i, j]) == pytest.approx(1 - sum(w for _, w, _ in expected), abs=beyond)
        for (n, _, _), log in logs.items():
            credits[n] += np.exp(log) / (data.shape[1] * data.shape[2])
    # The engine takes exp(-700) for less than that.
    np.testing.assert_allclose(mosaic.credits()[0], credits, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_all_weights_together_give_the_prediction(name: str, channels: int) -> None:
    data = few_images(channels=channels, classes=2)
    machine = MAKERS[name](data, els.LocalitySchedule((4.0, 0.5), (5, 3), taper=name == "tapered"))
    x, sigma, label = noisy(data, 1.0, batch=3).float(), torch.tensor([4.0, 0.5, 1.0]), torch.tensor([0, 1, 0])
    mosaic = els.explain(machine, x, sigma, None, label)
    assert mosaic.windows == ((15, 15, 15) if name == "IS" else (5, 3, 3))
    row, column = mosaic.positions.clamp(min=0).unbind(-1)
    centres = data.scaled(torch.float64)[mosaic.image_ids.clamp(min=0), :, row, column]
    rebuilt = (centres * mosaic.weights[..., None]).sum(3).permute(0, 3, 1, 2)
    # Weights in float32 sum to one within 1e-6.
    assert torch.allclose(rebuilt, machine(x, sigma, label).double(), atol=1e-5)
    # The attribution of few images reads windows by another kernel than the call: each is within 1e-5 of float64.
    assert torch.allclose(mosaic.x0, machine(x, sigma, label), atol=1e-5)
    assert torch.allclose(mosaic.credits().sum(1), torch.ones(3).double(), atol=1e-5)
    assert data.labels is not None
    for i, c in enumerate(label.tolist()):
        ids = mosaic.image_ids[i][mosaic.image_ids[i] >= 0]
        assert set(data.labels[ids].tolist()) == {c}, "indices count all training images, not those of the class"
        assert not mosaic.credits()[i, data.labels != c].any()


@pytest.mark.parametrize(("name", "keys"), [("LS", 6), ("wrap", 6 * 6 * 5), ("aware", 6 * 6 * 5), ("torus", 6 * 8 * 7)])
def test_all_weights_are_as_many_as_a_pixel_has_windows(name: str, keys: int) -> None:
    data = els.ImageSet(torch.randint(0, 256, (6, 1, 8, 7), generator=torch.Generator().manual_seed(3)).byte())
    mosaic = els.explain(MAKERS[name](data, 3), noisy(data, 1.0).float(), 1.0, None)
    assert mosaic.image_ids.shape[-1] == keys


@settings(deadline=None, max_examples=15)
@given(
    name=st.sampled_from(list(MAKERS)),
    sigma=st.floats(0.05, 20),
    window=st.sampled_from([3, 5]),
    seed=st.integers(0, 99),
)
def test_a_copy_gets_as_much_credit_as_the_original(name: str, sigma: float, window: int, seed: int) -> None:
    data = few_images(5, height=8)
    x = sigma * els.make_noise(2, data.shape, seed)
    credits = els.explain(MAKERS[name](data, window), x, sigma, 1).credits()
    assert torch.allclose(credits.sum(1), torch.ones(2).double(), atol=1e-5)
    assert torch.allclose(credits[:, 0], credits[:, 3], rtol=1e-4)


def test_top_sources_do_not_depend_on_how_many_are_asked_for() -> None:
    data = few_images(9)
    machine, x = els.EquivariantLocalScore(data, 3), noisy(data, 0.5, batch=2)
    many, few = els.explain(machine, x, 0.5, 9), els.explain(machine, x, 0.5, 2)
    assert torch.equal(many.image_ids[..., :2], few.image_ids)
    assert torch.equal(many.positions[..., :2, :], few.positions)
    assert (many.weights.diff() <= 0).all()


def test_images_that_memory_parts_are_explained_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    data = few_images(classes=2)
    machine, x = els.EquivariantLocalScore(data, 3), noisy(data, 0.5, batch=3)
    label = torch.tensor([1, 0, 1])
    together = els.explain(machine, x, 0.5, 3, label)
    monkeypatch.setattr(Planner, "images_at_once", lambda *_: 1)
    apart = els.explain(machine, x, 0.5, 3, label)
    assert torch.equal(together.image_ids[:, 1:-1, 1:-1], apart.image_ids[:, 1:-1, 1:-1])
    assert torch.allclose(together.weights, apart.weights, rtol=1e-9)
    assert torch.allclose(together.credits(), apart.credits(), rtol=1e-9)


def test_another_size_than_the_training_images() -> None:
    data = few_images()
    machine, x = els.EquivariantLocalScore(data, 3, "aware"), els.make_noise(1, (1, 10, 9))
    mosaic = els.explain(machine, x, 1.0)
    assert mosaic.image_ids.shape == (1, 10, 9, 8)
    assert mosaic.positions.amax((0, 1, 2, 3)).tolist() == [6, 7]
    assert torch.allclose(mosaic.x0, machine(x, 1.0), atol=1e-6)


@pytest.mark.parametrize(("borders", "window"), [("aware", 5), ("wrap", 5), ("wrap", 15), ("torus", 5), ("torus", 15)])
def test_the_windows_read_are_those_that_the_machine_weighs(borders: Any, window: int) -> None:
    data = els.ImageSet(torch.randint(0, 256, (2, 1, 7, 8), generator=torch.Generator().manual_seed(2)).byte())
    x = noisy(data, 2.0, batch=2)
    mosaic = els.explain(els.EquivariantLocalScore(data, window, borders), x, 2.0, 2)
    image, row, column = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, (2, 7, 8)), indexing="ij"))
    asked, inside = read_windows(x, window, image, row, column, wraps=mosaic.wraps[0].x)
    distances = []
    for rank in range(2):
        place = mosaic.positions[image, row, column, rank].unbind(1)
        source = mosaic.image_ids[image, row, column, rank]
        pixels = data.scaled(torch.float64)
        found, also_inside = read_windows(pixels, window, source, *place, wraps=mosaic.wraps[0].training)
        assert torch.equal(inside, also_inside)
        distances.append((found - asked).square() * inside)
    gaps = (distances[1] - distances[0]).sum((1, 2, 3)) / (2 * 2.0**2)
    weights = mosaic.weights[image, row, column]
    torch.testing.assert_close(gaps, (weights[:, 0] / weights[:, 1]).log(), rtol=0, atol=1e-9)


def test_pasted_pixels_are_the_centres_of_the_heaviest_windows() -> None:
    data = els.load_images("fashion-mini", 30)
    machine = els.EquivariantLocalScore(data, 3)
    x = data.scaled()[4:5] + 0.001 * els.make_noise(1, data.shape)
    # Next to no noise: every window's nearest is itself.
    mosaic = els.explain(machine, x, 1e-3, 1)
    assert torch.allclose(mosaic.pasted(), data.scaled()[4:5], atol=1e-6)
    assert ((mosaic.weights > 0.99) | (mosaic.weights.amin(-1) > 0)[..., None]).all()


def test_a_run_is_explained_step_by_step() -> None:
    data = few_images(classes=2)
    machine = els.EquivariantLocalScore(data, els.LocalitySchedule((10.0, 0.1), (5, 3)))
    run = els.sample(machine, els.make_noise(2, data.shape), els.schedules.cosine(4), 1, keep=True)
    mosaics = list(els.explain_run(machine, run, 2, 1))
    assert [mosaic.windows for mosaic in mosaics] == [(5, 5), (5, 5), (3, 3), (3, 3)]
    assert [mosaic.step for mosaic in mosaics] == [0, 1, 2, 3]
    for mosaic, prediction, sigma in zip(mosaics, run.predictions, run.sigmas, strict=False):
        assert mosaic.sigmas == (sigma, sigma)
        assert torch.allclose(mosaic.x0, prediction, atol=1e-6)


def test_a_table_has_a_row_for_every_source() -> None:
    data = few_images(3)
    mosaic = els.explain(els.LocalScore(data, 3), noisy(data, 0.5, batch=2), torch.tensor([0.5, 0.25]), 5)
    table = mosaic.table()
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    assert len(rows) == 2 * 7 * 8 * 3, "three images, three sources a pixel"
    for row in rows[:: 7 * 3]:
        at = row["image"], row["row"], row["column"], row["rank"]
        assert row["source"] == mosaic.image_ids[at]
        assert [row["source_row"], row["source_column"]] == mosaic.positions[at].tolist() == [row["row"], row["column"]]
        assert row["weight"] == mosaic.weights[at]
        assert row["count"] == 1
        assert row["step"] == 0
        assert row["sigma"] == (0.5, 0.25)[row["image"]]
    assert sum(row["weight"] for row in rows) == pytest.approx(2 * 7 * 8)


def test_bad_requests_are_refused() -> None:
    data = few_images()
    machine, x = els.LocalScore(data, 3), noisy(data, 1.0)
    with pytest.raises(TypeError, match="got Mock: to explain a trained network, use the machine"):
        els.explain(type("Mock", (), {})(), x, 1.0)
    for top, error in ((0, ValueError), (1025, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="top must be"):
            els.explain(machine, x, 1.0, top)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sigma must be positive"):
        els.explain(machine, x, 0.0)
    with pytest.raises(ValueError, match="has no classes"):
        els.explain(machine, x, 1.0, label=0)
    with pytest.raises(ValueError, match="draw it with"):
        els.explain_run(machine, els.sample(machine, x))
    large = els.EquivariantLocalScore(els.load_images("fashion-mini", 200), 3)
    with pytest.raises(ValueError, match="top=None keeps every weight"):
        els.explain(large, els.make_noise(1, (1, 28, 28)), 1.0, None)
