"""Count limbs in small images: fingers of hands, legs of trousers, sleeves of tops.

All three count bright parts that dark gaps separate. Images are enlarged first, so that gaps of one pixel are resolved.
A gap is what a grey closing fills; it may be much brighter than the background. The thresholds were chosen on other
images than those on which `benchmarks/counting.py` measures the accuracy.
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
"""Factor of the enlargement."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


def count_fingers(images: Tensor | NDArray[Any]) -> Integers:
    """Count the fingers of each hand.

    The palm is the morphological opening of the hand by a disc of 0.65 times the radius of the largest inscribed disc.
    Finger tips are maxima of the distance to the palm that are at least 3 pixels away from it and 2 pixels above the
    next saddle. Detached parts count as fingers too.

    Args:
        images: bright hands on dark background, (B, C, H, W) in [-1, 1], about 32 pixels per side.

    Returns:
        Number of fingers, int64 (B,); 0 for an empty image.

    Raises:
        TypeError, ValueError: not such images.
        ImportError: scikit-image or SciPy is not installed (extra `anomalies`).

    Example:
        >>> from elsewhere.data.hands import draw_hands
        >>> count_fingers(draw_hands(3, fingers=(4, 5, 6)).scaled()).tolist()
        [4, 5, 6]
    """
    return _count(images, _fingers)


def finger_tips(image: Tensor | NDArray[Any]) -> Integers:
    """Positions of the finger tips that `count_fingers` counts.

    Args:
        image: one hand, (C, H, W) in [-1, 1].

    Returns:
        (row, column) in pixels, int64 (fingers, 2), sorted from left to right.

    Raises:
        TypeError, ValueError, ImportError: see `count_fingers`.
    """
    check_type("image", image, Tensor | np.ndarray)
    return _tips_of(_gray(image[None], "image")[0])


def count_legs(images: Tensor | NDArray[Any]) -> Integers:
    """Count the legs of each pair of trousers.

    The largest number of bright strips that occurs in at least 7 rows of the lower two thirds.

    Args:
        images: bright trousers on dark background, (B, C, H, W) in [-1, 1], about 28 pixels per side.

    Returns:
        Number of legs, int64 (B,); 0 for an empty image.

    Raises:
        TypeError, ValueError, ImportError: see `count_fingers`.
    """
    return _count(images, _legs)


def count_sleeves(images: Tensor | NDArray[Any]) -> Integers:
    """Count the sleeves that are separated from the body of each pullover or coat, at most one on either side.

    A sleeve is a bright strip of at most 7 pixels width, more than 3 pixels from the vertical middle, in at least 2.5
    rows below the shoulders, in which a gap separates strips. Sleeves without a gap are not seen.

    Args:
        images: bright tops on dark background, (B, C, H, W) in [-1, 1], about 28 pixels per side.

    Returns:
        Number of sleeves, 0 to 2, int64 (B,).

    Raises:
        TypeError, ValueError, ImportError: see `count_fingers`.
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
    """The image enlarged by ZOOM and scaled so that bright parts are about 1; None if nothing is bright."""
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
    """The largest component of the opening of the hand by a disc of 0.65 times the largest inscribed radius."""
    ndimage = _ndimage()
    depth = ndimage.distance_transform_edt(np.pad(hand, 1))[1:-1, 1:-1]
    radius = 0.65 * depth.max()
    opened = ndimage.distance_transform_edt(depth <= radius) <= radius
    parts, number = ndimage.label(opened)
    if number > 1:
        opened = parts == 1 + np.argmax(ndimage.sum(opened, parts, range(1, number + 1)))
    return np.asarray(opened)


def _peaks(field: Floats, least: float, above_saddle: float) -> Integers:
    """Positions (K, 2) of maxima of height `least` or more and prominence `above_saddle` or more."""
    ndimage, morphology = _ndimage(), _morphology()
    domes = field - morphology.reconstruction(np.maximum(field - above_saddle, 0), field, method="dilation")
    # Label at half the prominence, because a summit may consist of several separate pixels of equal height.
    parts, number = ndimage.label(domes > above_saddle / 2, structure=np.ones((3, 3)))
    index = np.arange(1, number + 1)
    places = np.array(ndimage.maximum_position(field, parts, index), dtype=np.int64).reshape(-1, 2)
    heights, rises = (values[places[:, 0], places[:, 1]] for values in (field, domes))
    return places[(heights >= least) & (rises >= above_saddle * 0.999)]


def _rows_of_strips(image: Floats, first: float, contrast: float) -> list[list[tuple[float, float]]]:
    """(begin, end) in pixels of the strips in each row of the enlarged image below the fraction `first` of its height.

    The image is blurred more along the vertical direction of the limbs, to remove patterns of the cloth.
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
    """The largest number that is reached in at least `rows` rows of the original image."""
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
