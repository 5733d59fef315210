"""Weights over a window against sums written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elsewhere.engine import Extent, Metric

GENERATOR = torch.Generator().manual_seed(0)
METRICS = {
    "square": Metric.square(5),
    "tapered": Metric.tapered(5),
    "wide": Metric.square(13),
    "wide tapered": Metric.tapered(13),
    "weighted": Metric.weighted(torch.rand(3, 3, generator=GENERATOR)),
    "by channel": Metric.weighted(torch.rand(2, 5, 5, generator=GENERATOR)),
}


def weights_of(metric: Metric, channels: int) -> np.ndarray:
    """Weight of every channel, row and column of a window."""
    ones = np.ones((channels, metric.side, metric.side))
    return ones if metric.weights is None else ones * metric.weights.numpy()


@pytest.mark.parametrize("name", METRICS)
def test_sums_over_windows_are_those_pixel_by_pixel(name: str) -> None:
    metric, numbers = METRICS[name], torch.rand(3, 2, 6, 7, generator=GENERATOR, dtype=torch.float64)
    weights, radius = weights_of(metric, 2), metric.radius
    expected = np.zeros((3, 6, 7))
    for y in range(6):
        for x in range(7):
            for i in range(max(0, y - radius), min(6, y + radius + 1)):
                for j in range(max(0, x - radius), min(7, x + radius + 1)):
                    here = weights[:, i - y + radius, j - x + radius]
                    expected[:, y, x] += (numbers[:, :, i, j].numpy() * here).sum(1)
    np.testing.assert_allclose(metric.sums(numbers).over(numbers).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_spreading_is_the_transpose_of_summing(name: str) -> None:
    metric = METRICS[name]
    numbers, sums = (torch.rand(shape, generator=GENERATOR).double() for shape in ((2, 6, 7), (6, 7)))
    windows = metric.sums(numbers)
    one, other = (windows.over(numbers) * sums).sum(), (windows.spread(sums[None])[0] * numbers).sum()
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", METRICS)
def test_a_window_that_is_cut_off_keeps_the_weights_of_what_is_left(name: str) -> None:
    metric = METRICS[name]
    radius = metric.radius
    found = metric.within(Extent(1, radius, radius, 0), 2)
    expected = weights_of(metric, 2)[:, radius - 1 :, : radius + 1].flatten()
    assert (found is None) == metric.is_square
    np.testing.assert_allclose(np.ones(len(expected)) if found is None else found.numpy(), expected)
    assert metric.total(2) == pytest.approx(weights_of(metric, 2).sum())


def test_metrics_have_the_same_name_only_when_their_weights_are_equal() -> None:
    weights = torch.rand(3, 3, generator=GENERATOR)
    names = {metric.name for metric in METRICS.values()} | {Metric.weighted(weights).name}
    assert len(names) == len(METRICS) + 1
    assert Metric.weighted(weights).name == Metric.weighted(weights.clone()).name
    assert Metric.tapered(7).name == Metric.tapered(7).name != Metric.square(7).name


def test_taper_falls_linearly_to_nothing_just_outside() -> None:
    profile = Metric.tapered(5).profile
    assert profile is not None
    np.testing.assert_allclose(profile.numpy(), [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
