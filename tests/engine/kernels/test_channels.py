"""The sliding-window kernel for any number of channels, against every pair of windows, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import elsewhere as els
from elsewhere.engine import PixelStore
from elsewhere.engine.kernels import loader
from elsewhere.engine.keys.metric import Metric
from elsewhere.engine.overlaps import AxisOverlap, RegionPair, axis_overlaps
from elsewhere.engine.sliding import SlidingJob

CHANNELS = [1, 3, 4, 16]
HEIGHT, WIDTH = 8, 7
IMAGES = 19  # more than a vector holds, and no multiple of it
pytestmark = pytest.mark.skipif(loader.library() is None, reason="the kernels were not compiled here")


@dataclass(frozen=True)
class Problem:
    """A job, and what it was made of: images (B, C, H', W') and (N, C, H, W), float64, in [-1, 1]."""

    job: SlidingJob
    x: np.ndarray
    images: np.ndarray
    regions: list[RegionPair]

    def pairs(self) -> Iterator[tuple[int, int, int, int]]:
        """Row and column of x, and of a training image, that meet."""
        for region in self.regions:
            for down in region.rows:
                for across in region.columns:
                    for row in range(down.start, down.stop):
                        for column in range(across.start, across.stop):
                            yield row + down.shift, column + across.shift, row, column

    def log_weights(self) -> np.ndarray:
        """-|q - k|^2 / (2 sigma^2), -inf where a pixel does not meet a key, (B, H' W', N, H, W)."""
        job, radius = self.job, self.job.radius
        side = 1 - abs(np.arange(-radius, radius + 1)) / (radius + 1) if job.taper else np.ones(2 * radius + 1)
        weights = np.outer(side, side)
        sigma = float(job.precision[0]) ** -0.5
        logs = np.full((len(self.x), *self.x.shape[2:], len(self.images), HEIGHT, WIDTH), -np.inf)
        for i, j, row, column in self.pairs():
            # A window ends where the training image ends.
            up, left = min(radius, row), min(radius, column)
            down, right = min(radius, HEIGHT - 1 - row), min(radius, WIDTH - 1 - column)
            query = self.x[:, None, :, i - up : i + down + 1, j - left : j + right + 1]
            key = self.images[:, :, row - up : row + down + 1, column - left : column + right + 1]
            counted = weights[radius - up : radius + down + 1, radius - left : radius + right + 1]
            if job.period is not None:
                i, j = ((at - radius) % side + radius for at, side in zip((i, j), job.period, strict=True))
            assert np.isneginf(logs[:, i, j, :, row, column]).all(), "no pair of windows is met twice"
            logs[:, i, j, :, row, column] = -((query - key) ** 2 * counted).sum((2, 3, 4)) / (2 * sigma**2)
        return logs.reshape(len(self.x), -1, *logs.shape[3:])[:, job.pixels.numpy()]


def problem(
    channels: int,
    layout: str,
    window: int,
    sigma: float,
    taper: bool,
    as_bytes: bool = False,
    kind: type[SlidingJob] = SlidingJob,
    images: int = IMAGES,
) -> Problem:
    """Two noisy images that ask for the windows of a layout."""
    pixels = torch.randint(0, 256, (images, channels, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0)).byte()
    floats = pixels / 127.5 - 1
    store = PixelStore.of(pixels if as_bytes else floats)
    metric = Metric.tapered(window) if taper else Metric.square(window)
    radius, sides, period = window // 2, (HEIGHT, WIDTH), None
    # Means of two images: several keys have about the same weight.
    x = (floats[[0, 1 % images]] + floats[[2 % images, 3 % images]]) / 2 + sigma * els.make_noise(2, (channels, *sides))
    inner = [range(radius, side - radius) for side in sides]
    if layout == "own place":
        regions = [RegionPair(*([AxisOverlap(0, 0, side)] for side in sides))]
        asked = torch.ones(sides, dtype=torch.bool)
    elif layout == "borders":
        # Windows inside meet windows inside, and windows at the upper and the lower edge those at the same edge.
        lines = [axis_overlaps([(some, some)]) for some in inner]
        edges = [AxisOverlap(0, 0, 1), AxisOverlap(0, HEIGHT - 1, HEIGHT)]
        regions = [RegionPair(*lines), RegionPair(edges, lines[1])]
        asked = torch.zeros(sides, dtype=torch.bool)
        asked[[0, *inner[0], HEIGHT - 1], radius : WIDTH - radius] = True
    else:
        # x wraps round its edges, and meets the windows inside.
        period = sides
        rows, columns = (
            torch.arange(-radius, side + radius + len(met) - 1) % side for side, met in zip(sides, inner, strict=True)
        )
        x = x[:, :, rows[:, None], columns]
        overlaps = [
            [AxisOverlap(shift, met.start, met.stop) for shift in range(side)]
            for side, met in zip(sides, inner, strict=True)
        ]
        regions = [RegionPair(*overlaps)]
        asked = torch.zeros(x.shape[2:], dtype=torch.bool)
        asked[radius : radius + HEIGHT, radius : radius + WIDTH] = True
    job = kind(x - store.offset, sigma, store, metric, regions, asked.flatten().nonzero().flatten(), period)
    # In float64 from what the job has: at low noise, rounding to float32 changes weights.
    keys = store.centred(store.pixels, torch.float64)
    queries, keys = (some / store.scale + store.offset for some in (job.x, keys))
    return Problem(job, queries.numpy(), keys.numpy(), regions)


def check(given: Problem, tolerance: float = 3e-5) -> None:
    """Averages and attributions of a job against those of all its pairs."""
    job, logs = given.job, given.log_weights()
    batch, pixels = logs.shape[:2]
    flat = logs.reshape(batch * pixels, -1)
    peak = flat.max(1, keepdims=True)
    weights = np.exp(flat - peak)
    log_total = np.log(weights.sum(1)) + peak[:, 0]
    weights /= weights.sum(1, keepdims=True)
    values = given.images.transpose(0, 2, 3, 1).reshape(-1, given.images.shape[1]) - job.store.offset
    state = job.run(0, len(job))
    np.testing.assert_allclose(state.mean(), weights @ values, rtol=0, atol=tolerance)
    # The log-weights themselves are as accurate as their squared distances, which are larger than their differences.
    np.testing.assert_allclose(state.log_total, log_total, rtol=2e-6, atol=1e-3)

    top = min(9, int(np.isfinite(flat).sum(1).min()))
    attribution = job.attribution(state, batch, top)
    found = attribution.run(0, len(attribution))
    shares = weights.reshape(batch, pixels, len(given.images), -1).sum((1, 3))
    np.testing.assert_allclose(found.shares, shares, rtol=2e-4, atol=1e-6)
    largest = np.sort(weights, axis=1)[:, ::-1][:, :top]
    np.testing.assert_allclose(found.top.logs.exp(), largest, rtol=2e-3, atol=1e-30)
    np.testing.assert_allclose(np.take_along_axis(weights, found.top.keys.numpy(), 1), largest, rtol=2e-3, atol=1e-30)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("layout", ["own place", "borders", "periodic"])
@pytest.mark.parametrize("taper", [False, True], ids=["square", "tapered"])
@pytest.mark.parametrize(
    ("sums", "sigma", "window"),
    [
        ("double", 0.02, 3),
        ("double", 0.3, 5),
        ("afresh", 1.0, 3),
        ("afresh", 1.0, 5),
        ("float", 3.0, 3),
        ("float", 3.0, 5),
    ],
)
def test_averages_and_attributions_are_those_of_all_pairs(
    channels: int, layout: str, taper: bool, sums: str, sigma: float, window: int
) -> None:
    given = problem(channels, layout, window, sigma, taper)
    # The job chooses by the rounding that it expects: here each kind of sums is tried where it is accurate.
    given.job.wide[:], given.job.fresh[:] = sums == "double", sums == "afresh"
    check(given)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("taper", [False, True], ids=["square", "tapered"])
@pytest.mark.parametrize(("sigma", "window"), [(0.5, 7), (3.0, 15), (30.0, 41)])
def test_windows_may_be_larger_than_the_image(channels: int, window: int, sigma: float, taper: bool) -> None:
    check(problem(channels, "own place", window, sigma, taper))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("sigma", [0.02, 0.3, 3.0])
def test_bytes_have_any_number_of_channels_too(channels: int, sigma: float) -> None:
    check(problem(channels, "borders", 3, sigma, False, as_bytes=True))


def test_hundreds_of_channels() -> None:
    check(problem(300, "own place", 5, 3.0, True))
    check(problem(300, "own place", 3, 1.0, False))
