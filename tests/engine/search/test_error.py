"""What Gaussians have been found to miss corrects them, as far as it is more than chance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from elsewhere.engine.search import rounds
from elsewhere.engine.search.error import common_error
from tests.engine.engine_toys import TOYS, asked, brute, levels, real, search


def band_of(expected: Tensor, expected_values: Tensor, read: Tensor, read_values: Tensor) -> Tensor:
    """The sums of `ScanResult.band` for one query, from masses (B,) and masses times values (B, V) of blocks."""
    missed, off = read - expected, read_values - expected_values
    sums = [expected.sum(), expected.square().sum(), missed.sum(), missed.square().sum()]
    return torch.cat([torch.stack(sums), off.sum(0), (missed[:, None] * off).sum(0), off.square().sum(0)])[None]


def test_what_all_blocks_have_in_common_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    expected = torch.rand(400, generator=generator, dtype=torch.float64) + 0.5
    values = expected[:, None] * torch.tensor([[0.2, -0.5]], dtype=torch.float64)
    read = 1.1 * expected
    # Every block holds a tenth more than predicted, and its values are larger by 0.05.
    read_values = read[:, None] * torch.tensor([[0.25, -0.45]], dtype=torch.float64)
    mean = torch.tensor([[0.1, 0.3]], dtype=torch.float64)
    found = common_error(mean, band_of(expected, values, read, read_values))[0]
    assert float(found[0]) == pytest.approx(0.1, rel=0.01)
    assert found[1:].tolist() == pytest.approx([1.1 * 0.25 - 0.2, -1.1 * 0.45 + 0.5], rel=0.02)


def test_what_differs_from_block_to_block_is_not_assumed_of_others() -> None:
    # One block of many holds all that was missed.
    expected = torch.ones(100, dtype=torch.float64)
    read = expected.clone()
    read[7] = 3.0
    zero = torch.zeros(1, 1, dtype=torch.float64)
    found = common_error(zero, band_of(expected, expected[:, None] * 0, read, read[:, None] * 0))[0]
    assert float(found[0]) == pytest.approx(0.5 * 2 / 100)
    assert float(found[1]) == 0


def test_nothing_read_corrects_nothing() -> None:
    assert torch.equal(
        common_error(torch.ones(3, 1).double(), torch.zeros(3, 7).double()), torch.zeros(3, 2, dtype=torch.float64)
    )


def test_the_correction_brings_averages_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    # Gaussians stand for much.
    settings = replace(TOYS, rounds=(0.0,), numbers_first=0, least_first=40, fewest=40, propagated_share=1.0)
    keys, index = real("fashion-mini", 150, 5)
    sigma = levels(0.8, 1.5, each=200)
    queries = asked(keys, sigma, seed=5)
    expected = brute(keys, queries, sigma).mean()

    def error() -> float:
        return float((search(index, queries, sigma, settings=settings).mean() - expected).square().mean().sqrt())

    corrected = error()
    monkeypatch.setattr(rounds, "common_error", lambda mean, band: torch.zeros(len(mean), 1 + mean.shape[1]).double())
    assert corrected < 0.9 * error()
