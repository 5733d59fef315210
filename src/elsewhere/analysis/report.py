"""One HTML page that shows comparisons to a reader: self-contained, no scripts, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from elsewhere import __version__
from elsewhere.analysis.comparison import NETWORK, Comparison
from elsewhere.analysis.figures import agreement_scatter, window_curves
from elsewhere.files import write_text
from elsewhere.pictures import Column, data_uri, figure_png, image_png, labelled_grid, picture_png

FULL_NAMES = {
    "IS": "ideal",
    "LS": "local",
    "ES": "equivariant",
    "ELS": "equivariant local",
    NETWORK: "trained",
}
FIRST_ROWS = 8
"""Seeds shown in grid.png and before the fold of the report: the first ones, not the best ones."""


def write_report(comparisons: Mapping[str, Comparison], path: str | Path) -> None:
    """Write one page with a section for each comparison, under the titles given.

    Raises:
        ValueError: no comparisons.
        OSError: the file cannot be written; the message names it.
    """
    page = render_report(comparisons)
    try:
        write_text(path, page)
    except OSError as error:
        raise OSError(f"cannot write the report {path}: {error.strerror}; choose another place") from error


def render_report(comparisons: Mapping[str, Comparison]) -> str:
    """The page as text.

    Raises:
        ValueError: no comparisons.
    """
    if not comparisons:
        raise ValueError("there is nothing to report: give at least one comparison")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            sections=[_section(title, comparison) for title, comparison in comparisons.items()],
            version=__version__,
            date=datetime.now(UTC).date().isoformat(),
        )
    )


def environment() -> Environment:
    """Where templates of pages come from; what they are given is text, not markup."""
    return Environment(
        loader=PackageLoader("elsewhere.analysis", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def grid_png(comparison: Comparison) -> bytes:
    """The first seeds as rows; the machines, the network and its nearest training image as columns."""
    columns = [
        Column(c["title"], c["subtitle"], c["images"][:FIRST_ROWS], c["captions"][:FIRST_ROWS])
        for c in _columns(comparison)
    ]
    return picture_png(labelled_grid(columns))


def scatter_png(comparison: Comparison) -> bytes | None:
    """Pearson r of one machine against another over seeds; None when there is only one machine."""
    pair = _pair(comparison)
    if pair is None:
        return None
    x, y = (comparison.metrics[name]["pearson_r"] for name in pair)
    return figure_png(agreement_scatter(pair[0], x, pair[1], y))


def _pair(comparison: Comparison) -> tuple[str, str] | None:
    """The machine reports put first, and the one to hold it against: IS, or the first other."""
    others = [name for name in comparison.machines if name != comparison.leading]
    if not others:
        return None
    return ("IS" if "IS" in others else others[0]), comparison.leading


def _columns(comparison: Comparison) -> list[dict[str, Any]]:
    columns = [
        {
            "title": name,
            "subtitle": FULL_NAMES.get(name, ""),
            "images": comparison.images[name],
            "captions": [f"r = {r:.2f}" for r in comparison.metrics[name]["pearson_r"]],
        }
        for name in comparison.machines
    ]
    blank = [""] * comparison.seeds
    columns.append(
        {"title": "network", "subtitle": FULL_NAMES[NETWORK], "images": comparison.images[NETWORK], "captions": blank}
    )
    if NETWORK in comparison.nearest:
        near = comparison.nearest[NETWORK]
        captions = [f"rms {distance:.2f}" for distance in near.distances.tolist()]
        columns.append({"title": "nearest", "subtitle": "training image", "images": near.images, "captions": captions})
    return columns


def _section(title: str, comparison: Comparison) -> dict[str, Any]:
    columns = _columns(comparison)
    rows = [
        {
            "seed": seed,
            "label": comparison.labels[seed] if comparison.labels else "",
            "cells": [
                {
                    "src": data_uri(image_png(column["images"][seed])),
                    "alt": f"{column['title']}, seed {seed}",
                    "caption": column["captions"][seed],
                }
                for column in columns
            ],
        }
        for seed in range(comparison.seeds)
    ]
    scatter = scatter_png(comparison)
    curves = figure_png(window_curves(comparison.windows)) if comparison.windows else None
    return {
        "title": title,
        "headline": _headline(comparison),
        "memory": _memory(comparison),
        "medians": _medians(comparison),
        "columns": columns,
        "rows": rows[:FIRST_ROWS],
        "more": rows[FIRST_ROWS:],
        "pair": _pair(comparison),
        "scatter": None if scatter is None else data_uri(scatter),
        "curves": None if curves is None else data_uri(curves),
        "settings": _settings(comparison),
        "same_data": comparison.settings["same_data"],
    }


def _headline(comparison: Comparison) -> str:
    """The measured agreement, in words."""
    name = comparison.leading
    r = comparison.summary()[name]["pearson_r"]
    full = f"the {FULL_NAMES[name]} machine ({name})" if name in FULL_NAMES else name
    text = (
        f"From the same noise, {full} and the network draw images that agree with a median Pearson r of "
        f"{r['median']:.2f} (95 % interval {r['low']:.2f} to {r['high']:.2f}, {_count(comparison.seeds, 'seed')})."
    )
    pair = _pair(comparison)
    if pair is None:
        return text
    other = pair[0]
    wins = round(comparison.beats(name, other) * comparison.seeds)
    return (
        f"{text} {other} reaches {comparison.median(other, 'pearson_r'):.2f}; "
        f"{name} is closer to the network than {other} on {wins} of {comparison.seeds}."
    )


def _memory(comparison: Comparison) -> str:
    """How many images are copies of training images, in words; empty where no data is known."""
    counts = [f"{name} {int(near.copies.sum())}" for name, near in comparison.nearest.items()]
    if not counts:
        return ""
    return f"Copies of a training image, out of {_count(comparison.seeds, 'image')}: {', '.join(counts)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _medians(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {"name": name, "full": FULL_NAMES.get(name, ""), "leading": name == comparison.leading, "values": values}
        for name, values in comparison.summary().items()
    ]


def _settings(comparison: Comparison) -> list[tuple[str, str]]:
    """What a reader needs to run it again, as (name, value)."""
    settings = comparison.settings
    sigmas = settings["sigmas"]
    lines = [
        ("training images", f"{settings['data']}, {settings['data_images']} images" if settings["data"] else "unknown"),
        ("network", settings["network"]),
        *settings["machines"].items(),
        *(
            (f"{'tapered ' if s.taper else ''}windows of {n}", ", ".join(map(str, s.windows)))
            for n, s in comparison.windows.items()
        ),
        ("schedule", f"{settings['schedule']}, sigma {sigmas[0]:.4g} to {sigmas[-2]:.4g}, then 0"),
        ("seeds", f"{settings['seeds']}, noise SHA-256 {settings['noise_sha256'][:16]}"),
        ("versions", f"elsewhere {settings['version']}, torch {settings['torch']}"),
        *settings.get("about", {}).items(),
    ]
    return [(str(name), str(value)) for name, value in lines]
