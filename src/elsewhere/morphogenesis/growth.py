"""Growing a pattern of any size from one small original, and whether what grew is a copy of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elsewhere.checks import check_fields, check_number, checked
from elsewhere.data.images import ImageSet, to_uint8
from elsewhere.denoiser import check_images
from elsewhere.engine import Extent
from elsewhere.engine.workspace import wrap
from elsewhere.machines import EquivariantLocalScore, LocalitySchedule
from elsewhere.machines.locality import check_window
from elsewhere.morphogenesis.patterns import check_pattern, measure
from elsewhere.schedules import Schedule, karras

SIDES = ((1.0, 2.0), (0.5, 1.2), (0.2, 0.8), (0.0, 0.45))
"""Noise level from which on a window is this many wavelengths wide. Found by trying: with less than 2 wavelengths while
the pattern takes shape it comes out too coarse, with one a labyrinth closes into holes; with more than half a
wavelength at the end the image is grainy, as few windows then fit any place."""

CHUNK = 512
LONGEST_WAVE = 2**15


def growth_schedule() -> Schedule:
    """Noise levels for patterns: 12 steps from 8, where no window shows anything yet, to 0.05, where all is decided."""
    return karras(12, sigma_min=0.05, sigma_max=8.0)


@checked
def growth_locality(wavelength: float) -> LocalitySchedule:
    """Windows in proportion to the wavelength of a pattern (pixels): two waves wide at first, less than one at the end.

    Raises:
        TypeError, ValueError: a wavelength that is not positive, or above 2^15 pixels.
    """
    wavelength = check_number("wavelength", wavelength, above=0, limit=LONGEST_WAVE)
    levels = growth_schedule().sigmas[:-1]
    sides = [next(side for sigma, side in SIDES if level >= sigma) * wavelength for level in levels]
    details = {"origin": f"in proportion to a wavelength of {wavelength:.4g} pixels"}
    return LocalitySchedule(levels, tuple(2 * int(side // 2) + 1 for side in sides), details)


@checked
def pattern_machine(originals: Tensor | np.ndarray, memory: int = 2**30) -> EquivariantLocalScore:
    """The equivariant local machine of patterns that wrap round, with the windows that suit them.

    Args:
        originals: (N, 1, H, W) in [-1, 1], stored in 8 bits.
        memory: bytes that it may use beside images.

    Raises:
        TypeError, ValueError: not such images, or without contrast.

    Example:
        >>> import elsewhere as els
        >>> from elsewhere.morphogenesis import PATTERNS, simulate
        >>> machine = pattern_machine(simulate(PATTERNS["stripes"], (32, 32), steps=2000).images())
        >>> els.sample(machine, els.make_noise(1, (1, 32, 48)), growth_schedule()).images.shape
        torch.Size([1, 1, 32, 48])
    """
    originals = check_images(originals, "originals")
    if originals.shape[1] != 1:
        raise ValueError(f"originals must be gray, (N, 1, H, W), got {tuple(originals.shape)}")
    lengths = [measure(image[0]).wavelength for image in originals]
    locality = growth_locality(sum(lengths) / len(lengths))
    return EquivariantLocalScore(ImageSet(to_uint8(originals), name="pattern"), locality, "torus", memory=memory)


@dataclass(frozen=True)
class Sources:
    """Where in an original the pixels of an image could come from: the window nearest to the window around each.

    Attributes:
        rows, columns: centre of that window, int64 (H, W).
        distances: root mean squared difference over the window, (H, W).
    """

    rows: Tensor
    columns: Tensor
    distances: Tensor


def find_sources(image: Tensor, original: Tensor, window: int) -> Sources:
    """The nearest window of an original (h, w) for each pixel of an image (H, W); both wrap round."""
    queries, keys = (_windows(some, window) for some in (image, original))
    norms = keys.square().sum(1) / 2
    nearest = torch.cat([(norms - some @ keys.T).argmin(1) for some in torch.split(queries, CHUNK)])
    distances = (queries - keys[nearest]).square().mean(1).sqrt()
    shape, width = image.shape, original.shape[1]
    return Sources((nearest // width).view(shape), (nearest % width).view(shape), distances.view(shape))


@dataclass(frozen=True)
class Copying:
    """How much of an image is a copy of an original.

    Attributes:
        distance: root mean squared difference to the original, the nearest of all its circular shifts.
        coherence: share of neighbouring pixels whose sources are the same neighbours in the original; 1 is a copy.
        largest: share of the pixels that come from the original under one and the same shift.
        window_distance: median over pixels of the distance to the nearest window.
    """

    distance: float
    coherence: float
    largest: float
    window_distance: float

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def copying(image: Tensor, original: Tensor, window: int) -> Copying:
    """Compare an image with an original of the same size (H, W); both wrap round.

    Args:
        image, original: (H, W), floating point.
        window: odd side of the windows by which sources are told, in pixels.

    Raises:
        TypeError, ValueError: not images, images of different sizes, or not a window.
    """
    image, original = check_pattern("image", image), check_pattern("original", original)
    window = check_window(window)
    if image.shape != original.shape:
        raise ValueError(f"image and original must be of one size, got {tuple(image.shape)}, {tuple(original.shape)}")
    sources = find_sources(image, original, window)
    height, width = image.shape
    down = (sources.rows - torch.arange(height, device="cpu")[:, None]) % height
    across = (sources.columns - torch.arange(width, device="cpu")) % width
    shift = down * width + across
    same = torch.stack([shift == shift.roll(1, axis) for axis in (0, 1)])
    return Copying(
        _distance_to_shifts(image, original),
        float(same.double().mean()),
        int(shift.flatten().bincount().max()) / shift.numel(),
        float(sources.distances.median()),
    )


def _distance_to_shifts(image: Tensor, original: Tensor) -> float:
    """Smallest rms difference over all circular shifts, by one correlation."""
    a, b = image.double(), original.double()
    matched = torch.fft.ifft2(torch.fft.fft2(a) * torch.fft.fft2(b).conj()).real
    squares = a.square().sum() + b.square().sum() - 2 * matched.max()
    return float((squares.clamp(min=0) / a.numel()).sqrt())


def _windows(image: Tensor, window: int) -> Tensor:
    """The windows around all pixels of an image (H, W) that wraps round, (H * W, window^2) float64."""
    radius, (height, width) = window // 2, image.shape
    inside = (range(radius, radius + side) for side in (height, width))
    return (
        Extent(*[radius] * 4).windows(wrap(image[None, None].double(), radius), *inside)[1].reshape(height * width, -1)
    )
