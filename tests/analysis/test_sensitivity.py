"""What a network's answer depends on, for denoisers of which that is known."""

from __future__ import annotations

import pytest
import torch

from elsewhere.analysis import sensitivity_masks


def blurred(x: torch.Tensor, sigma: float, label: object = None) -> torch.Tensor:
    """The mean over 3 x 3 pixels, of which the middle row counts ten times."""
    weights = torch.tensor([[1.0, 1, 1], [10, 10, 10], [1, 1, 1]]).view(1, 1, 3, 3)
    return torch.nn.functional.conv2d(x, weights, padding=1)


def test_the_pixels_that_count_most_are_taken_first() -> None:
    x = torch.randn(2, 1, 7, 6, generator=torch.Generator().manual_seed(0))
    row, every = (sensitivity_masks(blurred, x, 0.5, share) for share in (30 / 36, 1.0))
    assert row[3, 3].nonzero().tolist() == [[3, 2], [3, 3], [3, 4]]
    assert every[3, 3].nonzero().tolist() == [[i, j] for i in (2, 3, 4) for j in (2, 3, 4)]
    assert every[0, 0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_network_without_gradient_is_refused() -> None:
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="not differentiable"):
        sensitivity_masks(lambda x, sigma, label=None: torch.zeros_like(x), x, 0.5, 0.5)
    with pytest.raises(ValueError, match="share"):
        sensitivity_masks(blurred, x, 0.5, 0.0)
