"""Measure the kind and the wavelength of the pattern in a periodic image."""

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
"""Relative width (standard deviation of log frequency) of the band over which power is summed."""

RINGS = 2000
"""Number of frequencies tried, evenly spaced in their logarithm: 0.3 % apart for 512 x 512 pixels."""

APART = 0.4
"""Absolute density (see `Pattern`) above which a pattern consists of spots or holes; grown ones have about 0.8."""

ALIGNED = 0.5
"""Anisotropy above which bands count as stripes."""


@dataclass(frozen=True)
class Pattern:
    """Measures of the pattern in one image.

    Attributes:
        wavelength: dominant distance between crests, in pixels.
        euler: Euler number of the bright part: number of bright regions minus number of holes in them.
        density: Euler number per square wavelength: about 1 for spots, -1 for holes, 0 for bands.
        anisotropy: 0 if gradients have no preferred direction, 1 if all have the same; NaN without gradients.
        bright: fraction of bright pixels, 0 to 1.
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
        """The kind of pattern: spots or holes by density, otherwise stripes or labyrinth by anisotropy."""
        if abs(self.density) > APART:
            return "spots" if self.density > 0 else "holes"
        return "stripes" if self.anisotropy > ALIGNED else "labyrinth"


@checked
def measure(image: Tensor) -> Pattern:
    """Measure the pattern in one periodic image.

    Args:
        image: (H, W), floating point, of any range of values.

    Raises:
        TypeError, ValueError: not such an image, or an image without contrast.

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
    """Dominant wavelength of a periodic image, in pixels.

    The inverse of the frequency f at which the power spectrum, summed over all directions with Gaussian weights of log
    frequency around log f, is largest. f is not restricted to the frequencies of the grid.

    Args:
        image: (H, W), floating point.

    Raises:
        TypeError, ValueError: not such an image, or an image without contrast.
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
    """Euler number of a periodic mask: connected regions minus holes, where pixels are connected along edges.

    Computed as vertices minus edges plus faces of the grid of bright pixels.

    Args:
        bright: bool (H, W).

    Example:
        >>> mask = torch.zeros(8, 8, dtype=torch.bool)
        >>> mask[1:3, 1:3] = mask[5, 5] = True
        >>> euler_number(mask)
        2
    """
    below = bright & bright.roll(-1, 0)
    right = bright & bright.roll(-1, 1)
    squares = below & below.roll(-1, 1)
    return int(bright.sum()) - int(below.sum()) - int(right.sum()) + int(squares.sum())


def anisotropy(image: Tensor) -> float:
    """Anisotropy of the gradients of a periodic image, 0 to 1; NaN if all gradients are zero.

    (l1 - l2) / (l1 + l2), where l1 and l2 are the eigenvalues of the mean structure tensor.

    Args:
        image: (H, W), floating point.
    """
    down = image.roll(-1, 0) - image.roll(1, 0)
    across = image.roll(-1, 1) - image.roll(1, 1)
    a, b, c = (float((x * y).double().mean()) for x, y in ((down, down), (across, across), (down, across)))
    return math.hypot(a - b, 2 * c) / (a + b) if a + b > 0 else math.nan


def check_pattern(name: str, image: Tensor, least: int = 4) -> Tensor:
    """Check a floating-point image (H, W) of finite values with sides of `least` or more; return it contiguous.

    Raises:
        TypeError, ValueError: it is not such an image.
    """
    if image.dtype not in FLOATS:
        raise TypeError(f"{name} must be a floating-point tensor (H, W), got {image.dtype}")
    if image.ndim != 2 or min(image.shape) < least:
        raise ValueError(f"{name} must be (H, W) with sides of {least} or more, got shape {tuple(image.shape)}")
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity: check the step that made it")
    return plain(image)


def _power(image: Tensor) -> tuple[Tensor, Tensor]:
    """Power and frequency (cycles per pixel) of every Fourier mode except the constant one, flat float64."""
    image = check_pattern("image", image)
    spread = float(image.double().std())
    if not spread > 1e-6:
        raise ValueError(f"image must have contrast, got a standard deviation of {spread:.2g}")
    fields = [torch.fft.fftfreq(side, dtype=torch.float64, device=image.device) for side in image.shape]
    frequency = torch.hypot(fields[0][:, None], fields[1][None]).flatten()
    power = torch.fft.fft2(image.double()).abs().square().flatten()
    return power[1:], frequency[1:]


def _smooth(image: Tensor) -> Tensor:
    """Smooth by 1-2-1 along both axes, so that single gray pixels do not count as regions."""
    for axis in (0, 1):
        image = (image.roll(1, axis) + 2 * image + image.roll(-1, axis)) / 4
    return image


def _middle(image: Tensor) -> float:
    """The middle between the 1st and the 99th percentile."""
    ordered = image.flatten().sort().values
    few = len(ordered) // 100
    return float(ordered[few] + ordered[-1 - few]) / 2
