"""Both searches against every distance written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from analysis_toys import few_images
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.analysis.neighbours import (
    Placing,
    all_placings,
    nearest,
    nearest_aligned,
    place,
    place_each,
    tile_distances,
)

LITTLE, MUCH = 2**12, 2**26


def pixels(count: int, channels: int = 1, height: int = 9, width: int = 9, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(float) / 127.5 - b.astype(float) / 127.5) ** 2)))


def best_placing(image: np.ndarray, other: np.ndarray, reach: int) -> float:
    """Smallest rms over the overlap, of all shifts of `other`, mirrored or not."""
    height, width = image.shape[1:]
    found = []
    for source in (other, other[:, :, ::-1]):
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                rows, columns = range(height), range(width)
                mine = [(r, c) for r in rows for c in columns if 0 <= r - down < height and 0 <= c - right < width]
                a = np.stack([image[:, r, c] for r, c in mine])
                b = np.stack([source[:, r - down, c - right] for r, c in mine])
                found.append(rms(a, b))
    return min(found)


@pytest.mark.parametrize("memory", [LITTLE, MUCH])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_nearest_are_those_of_brute_force(channels: int, memory: int) -> None:
    images, training = pixels(7, channels), pixels(40, channels, seed=1)
    found = nearest(images, training, 5, memory=memory)
    all_distances = np.array([[rms(a.numpy(), b.numpy()) for b in training] for a in images])
    np.testing.assert_array_equal(found.indices.numpy(), all_distances.argsort(1)[:, :5])
    np.testing.assert_allclose(found.distances.numpy(), np.sort(all_distances)[:, :5], rtol=1e-12)


def test_more_than_one_tile_of_training_images_is_searched() -> None:
    training = pixels(700, height=5, width=5)
    found = nearest(training[[3, 300, 699]], training, 1, memory=LITTLE)  # tiles of 256
    assert found.indices.flatten().tolist() == [3, 300, 699]
    aligned = nearest_aligned(training[[3, 300, 699]], training, 1, reach=1, memory=LITTLE)
    assert aligned.indices.flatten().tolist() == [3, 300, 699]


def test_small_distances_do_not_cancel() -> None:
    # One gray level in one pixel of 3,072, of an image whose squares add up to some 5e7.
    training = pixels(20, 3, 32, 32)
    image = training[4].clone()
    image[0, 0, 0] ^= 1
    found = nearest(image[None], training, 2, memory=MUCH)
    assert found.indices[0, 0] == 4
    assert float(found.distances[0, 0]) == pytest.approx(1 / 127.5 / 3072**0.5, rel=1e-12)
    aligned = nearest_aligned(image[None], training, 2, reach=3, memory=MUCH)
    assert float(aligned.distances[0, 0]) == pytest.approx(1 / 127.5 / 3072**0.5, rel=1e-12)


def test_an_excluded_image_is_not_its_own_neighbour() -> None:
    training = pixels(600, height=5, width=5)
    some = torch.tensor([0, 255, 256, 599])
    for found in (
        nearest(training[some], training, 3, memory=LITTLE, exclude=some),
        nearest_aligned(training[some], training, 3, reach=1, memory=LITTLE, exclude=some),
    ):
        assert not (found.indices == some[:, None]).any()
        assert (found.distances > 0).all()


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    channels=st.sampled_from([1, 3]),
    height=st.integers(5, 8),
    width=st.integers(5, 8),
    reach=st.integers(0, 2),
)
def test_aligned_distances_are_those_of_brute_force(
    seed: int, channels: int, height: int, width: int, reach: int
) -> None:
    images, training = pixels(2, channels, height, width, seed), pixels(6, channels, height, width, seed + 1)
    found = nearest_aligned(images, training, 6, reach=reach, memory=MUCH)
    for i, image in enumerate(images.numpy()):
        wanted = [best_placing(image, training[j].numpy(), reach) for j in found.indices[i]]
        np.testing.assert_allclose(found.distances[i].numpy(), wanted, rtol=1e-12)
        assert sorted(found.indices[i].tolist()) == list(range(6))
        assert wanted == sorted(wanted)


def test_what_was_passed_over_is_no_nearer_than_said() -> None:
    # Smooth images, whose reduction keeps most of their differences.
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(25, 1, 3, 3, generator=generator) * 255
    training = torch.nn.functional.interpolate(coarse, (12, 12), mode="bilinear").to(torch.uint8)
    found = nearest_aligned(training[:5], training[5:], 4, reach=1, memory=MUCH)
    assert (found.beyond > 0).any()
    for i in range(5):
        others = sorted(set(range(20)) - set(found.indices[i].tolist()))
        least = min(best_placing(training[i].numpy(), training[5 + j].numpy(), 1) for j in others)
        assert float(found.beyond[i]) <= least
    everything = nearest_aligned(training[:5], training[5:9], 4, reach=2, memory=MUCH)
    assert everything.beyond.isinf().all()


@pytest.mark.parametrize("placing", [Placing(0, 0, False), Placing(2, -3, False), Placing(-1, 3, True)])
def test_a_moved_copy_is_found_with_how_it_was_moved(placing: Placing) -> None:
    training = pixels(50, 3, 12, 11)
    image = place(training[17], placing)
    found = nearest_aligned(image[None], training, 3, reach=3, memory=MUCH)
    assert found.indices[0, 0] == 17
    assert float(found.distances[0, 0]) == 0
    assert found.shifts[0, 0].tolist() == [placing.down, placing.right]
    assert bool(found.mirrored[0, 0]) is placing.mirror


def test_among_equal_placings_the_smallest_change_is_named() -> None:
    flat = torch.full((1, 1, 8, 8), 100, dtype=torch.uint8)
    found = nearest_aligned(flat, torch.cat([flat, pixels(3, 1, 8, 8)]), 2, reach=3, memory=MUCH)
    assert found.shifts[0, 0].tolist() == [0, 0]
    assert not found.mirrored[0, 0]
    assert len(set(all_placings(2))) == 50


def test_placing_moves_pixels_and_leaves_zeros() -> None:
    image = torch.arange(1, 13).view(1, 3, 4)
    moved = place(image, Placing(1, -2, False))
    assert moved.tolist() == [[[0, 0, 0, 0], [3, 4, 0, 0], [7, 8, 0, 0]]]
    mirrored = place(image, Placing(0, 1, True))
    assert mirrored[0, 0].tolist() == [0, 4, 3, 2]


@settings(deadline=None, max_examples=20)
@given(down=st.integers(-3, 3), right=st.integers(-3, 3), mirror=st.booleans())
def test_placing_many_is_placing_each(down: int, right: int, mirror: bool) -> None:
    images = pixels(2, 1, 7, 8)
    shifts = torch.tensor([[down, right], [right, down]])
    placed, inside = place_each(images, shifts, torch.tensor([mirror, False]))
    for i, placing in enumerate((Placing(down, right, mirror), Placing(right, down, False))):
        torch.testing.assert_close(placed[i], place(images[i], placing))
        torch.testing.assert_close(inside[i], place(torch.ones(1, 7, 8), placing)[0].bool())


def test_the_worst_tile_is_that_of_brute_force() -> None:
    images, training = pixels(3, 3, 10, 9), pixels(8, 3, 10, 9, seed=1)
    candidates = torch.tensor([[0, 5], [2, 7], [6, 1]])
    found = tile_distances(images, training, candidates, memory=LITTLE)
    rows, columns = (
        [range(0, 3), range(3, 5), range(5, 8), range(8, 10)],
        [range(0, 3), range(3, 5), range(5, 7), range(7, 9)],
    )
    for i, image in enumerate(images.numpy()):
        worst = [
            max(
                rms(
                    image[:, r.start : r.stop, c.start : c.stop],
                    training[j].numpy()[:, r.start : r.stop, c.start : c.stop],
                )
                for r in rows
                for c in columns
            )
            for j in candidates[i]
        ]
        assert float(found[i]) == pytest.approx(min(worst), rel=1e-5)  # means in float32


def test_floats_are_searched_as_they_are() -> None:
    data = few_images(20)
    floats = data.scaled(torch.float64)[:3] + 0.01
    found = nearest(floats, data.images, 1, memory=MUCH)
    assert found.indices.flatten().tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.distances.numpy(), 0.01, rtol=1e-9)
