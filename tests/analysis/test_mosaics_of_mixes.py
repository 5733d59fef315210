"""The mosaics of mixes: against the parts' own weights added up, and what they say of parts without weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.analysis.test_explaining import Source, few_images, noisy

import elsewhere as els
from elsewhere.analysis.explanation import explain_images

DATA = few_images(6, classes=2)


def written_out(mosaic: els.Mosaic, image: int, row: int, column: int) -> dict[Source, float]:
    """Source -> weight of a pixel."""
    at = image, row, column
    found = {}
    for n, place, weight in zip(
        mosaic.image_ids[at].tolist(), mosaic.positions[at].tolist(), mosaic.weights[at].tolist(), strict=True
    ):
        if n >= 0:
            assert (n, *place) not in found, "a source is one entry"
            found[n, *place] = weight
    return found


@pytest.mark.parametrize("label", [None, 1])
def test_weights_add_up_with_the_shares(label: int | None) -> None:
    parts = {
        "ELS": els.EquivariantLocalScore(DATA, 3),
        "IS": els.IdealScore(DATA),
        "LS": els.LocalScore(DATA, 5),
        "Wiener": els.Wiener(DATA),
    }
    schedule = els.MixSchedule(
        (4.0, 0.5), ({"ELS": 0.5, "IS": 0.3, "LS": 0.2}, {"IS": 0.25, "LS": 0.15, "Wiener": 0.6})
    )
    x = torch.cat([noisy(DATA, 1.0), noisy(DATA, 4.0)[[0]], noisy(DATA, 0.5)])
    sigma = torch.tensor([0.5, 4.0, 0.6], dtype=torch.float64)
    machine = els.mix(parts, schedule)
    mosaic = els.explain(machine, x, sigma, None, label)
    assert isinstance(mosaic, els.Mosaic)
    torch.testing.assert_close(mosaic.x0, machine(x, sigma, label))
    for image, level in enumerate(sigma.tolist()):
        shares = machine.shares_at(level)
        own = {name: els.explain(parts[name], x[[image]], level, None, label) for name in shares if name != "Wiener"}
        credits = sum(shares[name] * one.credits()[0] for name, one in own.items())
        torch.testing.assert_close(mosaic.credits()[image], credits, rtol=0, atol=1e-12)
        assert mosaic.weightless[image] == pytest.approx(shares.get("Wiener", 0.0))
        for row, column in ((0, 0), (3, 4), (6, 7)):
            expected: dict[Source, float] = {}
            for name, one in own.items():
                for source, weight in written_out(one, 0, row, column).items():
                    expected[source] = expected.get(source, 0.0) + shares[name] * weight
            found = written_out(mosaic, image, row, column)
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)
            left = float(mosaic.unexplained[image, row, column])
            assert left == pytest.approx(shares.get("Wiener", 0.0), abs=1e-9)
    assert (mosaic.weights.diff() <= 0).all()


def test_the_top_is_that_of_all_weights() -> None:
    parts = {"LS": els.LocalScore(DATA, 3), "IS": els.IdealScore(DATA)}
    machine, x = els.mix(parts, {"LS": 0.6, "IS": 0.4}), noisy(DATA, 1.0, batch=2)
    few, every = els.explain(machine, x, 1.0, 3), els.explain(machine, x, 1.0, None)
    assert torch.equal(few.image_ids, every.image_ids[..., :3])
    torch.testing.assert_close(few.weights, every.weights[..., :3])


def test_a_part_with_a_share_of_nothing_is_not_asked() -> None:
    def fails(x: torch.Tensor, sigma: object, label: object = None) -> torch.Tensor:
        raise AssertionError("it has no share")

    schedule = els.MixSchedule((4.0, 0.5), ({"LS": 1.0}, {"other": 1.0}))
    machine, x = els.mix({"LS": els.LocalScore(DATA, 3), "other": fails}, schedule), noisy(DATA, 4.0)
    mosaic, alone = els.explain(machine, x, 4.0, 3), els.explain(els.LocalScore(DATA, 3), x, 4.0, 3)
    assert torch.equal(mosaic.weights, alone.weights)
    assert not any(mosaic.weightless)
    with pytest.raises(ValueError, match=r"at sigma = 0\.5 the mix asks other alone, without weights"):
        els.explain(machine, x, 0.5)


def test_a_mix_of_a_mix_multiplies_the_shares() -> None:
    inner = els.mix({"LS": els.LocalScore(DATA, 3), "Wiener": els.Wiener(DATA)}, {"LS": 0.75, "Wiener": 0.25})
    outer, x = els.mix({"inner": inner, "IS": els.IdealScore(DATA)}, {"inner": 0.8, "IS": 0.2}), noisy(DATA, 1.0)
    mosaic = els.explain(outer, x, 1.0, None)
    ls, ideal = els.explain(els.LocalScore(DATA, 3), x, 1.0, None), els.explain(els.IdealScore(DATA), x, 1.0, None)
    torch.testing.assert_close(mosaic.credits(), 0.6 * ls.credits() + 0.2 * ideal.credits())
    assert mosaic.weightless == (pytest.approx(0.2),)
    assert "20.0% of it without weights" in repr(mosaic)


def test_what_cannot_be_explained_is_refused() -> None:
    x = noisy(DATA, 1.0)
    with pytest.raises(TypeError, match="a Mix of parts without weights"):
        els.explain(els.mix({"Wiener": els.Wiener(DATA)}, {"Wiener": 1.0}), x, 1.0)
    other = few_images(5)
    mixed = els.mix({"one": els.LocalScore(DATA, 3), "two": els.LocalScore(other, 3)}, {"one": 0.5, "two": 0.5})
    with pytest.raises(ValueError, match="one and two have different training images"):
        els.explain(mixed, x, 1.0)


def test_reports_say_which_share_no_training_image_explains(tmp_path: Path) -> None:
    machine = els.mix({"LS": els.LocalScore(DATA, 3), "Wiener": els.Wiener(DATA)}, {"LS": 0.7, "Wiener": 0.3})
    found = explain_images(
        machine, els.make_noise(2, DATA.shape), schedule=els.schedules.cosine(3), top=3, every_step=True
    )
    assert any("30.0% of the last step's prediction comes from parts" in note for note in found.warnings)
    header, rows = found.table()
    assert header[-1] == "of it without weights"
    assert [row[-1] for row in rows] == ["30.0%", "30.0%"]
    found.save(tmp_path, json=True)
    content = json.loads((tmp_path / "explanation.json").read_text())
    assert content["images"][0]["without_weights"] == pytest.approx(0.3)
    assert "no training image explains this share" in (tmp_path / "explanation.html").read_text()


def test_what_candidates_may_miss_counts_as_much_as_its_part() -> None:
    data = few_images(30)
    settings = els.PatchSettings(5, response=3), els.PatchSettings(3)
    patches = els.PatchScore(data, els.PatchSchedule((2.0, 0.2), settings))
    mixed = els.mix({"patches": patches, "Wiener": els.Wiener(data)}, {"patches": 0.8, "Wiener": 0.2})
    x, sigma = torch.cat([noisy(data, 20.0)[:1], noisy(data, 0.2)[:1]]), torch.tensor([20.0, 0.2])
    alone, mosaic = els.explain(patches, x, sigma, 8), els.explain(mixed, x, sigma, 8)
    assert alone.missed is not None
    assert mosaic.missed is not None
    assert float(alone.missed[0].max()) > 0
    assert not alone.missed[1].any(), "single pixels miss nothing"
    torch.testing.assert_close(mosaic.missed, 0.8 * alone.missed)
    assert els.explain(mixed, x[1:], 0.2, 2).missed is None
