"""The general patch machine against its formula written out, and against the machines that are settings of it."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import elsewhere as els
from tests import reference

DATA = els.load_images("fashion-mini", 120)
GENERATOR = torch.Generator().manual_seed(0)
# As many images as two vectors of the compiled kernel hold, and some more.
GRAY, COLOUR = (torch.rand(20, channels, 7, 6, generator=GENERATOR, dtype=torch.float64) * 2 - 1 for channels in (1, 3))

CASES = [
    (els.PatchSettings(5, True, 0.2, response=3), 0.6),
    (els.PatchSettings(5, False, 0.0, response=5, temperature=1.5), 0.3),
    # Windows of radius 1, at little noise: differences are summed afresh, or sums are double.
    (els.PatchSettings(3, True, 0.1, response=3), 0.12),
    (els.PatchSettings(3, False, 0.1), 0.02),
    (els.PatchSettings(5, True, 0.5, response=3), 3.0),
    (els.PatchSettings(3, True, 0.1, response=3, shift_width=1.5), 0.7),
    (els.PatchSettings(5, False, shift_width=0.8), 1.0),
    (els.PatchSettings(3, False, response=3, shift_width=2.0), 0.1),
]


def noisy(images: torch.Tensor, sigma: float, batch: int = 2) -> torch.Tensor:
    noise = torch.randn(images[:batch].shape, generator=torch.Generator().manual_seed(1), dtype=images.dtype)
    return images[:batch] + sigma * noise


@pytest.mark.parametrize("keys", ["same place", "aware", "wrap", "torus"])
@pytest.mark.parametrize(("case", "sigma"), CASES)
@pytest.mark.parametrize(("images", "weighted"), [(GRAY, True), (COLOUR, False)], ids=["gray, weighted", "colour"])
def test_the_formula(images: torch.Tensor, case: els.PatchSettings, sigma: float, keys: str, weighted: bool) -> None:
    # A window as wide as the image leaves no place inside: there, the machine is the local one.
    chosen = els.PatchSettings(**{**asdict(case), "keys": keys})
    weights = torch.linspace(0.1, 2.0, len(images), dtype=torch.float64) if weighted else None
    x = noisy(images, sigma, 1)
    known = None if weights is None else weights.numpy()
    expected = reference.patches(x[0].numpy(), images.numpy(), sigma, **asdict(chosen), weights=known)
    for dtype, off in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        machine = els.PatchScore(images.to(dtype), chosen, weights=weights)
        found = machine(x.to(dtype), sigma)[0].double().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=off)


@pytest.mark.parametrize(
    ("case", "sigma"),
    [
        (els.PatchSettings(3, keys="inside", response=3), 0.3),
        (els.PatchSettings(5, keys="inside", response=5, fold=0.2), 0.6),
        (els.PatchSettings(5, keys="wrap", response=5, fold=0.5), 3.0),
        (els.PatchSettings(3, keys="inside", response=3, fold=0.12), 2.0),
        (els.PatchSettings(5, True, keys="aware", response=3, fold=1.0), 0.2),
    ],
)
@pytest.mark.parametrize("images", [GRAY, COLOUR], ids=["gray", "colour"])
def test_the_formula_with_gaussian_overlaps_and_windows_inside(
    images: torch.Tensor, case: els.PatchSettings, sigma: float
) -> None:
    x = noisy(images, sigma, 1)
    expected = reference.patches(x[0].numpy(), images.numpy(), sigma, **asdict(case))
    for dtype, off in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        found = els.PatchScore(images.to(dtype), case)(x.to(dtype), sigma)[0].double().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=off)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"window": 5, "keys": "inside", "response": 3}, "response must be the window (5)"),
        ({"window": 5, "fold": 0.2}, "response=1"),
        ({"window": 5, "response": 3, "fold": 0.11}, "fold must be"),
        ({"window": 5, "keys": "outside"}, "keys must be one of"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        els.PatchSettings(**settings)


def test_no_window_lies_inside_a_smaller_image() -> None:
    machine = els.PatchScore(GRAY.float(), els.PatchSettings(5, keys="inside", response=5))
    assert machine(torch.zeros(1, 1, 5, 9), 1.0).shape == (1, 1, 5, 9)
    with pytest.raises(ValueError, match="no window of 5 lies inside x of 4x9 pixels"):
        machine(torch.zeros(1, 1, 4, 9), 1.0)


@pytest.mark.parametrize("taper", [False, True])
def test_other_machines_are_settings(taper: bool) -> None:
    x = noisy(DATA.scaled(), 0.5)
    of = {"window": 7, "taper": taper}
    assert torch.equal(
        els.PatchScore(DATA, els.PatchSettings(**of, keys="same place"))(x, 0.5), els.LocalScore(DATA, **of)(x, 0.5)
    )
    for borders in ("aware", "wrap", "torus"):
        machine = els.EquivariantLocalScore(DATA, **of, borders=borders)
        assert torch.equal(els.PatchScore(DATA, els.PatchSettings(**of, keys=borders))(x, 0.5), machine(x, 0.5))


def test_a_pedestal_of_one_and_no_window_is_the_ideal_machine() -> None:
    # All pixels count once, but for the centre, which counts twice.
    x = noisy(DATA.scaled(), 1.5)
    machine = els.PatchScore(DATA, els.PatchSettings(1, pedestal=1.0, keys="same place"))
    expected = els.IdealScore(DATA)(x, 1.5)
    assert float((machine(x, 1.5) - expected).abs().max()) < 0.15
    far = els.PatchScore(DATA, els.PatchSettings(1, pedestal=50.0, temperature=50.0, keys="same place"))
    assert float((far(x, 1.5) - expected).abs().max()) < 5e-3


def test_an_image_of_weight_two_is_two_images() -> None:
    x = noisy(DATA.scaled(), 0.7)
    doubled = torch.cat([DATA.scaled(), DATA.scaled()[:10]])
    weights = torch.ones(len(DATA.images))
    weights[:10] = 2
    for chosen in (
        els.PatchSettings(7, True, 0.1, "same place", 3),
        els.PatchSettings(5, False, 0.0, "aware"),
        els.PatchSettings(5, False, 0.1, "wrap", 3),
    ):
        found = els.PatchScore(DATA, chosen, weights=weights)(x, 0.7)
        torch.testing.assert_close(found, els.PatchScore(doubled, chosen)(x, 0.7), rtol=0, atol=1e-5)
    ideal = els.IdealScore(DATA, weights=weights)(x, 0.7)
    torch.testing.assert_close(ideal, els.IdealScore(doubled)(x, 0.7), rtol=0, atol=1e-5)


def test_images_of_weight_zero_are_left_out() -> None:
    x = noisy(DATA.scaled(), 0.2)
    weights = torch.zeros(len(DATA.images))
    weights[40:] = 1
    for chosen in (els.PatchSettings(7, True, 0.1, "same place", 3), els.PatchSettings(3, keys="aware")):
        found = els.PatchScore(DATA, chosen, weights=weights)(x, 0.2)
        torch.testing.assert_close(found, els.PatchScore(DATA.scaled()[40:], chosen)(x, 0.2), rtol=0, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(20)), st.sampled_from(CASES), st.sampled_from(["same place", "aware", "torus"]))
def test_the_order_of_training_images_does_not_matter(
    order: list[int], case: tuple[els.PatchSettings, float], keys: str
) -> None:
    chosen, sigma = els.PatchSettings(**{**asdict(case[0]), "keys": keys}), case[1]
    x = noisy(GRAY, sigma)
    one, other = (els.PatchScore(images, chosen)(x, sigma) for images in (GRAY, GRAY[order]))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 6), st.integers(0, 5), st.sampled_from([(5, 3), (3, 1), (3, 3)]))
def test_rolling_the_noise_rolls_the_image_on_a_torus(down: int, right: int, sides: tuple[int, int]) -> None:
    machine = els.PatchScore(GRAY.float(), els.PatchSettings(sides[0], True, keys="torus", response=sides[1]))
    x = noisy(GRAY.float(), 0.4)
    rolled = machine(x.roll((down, right), (2, 3)), 0.4)
    torch.testing.assert_close(rolled, machine(x, 0.4).roll((down, right), (2, 3)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("keys", ["same place", "aware", "wrap"])
def test_gradients(keys: str) -> None:
    images = GRAY[:, :, :5, :4]
    chosen = els.PatchSettings(3, True, 0.3, keys, 3, 1.5)
    machine = els.PatchScore(images, chosen, weights=torch.linspace(0.1, 2.0, len(images)))
    x = noisy(images, 0.7, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: machine(y, 0.7), (x,), eps=1e-5, atol=1e-6)


def test_memory_does_not_change_the_answer() -> None:
    chosen = els.PatchSettings(9, True, 0.1, "aware", 5)
    x = noisy(DATA.scaled(), 0.7, 12)
    small, large = (els.PatchScore(DATA, chosen, memory=memory)(x, 0.7) for memory in (2**26, 2**31))
    torch.testing.assert_close(small, large, rtol=0, atol=1e-6)


def test_settings_follow_the_noise() -> None:
    high, low = els.PatchSettings(15, True, 0.1, "same place", 3), els.PatchSettings(3)
    machine = els.PatchScore(DATA, els.PatchSchedule((5.0, 0.2), (high, low)))
    x = noisy(DATA.scaled(), 0.3)
    assert torch.equal(machine(x, 0.3), els.PatchScore(DATA, low)(x, 0.3))
    assert torch.equal(machine(x, 4.0), els.PatchScore(DATA, high)(x, 4.0))
    both = machine(x, torch.tensor([0.3, 4.0]))
    torch.testing.assert_close(both[0], machine(x, 0.3)[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(both[1], machine(x, 4.0)[1], rtol=0, atol=1e-5)


def test_classes() -> None:
    labelled = els.load_images("fashion-mini", 300)
    assert labelled.labels is not None
    chosen = els.PatchSettings(7, True, 0.1, "same place", 3)
    x = noisy(labelled.scaled(), 0.5)
    of_class = els.PatchScore(labelled.scaled()[labelled.labels == 3], chosen)(x, 0.5)
    torch.testing.assert_close(els.PatchScore(labelled, chosen)(x, 0.5, 3), of_class, rtol=0, atol=1e-5)


def test_explanations_of_pasted_patches_add_up() -> None:
    machine = els.PatchScore(DATA, els.PatchSettings(7, True, 0.1, "same place", 3))
    x = noisy(DATA.scaled(), 0.8)
    mosaic = els.explain(machine, x, 0.8, top=len(DATA.images))
    rows, columns = mosaic.positions.unbind(-1)
    sources = DATA.scaled()[mosaic.image_ids, 0, rows, columns].double()
    mean = (mosaic.weights * sources).sum(-1)[:, None]
    torch.testing.assert_close(mean.float(), machine(x, 0.8), rtol=0, atol=1e-5)
    torch.testing.assert_close(mosaic.credits().sum(-1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("keys", ["same place", "aware", "wrap", "torus"])
@pytest.mark.parametrize(("case", "sigma"), [case for case in CASES if case[0].response > 1])
@pytest.mark.parametrize(("images", "weighted"), [(GRAY, True), (COLOUR, False)], ids=["gray, weighted", "colour"])
def test_explanations_of_pasted_patches_are_those_of_the_formula(
    images: torch.Tensor, case: els.PatchSettings, sigma: float, keys: str, weighted: bool
) -> None:
    chosen = els.PatchSettings(**{**asdict(case), "keys": keys})
    weights = torch.linspace(0.1, 2.0, len(images), dtype=torch.float64) if weighted else None
    x = noisy(images, sigma)
    known = None if weights is None else weights.numpy()
    # In float32 log-weights are exact to 1e-4.
    for dtype, off in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        machine = els.PatchScore(images.to(dtype), chosen, weights=weights, engine="auto")
        mosaic = els.explain(machine, x.to(dtype), sigma, None)
        few = els.explain(machine, x.to(dtype), sigma, 3)
        torch.testing.assert_close(mosaic.x0, machine(x.to(dtype), sigma))
        torch.testing.assert_close(few.weights, mosaic.weights[..., :3], rtol=0, atol=off)
        for index, image in enumerate(x):
            expected = reference.patch_sources(image.numpy(), images.numpy(), sigma, **asdict(chosen), weights=known)
            np.testing.assert_allclose(mosaic.credits()[index], expected.mean((0, 1)).sum((1, 2)), rtol=0, atol=off)
            for pixel in ((0, 0), (0, 3), (3, 2), (6, 5)):
                at, found = (index, *pixel), np.zeros(expected.shape[2:])
                there = mosaic.image_ids[at] >= 0
                row, column = mosaic.positions[at][there].unbind(-1)
                np.add.at(found, (mosaic.image_ids[at][there], row, column), mosaic.weights[at][there].numpy())
                np.testing.assert_allclose(found, expected[pixel], rtol=0, atol=off)


def test_explanations_of_pasted_patches_do_not_depend_on_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from elsewhere.engine import shifted_attribution

    machine, x = els.PatchScore(DATA, els.PatchSettings(5, response=3)), noisy(DATA.scaled(), 0.8, 1)
    # More sources than are looked for among candidates.
    expected = els.explain(machine, x, 0.8, 70)
    # Few images at a time, then none.
    monkeypatch.setattr(shifted_attribution, "HELD", 30)
    found = els.explain(machine, x, 0.8, 70)
    torch.testing.assert_close(found.weights, expected.weights)
    torch.testing.assert_close(found.credits(), expected.credits())
    monkeypatch.setattr(shifted_attribution, "HELD", 10**6)
    with pytest.raises(ValueError, match="give more memory, or explain the same machine with response=1"):
        els.explain(machine, x, 0.8, 70)


def test_candidates_in_small_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from elsewhere.engine import patch_candidates

    machine, x = els.PatchScore(DATA, els.PatchSettings(5, response=3)), noisy(DATA.scaled(), 0.8, 1)
    expected = els.explain(machine, x, 0.8, 4)
    monkeypatch.setattr(patch_candidates, "AT_ONCE", 1000)
    found = els.explain(machine, x, 0.8, 4)
    torch.testing.assert_close(found.weights, expected.weights, rtol=0, atol=1e-12)
    assert found.missed is not None
    assert expected.missed is not None
    torch.testing.assert_close(found.missed, expected.missed, rtol=0, atol=1e-12)


@pytest.mark.parametrize("keys", ["aware", "wrap", "torus"])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_what_few_candidates_miss_is_bounded(monkeypatch: pytest.MonkeyPatch, keys: str, sigma: float) -> None:
    from elsewhere.engine import patch_tracing

    images = torch.rand(30, 1, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    machine = els.PatchScore(images, els.PatchSettings(5, keys=keys, response=3, fold=1.0))
    x = images[:1] + sigma * torch.randn(1, 1, 8, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    every = els.explain(machine, x, sigma, None)
    assert every.missed is None
    for kept in (2, 4, 40):
        monkeypatch.setattr(patch_tracing, "LEAST_KEPT", kept)
        monkeypatch.setattr(patch_tracing, "KEPT_A_SOURCE", 1)
        few = els.explain(machine, x, sigma, 2)
        assert few.missed is not None
        # Every weight is that of its source, and the largest that is not here exceeds the last one by `missed` at most.
        for place in np.ndindex(1, 8, 9):
            known = {
                (int(image), *map(int, at)): float(weight)
                for image, at, weight in zip(
                    every.image_ids[place], every.positions[place], every.weights[place], strict=True
                )
                if image >= 0
            }
            for image, at, weight in zip(few.image_ids[place], few.positions[place], few.weights[place], strict=True):
                expected = known.pop((int(image), *map(int, at)), None) if image >= 0 else 0
                assert expected is not None
                assert float(weight) == pytest.approx(expected, abs=1e-12)
            assert max(known.values(), default=0) <= few.weights[place][-1] + few.missed[place] + 1e-12
        torch.testing.assert_close(few.credits(), every.credits(), rtol=0, atol=1e-12)


def test_pasted_patches_are_explained_on_other_sizes_and_classes() -> None:
    labelled = els.load_images("fashion-mini", 60)
    assert labelled.labels is not None
    machine, x = els.PatchScore(labelled, els.PatchSettings(5, response=3)), els.make_noise(2, (1, 20, 33))
    mosaic = els.explain(machine, x, 1.0, 5, label=3)
    torch.testing.assert_close(mosaic.x0, machine(x, 1.0, 3))
    torch.testing.assert_close(mosaic.credits().sum(1), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-4)
    assert set(labelled.labels[mosaic.image_ids.unique()].tolist()) == {3}


def test_a_schedule_is_read_as_it_was_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    schedule = els.PatchSchedule((5.0, 0.2), (els.PatchSettings(15, True, 0.1, "same place", 3), els.PatchSettings(3)))
    schedule.save(tmp_path / "patches.json")
    assert els.PatchSchedule.load(tmp_path / "patches.json") == schedule
    with pytest.raises(FileNotFoundError):
        els.PatchSchedule.load(tmp_path / "nothing.json")
    (tmp_path / "patches.json").write_text('{"format": "elsewhere.patches/1", "levels": [{"sigma": 1}]}')
    with pytest.raises(ValueError, match="not a patch schedule"):
        els.PatchSchedule.load(tmp_path / "patches.json")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 4}, "odd"),
        ({"window": 3, "response": 5}, "at most the window"),
        ({"window": 3, "pedestal": -1.0}, "pedestal"),
        ({"window": 3, "keys": "anywhere"}, "keys"),
        ({"window": 3, "temperature": 0.0}, "temperature"),
    ],
)
def test_bad_settings(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        els.PatchSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("weights", "message"),
    [(torch.ones(3), "one number"), (-torch.ones(120), "0 or more"), (torch.zeros(120), "positive")],
)
def test_bad_weights(weights: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        els.LocalScore(DATA, 3, weights=weights)
    with pytest.raises(ValueError, match="index"):
        els.EquivariantLocalScore(DATA, 3, weights=torch.ones(120), engine="fast")
