"""Counting limbs in small pictures: fingers of hands, legs of trousers, sleeves of tops.

All three look for what people see: bright parts that dark gaps keep apart. Pictures are enlarged first, so that a gap
one pixel wide is a gap; a gap is what a grey closing fills, so that it may be much brighter than the background.
The thresholds were chosen on pictures other than those on which `benchmarks/counting.py` measures the accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elsewhere.checks import check_type
from elsewhere.denoiser import check_images
from elsewhere.optional import require

ZOOM = 4
"""Pixels of the enlarged picture to one of the picture."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


def count_fingers(images: Tensor | NDArray[Any]) -> Integers:
    """How many fingers each hand has.

    The palm is what is left of the hand when everything thinner than two thirds of it is taken away (a morphological
    opening). Fingers are the tips of the rest: maxima of the distance to the palm that are at least 3 pixels away from
    it and stand 2 pixels above the next saddle. Parts that hang in the air count as fingers too.

    Args:
        images: bright hands on dark ground, (B, C, H, W) in [-1, 1], about 32 pixels a side.

    Returns:
        int64 (B,); 0 for an empty picture.

    Raises:
        TypeError, ValueError: not such images.
        ImportError: scikit-image or scipy is not installed.

    Example:
        >>> from elsewhere.data.hands import draw_hands
        >>> count_fingers(draw_hands(3, fingers=(4, 5, 6)).scaled()).tolist()
        [4, 5, 6]
    """
    return _count(images, _fingers)


def finger_tips(image: Tensor | NDArray[Any]) -> Integers:
    """Where the tips of the fingers are that `count_fingers` counts.

    Args:
        image: one hand, (C, H, W) in [-1, 1].

    Returns:
        (row, column) in pixels of the picture, int64 (fingers, 2), from left to right.

    Raises:
        TypeError, ValueError, ImportError: as `count_fingers`.
    """
    check_type("image", image, Tensor | np.ndarray)
    return _tips_of(_gray(image[None], "image")[0])


def count_legs(images: Tensor | NDArray[Any]) -> Integers:
    """How many legs each pair of trousers has.

    The most bright strips that lie side by side in at least 7 rows of the lower two thirds.

    Args, Returns, Raises: as `count_fingers`, for bright trousers on dark ground, 28 pixels a side.
    """
    return _count(images, _legs)


def count_sleeves(images: Tensor | NDArray[Any]) -> Integers:
    """How many sleeves stand apart from the body of each pullover or coat.

    On either side of the middle: the most bright strips, no wider than a sleeve, that a gap keeps apart from what lies
    further in, in at least 3 rows below the shoulders. Sleeves without a gap are not seen.

    Args, Returns, Raises: as `count_fingers`, for bright tops on dark ground, 28 pixels a side.
    """
    return _count(images, _sleeves)


def _count(images: Tensor | NDArray[Any], count: Callable[[Floats], int]) -> Integers:
    return np.array([count(image) for image in _gray(images)], dtype=np.int64)


def _gray(images: Tensor | NDArray[Any], name: str = "images") -> Floats:
    checked = check_images(images, name).detach().cpu().double()
    return np.asarray(((checked.mean(1) + 1) / 2).clamp(0, 1).numpy())


def _ndimage() -> Any:
    return require("scipy.ndimage", extra="anomalies", purpose="counting limbs")


def _morphology() -> Any:
    return require("skimage.morphology", extra="anomalies", purpose="counting limbs")


def _enlarge(image: Floats, blur: float | tuple[float, float]) -> Floats | None:
    """The picture ZOOM times as large, bright parts about 1; None when there is nothing bright."""
    top = float(np.quantile(image, 0.97))
    if top < 0.1:
        return None
    ndimage = _ndimage()
    smooth = ndimage.gaussian_filter(image / top, blur)
    return np.asarray(ndimage.zoom(smooth, ZOOM, order=3, grid_mode=True, mode="nearest"))


def _fingers(image: Floats) -> int:
    return len(_tips_of(image))


def _tips_of(image: Floats) -> Integers:
    big = _enlarge(image, 0.3)
    if big is None:
        return np.zeros((0, 2), np.int64)
    ndimage, morphology = _ndimage(), _morphology()
    reach = 2 * round(1.75 * ZOOM) + 1
    gaps = ndimage.grey_closing(big, size=(reach, reach)) - big > 0.17
    hand = (big > 0.45) & ~gaps
    whole = morphology.remove_small_holes(hand, max_size=3 * ZOOM**2)
    palm = _palm(whole)
    away = ndimage.distance_transform_edt(~palm) / ZOOM
    tips = _peaks(np.where(hand | palm, away, 0.0), least=3.0, above_saddle=2.0) // ZOOM
    return tips[np.argsort(tips[:, 1], kind="stable")]


def _palm(hand: Bools) -> Bools:
    """The largest part of the opening of the hand by a disc of 0.65 times the largest that fits in."""
    ndimage = _ndimage()
    depth = ndimage.distance_transform_edt(np.pad(hand, 1))[1:-1, 1:-1]
    radius = 0.65 * depth.max()
    opened = ndimage.distance_transform_edt(depth <= radius) <= radius
    parts, number = ndimage.label(opened)
    if number > 1:
        opened = parts == 1 + np.argmax(ndimage.sum(opened, parts, range(1, number + 1)))
    return np.asarray(opened)


def _peaks(field: Floats, least: float, above_saddle: float) -> Integers:
    """Places (K, 2) of the maxima of at least that height that stand that far above the saddle to a higher one."""
    ndimage, morphology = _ndimage(), _morphology()
    domes = field - morphology.reconstruction(np.maximum(field - above_saddle, 0), field, method="dilation")
    # Half way down: at the very top one peak may be several pixels of equal height.
    parts, number = ndimage.label(domes > above_saddle / 2, structure=np.ones((3, 3)))
    index = np.arange(1, number + 1)
    places = np.array(ndimage.maximum_position(field, parts, index), dtype=np.int64).reshape(-1, 2)
    heights, rises = (values[places[:, 0], places[:, 1]] for values in (field, domes))
    return places[(heights >= least) & (rises >= above_saddle * 0.999)]


def _rows_of_strips(image: Floats, first: float, contrast: float) -> list[list[tuple[float, float]]]:
    """For every row of the enlarged picture from `first` of its height on: (begin, end) of the strips, in pixels.

    Limbs hang down: patterns of the cloth are blurred away along them.
    """
    big = _enlarge(image, (1.2, 0.3))
    if big is None:
        return []
    reach = 2 * round(2.25 * ZOOM) + 1
    gaps = _ndimage().grey_closing(big, size=(1, reach)) - big > contrast
    bright = (big > 0.25) & ~gaps
    rows = []
    for row in bright[round(first * len(bright)) :]:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
        strips = zip(edges[::2] / ZOOM, edges[1::2] / ZOOM, strict=True)
        rows.append([(float(begin), float(end)) for begin, end in strips if end - begin >= 1.25])
    return rows


def _held(numbers: list[int], rows: float) -> int:
    """The largest number that is reached in at least so many rows of the picture."""
    ordered = sorted(numbers, reverse=True)
    place = round(rows * ZOOM) - 1
    return ordered[place] if place < len(ordered) else 0


def _legs(image: Floats) -> int:
    return _held([len(strips) for strips in _rows_of_strips(image, 1 / 3, contrast=0.35)], rows=7)


def _sleeves(image: Floats) -> int:
    middle = image.shape[1] / 2
    left, right = [], []
    for strips in _rows_of_strips(image, 0.3, contrast=0.17):
        narrow = [(begin + end) / 2 for begin, end in strips if end - begin <= 7] if len(strips) > 1 else []
        left.append(sum(centre < middle - 3 for centre in narrow))
        right.append(sum(centre > middle + 3 for centre in narrow))
    return min(1, _held(left, rows=2.5)) + min(1, _held(right, rows=2.5))
