"""What kind of pattern an image shows, and how far apart its parts are: measured on a torus."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elsewhere.checks import check_fields, checked
from elsewhere.denoiser import FLOATS
from elsewhere.layout import plain

Kind = Literal["spots", "holes", "stripes", "labyrinth"]

BANDWIDTH = 0.1
"""Width of the band, relative to its frequency, over which the power of waves is gathered."""

RINGS = 2000
"""Frequencies tried, evenly spaced in their logarithm: 0.3 % apart in an image of 512 x 512 pixels."""

APART = 0.4
"""Spots less holes in a square of one wavelength, beyond which a pattern consists of them; grown ones have 0.8."""

ALIGNED = 0.5
"""Anisotropy beyond which bands count as stripes."""


@dataclass(frozen=True)
class Pattern:
    """What is measured of one image.

    Attributes:
        wavelength: dominant distance from one crest to the next, in pixels.
        euler: bright regions less holes in them, a whole number.
        density: the same for a square of one wavelength: spots about 1, holes about -1, bands about 0.
        anisotropy: 0 when edges face all directions alike, 1 when they all face one; NaN without edges.
        bright: share of the pixels that are bright.
    """

    wavelength: float
    euler: int
    density: float
    anisotropy: float
    bright: float

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def kind(self) -> Kind:
        """The kind of pattern."""
        if abs(self.density) > APART:
            return "spots" if self.density > 0 else "holes"
        return "stripes" if self.anisotropy > ALIGNED else "labyrinth"


@checked
def measure(image: Tensor) -> Pattern:
    """Measure one image (H, W) that wraps round, of any range of values.

    Raises:
        TypeError, ValueError: not such an image, or one without any contrast.

    Example:
        >>> from elsewhere.morphogenesis import PATTERNS, simulate
        >>> measure(simulate(PATTERNS["spots"], (64, 64)).images()[0, 0]).kind
        'spots'
    """
    image = check_pattern("image", image)
    length = wavelength(image)
    smooth = _smooth(image)
    bright = smooth > _middle(smooth)
    euler = euler_number(bright)
    density = euler * length**2 / image.numel()
    return Pattern(length, euler, density, anisotropy(smooth), float(bright.double().mean()))


def wavelength(image: Tensor) -> float:
    """Dominant wavelength of an image (H, W) that wraps round, in pixels.

    The peak of the power spectrum gathered in rings: the power of all waves whose frequency is near f, weighted by a
    Gaussian of log frequency, is largest at 1 / wavelength. f is not bound to the frequencies of the grid.

    Raises:
        TypeError, ValueError: not such an image, or one without any contrast.
    """
    power, frequency = _power(image)
    logs = frequency.log()
    rings = torch.linspace(float(logs.min()), float(logs.max()), RINGS, dtype=torch.float64, device=image.device)
    ring = ((logs - rings[0]) / (rings[1] - rings[0])).round().long()
    in_ring = torch.bincount(ring, power, minlength=RINGS)
    apart = float(rings[1] - rings[0])
    reach = math.ceil(4 * BANDWIDTH / apart)
    near = torch.arange(-reach, reach + 1, dtype=torch.float64, device=image.device) * apart
    band = (-near.square() / (2 * BANDWIDTH**2)).exp()
    gathered = torch.nn.functional.conv1d(in_ring[None, None], band[None, None], padding=reach).flatten()
    return math.exp(-float(rings[gathered.argmax()]))


def euler_number(bright: Tensor) -> int:
    """Connected regions less their holes, of a mask (H, W) that wraps round; pixels touch along edges.

    Vertices less edges plus faces of the grid of bright pixels, which needs no search for the regions.

    Example:
        >>> mask = torch.zeros(8, 8, dtype=torch.bool)
        >>> mask[1:3, 1:3] = mask[5, 5] = True
        >>> euler_number(mask)
        2
    """
    below = bright & bright.roll(-1, 0)
    beside = bright & bright.roll(-1, 1)
    squares = below & below.roll(-1, 1)
    return int(bright.sum()) - int(below.sum()) - int(beside.sum()) + int(squares.sum())


def anisotropy(image: Tensor) -> float:
    """How much the gradients of an image (H, W) share one direction: (l1 - l2) / (l1 + l2) of their mean tensor.

    NaN where there are no gradients.
    """
    down = image.roll(-1, 0) - image.roll(1, 0)
    across = image.roll(-1, 1) - image.roll(1, 1)
    a, b, c = (float((x * y).double().mean()) for x, y in ((down, down), (across, across), (down, across)))
    return math.hypot(a - b, 2 * c) / (a + b) if a + b > 0 else math.nan


def check_pattern(name: str, image: Tensor, least: int = 4) -> Tensor:
    """A floating-point image (H, W) of finite values, contiguous.

    Raises:
        TypeError, ValueError: it is not.
    """
    if image.dtype not in FLOATS:
        raise TypeError(f"{name} must be a floating-point tensor (H, W), got {image.dtype}")
    if image.ndim != 2 or min(image.shape) < least:
        raise ValueError(f"{name} must be (H, W) with sides of {least} or more, got shape {tuple(image.shape)}")
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"{name} has NaN or infinite values: check the step that made it")
    return plain(image)


def _power(image: Tensor) -> tuple[Tensor, Tensor]:
    """Power and frequency (cycles a pixel) of every wave but the constant one, flat float64."""
    image = check_pattern("image", image)
    spread = float(image.double().std())
    if not spread > 1e-6:
        raise ValueError(f"image has no pattern to measure: its standard deviation is {spread:.2g}")
    fields = [torch.fft.fftfreq(side, dtype=torch.float64, device=image.device) for side in image.shape]
    frequency = torch.hypot(fields[0][:, None], fields[1][None]).flatten()
    power = torch.fft.fft2(image.double()).abs().square().flatten()
    return power[1:], frequency[1:]


def _smooth(image: Tensor) -> Tensor:
    """Each pixel with its neighbours, 1-2-1 along both axes: single grey pixels are no regions."""
    for axis in (0, 1):
        image = (image.roll(1, axis) + 2 * image + image.roll(-1, axis)) / 4
    return image


def _middle(image: Tensor) -> float:
    """Half-way between dark and bright, without the one per cent at either end."""
    ordered = image.flatten().sort().values
    few = len(ordered) // 100
    return float(ordered[few] + ordered[-1 - few]) / 2
