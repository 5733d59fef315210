"""Grow patterns of any size from one small original, and measure whether they are copies of it."""

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
"""(noise level, side of the window in wavelengths at and above it). Found by trial: below 2 wavelengths at high noise
the pattern is too coarse, and with 1 a labyrinth closes into holes; above half a wavelength at the end the image is
grainy, because few training windows fit."""

CHUNK = 512
"""Query windows compared with all windows of the original at once."""
LONGEST_WAVE = 2**15
"""Longest wavelength in pixels: the longest side of images."""


def growth_schedule() -> Schedule:
    """Noise levels for patterns: 12 steps from sigma = 8, where windows show only noise, down to 0.05, then 0."""
    return karras(12, sigma_min=0.05, sigma_max=8.0)


@checked
def growth_locality(wavelength: float) -> LocalitySchedule:
    """Windows in proportion to the wavelength of a pattern: 2 wavelengths wide at high noise, 0.45 at low noise.

    Args:
        wavelength: in pixels, above 0 and at most 2^15.

    Raises:
        TypeError, ValueError: not such a wavelength.

    Example:
        >>> growth_locality(10.0).windows[0], growth_locality(10.0).windows[-1]
        (21, 5)
    """
    wavelength = check_number("wavelength", wavelength, above=0, limit=LONGEST_WAVE)
    levels = growth_schedule().sigmas[:-1]
    sides = [next(side for sigma, side in SIDES if level >= sigma) * wavelength for level in levels]
    details = {"origin": f"in proportion to a wavelength of {wavelength:.4g} pixels"}
    return LocalitySchedule(levels, tuple(2 * int(side // 2) + 1 for side in sides), details)


@checked
def pattern_machine(originals: Tensor | np.ndarray, memory: int = 2**30) -> EquivariantLocalScore:
    """The equivariant local machine for periodic patterns, with windows in proportion to their wavelength.

    Args:
        originals: (N, 1, H, W) in [-1, 1], stored in 8 bits.
        memory: working memory in bytes, in addition to the images.

    Raises:
        TypeError, ValueError: not such images, or images without contrast.

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
    """For each pixel of an image, the nearest window of the original.

    Attributes:
        rows, columns: centre of that window, int64 (H, W).
        distances: rms difference over the window, float64 (H, W).
    """

    rows: Tensor
    columns: Tensor
    distances: Tensor


def find_sources(image: Tensor, original: Tensor, window: int) -> Sources:
    """The nearest window of a periodic original (h, w) for each pixel of a periodic image (H, W)."""
    queries, keys = (_windows(some, window) for some in (image, original))
    norms = keys.square().sum(1) / 2
    nearest = torch.cat([(norms - some @ keys.T).argmin(1) for some in torch.split(queries, CHUNK)])
    distances = (queries - keys[nearest]).square().mean(1).sqrt()
    shape, width = image.shape, original.shape[1]
    return Sources((nearest // width).view(shape), (nearest % width).view(shape), distances.view(shape))


@dataclass(frozen=True)
class Copying:
    """Measures of how much of an image is a copy of an original.

    Attributes:
        distance: rms difference to the original, minimised over all circular shifts.
        coherence: fraction of pairs of neighbouring pixels whose nearest windows are neighbours in the original in the
            same way, 0 to 1; 1 for a copy.
        largest: largest fraction of pixels whose nearest windows have the same shift, 0 to 1; 1 for a copy.
        window_distance: median over pixels of the rms distance to the nearest window.
    """

    distance: float
    coherence: float
    largest: float
    window_distance: float

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def copying(image: Tensor, original: Tensor, window: int) -> Copying:
    """Measure how much of a periodic image is a copy of a periodic original of the same size.

    Args:
        image, original: (H, W), floating point.
        window: odd side in pixels of the windows that are compared.

    Raises:
        TypeError, ValueError: not images, images of different sizes, or not an odd side.

    Example:
        >>> from elsewhere.morphogenesis import PATTERNS, simulate
        >>> spots = simulate(PATTERNS["spots"], (32, 32), steps=2000).images()[0, 0]
        >>> copying(spots.roll(5, 0), spots, 9).coherence
        1.0
    """
    image, original = check_pattern("image", image), check_pattern("original", original)
    window = check_window(window)
    if image.shape != original.shape:
        raise ValueError(f"original must have the size of image, {tuple(image.shape)}, got {tuple(original.shape)}")
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
    """Smallest rms difference over all circular shifts, by a correlation with the FFT."""
    a, b = image.double(), original.double()
    matched = torch.fft.ifft2(torch.fft.fft2(a) * torch.fft.fft2(b).conj()).real
    squares = a.square().sum() + b.square().sum() - 2 * matched.max()
    return float((squares.clamp(min=0) / a.numel()).sqrt())


def _windows(image: Tensor, window: int) -> Tensor:
    """The windows around all pixels of a periodic image (H, W), float64 (H * W, window^2)."""
    radius, (height, width) = window // 2, image.shape
    inside = (range(radius, radius + side) for side in (height, width))
    return (
        Extent(*[radius] * 4).windows(wrap(image[None, None].double(), radius), *inside)[1].reshape(height * width, -1)
    )
