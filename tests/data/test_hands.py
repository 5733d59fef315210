from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elsewhere.data import load_images
from elsewhere.data.hands import COUNT, draw_hands, draw_pose, render
from tests.data.toys import refused

# A network that comes with the package carries it: a change makes it a network of other images.
FINGERPRINT = "72407c68f716ed34ec1b135763c3edb7e6d48e399ce29adefecba3b30fb13e58"


def test_the_hands_never_change() -> None:
    hands = load_images("hands")
    assert hands.fingerprint() == FINGERPRINT
    assert hands.shape == (1, 32, 32)
    assert len(hands) == COUNT
    assert hands.name == "hands"
    assert hands.labels is None


@given(count=st.integers(1, 12), more=st.integers(0, 12), seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_a_hand_does_not_depend_on_the_number_drawn(count: int, more: int, seed: int) -> None:
    assert torch.equal(draw_hands(count, seed).images, draw_hands(count + more, seed).images[:count])


def test_every_hand_and_every_seed_is_another() -> None:
    images = torch.cat([draw_hands(200, seed).images for seed in (0, 1)])
    assert len({image.numpy().tobytes() for image in images}) == 400


def test_several_numbers_of_fingers_come_in_turn_as_labels() -> None:
    hands = draw_hands(5, fingers=(3, 7))
    assert hands.labels is not None
    assert hands.labels.tolist() == [3, 7, 3, 7, 3]
    assert torch.equal(hands.images[1], draw_hands(2, fingers=7).images[1])


@pytest.mark.parametrize("fingers", range(3, 8))
def test_brightness_is_the_distance_to_palm_and_fingers(fingers: int) -> None:
    """The same outline by brute force: a pixel well inside a finger or the palm is bright, one well outside black."""
    pose = draw_pose(np.random.default_rng(fingers), fingers)
    image = render(pose, 64)
    assert len(pose.angles) == len(pose.lengths) == fingers
    for angle, length in zip(pose.angles, pose.lengths, strict=True):
        direction = np.array([np.sin(angle + pose.turn), -np.cos(angle + pose.turn)])
        for along, inside in ((length - pose.width / 2, True), (length + 1.0, False)):
            x, y = (pose.centre + along * pose.scale * direction) * 2
            assert (image[int(y), int(x)] > 0.5) == inside
    centre = image[int(2 * pose.centre[1]), int(2 * pose.centre[0])]
    assert centre == pytest.approx(pose.light)
    assert image.min() == 0


def test_edges_are_soft_and_nothing_is_cut_off() -> None:
    images = draw_hands(300, 5, fingers=(3, 4, 5, 6, 7)).images[:, 0]
    border = torch.cat([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1)
    assert int(border.max()) == 0
    shades = [len(image.unique()) for image in images]
    assert min(shades) > 40, "without soft edges there would be two shades"


def test_a_larger_size_is_drawn_and_a_smaller_one_made_from_it() -> None:
    small, large = load_images("hands", 20), load_images("hands", 20, size=64)
    # The same hands: averaged over 2 x 2 pixels, the large ones are the small ones to within the softness of an edge.
    shrunk = torch.nn.functional.avg_pool2d(large.images.float(), 2)
    assert float((shrunk - small.images).abs().mean()) < 3
    assert torch.equal(large.images, draw_hands(20, side=64).images)
    assert load_images("hands", 3, size=8, gray=False).shape == (3, 8, 8)
    assert load_images("hands", 3, size=(32, 48)).shape == (1, 32, 48)


def test_more_hands_begin_with_the_same_ones() -> None:
    more = load_images("hands:700")
    assert len(more) == 700
    assert torch.equal(more.images[:COUNT], load_images("hands").images)
    assert len(load_images("hands:3")) == 3


@pytest.mark.parametrize("source", ["hands:0", "hands:-1", "hands:many", "hands:", "hands:5:6", "hands:1000001"])
def test_a_bad_number_of_hands_is_refused(source: str) -> None:
    with refused(ValueError, "'hands:COUNT'", source):
        load_images(source)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"count": 0}, "count must be 1 or more, got 0"),
    ({"count": 1, "seed": -1}, "seed must be 0 or more, got -1"),
    ({"count": 1, "side": 31}, "side must be between 32 and 512, got 31"),
    ({"count": 1, "side": 513}, "side must be between 32 and 512, got 513"),
    ({"count": 1, "fingers": 2}, "fingers must be between 3 and 7, got 2"),
    ({"count": 2, "fingers": (5, 8)}, "fingers must be between 3 and 7, got 8"),
    ({"count": 1, "fingers": ()}, "one number of fingers or more"),
]


@pytest.mark.parametrize(("asked", "message"), BAD)
def test_bad_wishes_say_what_is_wrong(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_hands(**asked)


def test_what_the_hands_do_not_have_is_refused() -> None:
    with refused(ValueError, "hands has no splits"):
        load_images("hands", split="test")
    with refused(ValueError, "between 1 and 500, the size of hands"):
        load_images("hands", 501)
