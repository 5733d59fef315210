"""Windows of real images, and the softmax average over all of them in float64."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

import elsewhere as els
from elsewhere.engine import Index, Metric, PixelStore, SoftmaxState, WindowKeys, build_index
from elsewhere.engine.search.job import SearchJob
from elsewhere.engine.search.settings import SEARCH, SearchSettings
from elsewhere.engine.state import stack
from elsewhere.machines.borders import interior

# Indexes of tests are small: with as many cells at first as real ones need, all of them would be read.
TOYS = replace(SEARCH, fewest=48)


def every_window(keys: WindowKeys) -> Tensor:
    """The stored pixels of all windows, before merging, (M, width)."""
    return keys._raw(torch.arange(keys.places))


def keys_of(pixels: Tensor, window: int, metric: Metric | None = None) -> WindowKeys:
    """The windows that lie wholly inside some images, not merged."""
    places = interior(pixels.shape[2], pixels.shape[3], window)
    assert places is not None
    return WindowKeys(PixelStore.of(pixels), places.extent, places.rows, places.columns, metric=metric)


@cache
def real(name: str, limit: int, window: int, floats: bool = False, taper: bool = False) -> tuple[WindowKeys, Index]:
    """Windows of an embedded set, and the index of them, equal ones merged."""
    data = els.load_images(name, limit)
    metric = Metric.tapered(window) if taper else None
    keys = keys_of(data.scaled() if floats else data.images, window, metric)
    return keys, build_index(keys.merged())


def rows_of(keys: WindowKeys, index: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Keys (T, width), values (T, C) in units of the queries, and counts (T,), float64."""
    index = torch.arange(len(keys)) if index is None else index
    rows, values = keys.some(index, torch.empty((len(index), keys.width + 2), dtype=torch.float64))
    return rows[:, :-2] / keys.scale, values / keys.scale, rows[:, -1].exp()


def asked(keys: WindowKeys, sigma: Tensor, seed: int = 0, mix: bool = False) -> Tensor:
    """Noisy windows, one for each noise level; with `mix` half of one and half of another, which is no key."""
    generator = torch.Generator().manual_seed(seed)
    some, others = (torch.randint(len(keys), (len(sigma),), generator=generator) for _ in range(2))
    clean = rows_of(keys, some)[0]
    if mix:
        clean = (clean + rows_of(keys, others)[0]) / 2
    return (clean + sigma[:, None] * torch.randn(clean.shape, generator=generator)).float()


def brute(keys: WindowKeys, queries: Tensor, sigma: Tensor) -> SoftmaxState:
    """sum_j exp(l_j) v_j and sum_j exp(l_j), l_j = -|q - k_j|^2 / (2 sigma^2), in float64."""
    rows, values, counts = rows_of(keys)
    wide = queries.double()
    # In float64 the expanded square is off by some 1e-14 of |q|^2, 1e-6 nats at sigma 1e-3.
    logs = torch.addmm(-rows.square().sum(1)[None] / 2, wide, rows.T) - wide.square().sum(1, keepdim=True) / 2
    logs = logs / sigma.square()[:, None] + counts.log()
    peak = logs.amax(1)
    weights = logs.sub_(peak[:, None]).exp_()
    return SoftmaxState(peak, weights.sum(1), weights @ values)


def search(
    index: Index,
    queries: Tensor,
    sigma: Tensor,
    tolerance: float = 1e-3,
    memory: int = 2**28,
    grid: tuple[int, int] = (1, 1),
    settings: SearchSettings = TOYS,
) -> SoftmaxState:
    """What searches find, one for each noise level; with a grid there must be one level."""
    states, order = [], []
    for level in sigma.unique().tolist():
        order.append((sigma == level).nonzero().flatten())
        job = SearchJob(queries[order[-1]], level, index, tolerance, memory, grid, settings=settings)
        states.append(job.run())
    return stack(states).take(torch.cat(order).argsort())


def levels(*sigmas: float, each: int = 1) -> Tensor:
    """Noise levels, each so many times, float64."""
    return torch.tensor(sigmas, dtype=torch.float64).repeat_interleave(each)
