"""Mosaics as tables in files: a row for each pixel and source, of one step or of a whole run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from elsewhere.checks import check_path, check_type
from elsewhere.files import atomic_path
from elsewhere.optional import require

if TYPE_CHECKING:
    from elsewhere.analysis.explaining import Mosaic

EXTRA = "explain"
FORMAT = "elsewhere.mosaic/1"


def save_parquet(mosaics: Iterable[Mosaic], path: str | Path) -> None:
    """Write the tables of mosaics one below the other as a Parquet file, whole or not at all.

    Args:
        mosaics: such as those of `explain_run`; no more than one need be held. Each is a row group of its own.
        path: the file; its columns are those of `Mosaic.table`.

    Raises:
        ImportError: pyarrow is missing.
        TypeError, ValueError: no mosaics, not a path.
    """
    arrow, parquet = require_parquet()
    tables = (arrow.table(mosaic.table()) for mosaic in _some(mosaics))
    with atomic_path(check_path("path", path)) as beside:
        first = next(tables)
        with parquet.ParquetWriter(beside, first.schema) as writer:
            for table in chain([first], tables):
                writer.write_table(table)


def save_json(mosaics: Iterable[Mosaic], path: str | Path) -> None:
    """Write the tables of mosaics one below the other as JSON, whole or not at all.

    The file is an object: "columns", the names that `Mosaic.table` has, and "rows", a list of values for each row.
    It is some 75 bytes a row, several times as large as Parquet.

    Args:
        mosaics, path: see `save_parquet`.

    Raises:
        TypeError, ValueError: no mosaics, not a path.
    """
    tables = (mosaic.table() for mosaic in _some(mosaics))
    with atomic_path(check_path("path", path)) as beside, beside.open("w", encoding="utf-8") as file:
        first = next(tables)
        # A row a line, table by table: all the rows of a run as one text would need many times their memory.
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
        ImportError: pyarrow is missing.
    """
    arrow = require("pyarrow", extra=EXTRA, purpose="a Parquet file")
    return arrow, require("pyarrow.parquet", extra=EXTRA, purpose="a Parquet file")


def _some(mosaics: Iterable[Mosaic]) -> Iterable[Mosaic]:
    # Here, not above: mosaics are written by this module.
    from elsewhere.analysis.explaining import Mosaic

    check_type("mosaics", mosaics, Iterable[Mosaic])
    rest = iter(mosaics)
    first = next(rest, None)
    if first is None:
        raise ValueError("mosaics is empty: there are no mosaics to write")
    check_type("the first of mosaics", first, Mosaic)
    return chain([first], rest)
