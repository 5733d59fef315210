"""The calibration of the whole family finds a known machine, keeps only what pays, and goes on from its cache."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.analysis import describe_gains, family_calibration, family_search
from elsewhere.analysis.family_search import LEAST_SHARE, ROUTES, LevelSearch, Moments, choose, descend

SCHEDULE = els.schedules.cosine(4)
EVERYTHING = ROUTES[-1]
KNOWN = els.FamilyCalibration(
    SCHEDULE.sigmas[:-1],
    (
        els.PatchSettings(17, taper=True, pedestal=0.1, keys="same place"),
        els.PatchSettings(5, taper=True, keys="aware"),
        els.PatchSettings(7, pedestal=0.1, keys="same place"),
        els.PatchSettings(5, taper=True, keys="same place", response=3),
    ),
    (0.3, 0.2, 0.0, 0.15),
)


def blobs() -> els.ImageSet:
    """Images of 9 x 9 pixels, each of two soft spots anywhere."""
    generator = torch.Generator().manual_seed(0)
    at = torch.arange(9.0)
    centres = 8 * torch.rand(200, 2, 2, 1, 1, generator=generator)
    squares = (at[:, None] - centres[:, :, 0]) ** 2 + (at[None, :] - centres[:, :, 1]) ** 2
    pixels = 255 * torch.exp(-squares / 4).sum(1).clamp(max=1)
    return els.ImageSet(pixels.to(torch.uint8)[:, None], name="blobs")


@pytest.fixture(scope="module")
def found() -> els.FamilyCalibration:
    data = blobs()
    noise = els.make_noise(20, data.shape, seed=2)
    return els.calibrate_family(KNOWN.machine(data), data, noise, schedule=SCHEDULE)


def test_a_network_that_is_a_machine_of_the_family_is_found_again(found: els.FamilyCalibration) -> None:
    assert found.settings == KNOWN.settings
    # Rounded to three decimals, and small ones left out.
    assert found.wiener == pytest.approx(KNOWN.wiener, abs=1e-3)
    assert found.shrinkage == 0
    assert np.median(found.details["finals"]["everything"]) > 0.9999
    assert found.details["kept"] == "everything"


def test_the_line_says_what_was_found(found: els.FamilyCalibration) -> None:
    line = describe_gains(found)
    assert "kept: everything, median r 1.000 on 12 held-out seeds" in line
    assert "tapered windows lower the rms" in line


def test_square_windows_of_the_same_place_stay_what_they_are() -> None:
    data = blobs()
    settings = els.PatchSettings(5, keys="same place")
    teacher = els.PatchScore(data, settings)
    found = els.calibrate_family(teacher, data, els.make_noise(6, data.shape, seed=4), schedule=SCHEDULE)
    assert set(found.settings) == {settings}
    assert set(found.wiener) == {0.0}
    assert found.details["kept"] == ROUTES[0].name


def test_an_interrupted_calibration_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, noise, cache = blobs(), els.make_noise(4, (1, 9, 9), seed=5), tmp_path / "cache.json"
    teacher, calls = KNOWN.machine(data), []
    measure = family_search._moments

    def counted(*args: torch.Tensor) -> Moments:
        calls.append(1)
        if len(calls) == limit:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(family_search, "_moments", counted)
    limit = 60
    settings = {"schedule": SCHEDULE, "keys": ["same place"], "cache": cache}
    with pytest.raises(KeyboardInterrupt):
        els.calibrate_family(teacher, data, noise, **settings)
    calls.clear()
    limit = -1
    first = els.calibrate_family(teacher, data, noise, **settings)
    after = len(calls)
    calls.clear()
    assert els.calibrate_family(teacher, data, noise, **settings) == first
    # Only the choice of the shrinkage is measured again: five for each level.
    assert len(calls) == 20 < after
    with pytest.raises(ValueError, match=r"another calibration.*heldout"):
        els.calibrate_family(teacher, data, noise, heldout=1, **settings)


def test_seeds_and_keys_are_checked() -> None:
    data = blobs()
    teacher = els.PatchScore(data, els.PatchSettings(3, keys="same place"))
    with pytest.raises(ValueError, match="two seeds or more"):
        els.calibrate_family(teacher, data, els.make_noise(1, data.shape))
    with pytest.raises(ValueError, match="heldout must be between 1 and 3"):
        els.calibrate_family(teacher, data, els.make_noise(4, data.shape), heldout=4)


def test_the_share_in_closed_form_is_the_best_of_all_shares() -> None:
    patch, wiener, network = torch.randn(3, 4, 1, 5, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    network = 0.7 * patch + 0.3 * wiener + 0.1 * network
    moments = family_search._moments(patch, wiener, network)
    shares = np.linspace(0, 1, 1001)
    losses = [float(((1 - w) * patch + w * wiener - network).square().mean()) for w in shares]
    assert moments.share() == pytest.approx(shares[int(np.argmin(losses))], abs=1e-9)
    assert float(moments.losses(moments.share()).mean()) == pytest.approx(min(losses), rel=1e-6)
    tiny = Moments(moments.patch, LEAST_SHARE / 2 * moments.spread, moments.spread)
    assert tiny.share() == 0


def test_the_descent_ends_where_no_move_helps() -> None:
    sides = [3, 5, 7, 9, 11]

    def loss(one: els.PatchSettings) -> float:
        return 1 + abs(one.window - 9) + 10 * abs(one.pedestal - 0.1)

    def windows(one: els.PatchSettings) -> list[els.PatchSettings]:
        return [els.PatchSettings(side, pedestal=one.pedestal) for side in sides if abs(side - one.window) == 2]

    def pedestals(one: els.PatchSettings) -> list[els.PatchSettings]:
        return [els.PatchSettings(one.window, pedestal=value) for value in (0.0, 0.1)]

    best = descend(els.PatchSettings(3), loss, [windows, pedestals])
    assert best == els.PatchSettings(9, pedestal=0.1)


def fake_search(heldout: dict[els.PatchSettings, list[float]], fit: dict[els.PatchSettings, float]) -> LevelSearch:
    """A search with given measurements: squared differences of held-out seeds, and their mean on those that fit."""

    def moments(values: list[float]) -> Moments:
        return Moments(np.array(values), np.zeros(len(values)), np.ones(len(values)))

    levels = SimpleNamespace(measure=lambda level, one, part: moments(heldout[one]))
    search = LevelSearch(levels, 0, [3, 5], ["same place"])  # type: ignore[arg-type]
    search.pool = {one: moments([value]) for one, value in fit.items()}
    return search


@pytest.mark.parametrize(
    ("heldout", "kept"), [([0.7, 0.6, 0.8], True), ([0.2, 1.3, 1.4], False), ([1.0, 0.9, 1.3], False)]
)
def test_a_setting_is_kept_only_if_it_pays_on_held_out_seeds(heldout: list[float], kept: bool) -> None:
    simple, rich = (els.PatchSettings(5, pedestal=beta, keys="same place") for beta in (0.0, 0.1))
    search = fake_search({simple: [1.0, 0.9, 1.1], rich: heldout}, {simple: 1.0, rich: 0.5})
    choice, decisions = choose(search, EVERYTHING)
    assert choice.settings == (rich if kept else simple)
    assert [one["kept"] for one in decisions] == [True, kept]


def test_of_schedules_that_draw_equally_well_the_simplest_is_kept() -> None:
    best = family_calibration.best_route
    simple = [0.90, 0.95, 0.97, 0.93]
    assert best({"simple": simple, "rich": simple}) == "simple"
    assert best({"simple": simple, "rich": [0.93, 0.96, 0.98, 0.95]}) == "rich"
    # A higher median, but on half of the seeds far worse.
    assert best({"simple": simple, "rich": [0.60, 0.96, 0.971, 0.94]}) == "simple"
