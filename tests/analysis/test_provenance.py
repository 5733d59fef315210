"""Nearest windows against a loop over every window, and what the credits say where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.analysis import provenance as module
from elsewhere.analysis.provenance import provenance
from elsewhere.machines import EquivariantLocalScore
from elsewhere.sampling import fixed_point

LITTLE, MUCH = 2**10, 2**26


def pixels(count: int, levels: int, shape: tuple[int, int, int] = (1, 7, 6), seed: int = 0) -> torch.Tensor:
    """Images of few gray levels, so that windows repeat and tie."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, levels, (count, *shape), generator=generator) * 255 // (levels - 1)).to(torch.uint8)


def brute_force(image: np.ndarray, training: np.ndarray, window: int, tolerance: float) -> tuple[float, list[set[int]]]:
    """Share of consistent pixels, and for every pixel the training images that have a nearest window."""
    r, (_, height, width) = window // 2, image.shape

    def cut(x: np.ndarray, i: int, j: int) -> np.ndarray:
        return x[..., max(0, i - r) : i + r + 1, max(0, j - r) : j + r + 1].astype(float)

    def feels(i: int, j: int) -> tuple[int, ...]:
        return min(i, r), min(height - 1 - i, r), min(j, r), min(width - 1 - j, r)

    places = [(i, j) for i in range(height) for j in range(width)]
    consistent, owners = 0, []
    for i, j in places:
        alike = [place for place in places if feels(*place) == feels(i, j)]
        squares = np.array([((cut(training, a, b) - cut(image, i, j)) ** 2).sum((1, 2, 3)) for a, b in alike])
        ties = np.argwhere(squares == squares.min())
        missed = [
            np.abs(training[n][:, alike[k][0], alike[k][1]].astype(float) - image[:, i, j]).max() for k, n in ties
        ]
        consistent += min(missed) <= tolerance
        owners.append({int(n) for _, n in ties})
    return consistent / len(places), owners


@pytest.mark.parametrize("memory", [LITTLE, MUCH])
@pytest.mark.parametrize("levels", [3, 256])
@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**31), window=st.sampled_from([1, 3, 5]), channels=st.sampled_from([1, 3]))
def test_consistent_pixels_are_those_of_brute_force(
    levels: int, memory: int, seed: int, window: int, channels: int
) -> None:
    shape = (channels, 6, 5)
    images, training = pixels(2, levels, shape, seed), pixels(5, levels, shape, seed + 1)
    found = provenance(images, training, window, memory=memory, tolerance=3)
    for i, image in enumerate(images.numpy()):
        share, owners = brute_force(image, training.numpy(), window, 3)
        assert float(found.consistent[i]) == pytest.approx(share)
        # The most likely mixture, from the definition: credits that no redistribution changes.
        credit = np.full(5, 0.2)
        for _ in range(module.ROUNDS):
            given_ = np.zeros(5)
            for some in owners:
                total = sum(credit[n] for n in some)
                for n in some:
                    given_[n] += credit[n] / total
            credit = given_ / given_.sum()
        np.testing.assert_allclose(found.credits[i].numpy(), np.sort(credit)[::-1][:4], atol=1e-9)
        entropy = -sum(c * np.log(c) for c in credit if c > 0)
        assert float(found.sources[i]) == pytest.approx(np.exp(entropy))


def test_many_tiles_of_windows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, training = pixels(3, 256, (1, 9, 9)), pixels(12, 256, (1, 9, 9), 1)
    once = provenance(images, training, 3, memory=MUCH)
    monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(module, "TILE", 10)
    again = provenance(images, training, 3, memory=MUCH)
    for name in ("consistent", "sources", "credits", "images"):
        torch.testing.assert_close(getattr(again, name), getattr(once, name))


def test_a_copy_has_one_source_and_a_collage_two() -> None:
    training = pixels(30, 256, (1, 12, 12))
    halves = torch.cat([training[3, :, :, :6], training[8, :, :, 6:]], 2)
    found = provenance(torch.stack([training[21], halves]), training, 3, memory=MUCH)
    assert float(found.consistent[0]) == 1
    assert float(found.sources[0]) == pytest.approx(1, abs=1e-6)
    assert int(found.images[0, 0]) == 21
    # The seam has windows of nobody.
    assert 2 <= float(found.sources[1]) < 6
    assert set(found.images[1, :2].tolist()) == {3, 8}


def test_plain_background_is_owed_to_who_made_the_rest() -> None:
    training = torch.zeros(80, 1, 10, 10, dtype=torch.uint8)
    training[:, :, 4:6, 4:6] = pixels(80, 256, (1, 2, 2))
    found = provenance(training[:1], training, 3, memory=MUCH)
    assert float(found.sources[0]) == pytest.approx(1, abs=1e-3)
    assert int(found.images[0, 0]) == 0


def test_fixed_points_of_the_machine_are_consistent() -> None:
    training = pixels(20, 256, (1, 8, 8))
    machine = EquivariantLocalScore(training.float() / 127.5 - 1, 3)
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    end = fixed_point(machine, noise, max_iters=60)
    levels = ((end.images + 1) * 127.5).round().to(torch.uint8)
    found = provenance(levels, training, 3, memory=MUCH)
    torch.testing.assert_close(found.consistent, end.converged_fraction)


def test_fewer_training_images_than_sources_to_name() -> None:
    found = provenance(pixels(2, 256), pixels(2, 256, seed=1), 3, memory=MUCH)
    assert found.credits.shape == found.images.shape == (2, 4)
    torch.testing.assert_close(found.credits.sum(1), torch.ones(2, dtype=torch.float64))
