"""Hands drawn by code, so that the number of their fingers is known.

A hand is a palm and fingers that fan out from it, each a tapered capsule; the image is the distance to that outline,
turned into brightness with soft edges. Nothing is stored: hand i of a seed is drawn again wherever it is needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from elsewhere.checks import check_fields, check_whole, checked
from elsewhere.data.images import ImageSet
from elsewhere.data.pixels import conform
from elsewhere.data.request import Request

NAME = "hands"
COUNT = 500
SIDE = 32
FINGERS = 5
FEWEST, MOST = 3, 7
LARGEST = 512
MOST_HANDS = 1_000_000

Floats = NDArray[np.float64]


def is_hands(source: str) -> bool:
    """Whether a name means drawn hands: "hands", or "hands:COUNT"."""
    return source.partition(":")[0] == NAME


def load_hands(source: str, request: Request) -> ImageSet:
    """The first hands of seed 0, five fingers each: 500, or as many as "hands:COUNT" says.

    A square of 32 pixels or more is drawn in that size; another size is made from the drawing of 32.

    Raises:
        ValueError: a count that is none, or what `Request` refuses.
    """
    request.refuse_split(source)
    match = re.fullmatch(rf"{NAME}(?::([1-9]\d{{0,6}}))?", source)
    available = COUNT if match is None or match[1] is None else int(match[1])
    if match is None or available > MOST_HANDS:
        raise ValueError(f"hands are called {NAME!r} or '{NAME}:COUNT', COUNT from 1 to {MOST_HANDS}, got {source!r}")
    size = request.size
    side = size[0] if size is not None and size[0] == size[1] and SIDE <= size[0] <= LARGEST else SIDE
    drawn = draw_hands(request.count(available, source), side=side)
    return ImageSet(torch.from_numpy(conform(drawn.images.numpy(), request, source)), name=source)


@dataclass(frozen=True)
class Pose:
    """One hand, in pixels of a 32 x 32 image and radians; angles grow to the side of the thumb, 0 is up.

    Attributes:
        centre: of the palm, (x, y).
        scale: of everything.
        turn: of the whole hand.
        angles, lengths: of every finger, the thumb last; lengths are from the centre of the palm to the tip.
        width: of a finger at its root.
        palm: half the palm's width.
        light: brightness of the middle of the hand, 0 to 1.
    """

    centre: tuple[float, float]
    scale: float
    turn: float
    angles: tuple[float, ...]
    lengths: tuple[float, ...]
    width: float
    palm: float
    light: float

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def draw_pose(rng: np.random.Generator, fingers: int = FINGERS) -> Pose:
    """A random hand with that many fingers, the thumb among them.

    Raises:
        ValueError: fewer than 3 or more than 7 fingers.
    """
    check_whole("fingers", fingers, FEWEST, MOST)

    # Only uniform numbers: their stream is the same in every version of NumPy so far.
    def between(low: float, high: float) -> float:
        return low + (high - low) * float(rng.random())

    long = fingers - 1
    # More fingers stand closer, so that all of them fit.
    pitch = float(np.deg2rad(between(15.5, 19.5))) * min(1.0, 0.975 * (4 / long) ** 0.65)
    middle = (long - 1) / 2
    fan = [(i - middle) * pitch + float(np.deg2rad(between(-1.2, 1.2))) for i in range(long)]
    # The middle finger is the longest, the little one the shortest.
    reach = between(15.2, 17.0)
    falls = [0.17 * abs((i - middle - 0.3) / max(middle, 1)) ** 1.7 for i in range(long)]
    lengths = [reach * (1 - fall + between(-0.03, 0.03)) for fall in falls]
    thumb = fan[-1] + float(np.deg2rad(between(36, 46)))
    return Pose(
        centre=(15.2 + between(-1.4, 1.4), 22.6 + between(-1.0, 1.0)),
        scale=between(1.08, 1.22),
        turn=float(np.deg2rad(between(-13, 13) - 7)),
        angles=(*fan, thumb),
        lengths=(*lengths, between(10.6, 12.2)),
        width=between(2.5, 3.1) * min(1.0, 4 / long) ** 0.7,
        palm=between(4.9, 5.7),
        light=between(0.88, 1.0),
    )


@checked
def render(pose: Pose, side: int = SIDE) -> Floats:
    """The hand on black, (side, side) in [0, 1].

    Raises:
        ValueError: a side below 32 or above 512.
    """
    check_whole("side", side, SIDE, LARGEST)
    unit = SIDE / side
    axis: Floats = (np.arange(side, dtype=np.float64) + 0.5) * unit
    x, y = (axis[None, :] - pose.centre[0]) / pose.scale, (axis[:, None] - pose.centre[1]) / pose.scale
    depth = _palm(x, y, pose)
    for angle, length in zip(pose.angles, pose.lengths, strict=True):
        thumb = angle == pose.angles[-1]
        depth = np.maximum(depth, _finger(x, y, pose, angle, length, thumb))
    # Soft edges one pixel wide, whatever the size; rounder, as it were, towards the middle.
    cover = np.clip(depth * pose.scale / unit + 0.5, 0, 1)
    return np.asarray(cover * pose.light * (0.72 + 0.28 * np.clip(depth / 1.2, 0, 1)))


def _palm(x: Floats, y: Floats, pose: Pose) -> Floats:
    """How deep inside the palm, negative outside: a rounded box, narrower towards the wrist."""
    sin, cos = np.sin(pose.turn), np.cos(pose.turn)
    across, along = x * cos + y * sin, -x * sin + y * cos
    half = pose.palm * (1 - 0.022 * (along + 4))
    radius = 3.0
    beyond_x = np.abs(across) - (half - radius)
    beyond_y = np.abs(along) - (5.4 - radius)
    outside = np.hypot(np.maximum(beyond_x, 0), np.maximum(beyond_y, 0))
    return np.asarray(radius - outside - np.minimum(np.maximum(beyond_x, beyond_y), 0))


def _finger(x: Floats, y: Floats, pose: Pose, angle: float, length: float, thumb: bool) -> Floats:
    """How deep inside a finger, negative outside: a capsule from inside the palm to the tip, thinner at the tip."""
    direction = np.array([np.sin(angle + pose.turn), -np.cos(angle + pose.turn)])
    width = pose.width * (1.12 if thumb else 1.0)
    start = 2.0
    end = length - width / 2
    along = np.clip(x * direction[0] + y * direction[1], start, end)
    distance = np.hypot(x - along * direction[0], y - along * direction[1])
    taper = 1 - 0.16 * (along - start) / (end - start)
    return np.asarray(width / 2 * taper - distance)


@checked
def draw_hands(count: int, seed: int = 0, side: int = SIDE, fingers: int | tuple[int, ...] = FINGERS) -> ImageSet:
    """Draw hands; hand i is the same for a seed, whatever the count.

    Args:
        count: how many, 1 to 1,000,000.
        seed: 0 or more.
        side: pixels, 32 to 512.
        fingers: on every hand; or several numbers, from which hand i takes one after the other.

    Returns:
        Gray uint8 images (count, 1, side, side). With several numbers of fingers, these are the labels.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> draw_hands(3, fingers=(4, 6)).labels
        tensor([4, 6, 4])
    """
    check_whole("count", count, 1, limit=MOST_HANDS)
    check_whole("seed", seed, 0)
    check_whole("side", side, SIDE, LARGEST)
    numbers = tuple(fingers) if isinstance(fingers, tuple | list) else (fingers,)
    if not numbers:
        raise ValueError("fingers must be one number of fingers or more, got none")
    for number in numbers:
        check_whole("fingers", number, FEWEST, MOST)
    wanted = [numbers[i % len(numbers)] for i in range(count)]
    drawn = [render(draw_pose(np.random.default_rng((seed, i)), n), side) for i, n in enumerate(wanted)]
    images = torch.from_numpy(np.rint(np.stack(drawn) * 255).astype(np.uint8))[:, None]
    labels = None if len(numbers) == 1 else torch.tensor(wanted, dtype=torch.int64, device="cpu")
    return ImageSet(images, labels, NAME)
