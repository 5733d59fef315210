"""The formulas written out slowly in float64, one pixel and one key at a time, straight from the definitions."""

from __future__ import annotations

from typing import Any

import numpy as np


def softmax_mean(distances: np.ndarray, values: np.ndarray, sigma: float) -> np.ndarray:
    """sum_j softmax_j(-distances_j / (2 sigma^2)) values_j, for keys along the first axis."""
    logs = -distances / (2 * sigma**2)
    weights = np.exp(logs - logs.max())
    return np.tensordot(weights / weights.sum(), values, axes=1)


def counts(window: int, taper: bool) -> np.ndarray:
    """What the square of each pixel's difference counts, (window, window)."""
    off = np.abs(np.arange(window) - window // 2)
    side = 1 - off / (window // 2 + 1) if taper else np.ones(window)
    return np.outer(side, side)


def ideal(x: np.ndarray, images: np.ndarray, sigma: float) -> np.ndarray:
    """IS of one image x (C, H, W)."""
    return softmax_mean(((images - x) ** 2).sum((1, 2, 3)), images, sigma)


def local(x: np.ndarray, images: np.ndarray, sigma: float, window: int, taper: bool = False) -> np.ndarray:
    """LS of one image: the window at the same place, zero outside the image."""
    r, (_, height, width) = window // 2, x.shape
    out = np.empty_like(x)
    for i in range(height):
        for j in range(width):
            rows, columns = slice(max(0, i - r), i + r + 1), slice(max(0, j - r), j + r + 1)
            counted = counts(window, taper)[rows.start - i + r :, columns.start - j + r :]
            squares = (images[:, :, rows, columns] - x[:, rows, columns]) ** 2
            distances = (squares * counted[: squares.shape[2], : squares.shape[3]]).sum((1, 2, 3))
            out[:, i, j] = softmax_mean(distances, images[:, :, i, j], sigma)
    return out


def wrapped(x: np.ndarray, images: np.ndarray, sigma: float, window: int, taper: bool = False) -> np.ndarray:
    """ELS of one image: the query wraps round the edges, keys lie wholly inside."""
    r, (_, height, width) = window // 2, x.shape
    padded = np.pad(x, ((0, 0), (r, r), (r, r)), mode="wrap")
    keys, values = [], []
    for i in range(r, images.shape[2] - r):
        for j in range(r, images.shape[3] - r):
            keys.append(images[:, :, i - r : i + r + 1, j - r : j + r + 1])
            values.append(images[:, :, i, j])
    stacked, centres = np.concatenate(keys), np.concatenate(values)
    out = np.empty_like(x)
    for i in range(height):
        for j in range(width):
            squares = (stacked - padded[:, i : i + window, j : j + window]) ** 2
            distances = (squares * counts(window, taper)).sum((1, 2, 3))
            out[:, i, j] = softmax_mean(distances, centres, sigma)
    return out


def torus(x: np.ndarray, images: np.ndarray, sigma: float, window: int, taper: bool = False) -> np.ndarray:
    """ELS of one image: query and keys wrap round, so that every place of every image is a key."""
    r = window // 2
    pad = ((0, 0), (0, 0), (r, r), (r, r))
    return wrapped(x, np.pad(images, pad, mode="wrap"), sigma, window, taper)


def border_aware(x: np.ndarray, images: np.ndarray, sigma: float, window: int, taper: bool = False) -> np.ndarray:
    """ELS of one image: zero outside, keys at the same distance from the same borders as far as the window feels."""
    r, (_, height, width) = window // 2, x.shape
    pad = ((0, 0), (r, r), (r, r))
    padded, stacked = np.pad(x, pad), np.pad(images, ((0, 0), *pad))

    def feels(i: int, j: int, h: int, w: int) -> tuple[int, ...]:
        return min(i, r), min(h - 1 - i, r), min(j, r), min(w - 1 - j, r)

    places: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for i in range(images.shape[2]):
        for j in range(images.shape[3]):
            places.setdefault(feels(i, j, *images.shape[2:]), []).append((i, j))
    out = np.empty_like(x)
    for i in range(height):
        for j in range(width):
            same = places[feels(i, j, height, width)]
            keys = np.concatenate([stacked[:, :, a : a + window, b : b + window] for a, b in same])
            values = np.concatenate([images[:, :, a, b] for a, b in same])
            squares = (keys - padded[:, i : i + window, j : j + window]) ** 2
            distances = (squares * counts(window, taper)).sum((1, 2, 3))
            out[:, i, j] = softmax_mean(distances, values, sigma)
    return out


def places_met(keys: str, i: int, j: int, height: int, width: int, radius: int) -> list[tuple[int, int]]:
    """Centres of the windows that pixel (i, j) meets in a training image of the same size."""

    def feels(a: int, b: int) -> tuple[int, ...]:
        return min(a, radius), min(height - 1 - a, radius), min(b, radius), min(width - 1 - b, radius)

    every = [(a, b) for a in range(height) for b in range(width)]
    return {
        "same place": [(i, j)],
        "aware": [place for place in every if feels(*place) == feels(i, j)],
        "wrap": [place for place in every if min(feels(*place)) == radius],
        "inside": [place for place in every if min(feels(*place)) == radius],
        "torus": every,
    }[keys]


def patches(x: np.ndarray, images: np.ndarray, sigma: float, **settings: Any) -> np.ndarray:
    """The general patch machine for one image x (C, H, W): see `els.PatchScore` for the terms."""
    return np.einsum("ijnab,ncab->cij", patch_sources(x, images, sigma, **settings), images)


def patch_sources(
    x: np.ndarray,
    images: np.ndarray,
    sigma: float,
    *,
    window: int,
    taper: bool = False,
    pedestal: float = 0.0,
    keys: str = "aware",
    response: int = 1,
    temperature: float = 1.0,
    weights: np.ndarray | None = None,
    shift_width: float | None = None,
    fold: float | None = None,
) -> np.ndarray:
    """The weight of every training pixel in every pixel of x, (H, W, N, H, W)."""
    count, _, height, width = images.shape
    r, p, spread = window // 2, response // 2, 2 * sigma**2 * temperature
    prior = np.zeros(count) if weights is None else np.log(weights)
    prior = prior - pedestal * ((images - x) ** 2).sum((1, 2, 3)) / spread
    total, pasted = np.zeros((height, width)), np.zeros((height, width, count, height, width))
    steps = [(u, v) for u in range(-r, r + 1) for v in range(-r, r + 1)]

    def read(stack: np.ndarray, a: int, b: int, wraps: bool) -> np.ndarray | None:
        if wraps:
            a, b = a % height, b % width
        return stack[..., a, b] if 0 <= a < height and 0 <= b < width else None

    def folded(u: int, v: int) -> float:
        return 1.0 if fold is None else float(np.exp(-((u / p) ** 2 + (v / p) ** 2) / (2 * fold**2)))

    for i in range(height):
        for j in range(width):
            if keys == "inside" and min(i, j, height - 1 - i, width - 1 - j) < r:
                continue
            logs, reached = [], []
            for a, b in places_met(keys, i, j, height, width, r):
                distance, patch = np.zeros(count), []
                for (u, v), counted in zip(steps, counts(window, taper).flatten(), strict=True):
                    query = read(x, i + u, j + v, keys in ("wrap", "torus"))
                    key = read(images, a + u, b + v, keys == "torus")
                    if query is None or key is None:
                        continue
                    distance += counted * ((key - query) ** 2).sum(1)
                    if max(abs(u), abs(v)) <= p:
                        patch.append((u, v))
                logs.append(prior - distance / spread)
                if shift_width is not None and keys != "same place":
                    apart = [(abs(i - a), height), (abs(j - b), width)]
                    least = [min(d, side - d) if keys in ("wrap", "torus") else d for d, side in apart]
                    logs[-1] = logs[-1] - sum(d**2 for d in least) / (2 * shift_width**2)
                reached.append((a, b, patch))
            some = np.exp(np.stack(logs) - np.max(logs))
            some /= some.sum()
            for one, (a, b, patch) in zip(some, reached, strict=True):
                for u, v in patch:
                    where = (i + u) % height, (j + v) % width, slice(None), (a + u) % height, (b + v) % width
                    pasted[where] += one * folded(u, v)
            for u, v in reached[0][2]:
                total[(i + u) % height, (j + v) % width] += folded(u, v)
    return pasted / total[..., None, None, None]


def shifted(x: np.ndarray, images: np.ndarray, sigma: float) -> np.ndarray:
    """ESM of one image: IS with every circular shift of every training image as a training image."""
    _, height, width = x.shape
    shifts = [np.roll(images, (down, right), (2, 3)) for down in range(height) for right in range(width)]
    return ideal(x, np.concatenate(shifts), sigma)


def nearest(x: np.ndarray, images: np.ndarray, sigma: float, scaled: bool = False) -> np.ndarray:
    """The training image nearest to one image x, or to its variance-preserving state."""
    compared = x / np.sqrt(1 + sigma**2) if scaled else x
    return images[((images - compared) ** 2).sum((1, 2, 3)).argmin()]


def covariance(images: np.ndarray, unbiased: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) of the flattened images."""
    flat = images.reshape(len(images), -1)
    return flat.mean(0), np.cov(flat.T, bias=not unbiased)


def wiener(
    x: np.ndarray,
    images: np.ndarray,
    sigma: float,
    rank: int | None = None,
    shrinkage: float = 0.0,
    unbiased: bool = True,
) -> np.ndarray:
    """The posterior mean of a Gaussian, by a linear system; only `rank` needs eigenvectors."""
    mean, spread = covariance(images, unbiased)
    variance = np.trace(spread) / len(spread)
    if rank is not None:
        values, vectors = np.linalg.eigh(spread)
        spread = vectors[:, -rank:] * values[-rank:] @ vectors[:, -rank:].T
    spread = (1 - shrinkage) * spread + shrinkage * variance * np.eye(len(spread))
    off = np.linalg.solve(spread + sigma**2 * np.eye(len(spread)), x.ravel() - mean)
    return (mean + spread @ off).reshape(x.shape)


def learnt_mask(images: np.ndarray, sigma: float, threshold: float, row: bool = False) -> np.ndarray:
    """Which numbers n decide for each number m, bool (n, m): PCA locality as published."""
    spread = covariance(images)[1]
    filtered = np.linalg.solve(spread + sigma**2 * np.eye(len(spread)), spread)
    mask = np.zeros_like(filtered)
    for n in range(len(filtered)):
        divisor = filtered[n, n] if abs(filtered[n, n]) >= 1e-6 else 1.0
        for m in range(len(filtered)):
            mask[n, m] = abs(filtered[n, m] / divisor)
    chosen: np.ndarray = mask >= threshold * mask.max()
    return chosen.T if row else chosen


def masked(x: np.ndarray, images: np.ndarray, sigma: float, mask: np.ndarray, batch: int | None = None) -> np.ndarray:
    """Every number m of one image from the numbers n with mask[n, m]; with `batch`, the mean of one softmax a batch."""
    flat, out = images.reshape(len(images), -1), np.empty(x.size)
    size = batch or len(images)
    for m in range(x.size):
        squares = (flat - x.ravel()) ** 2 @ mask[:, m]
        means = [softmax_mean(squares[i : i + size], flat[i : i + size, m], sigma) for i in range(0, len(images), size)]
        out[m] = np.mean(means)
    return out.reshape(x.shape)


def smoothed(x: np.ndarray, images: np.ndarray, sigma: float, steps: np.ndarray) -> np.ndarray:
    """The mean of IS over perturbations (M, C, H, W) in units of the variance-preserving state."""
    vp = x / np.sqrt(1 + sigma**2)
    return np.mean([ideal((vp + step) * np.sqrt(1 + sigma**2), images, sigma) for step in steps], axis=0)
