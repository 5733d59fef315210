"""Patch composites against their formula written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import elsewhere as els

IMAGES = torch.rand(20, 2, 9, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def composite(x: np.ndarray, images: np.ndarray, sigma: float, side: int) -> np.ndarray:
    """PSPC of one image (C, H, W): every patch wholly inside, overlapping means averaged."""
    total, pasted = np.zeros(x.shape[1:]), np.zeros(x.shape)
    for i in range(x.shape[1] - side + 1):
        for j in range(x.shape[2] - side + 1):
            here = slice(i, i + side), slice(j, j + side)
            some = images[:, :, *here]
            logs = -((some - x[:, *here]) ** 2).sum((1, 2, 3)) / (2 * sigma**2)
            weights = np.exp(logs - logs.max())
            pasted[:, *here] += np.tensordot(weights / weights.sum(), some, axes=1)
            total[here] += 1
    return pasted / total


@pytest.mark.parametrize(("side", "sigma"), [(1, 0.3), (3, 0.1), (3, 2.0), (5, 0.5), (7, 1.0)])
def test_the_formula(side: int, sigma: float) -> None:
    x = IMAGES[:2] + sigma * torch.randn(2, 2, 9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for dtype, off in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        found = els.PatchComposite(IMAGES.to(dtype), side)(x.to(dtype), sigma)
        for image, answer in zip(x, found, strict=True):
            expected = composite(image.numpy(), IMAGES.numpy(), sigma, side)
            np.testing.assert_allclose(answer.double().numpy(), expected, rtol=0, atol=off)


def test_a_patch_larger_than_the_image_makes_it_the_ideal_machine() -> None:
    x = IMAGES[:2] + 0.5
    assert torch.equal(els.PatchComposite(IMAGES, 9)(x, 0.5), els.IdealScore(IMAGES)(x, 0.5))
