"""Mosaics as tables in Parquet and JSON files: one row for each pixel and source, of one step or of a whole run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from types import ModuleType

from elsewhere.analysis.mosaic import MosaicResult
from elsewhere.checks import check_path, check_type
from elsewhere.files import atomic_path
from elsewhere.optional import require

EXTRA = "explain"
FORMAT = "elsewhere.mosaic/1"


def save_parquet(mosaics: Iterable[MosaicResult], path: str | Path) -> None:
    """Write the tables of mosaics, concatenated, to a Parquet file; it is written completely or not at all.

    Args:
        mosaics: for example from `explain_run`, consumed one at a time. Each becomes one row group.
        path: the file, replaced if it exists; its columns are those of `Mosaic.table`.

    Raises:
        ImportError: pyarrow is not installed (extra `explain`).
        TypeError: not mosaics, not a path.
        ValueError: no mosaics.
        OSError: the file cannot be written.
    """
    arrow, parquet = require_parquet()
    tables = (arrow.table(mosaic.table()) for mosaic in _some(mosaics))
    with atomic_path(check_path("path", path)) as beside:
        first = next(tables)
        with parquet.ParquetWriter(beside, first.schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table)


def save_json(mosaics: Iterable[MosaicResult], path: str | Path) -> None:
    """Write the tables of mosaics, concatenated, as JSON; the file is written completely or not at all.

    The file is one object: "columns" holds the column names of `Mosaic.table`, "rows" a list of values for each row.
    A row takes about 75 bytes, several times as much as in Parquet.

    Args:
        mosaics, path: see `save_parquet`.

    Raises:
        TypeError: not mosaics, not a path.
        ValueError: no mosaics.
        OSError: the file cannot be written.
    """
    tables = (mosaic.table() for mosaic in _some(mosaics))
    with atomic_path(check_path("path", path)) as beside, beside.open("w", encoding="utf-8") as file:
        first = next(tables)
        # Written row by row: the text of all rows of a run would need many times their memory.
        file.write(f'{{"format": "{FORMAT}", "columns": {json.dumps(list(first))}, "rows": [')
        separator = "\n"
        for table in chain([first], tables):
            for row in zip(*(values.tolist() for values in table.values()), strict=True):
                file.write(separator + json.dumps(row, allow_nan=False))
                separator = ",\n"
        file.write("\n]}\n")


def require_parquet() -> tuple[ModuleType, ModuleType]:
    """pyarrow and its Parquet module.

    Raises:
        ImportError: pyarrow is not installed.
    """
    arrow = require("pyarrow", extra=EXTRA, purpose="a Parquet file")
    return arrow, require("pyarrow.parquet", extra=EXTRA, purpose="a Parquet file")


def _some(mosaics: Iterable[MosaicResult]) -> Iterable[MosaicResult]:
    check_type("mosaics", mosaics, Iterable[MosaicResult])
    rest = iter(mosaics)
    first = next(rest, None)
    if first is None:
        raise ValueError("mosaics is empty: give one or more")
    check_type("the first of mosaics", first, MosaicResult)
    return chain([first], rest)
