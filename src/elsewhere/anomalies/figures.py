"""Figures of a measurement: rates against windows, drawn images with their counts, and sources of fingers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from elsewhere.analysis.figures import COLOURS, head_figure
from elsewhere.anomalies.laboratory import drawn
from elsewhere.anomalies.origins import Origins, origins_of_run
from elsewhere.anomalies.points import NETWORK, Point
from elsewhere.anomalies.report import draw_extras, render_anomalies
from elsewhere.anomalies.result import Anomalies
from elsewhere.anomalies.statistics import rate
from elsewhere.data import to_unit
from elsewhere.files import save_bytes, write_text
from elsewhere.machines.table import MACHINES, WINDOWED_REPORTS
from elsewhere.pictures import Column, labelled_grid, new_figure, picture_png, save_figure, show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALWAYS = float("inf")
ROWS = 8
TIP_COLOURS = ("#e4572e", "#f2a541", "#76b041", "#17bebb", "#4a7bd0", "#9b5de5", "#e05fa0", "#8d6e63")


def save_pictures(out: str | Path, result: Anomalies) -> list[Path]:
    """Write the figures of a measurement.

    grid.png has the first images of the points with their counts; rates.png the rates, if windows shrink; origins.png
    the sources of the fingers, if the equivariant local machine drew a hand with too many; report.html has the tables,
    these figures, and the training patches of images with too many limbs.

    Args:
        out: the folder given to `measure`.
        result: what it returned.

    Returns:
        The files written.

    Raises:
        OSError: the folder cannot be written.
    """
    out = Path(out)
    files = [out / "grid.png"]
    save_bytes(files[0], picture_png(counted_grid(out, result)))
    if any(point.shrink is not None for point in result.points):
        files.insert(0, out / "rates.png")
        save_figure(files[0], rates_figure(result))
    extras = draw_extras(result)
    if extras and result.subject.limb == "fingers":
        first = extras[0]
        files.append(out / "origins.png")
        origins = origins_of_run(first.machine, first.run, first.label)
        save_figure(files[-1], origins_figure(first.run.images[0], origins, first.title))
    page = render_anomalies(result, {path.name: path.read_bytes() for path in files}, extras)
    files.append(out / "report.html")
    write_text(files[-1], page)
    return files


def rates_figure(result: Anomalies) -> Figure:
    """Rate of wrong images against the noise level at which the window shrinks, one line for each late window."""
    machines = [
        name for name in WINDOWED_REPORTS if any(p.machine == name and p.shrink is not None for p in result.points)
    ]
    figure = new_figure(5.2 * len(machines), 4.6)
    panels = figure.subplots(1, len(machines), sharey=True, squeeze=False)[0]
    for axes, machine in zip(panels, machines, strict=True):
        _panel(axes, machine, result)
    panels[0].set_ylabel(f"images with a wrong number of {result.subject.limb}")
    head_figure(figure, result.warnings)
    return figure


def _panel(axes: Axes, machine: str, result: Anomalies) -> None:
    points = [p for p in result.points if p.machine == machine and p.shrink is not None and p.name in result.counts]
    levels = sorted({p.shrink for p in points if p.shrink is not None}, reverse=True)
    late = sorted({p.late for p in points if p.late is not None})
    # The large window never shrinks; it is at the right end, after the latest shrinking.
    shrinking = {p.late for p in points if p.shrink != ALWAYS}
    for index, side in enumerate(s for s in late if s in shrinking or len(levels) == 1):
        line = sorted((p for p in points if p.late == side), key=lambda p: -(p.shrink or 0))
        _errors(
            axes, [levels.index(p.shrink or 0) + 0.05 * index for p in line], line, result, COLOURS[index % 4], side
        )
    ticks = ["from the\nbeginning" if level == ALWAYS else f"{level:g}" for level in levels]
    if len(levels) > 1:
        for side in (s for s in late if s not in shrinking):
            line = [p for p in points if p.late == side]
            _errors(axes, [len(levels)], line, result, "0.2", side)
            ticks.append(f"never\n({side} x {side})")
    axes.set_xticks(range(len(ticks)), ticks)
    whole = [(entry.report_name, "0.55", ":") for entry in MACHINES if not entry.windows]
    for name, colour, dashes in ((NETWORK, "black", "--"), *whole):
        if name in result.counts:
            found = rate(result.wrong(name))
            axes.axhspan(found.low, found.high, color=colour, alpha=0.08, linewidth=0)
            axes.axhline(found.share, color=colour, linestyle=dashes, linewidth=1.2, label=f"{name}, n = {found.total}")
    axes.set(title=machine, xlabel="sigma at which the window shrinks", ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


def _errors(axes: Axes, x: Sequence[float], line: Sequence[Point], result: Anomalies, colour: str, side: int) -> None:
    found = [rate(result.wrong(point.name)) for point in line]
    shares = [one.share for one in found]
    bars = [[one.share - one.low for one in found], [one.high - one.share for one in found]]
    label = f"late window {side} x {side}, n = {min(one.total for one in found)}"
    axes.errorbar(x, shares, bars, fmt="o-", color=colour, markersize=4, capsize=3, linewidth=1.4, label=label)


def counted_grid(out: Path, result: Anomalies, rows: int = ROWS) -> Image.Image:
    """The first seeds, one per row, with the number of limbs under each image; wrong numbers are marked.

    Of the late windows only the smallest one and the large one are shown.

    Args:
        out: the folder given to `measure`.
        result: what it returned.
        rows: largest number of seeds to show.
    """
    points = [point for point in result.points if point.name in result.counts]
    smallest = min((p.late for p in points if p.late is not None), default=None)
    largest = max((p.late for p in points if p.late is not None), default=None)
    shown = [p for p in points if p.late in (None, smallest, largest)]
    rows = min(rows, *(len(result.counts[point.name]) for point in shown))
    columns = []
    for point in shown:
        numbers = result.counts[point.name][:rows].tolist()
        images = to_unit(drawn(out, point.name)[:rows])
        captions = [str(n) if n == result.subject.normal else f"{n} \u2717" for n in numbers]
        columns.append(Column(point.machine, _words(point), images, captions))
    return labelled_grid(columns, width=96)


def _words(point: Point) -> str:
    if point.late is None:
        return "fitted" if point.machine in WINDOWED_REPORTS else ""
    return f"window {point.late}" if point.shrink == ALWAYS else f"{point.late} at {point.shrink:g}"


def origins_figure(image: Tensor, origins: Origins, title: str) -> Figure:
    """One drawn hand with its finger tips, and for each tip the training hand with the largest weight."""
    from matplotlib.patches import Rectangle

    count = len(origins.tips)
    across = (count + 1) // 2
    figure = new_figure(2.7 + 1.55 * across, 3.6)
    layout = figure.add_gridspec(2, across + 2, width_ratios=[1, 1, *([1] * across)])
    main = figure.add_subplot(layout[:, :2])
    show_image(main, image, title)
    half = origins.window / 2
    for index in range(count):
        colour = TIP_COLOURS[index % len(TIP_COLOURS)]
        panel = figure.add_subplot(layout[index % 2, 2 + index // 2])
        show_image(
            panel,
            to_unit(origins.images[index]),
            f"hand {int(origins.image_ids[index])}: {origins.weights[index]:.0%}",
        )
        for axes, (row, column) in ((main, origins.tips[index]), (panel, origins.places[index])):
            corner = (float(column) - half, float(row) - half)
            axes.add_patch(Rectangle(corner, origins.window, origins.window, fill=False, edgecolor=colour, linewidth=2))
    for axes in figure.axes:
        axes.set_axis_off()
    return figure
