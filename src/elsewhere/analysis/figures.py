"""Plots of calibrations, comparisons and audits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from elsewhere.machines.locality import LocalitySchedule
from elsewhere.pictures import literal, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c8553d", "#4c8c4a", "#7a5195")


def calibration_heat_map(schedule: LocalitySchedule) -> Figure:
    """Heat map of the loss of every window at every noise level, relative to the best; chosen windows are marked.

    Args:
        schedule: from `calibrate`; its details have the scores.
    """
    from matplotlib.colors import LogNorm

    details = schedule.details
    means = np.array(details[details["criterion"]]["mean"], np.float64)
    loss = 1 - means if details["criterion"] == "cosine" else means
    smallest = np.finfo(float).eps  # keeps the ratio finite for a perfect match, whose loss is 0
    ratio = (loss + smallest) / (np.nanmin(loss, 1, keepdims=True) + smallest)
    figure = new_figure(8, 4.6)
    axes = figure.subplots()
    levels, sides = np.arange(len(schedule.sigmas)), details["windows"]
    norm = LogNorm(1, max(1.1, min(10.0, float(np.nanmax(ratio)))))
    mesh = axes.pcolormesh(levels, np.arange(len(sides)), ratio.T, norm=norm, cmap="viridis_r", shading="nearest")
    rows = [sides.index(window) for window in schedule.windows]
    axes.plot(levels, rows, "o-", color="white", markeredgecolor="black", linewidth=1, label="chosen window")
    axes.set_xticks(levels, [f"{sigma:.2g}" for sigma in schedule.sigmas], rotation=60)
    axes.set_yticks(np.arange(len(sides)), [str(side) for side in sides])
    axes.set(xlabel="noise level sigma (the run goes from left to right)", ylabel="window side (pixels)")
    axes.legend(loc="upper right", facecolor="0.8")
    measure = "1 - cosine of the scores" if details["criterion"] == "cosine" else "mean squared difference"
    bar = figure.colorbar(mesh, ax=axes, extend="max")
    bar.set_label(f"{measure},\ntimes the best at this noise level")
    ticks = [tick for tick in (1, 1.1, 1.2, 1.5, 2, 3, 5, 10) if tick <= float(norm.vmax or 1)]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks], minor=False)
    bar.ax.minorticks_off()
    head_figure(figure, details.get("warnings", ()))
    return figure


def window_curves(schedules: Mapping[str, LocalitySchedule]) -> Figure:
    """Window side against noise level. A band spans the windows that tie with the best one, if that was measured.

    Args:
        schedules: name -> schedule. Equal schedules share a line.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(4.8, 4.4)
    axes = figure.subplots()
    lines: dict[str, LocalitySchedule] = {}
    for schedule in schedules.values():
        names = [name for name, other in schedules.items() if other == schedule]
        lines[", ".join(names)] = schedule
    for colour, (name, schedule) in zip(_colours(len(lines)), lines.items(), strict=True):
        tied = schedule.details.get("tied")
        if tied:
            low, high = [min(sides) for sides in tied], [max(sides) for sides in tied]
            axes.fill_between(schedule.sigmas, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(schedule.sigmas, schedule.windows, "o-", color=colour, markersize=4, label=literal(name, 28))
    sides = [
        (*schedule.windows, *(max(tied) for tied in schedule.details.get("tied", ()))) for schedule in lines.values()
    ]
    top = 1.08 * max(map(max, sides))
    axes.set(xscale="log", xlabel="noise level sigma", ylabel="window side (pixels)", ylim=(0, top))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.invert_xaxis()
    axes.legend(frameon=False, fontsize=9)
    _plain(axes)
    head_figure(
        figure, dict.fromkeys(note for schedule in schedules.values() for note in schedule.details.get("warnings", ()))
    )
    return figure


def agreement_scatter(x_name: str, x: np.ndarray, y_name: str, y: np.ndarray, near: bool) -> Figure:
    """Scatter plot of Pearson r with the network, one dot per seed; above the diagonal the second machine is closer.

    Args:
        x_name, y_name: names of two machines.
        x, y: their r on each seed, (B,). Seeds on which either is NaN have no dot; one or more must have both.
        near: whether any machine is near the network; if not, the title says so instead of counting seeds.
    """
    figure = new_figure(4.4, 4.4)
    axes = figure.subplots()
    x_name, y_name = literal(x_name, 24), literal(y_name, 24)
    defined = ~np.isnan(x + y)
    x, y = x[defined], y[defined]
    low = max(-1.0, min(0.0, float(np.floor(10 * min(x.min(), y.min())) / 10)))
    axes.plot([low, 1], [low, 1], color="0.6", linewidth=1)
    axes.fill_between([low, 1], [low, 1], 1, color=COLOURS[0], alpha=0.06, linewidth=0)
    axes.scatter(x, y, s=28, color=COLOURS[0], edgecolor="white", linewidth=0.6, zorder=3, clip_on=False)
    title = f"{y_name} is closer on {(y > x).sum()} of {len(x)}" if near else "No machine is near the network"
    axes.set_title(title, loc="left", fontsize=10)
    axes.set(xlim=(low, 1), ylim=(low, 1), aspect="equal")
    axes.set(xlabel=f"Pearson r of {x_name} with the network", ylabel=f"Pearson r of {y_name} with the network")
    _plain(axes)
    return figure


def distance_histogram(training: np.ndarray, generated: np.ndarray, near: float) -> Figure:
    """Histogram of the distances of training images (to the others) and of generated images to the nearest one.

    Args:
        training, generated: rms distances, 0 or more, (N,) and (B,).
        near: distance below which a near copy must lie, marked by a line.
    """
    figure = new_figure(6.4, 3.4)
    axes = figure.subplots()
    # The axis needs a length even if every distance is 0.
    top = 1.02 * max(float(training.max()), float(generated.max()), near) or 1
    edges = np.linspace(0, top, 41).tolist()
    for colour, name, values in (
        (COLOURS[0], "training images (to the others)", training),
        (COLOURS[1], "generated images", generated),
    ):
        weights = np.full(len(values), 100 / len(values))
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.25)
        axes.hist(values, edges, weights=weights, color=colour, histtype="step", linewidth=1.6, label=name)
    axes.axvline(near, color="0.35", linestyle=":", linewidth=1.2, label=f"near copies are below {near:.3f}")
    axes.set(
        xlabel="rms difference from the nearest training image, shifts and mirroring allowed", ylabel="% of images"
    )
    axes.set_xlim(0, top)
    # The legend is above the axes, because bars may be anywhere inside.
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8)
    _plain(axes)
    return figure


def head_figure(figure: Figure, notes: Iterable[str]) -> None:
    """Put warnings above everything else in a figure."""
    text = "\n".join(fill(literal(note, 400), int(12 * figure.get_figwidth())) for note in notes)
    if text:
        figure.suptitle(text, x=0.02, ha="left", fontsize=9, color=COLOURS[1])


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
