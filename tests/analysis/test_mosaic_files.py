"""Tables of mosaics in files: every row of every step, and nothing where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from analysis_toys import few_images

import elsewhere as els
from elsewhere.analysis import save_json, save_parquet


def run_of_three() -> list[els.Mosaic]:
    """Three steps of two colour images, two sources a pixel."""
    data = few_images(5, channels=3, side=6)
    machine = els.EquivariantLocalScore(data, 3)
    run = els.sample(machine, els.make_noise(2, data.shape), els.schedules.cosine(3), keep=True)
    return list(els.explain_run(machine, run, 2))


def one_below_the_other(mosaics: list[els.Mosaic]) -> dict[str, list[float]]:
    tables = [mosaic.table() for mosaic in mosaics]
    return {name: np.concatenate([table[name] for table in tables]).tolist() for name in tables[0]}


def test_parquet_has_the_rows_of_every_step(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    mosaics = run_of_three()
    save_parquet(iter(mosaics), tmp_path / "run.parquet")
    assert parquet.read_table(tmp_path / "run.parquet").to_pydict() == one_below_the_other(mosaics)
    assert parquet.ParquetFile(tmp_path / "run.parquet").num_row_groups == 3
    mosaics[1].save_parquet(tmp_path / "step.parquet")
    assert parquet.read_table(tmp_path / "step.parquet").to_pydict() == one_below_the_other(mosaics[1:2])


def test_json_has_the_same_rows(tmp_path: Path) -> None:
    mosaics = run_of_three()
    save_json(iter(mosaics), tmp_path / "run.json")
    mosaics[1].save_json(tmp_path / "step.json")
    for name, some in (("run.json", mosaics), ("step.json", mosaics[1:2])):
        content = json.loads((tmp_path / name).read_text())
        expected = one_below_the_other(some)
        assert content["format"] == "elsewhere.mosaic/1"
        assert content["columns"] == list(expected)
        assert content["rows"] == [list(row) for row in zip(*expected.values(), strict=True)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "step.json"]


def test_a_run_is_written_as_it_is_explained(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for save in (save_json, save_parquet):
        held: list[int] = []

        def steps(seen: list[int] = held) -> Iterator[els.Mosaic]:
            for mosaic in run_of_three():
                yield mosaic
                seen.append(mosaic.step)
                if mosaic.step == 1:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            save(steps(), tmp_path / "run")
        assert held == [0, 1]
        assert list(tmp_path.iterdir()) == [], "whole or not at all"


def test_no_mosaics_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for save in (save_json, save_parquet):
        with pytest.raises(ValueError, match="mosaics is empty"):
            save([], tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
