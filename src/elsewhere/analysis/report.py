"""The comparison as one self-contained HTML page (no external files; it reads well without scripts) and as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from elsewhere import __version__
from elsewhere.analysis.comparison_result import NETWORK, ComparisonResult
from elsewhere.analysis.figures import agreement_scatter, window_curves
from elsewhere.analysis.mosaic_view import entries_of, view_parts
from elsewhere.checks import checked
from elsewhere.files import write_text
from elsewhere.machines.table import BEST_REPORT, BEST_TITLE, MACHINES
from elsewhere.phrases import count, decimal, part_of
from elsewhere.pictures import Column, data_uri, figure_png, image_png, labelled_grid, picture_png

FULL_NAMES = {**{entry.report_name: entry.title for entry in MACHINES}, BEST_REPORT: BEST_TITLE, NETWORK: "trained"}
FIRST_ROWS = 8
"""Seeds shown in grid.png and before the fold of the report: the first ones, to avoid selection."""


@checked
def write_report(comparisons: Mapping[str, ComparisonResult], path: str | Path) -> None:
    """Write one HTML page with a section for each comparison.

    Args:
        comparisons: title of the section -> comparison.
        path: the file, replaced if it exists.

    Raises:
        ValueError: no comparisons.
        OSError: the file cannot be written; the message names it.
    """
    page = render_report(comparisons)
    try:
        write_text(path, page)
    except OSError as error:
        raise OSError(f"cannot write the report {path}: {error.strerror}; choose another path") from error


def render_report(comparisons: Mapping[str, ComparisonResult]) -> str:
    """The report as HTML text.

    Raises:
        ValueError: no comparisons.
    """
    if not comparisons:
        raise ValueError("comparisons is empty: give one or more")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            sections=[_section(title, comparison) for title, comparison in comparisons.items()],
            **view_parts(any(comparison.mosaic is not None for comparison in comparisons.values())),
            version=__version__,
            date=datetime.now(UTC).date().isoformat(),
        )
    )


def environment() -> Environment:
    """The Jinja environment of the reports; values are escaped."""
    pages = Environment(
        loader=PackageLoader("elsewhere.analysis", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals["count"], pages.globals["decimal"] = count, decimal
    return pages


def grid_png(comparison: ComparisonResult) -> bytes:
    """The first seeds as rows; machines, network and its nearest training image as columns; PNG."""
    columns = [
        Column(c["title"], c["subtitle"], c["images"][:FIRST_ROWS], c["captions"][:FIRST_ROWS])
        for c in _columns(comparison)
    ]
    return picture_png(labelled_grid(columns))


def scatter_png(comparison: ComparisonResult) -> bytes | None:
    """Scatter plot of Pearson r of two machines, one dot per seed, as PNG; None without a pair or defined values."""
    if comparison.pair is None:
        return None
    x, y = (comparison.metrics[name]["pearson_r"] for name in comparison.pair)
    if np.isnan(x + y).all():
        return None
    return figure_png(agreement_scatter(comparison.pair[0], x, comparison.pair[1], y, comparison.near))


def _columns(comparison: ComparisonResult) -> list[dict[str, Any]]:
    columns = [
        {
            "title": name,
            "subtitle": FULL_NAMES.get(name, ""),
            "images": comparison.images[name],
            "captions": [f"r = {r:.2f}" if r == r else "r undefined" for r in comparison.metrics[name]["pearson_r"]],
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


def _class(label: str) -> str:
    """A class as printed: a bare number could be mistaken for a seed."""
    return f"class {label}" if label.isdecimal() else label


def _section(title: str, comparison: ComparisonResult) -> dict[str, Any]:
    columns = _columns(comparison)
    rows = [
        {
            "seed": seed,
            "label": _class(comparison.labels[seed]) if comparison.labels else "",
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
        "warnings": comparison.warnings,
        "headline": _headline(comparison),
        "memory": _memory(comparison),
        "medians": _medians(comparison),
        "columns": columns,
        "rows": rows[:FIRST_ROWS],
        "more": rows[FIRST_ROWS:],
        "pair": comparison.pair,
        "near": comparison.near,
        "over": count(comparison.seeds, "seed"),
        "intervals": comparison.seeds > 1,
        "scatter": None if scatter is None else data_uri(scatter),
        "curves": None if curves is None else data_uri(curves),
        "settings": _settings(comparison),
        "mosaics": _mosaics(comparison),
        "explained": comparison.explained,
    }


def _mosaics(comparison: ComparisonResult) -> str | None:
    """What the explanation view shows, None without an explained machine."""
    if comparison.mosaic is None:
        return None
    return entries_of(comparison.mosaic, [f"Seed {seed}" for seed in range(len(comparison.mosaic.x))])


def _headline(comparison: ComparisonResult) -> str:
    """The measured agreement as one or two sentences."""
    if not comparison.near:
        return comparison.verdict()
    name = comparison.leading
    r = comparison.summary()[name]["pearson_r"]
    full = f"the {FULL_NAMES[name]} machine ({name})" if name in FULL_NAMES else name
    seeds = count(comparison.seeds - r["undefined"], "seed")
    if r["low"] is None:
        text = f"From the same noise, {full} and the network draw images with a Pearson r of "
        text += f"{decimal(r['median'], '.2f')} ({seeds})."
    else:
        text = f"From the same noise, {full} and the network draw images with a median Pearson r of "
        text += f"{r['median']:.2f} (95 % interval {r['low']:.2f} to {r['high']:.2f}, {seeds})."
    if comparison.pair is None:
        return text
    other = comparison.pair[0]
    return f"{text} {other} reaches {decimal(comparison.median(other, 'pearson_r'), '.2f')}. {comparison.verdict()}"


def _memory(comparison: ComparisonResult) -> str:
    """How many images are copies of training images, as a sentence; empty if no training data is known."""
    counts = [f"{name} {int(near.copies.sum())}" for name, near in comparison.nearest.items()]
    if not counts:
        return ""
    read, total = comparison.settings["data_images"], comparison.settings["data_total"]
    among = f" Training images compared: {part_of(read, total, 'training image')}." if total and total > read else ""
    return f"Copies of a training image among {count(comparison.seeds, 'image')}: {', '.join(counts)}.{among}"


def _medians(comparison: ComparisonResult) -> list[dict[str, Any]]:
    return [
        {"name": name, "full": FULL_NAMES.get(name, ""), "leading": name in comparison.closest, "values": values}
        for name, values in comparison.summary().items()
    ]


def _settings(comparison: ComparisonResult) -> list[tuple[str, str]]:
    """Everything needed to repeat the comparison, as (name, value)."""
    settings = comparison.settings
    sigmas = settings["sigmas"]
    images = part_of(settings["data_images"], settings["data_total"], "image")
    about = {name: value for name, value in settings.get("about", {}).items() if name not in ("network", "family")}
    called = f"{settings['network_name']}: " if settings["network_name"] else ""
    lines = [
        ("training images", f"{settings['data']}, {images}" if settings["data"] else "unknown"),
        ("network", called + settings["network"]),
        *settings["machines"].items(),
        *(
            (f"{'tapered ' if s.taper else ''}windows of {n}", ", ".join(map(str, s.windows)))
            for n, s in comparison.windows.items()
        ),
        ("schedule", f"{settings['schedule']}, sigma {sigmas[0]:.4g} to {sigmas[-2]:.4g}, then 0"),
        ("sampler", settings["sampler"]),
        ("seeds", f"{settings['seeds']}, noise SHA-256 {settings['noise_sha256'][:16]}"),
        ("versions", f"elsewhere {settings['version']}, torch {settings['torch']}"),
        *about.items(),
    ]
    return [(str(name), str(value)) for name, value in lines]
