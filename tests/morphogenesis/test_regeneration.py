"""Wounds, and what is measured of them."""

from __future__ import annotations

import pytest
import torch

from elsewhere.morphogenesis import PATTERNS, assess, disc, heal, rectangle, simulate

STRIPES, OTHER = simulate(PATTERNS["stripes"], (32, 32), 2, steps=4000).images()[:, 0]


def test_wounds_have_their_shape_and_lie_in_the_middle() -> None:
    round_one = disc((9, 11), 2)
    assert int(round_one.sum()) == 13
    assert torch.equal(round_one, round_one.flip(0, 1))
    band = rectangle((9, 11), 3, 11)
    assert band.sum(1).tolist() == [0, 0, 0, 11, 11, 11, 0, 0, 0]


def test_an_untouched_image_has_no_error_and_a_copy_nothing_strange() -> None:
    wound = disc((32, 32), 5)
    same = assess(STRIPES, STRIPES, wound, STRIPES, 9)
    assert same.error == 0
    assert same.strangeness == pytest.approx(0, abs=1e-6)
    gray = assess(torch.where(wound, torch.zeros(()), STRIPES), STRIPES, wound, STRIPES, 9)
    assert gray.error == pytest.approx(float(STRIPES[wound].double().square().mean().sqrt()), abs=1e-6)
    assert gray.strangeness > 0.25


def test_what_is_strange_far_from_the_wound_is_not_counted() -> None:
    wound = rectangle((32, 32), 4, 4)
    odd = STRIPES.clone()
    odd[0:3, 0:3] = 0
    assert assess(odd, STRIPES, wound, STRIPES, 9).strangeness == pytest.approx(0, abs=1e-6)
    # Windows of 9 reach 4 pixels from their centre: those that touch the wound reach 8 beyond it.
    odd[6, 16] = 0
    assert assess(odd, STRIPES, wound, STRIPES, 9).strangeness > 0


def test_an_empty_wound_is_refused() -> None:
    with pytest.raises(ValueError, match="wound is empty"):
        assess(STRIPES, STRIPES, torch.zeros(32, 32, dtype=torch.bool), STRIPES, 9)


def test_local_rules_heal_what_memory_and_means_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from elsewhere.morphogenesis import study

    monkeypatch.setattr(study, "SIDE", 32)
    monkeypatch.setattr(study, "REMEMBERED", 3)
    wound = disc((32, 32), 6)
    found = heal("stripes", wound, seed=1)
    figures = {way: found.assess(way)[0] for way in ("intact", *found.filled)}
    for image in (found.filled["ELS"], found.filled["IS"], found.filled["mean"], found.filled["noise"]):
        assert torch.equal(image[..., ~wound], found.before[..., ~wound])
    assert figures["ELS"].error < 0.5 * figures["wounded"].error
    assert figures["ELS"].strangeness < 0.5 * figures["mean"].strangeness
    assert figures["ELS"].strangeness < figures["IS"].strangeness
    assert figures["noise"].error > figures["mean"].error
    with pytest.raises(ValueError, match=r"must be one of .*, got 'dots'"):
        heal("dots", wound)
