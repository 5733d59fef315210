"""Fillings continue what is there."""

from __future__ import annotations

import torch

from elsewhere.textures.seams import close_seams

MISSING = torch.zeros(21, 23, dtype=torch.bool)
MISSING[5:16, 6:18] = True
HELD = (torch.rand(1, 3, 21, 23, generator=torch.Generator().manual_seed(0)) - 0.5).masked_fill(MISSING, 0)


def test_a_constant_difference_goes_on_at_the_edge_and_fades() -> None:
    drawn = torch.zeros(2, 3, 21, 23)
    moved = close_seams(drawn, torch.full_like(HELD, 0.6), MISSING) - drawn
    assert bool((moved[..., 5, 6:18] > 0.45).all())
    middle = float(moved[0, 0, 10, 11])
    assert 0 < middle < 0.6 * 0.6


def test_what_is_there_stays_and_a_fitting_prediction_is_not_moved() -> None:
    drawn = torch.rand(1, 3, 21, 23, generator=torch.Generator().manual_seed(1)) - 0.5
    found = close_seams(drawn, HELD, MISSING)
    assert torch.equal(found[..., ~MISSING], HELD[..., ~MISSING])
    fitting = torch.where(MISSING, drawn, HELD)
    assert torch.equal(close_seams(fitting, HELD, MISSING), fitting)


def test_values_stay_in_the_range_of_images() -> None:
    found = close_seams(torch.full((1, 3, 21, 23), 0.9), torch.full_like(HELD, 1.0), MISSING)
    assert float(found.max()) <= 1
    assert float(close_seams(torch.ones(1, 3, 21, 23), -torch.ones_like(HELD), MISSING).min()) >= -1
