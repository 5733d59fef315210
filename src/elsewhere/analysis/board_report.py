"""The board as one self-contained HTML page: no scripts, no external files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elsewhere import __version__
from elsewhere.analysis.board_result import REFERENCE, UNITS, BoardResult, BoardRow, BoardSection, geometric_mean
from elsewhere.analysis.peak_memory import HOW
from elsewhere.analysis.report import environment
from elsewhere.phrases import count, decimal
from elsewhere.pictures import data_uri, figure_png, literal, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = ("-", "--", ":")


def render_board(result: BoardResult) -> str:
    """The page as HTML text."""
    about = result.settings.get("about", {})
    settings = {name: value for name, value in result.settings.items() if name not in ("about", "sigmas")} | about
    return (
        environment()
        .get_template("board.html.j2")
        .render(
            sections=[_section(section) for section in result.sections],
            units=UNITS,
            memory=HOW,
            reference=REFERENCE,
            settings=[(name, str(value)) for name, value in settings.items()],
            version=__version__,
            date=datetime.now(UTC).date().isoformat(),
        )
    )


def error_curves(section: BoardSection) -> Figure:
    """rms of x0hat at each noise level for every method that was measured: relative to Wiener's if that was, too."""
    import matplotlib as mpl

    figure = new_figure(7.2, 4.2)
    axes = figure.subplots()
    colours = mpl.colormaps["tab10"].colors
    relative = any(row.name == REFERENCE for row in section.measured)
    for index, row in enumerate(section.ranked):
        values = None if row.why else section.relative(row.name) if relative else row.rms
        if values is not None:
            style = LINES[index // len(colours) % len(LINES)]
            best = row is section.best
            axes.plot(
                section.sigmas, values, style, color=colours[index % len(colours)], label=literal(row.name, 24),
                linewidth=2.4 if best else 1.3, zorder=3 if best else 2,
            )  # fmt: skip
    if relative:
        axes.axhline(1, color="0.6", linewidth=0.8)
    what = "against the network's x0hat" if section.network else "against held-out images"
    unit = f"times that of {REFERENCE}" if relative else "pixels from -1 to 1"
    axes.set(xscale="log", yscale="log", xlabel="noise level sigma", ylabel=f"rms of x0hat {what},\n{unit}")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", labelsize=7)
    axes.invert_xaxis()
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    return figure


def headline(section: BoardSection) -> str:
    """The best machine and its lead, in one or two sentences."""
    best = section.best
    if best is None:
        return "No machine was measured."
    if not section.network:
        ratio = section.mean_relative(best.name)
        named = f"Of {count(len(section.measured), 'method')}, {best.name} denoises held-out images best"
        if ratio is None or best.name == REFERENCE:
            return f"{named}."
        return f"{named}: its rms is {ratio:.2f} times that of {REFERENCE} (geometric mean over noise levels)."
    text = f"{best.name} is nearest to the network: median r {decimal(best.median('pearson_r'))}, "
    text += f"{count(section.seeds, 'seed')}."
    paired = section.paired(best.name)
    return text if paired is None else f"{text} {_versus(paired._asdict())}."


def _versus(paired: dict[str, Any]) -> str:
    text = f"Its r is {paired['difference']:+.3f} against {paired['rival']}"
    if paired["low"] is not None:
        text += f" (95 % interval {paired['low']:+.3f} to {paired['high']:+.3f}, Wilcoxon p {paired['p']:.2g})"
    return f"{text}, higher on {paired['wins']} of {count(paired['seeds'], 'seed')}"


def _section(section: BoardSection) -> dict[str, Any]:
    measured = section.measured
    curves = data_uri(figure_png(error_curves(section))) if any(row.rms for row in measured) else None
    return {
        "title": section.name if section.network else f"{section.name}, without a network",
        "network": section.network,
        "data": section.data,
        "headline": headline(section),
        "over": count(section.seeds, "seed" if section.network else "image"),
        "relative": any(row.name == REFERENCE for row in measured),
        "lines": [_line(section, row) for row in section.ranked],
        "curves": curves,
        "sigmas": section.sigmas,
        **_pictures(section),
    }


def _line(section: BoardSection, row: BoardRow) -> dict[str, Any]:
    return {
        "row": row,
        "rms": geometric_mean(row.rms),
        "leading": row is section.best,
        "summary": section.summary(row.name),
        "paired": section.paired(row.name),
        "mean_relative": section.mean_relative(row.name),
        "relative": section.relative(row.name),
    }


def _pictures(section: BoardSection) -> dict[str, Any]:
    """Columns and rows of the first images, for the macro `pictures`."""
    shown = [row for row in section.ranked if row.pictures]
    if section.target.pictures:
        shown = [section.target, *shown]
    rows = [
        {
            "seed": seed,
            "label": "",
            "cells": [
                {"src": row.pictures[seed], "alt": f"{row.name}, seed {seed}", "caption": _caption(row, seed)}
                for row in shown
            ],
        }
        for seed in range(min((len(row.pictures) for row in shown), default=0))
    ]
    return {"columns": [{"title": row.name, "subtitle": row.title} for row in shown], "rows": rows}


def _caption(row: BoardRow, seed: int) -> str:
    if "pearson_r" not in row.metrics:
        return ""
    r = row.metrics["pearson_r"][seed]
    return f"r = {r:.2f}" if r == r else "r undefined"
