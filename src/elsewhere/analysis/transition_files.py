"""The files of a transition: numbers, the figure, and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from elsewhere import __version__
from elsewhere.analysis.figures import COLOURS
from elsewhere.analysis.report import environment
from elsewhere.analysis.transition_result import TransitionResult
from elsewhere.data import to_unit
from elsewhere.files import csv_text, save_all
from elsewhere.pictures import data_uri, figure_png, literal, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = ("o", "s", "^", "D", "v", "P")


def save_transition(found: TransitionResult, folder: str | Path) -> list[Path]:
    """Write report.html, results.json, results.csv and transition.png, each completely or not at all.

    Args:
        found: the result.
        folder: created if missing.

    Returns:
        The files written.

    Raises:
        OSError: the folder cannot be created or written.
    """
    picture = figure_png(transition_figure(found))
    about = found.settings.get("about", {})
    settings = {name: value for name, value in found.settings.items() if name not in ("about", "sigmas")} | about
    header, rows = found.table()
    page = (
        environment()
        .get_template("transition.html.j2")
        .render(
            headline=found.headline,
            data=found.settings.get("data", "training images"),
            picture=data_uri(picture),
            header=header,
            rows=rows,
            settings=[(name, str(value)) for name, value in settings.items()],
            version=__version__,
        )
    )
    contents: dict[str, str | bytes] = {
        "results.json": found.to_json() + "\n",
        "results.csv": csv_text(found.rows()),
        "transition.png": picture,
        "report.html": page,
    }
    save_all(folder, contents, "the transition")
    return [Path(folder) / name for name in contents]


def transition_figure(found: TransitionResult) -> Figure:
    """The share of copies against the number of training images, with 95 % intervals, and what each denoiser drew from
    the first seed."""
    names, counts = found.names, found.counts
    kept = any(point.picture is not None for point in found.points)
    figure = new_figure(8, 4.2 + (0.95 * len(names) + 0.3) * kept)
    parts = figure.subfigures(1 + kept, 1, height_ratios=[4.2, 0.95 * len(names) + 0.3][: 1 + kept], squeeze=False)
    axes = parts[0, 0].subplots()
    for number, name in enumerate(names):
        points, colour = found.of(name), COLOURS[number % len(COLOURS)]
        places, shares = [point.count for point in points], [point.share for point in points]
        low, high = np.array([point.interval for point in points]).T
        if len(points) == 1:
            axes.vlines(places, low, high, color=colour, linewidth=1.5)
        axes.fill_between(places, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(places, shares, "-" + MARKS[number % len(MARKS)], color=colour, label=literal(name, 28), markersize=5)
    axes.set(
        xscale="log", ylim=(-0.03, 1.03), xlabel="training images", ylabel="copies and near copies (95 % interval)"
    )
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.axhline(0.5, color="0.8", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    if not kept:
        return figure
    cells = parts[1, 0].subplots(len(names), len(counts), squeeze=False)
    for line, name in zip(cells, names, strict=True):
        known = {point.count: point for point in found.of(name)}
        for column, (cell, count) in enumerate(zip(line, counts, strict=True)):
            image = known[count].image() if count in known else None
            if image is None:
                cell.axis("off")
                continue
            show_image(cell, to_unit(torch.from_numpy(image.copy())), f"{count:,}" if line is cells[0] else "")
            if column == 0:
                cell.set_ylabel(literal(name, 14), fontsize=8)
            copied = known[count].verdicts[0] in ("copy", "near copy")
            cell.set_xlabel(known[count].verdicts[0] if copied else "", fontsize=7, labelpad=1)
    return figure
