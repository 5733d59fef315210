"""How local a network is: the locality gap, and where its attention looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from elsewhere import __version__
from elsewhere.analysis.attention_files import attention_csv, attention_json, read_attention, save_attention
from elsewhere.analysis.attention_result import AttentionResult, LayerAttention, NetworkAttention
from elsewhere.analysis.checks import describe
from elsewhere.checks import check_seed, check_whole, checked, seen_text
from elsewhere.data import ImageSet
from elsewhere.denoiser import DenoiserLike, ask, check_request
from elsewhere.networks.attention import attention_layers, inside, positions, watch, within_window
from elsewhere.networks.base import NetworkDenoiser
from elsewhere.phrases import count as counted
from elsewhere.progress import track
from elsewhere.sampling import make_noise
from elsewhere.schedules import Schedule, cosine

LEVELS = 8
"""Noise levels by default: every network is asked (2 W P + W + 1) B times at each."""


class AttentionReport(AttentionResult):
    """An `AttentionResult` that can be written to files."""

    def to_json(self) -> str:
        """Everything as JSON text."""
        return attention_json(self)

    def to_csv(self) -> str:
        """`table()` as CSV text with a header."""
        return attention_csv(self)

    @checked
    def save(self, folder: str | Path) -> None:
        """Write results.json, results.csv, report.html, gap.png and, with attention, attention.png and where.png.

        Raises:
            OSError: the folder cannot be created or written; the message names it.
        """
        save_attention(self, folder)

    @classmethod
    @checked
    def load(cls, path: str | Path) -> Self:
        """Read results.json, or the folder that has it, as `save` wrote it.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another file.
        """
        return read_attention(cls, path)


@checked
def attention_report(
    networks: Mapping[str, DenoiserLike],
    data: ImageSet,
    *,
    windows: Sequence[int] | None = None,
    schedule: Schedule | None = None,
    count: int = 16,
    pixels: int = 4,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> AttentionReport:
    """Measure how far denoisers look: the locality gap of each, and what its self-attention sees beyond windows.

    Training images x0 are drawn, and noise n; x = x0 + sigma n. For a pixel i and a window around it, y has the
    pixels of x inside the window and others outside. A denoiser that is local answers the same at i. Three gaps say
    how far it is from that, each the mean over images and pixels of |D(x)_i - D_local(x)_i|^2:

    - "image": D_local(x)_i = D(y)_i, where y has another training image with other noise outside the window. Nothing
      that the window leaves open survives. Where there is little noise, y has a visible edge around the window, which
      no training image has: then the gap also counts what the network does at such an edge.
    - "noise": D_local(x)_i = D(y)_i, where y has the same x0 and other noise outside. y is then as probable as x, and
      has no edge; but x0 is the same outside the window, so that the gap is a lower bound: it counts only how far the
      noise out there matters.
    - "masked": D_local is the network with every self-attention layer held to the window (`networks.within_window`),
      at all pixels. Convolutions and normalisation see what they saw: this gap is what attention finds beyond the
      window. The network was not trained with such a mask.

    The first two need nothing of a denoiser but its answers: the equivariant local machine with that window has gaps
    of 0 up to rounding, and the ideal machine, which sees the whole image, shows what the measurement gives for no
    locality at all.

    Where attention looks is read from its softmax weights: the mean distance in pixels between query and key, and the
    share of the weights outside each window, for every layer, head and noise level, and for every place. Weights say
    where a layer reads, not how much it matters: for that see "masked".

    Args:
        networks: name -> D(x, sigma, label=None): trained networks, or machines beside them.
        data: training images; those that networks with classes are asked about have their label.
        windows: odd sides in pixels; None: a quarter, a half, three quarters and all of the longer side.
        schedule: noise levels; None: `schedules.cosine(8)`.
        count: images, 2 or more; half the set at most.
        pixels: pixels of each image where the first two gaps are taken, drawn at random.
        seed: of images, pixels and noise.
        about: further settings to store in the result, such as the command line.
        progress: show a progress bar with the time left.

    Returns:
        An AttentionReport; `.save(folder)` writes numbers, figures and a page, `AttentionReport.load` reads it again.

    Raises:
        TypeError, ValueError: no networks, windows that are even or given twice, too few images, or images that a
            network does not take.

    Example:
        >>> import elsewhere as els
        >>> data = els.load_images("fashion-mini", limit=20)
        >>> machines = {"LS": els.LocalScore(data, 5), "IS": els.IdealScore(data)}
        >>> found = els.attention_report(machines, data, windows=[5], schedule=els.schedules.cosine(2), count=2)
        >>> bool((found.network("LS").rms("image") < 1e-4).all()), bool((found.network("IS").rms("image") > 0).any())
        (True, True)
    """
    if not networks:
        raise ValueError('networks is empty: give one or more, such as {"UNet": els.load_network(folder)}')
    schedule = cosine(LEVELS) if schedule is None else schedule
    sides = _sides(windows, data)
    check_whole("pixels", pixels, 1)
    check_seed(seed)
    probe = _Probe(data, check_whole("count", count, 2), pixels, seed)
    sigmas = schedule.sigmas[:-1]
    check_request(networks, probe.clean, None, "data")
    steps = [(name, level) for name in networks for level in range(len(sigmas))]
    works = {name: _Work(name, denoiser, probe, sigmas, sides) for name, denoiser in networks.items()}
    for name, level in track(steps, len(steps), "attention", progress):
        works[name].measure(level)
    settings = {
        "data": data.name,
        "data_images": len(data),
        "fingerprint": data.fingerprint(),
        "shape": list(data.shape),
        "schedule": schedule.name,
        "images": count,
        "pixels": pixels,
        "seed": seed,
        "version": __version__,
        "torch": torch.__version__,
        **({"about": dict(about)} if about else {}),
    }
    return AttentionReport(tuple(sigmas), sides, tuple(work.found() for work in works.values()), settings)


def _sides(windows: Sequence[int] | None, data: ImageSet) -> tuple[int, ...]:
    if windows is None:
        longest = max(data.shape[1:])
        return tuple(sorted({max(1, longest * part // 4 - 1) | 1 for part in (1, 2, 3, 4)}))
    if not windows or len(set(windows)) < len(windows):
        raise ValueError(f"windows must be one or more odd sides, each once, got {seen_text(list(windows))}")
    for window in windows:
        if window < 1 or window % 2 == 0:
            raise ValueError(f"windows must be odd sides of 1 pixel or more, got {window}")
    return tuple(sorted(windows))


class _Probe:
    """The images that all denoisers are asked about, what stands outside the windows, and the pixels looked at."""

    def __init__(self, data: ImageSet, count: int, pixels: int, seed: int) -> None:
        if 2 * count > len(data):
            raise ValueError(
                f"count must be at most half of {counted(len(data), 'image')} of {data.name}, as every image is paired "
                f"with another one, got {count}"
            )
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(data), generator=generator, device="cpu")[: 2 * count]
        images = data[order].to("cpu")
        pixel_values = images.scaled()
        self.clean, self.others = pixel_values[:count], pixel_values[count:]
        self.labels = None if images.labels is None else images.labels[:count].to(torch.int64)
        _, height, width = data.shape
        self.rows = torch.randint(height, (count, pixels), generator=generator, device="cpu")
        self.columns = torch.randint(width, (count, pixels), generator=generator, device="cpu")
        noise = make_noise(2 * count, data.shape, seed)
        self.noise, self.fresh = noise[:count], noise[count:]

    def exchanged(self, x: Tensor, outside: Tensor, window: int) -> Tensor:
        """x inside the window of every pixel and `outside` elsewhere, (B P, C, H, W)."""
        reach, (height, width) = window // 2, x.shape[2:]
        down = (torch.arange(height, device="cpu") - self.rows[..., None]).abs() <= reach
        across = (torch.arange(width, device="cpu") - self.columns[..., None]).abs() <= reach
        within = (down[..., :, None] & across[..., None, :])[:, :, None]
        return torch.where(within, x[:, None], outside[:, None]).flatten(0, 1)

    def at_pixels(self, images: Tensor) -> Tensor:
        """The looked-at pixel of each of the images (B P, C, H, W), or all pixels of each of B images: (B, P, C)."""
        batch, pixels = self.rows.shape
        if len(images) == batch:
            images = images.repeat_interleave(pixels, 0)
        picked = images[torch.arange(batch * pixels, device="cpu"), :, self.rows.flatten(), self.columns.flatten()]
        return picked.view(batch, pixels, -1)


class _Work:
    """The measurements of one denoiser."""

    def __init__(
        self, name: str, denoiser: DenoiserLike, probe: _Probe, sigmas: tuple[float, ...], windows: tuple[int, ...]
    ) -> None:
        self.name, self.denoiser, self.probe, self.sigmas, self.windows = name, denoiser, probe, sigmas, windows
        # Machines answer for all classes together; networks with classes are better at one.
        known = getattr(denoiser, "num_classes", 0) and not hasattr(denoiser, "data")
        self.labels = probe.labels if known else None
        shape = (len(sigmas), len(windows), len(probe.clean))
        self.gaps = {kind: torch.zeros(shape, dtype=torch.float64, device="cpu") for kind in ("image", "noise")}
        self.spread = torch.zeros(len(sigmas), dtype=torch.float64, device="cpu")
        self.looks: _Looks | None = None
        self.plain, self.masked = denoiser, list[DenoiserLike]()
        if isinstance(denoiser, NetworkDenoiser) and attention_layers(denoiser):
            self.gaps["masked"] = torch.zeros(shape, dtype=torch.float64, device="cpu")
            self.looks = _Looks(len(sigmas), windows, probe.clean.shape[2:])
            self.denoiser = watch(denoiser, self.looks)
            self.masked = [within_window(denoiser, window) for window in windows]

    def measure(self, level: int) -> None:
        """Everything at one noise level."""
        probe, sigma = self.probe, self.sigmas[level]
        x = probe.clean + sigma * probe.noise
        if self.looks is not None:
            self.looks.level = level
        answer = ask(self.denoiser, x, sigma, self.labels, self.name)
        self.spread[level] = answer.double().var(0).mean().sqrt()
        here = probe.at_pixels(answer)
        pixels = probe.rows.shape[1]
        labels = None if self.labels is None else self.labels.repeat_interleave(pixels)
        outside = {
            "image": probe.others + sigma * probe.fresh,
            "noise": probe.clean + sigma * probe.fresh,
        }
        for w, window in enumerate(self.windows):
            for kind, pasted in outside.items():
                local = ask(self.plain, probe.exchanged(x, pasted, window), sigma, labels, self.name)
                self.gaps[kind][level, w] = (here - probe.at_pixels(local)).double().square().mean((1, 2))
            if self.masked:
                held = ask(self.masked[w], x, sigma, self.labels, self.name)
                self.gaps["masked"][level, w] = (answer - held).double().square().mean((1, 2, 3))

    def found(self) -> NetworkAttention:
        """What was measured."""
        gaps = {kind: gap.numpy() for kind, gap in self.gaps.items()}
        layers = () if self.looks is None else self.looks.layers()
        return NetworkAttention(self.name, describe(self.plain), gaps, self.spread.numpy(), layers)


class _Looks:
    """Sums up attention weights as `watch` shows them; `level` is the noise level being asked."""

    def __init__(self, levels: int, windows: tuple[int, ...], size: Sequence[int]) -> None:
        self.level, self.levels, self.windows, self.size = 0, levels, windows, size
        self.grids: dict[str, tuple[int, int]] = {}
        self.sums: dict[str, list[Tensor | None]] = {}
        self.images: dict[str, list[int]] = {}

    def __call__(self, name: str, grid: tuple[int, int], weights: Tensor) -> None:
        # (features, heads, queries): the mean distance, and the share outside each window.
        looks = self._looks(grid).to(weights.device)
        found = torch.einsum("bhqk,fqk->fhq", weights.double(), looks).cpu()
        self.grids[name] = grid
        sums = self.sums.setdefault(name, [None] * self.levels)
        before = sums[self.level]
        sums[self.level] = found if before is None else before + found
        self.images.setdefault(name, [0] * self.levels)[self.level] += len(weights)

    def _looks(self, grid: tuple[int, int]) -> Tensor:
        height, width = self.size
        place = positions(height, width, grid)
        away = torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist")
        outside = [~inside(height, width, grid, window) for window in self.windows]
        return torch.stack([away, *outside]).double()

    def layers(self) -> tuple[LayerAttention, ...]:
        """Means over the images, layer by layer."""
        found = []
        for name, sums in self.sums.items():
            means = [total / images for total, images in zip(sums, self.images[name], strict=True) if total is not None]
            whole = torch.stack(means)  # (S, 1 + W, heads, N)
            grid, uniform = self.grids[name], self._looks(self.grids[name]).mean((1, 2))
            where = whole[:, 1:].mean(2).view(len(means), -1, *grid)
            found.append(
                LayerAttention(
                    name,
                    grid,
                    whole[:, 0].mean(2).numpy(),
                    whole[:, 1:].mean(3).numpy(),
                    where.numpy(),
                    float(uniform[0]),
                    uniform[1:].numpy(),
                )
            )
        return tuple(found)
