"""Patch composites against their formula written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import elsewhere as els

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

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


@pytest.mark.parametrize("name", ["family_gray", "family_colour"])
@pytest.mark.parametrize("side", [3, 7, 15])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_published_code(name: str, side: int, dtype: torch.dtype) -> None:
    with np.load(GOLDEN / f"{name}.npz") as published:
        machine = els.PatchComposite((torch.tensor(published["images_u8"]).double() / 127.5 - 1).to(dtype), side)
        for level in (900, 500, 200, 20):
            found = machine(torch.tensor(published[f"x_t{level}"]).to(dtype), float(published[f"sigma_t{level}"]))
            np.testing.assert_allclose(found.numpy(), published[f"PSPC_k{side}_t{level}"], rtol=0, atol=1e-5)


def masked(x: np.ndarray, images: np.ndarray, sigma: float, masks: np.ndarray) -> np.ndarray:
    """Flexible patches of one image (C, H, W), masks (H, W, H, W)."""
    total, pasted = np.zeros(x.shape[1:]), np.zeros(x.shape)
    for mask in masks.reshape(-1, *x.shape[1:]):
        logs = -(((images - x) ** 2).sum(1) * mask).sum((1, 2)) / (2 * sigma**2)
        weights = np.exp(logs - logs.max())
        pasted += np.tensordot(weights / weights.sum(), images, axes=1) * mask
        total += mask
    return pasted / total


def some_masks(share: float) -> torch.Tensor:
    masks = torch.rand(9, 8, 9, 8, generator=torch.Generator().manual_seed(2)) < share
    every = torch.arange(72)
    masks.view(72, 72)[every, every] = True
    return masks


@pytest.mark.parametrize("sigma", [0.1, 0.6, 4.0])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_masks(sigma: float, share: float) -> None:
    masks = some_masks(share)
    x = IMAGES[:2] + sigma * torch.randn(2, 2, 9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for dtype, off in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        found = els.PatchComposite(IMAGES.to(dtype), masks=masks)(x.to(dtype), sigma)
        for image, answer in zip(x, found, strict=True):
            expected = masked(image.numpy(), IMAGES.numpy(), sigma, masks.numpy())
            np.testing.assert_allclose(answer.double().numpy(), expected, rtol=0, atol=off)


def test_masks_follow_the_noise() -> None:
    small, large, x = some_masks(0.1), some_masks(0.9), IMAGES[:1] + 0.5
    machine = els.PatchComposite(IMAGES, masks={0.2: small, 5.0: large})
    assert torch.equal(machine(x, 0.3), els.PatchComposite(IMAGES, masks=small)(x, 0.3))
    assert torch.equal(machine(x, 4.0), els.PatchComposite(IMAGES, masks=large)(x, 4.0))


@pytest.mark.parametrize("sigma", [0.2, 3.0])
def test_masks_are_explained(sigma: float) -> None:
    masks = some_masks(0.3)
    x = IMAGES[:2] + sigma * torch.randn(2, 2, 9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mosaic = els.explain(els.PatchComposite(IMAGES, masks=masks), x, sigma, None)
    flat = masks.view(72, 72).double().numpy()
    for index, image in enumerate(x.numpy()):
        squares = ((IMAGES.numpy() - image) ** 2).sum(1).reshape(len(IMAGES), 72)
        logs = -(flat @ squares.T) / (2 * sigma**2)
        weights = np.exp(logs - logs.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        # Every mask brings the weights of its pixel to all pixels in it.
        expected = (flat.T @ weights / flat.sum(0)[:, None]).reshape(9, 8, len(IMAGES))
        found = np.zeros(expected.shape)
        np.put_along_axis(found, mosaic.image_ids[index].numpy(), mosaic.weights[index].numpy(), 2)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
        np.testing.assert_allclose(mosaic.credits()[index], expected.mean((0, 1)), rtol=0, atol=1e-10)


def test_what_masks_have_not() -> None:
    machine, x = els.PatchComposite(IMAGES, masks=some_masks(0.3)), (IMAGES[:1] + 0.5).requires_grad_()
    with pytest.raises(ValueError, match="no gradient"):
        machine(x, 0.5).sum().backward()


def test_bad_masks() -> None:
    masks = some_masks(0.3)
    for wrong, kind, message in (
        (masks.float(), TypeError, "bool"),
        (masks[:5], ValueError, "shape"),
        (torch.zeros_like(masks), ValueError, "pixel"),
        ({}, ValueError, "masks"),
        ({-1.0: masks}, ValueError, "masks|sigma"),
    ):
        with pytest.raises(kind, match=message):
            els.PatchComposite(IMAGES, masks=wrong)
    with pytest.raises(ValueError, match="take the place"):
        els.PatchComposite(IMAGES, 3, masks=masks)
