"""The files of an attention report: numbers as JSON and CSV, figures, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from elsewhere.analysis.attention_figures import attention_figure, gap_figure, where_figure
from elsewhere.analysis.attention_page import render_attention
from elsewhere.analysis.attention_result import KINDS, AttentionResult, LayerAttention, NetworkAttention
from elsewhere.files import csv_text, entries, entry, json_object, json_text, rows, save_all
from elsewhere.pictures import figure_png
from elsewhere.tensor_files import one_line

FORMAT = "elsewhere.attention/1"
RESULTS = "results.json"
DIGITS = 6
"""Significant digits of numbers in results.json: more than any of the measurements has."""

Report = TypeVar("Report", bound=AttentionResult)


def attention_json(result: AttentionResult) -> str:
    """Everything as JSON text."""
    content = {
        "format": FORMAT,
        "units": "gaps are mean squares in units of [-1, 1], distances are in pixels",
        "sigmas": result.sigmas,
        "windows": result.windows,
        "settings": result.settings,
        "summary": result.summary(),
        "networks": [
            {
                "name": network.name,
                "about": network.about,
                "gaps": {kind: _numbers(gap) for kind, gap in network.gaps.items()},
                "spread": _numbers(network.spread),
                "layers": [
                    {
                        "name": layer.name,
                        "grid": list(layer.grid),
                        "uniform_distance": layer.uniform_distance,
                        **{name: _numbers(getattr(layer, name)) for name in ARRAYS},
                    }
                    for layer in network.layers
                ],
            }
            for network in result.networks
        ],
    }
    return json_text(content, indent=None)


ARRAYS = {"distance": 2, "beyond": 3, "where": 4, "uniform_beyond": 1}
"""Array of a layer -> number of axes."""


def _numbers(values: np.ndarray) -> Any:
    with np.errstate(divide="ignore"):
        size = np.where(values == 0, 0, np.floor(np.log10(np.abs(np.where(values == 0, 1, values)))))
    scale = 10.0 ** (DIGITS - 1 - size)
    return (np.round(values * scale) / scale).tolist()


def attention_csv(result: AttentionResult) -> str:
    """`table()` as CSV text with a header."""
    return csv_text(result.table())


def save_attention(result: AttentionResult, folder: str | Path) -> None:
    """Write results.json, results.csv, report.html and figures, each completely or not at all.

    Args:
        result: the report.
        folder: created if missing.

    Raises:
        OSError: the folder cannot be created or written; the message names it.
    """
    contents: dict[str, str | bytes] = {
        RESULTS: attention_json(result) + "\n",
        "results.csv": attention_csv(result),
        "report.html": render_attention(result),
        "gap.png": figure_png(gap_figure(result)),
    }
    with_attention = [network for network in result.networks if network.layers]
    if with_attention:
        contents["attention.png"] = figure_png(attention_figure(result))
        contents["where.png"] = figure_png(where_figure(result, with_attention[0].name))
    save_all(folder, contents, "the attention report")


def read_attention(kind: type[Report], path: str | Path) -> Report:
    """A report from its results.json, or from the folder that has it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected results.json of an attention report")
    try:
        content = json_object(path.read_bytes(), FORMAT)
        sigmas, windows = tuple(map(float, entries(content, "sigmas"))), tuple(map(int, entries(content, "windows")))
        needed = ("name", "about", "gaps", "spread", "layers")
        networks = tuple(_network(row, len(sigmas), len(windows)) for row in rows(content, "networks", needed, ()))
        return kind(sigmas, windows, networks, dict(entry(content, "settings")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no attention report of this version: {one_line(error)}") from error


def _network(row: dict[str, Any], levels: int, windows: int) -> NetworkAttention:
    gaps = {name: _array(values, 3) for name, values in dict(row["gaps"]).items()}
    if not set(gaps) <= set(KINDS) or any(gap.shape[:2] != (levels, windows) for gap in gaps.values()) or not gaps:
        raise ValueError(f"gaps of {row['name']!r} do not fit {levels} noise levels and {windows} windows")
    layers = []
    for layer in rows(row, "layers", ("name", "grid", "uniform_distance", *ARRAYS), ()):
        arrays = {name: _array(layer[name], axes) for name, axes in ARRAYS.items()}
        grid = (int(layer["grid"][0]), int(layer["grid"][1]))
        if arrays["where"].shape != (levels, windows, *grid):
            raise ValueError(f"the layer {layer['name']!r} does not fit its grid")
        layers.append(LayerAttention(layer["name"], grid, uniform_distance=float(layer["uniform_distance"]), **arrays))
    return NetworkAttention(row["name"], row["about"], gaps, _array(row["spread"], 1), tuple(layers))


def _array(values: Any, axes: int) -> np.ndarray:
    found = np.array(values, np.float64)
    if found.ndim != axes:
        raise ValueError(f"expected numbers in {axes} nested lists, got {found.ndim}")
    return found
