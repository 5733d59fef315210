"""Figures of an attention report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from elsewhere.analysis.attention_result import KINDS, TITLES, AttentionResult
from elsewhere.pictures import literal, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("-", "--", ":")


def gap_figure(result: AttentionResult, window: int | None = None) -> Figure:
    """The three gaps against sigma, a line for each denoiser, at one window; bands are one standard error.

    Args:
        result: the report.
        window: one of its windows; None: the second smallest.
    """
    w = result.middle if window is None else result.windows.index(window)
    kinds = [kind for kind in KINDS if any(kind in network.gaps for network in result.networks)]
    figure = new_figure(3.4 * len(kinds) + 1.6, 3.6)
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for index, network in enumerate(result.networks):
            if kind not in network.gaps:
                continue
            values, error = network.rms(kind)[:, w], network.error(kind)[:, w]
            [line] = axes.plot(result.sigmas, values, _style(index), color=f"C{index % 10}", marker="o", markersize=3,
                               label=literal(network.name, 24))  # fmt: skip
            axes.fill_between(result.sigmas, values - error, values + error, color=line.get_color(), alpha=0.15)
        axes.set_title(TITLES[kind], fontsize=9)
        _against_sigma(axes)
    panels[0].set_ylabel(f"rms change of x0hat at a pixel\n(window {result.windows[w]}, pixels from -1 to 1)")
    panels[0].set_ylim(bottom=0)
    # The first panel has every denoiser.
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    return figure


def attention_figure(result: AttentionResult) -> Figure:
    """Mean attention distance against sigma, a panel for each layer, a line for each network; dashes: equal weights."""
    networks = [network for network in result.networks if network.layers]
    names = list(dict.fromkeys(layer.name for network in networks for layer in network.layers))
    figure = new_figure(2.7 * len(names) + 1.6, 3.2)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for index, network in enumerate(networks):
            for layer in network.layers:
                if layer.name == name:
                    axes.plot(result.sigmas, layer.distance.mean(1), color=f"C{index % 10}", marker="o", markersize=3,
                              label=literal(network.name, 24))  # fmt: skip
                    low, high = layer.distance.min(1), layer.distance.max(1)
                    axes.fill_between(result.sigmas, low, high, color=f"C{index % 10}", alpha=0.1)
                    axes.axhline(layer.uniform_distance, color="0.5", linestyle="--", linewidth=1)
        axes.set_title(literal(name.removeprefix("inner."), 30), fontsize=8)
        _against_sigma(axes)
    panels[0].set_ylabel("mean distance of query and key\n(pixels; bands: heads)")
    panels[0].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    return figure


def where_figure(result: AttentionResult, name: str, window: int | None = None) -> Figure:
    """Maps of the share of attention outside the window of each place: layers down, noise levels across.

    Args:
        result: the report.
        name: of a network with attention.
        window: one of its windows; None: the second smallest.
    """
    w = result.middle if window is None else result.windows.index(window)
    layers = result.network(name).layers
    levels = np.unique(np.linspace(0, len(result.sigmas) - 1, min(6, len(result.sigmas))).round().astype(int))
    figure = new_figure(1.25 * len(levels) + 2.2, 1.25 * len(layers) + 0.9)
    panels = figure.subplots(len(layers), len(levels), squeeze=False)
    for row, layer in zip(panels, layers, strict=True):
        for axes, level in zip(row, levels, strict=True):
            shown = axes.imshow(layer.where[level, w], vmin=0, vmax=1, cmap="magma")
            axes.set(xticks=[], yticks=[])
            if layer is layers[0]:
                axes.set_title(f"sigma {result.sigmas[level]:.2g}", fontsize=8)
        label = literal(layer.name.removeprefix("inner.").replace(".attentions.", "."), 20)
        row[0].set_ylabel(f"{label}\nequal: {layer.uniform_beyond[w]:.2f}", fontsize=7)
    bar = figure.colorbar(shown, ax=panels.ravel().tolist(), shrink=0.8)
    bar.set_label(f"share of attention outside {result.windows[w]} x {result.windows[w]} pixels", fontsize=8)
    figure.suptitle(literal(name, 60), fontsize=9)
    return figure


def _style(index: int) -> str:
    return LINES[index // 10 % len(LINES)]


def _against_sigma(axes: Axes) -> None:
    axes.set(xscale="log", xlabel="noise level sigma")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.invert_xaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
