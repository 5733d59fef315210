"""Runs of inpainting that are stopped, go on and end the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elsewhere as els
from elsewhere import kept_edits
from elsewhere.denoiser import Denoiser
from elsewhere.kept_edits import NAME, EditRun, describe_cost, draw_kept

LEVELS = els.schedules.karras(4, sigma_min=0.05, sigma_max=4.0)
ROUNDS = 3


def data(seed: int = 0) -> els.ImageSet:
    generator = torch.Generator().manual_seed(seed)
    return els.ImageSet(torch.randint(0, 256, (6, 1, 6, 5), generator=generator, dtype=torch.uint8), name="toys")


def run_of(**changes: Any) -> EditRun:
    missing = torch.zeros(6, 5, dtype=torch.bool)
    missing[2:4, 1:4] = True
    images = data(1).scaled()[:1].expand(2, -1, -1, -1).contiguous()
    denoisers: dict[str, Denoiser] = {"LS": els.LocalScore(data(), 3), "IS": els.IdealScore(data())}
    return replace(EditRun(denoisers, images, missing, LEVELS, None, 5, ROUNDS), **changes)


class Stopping(Denoiser):
    """The same denoiser until it was called so often; then Ctrl-C."""

    def __init__(self, inner: Denoiser, calls: int) -> None:
        self.inner, self.left, self.channels = inner, calls, inner.channels

    def predict(self, x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.inner(x, sigma, label)


@pytest.mark.parametrize(
    ("stopped", "name", "left"), [(4, "LS", 7 + 10), (9, "LS", 1 + 10), (3, "IS", 7), (9, "IS", 1)]
)
def test_a_stopped_run_goes_on_and_ends_the_same_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: int, name: str, left: int
) -> None:
    run = run_of()
    whole = {one: els.inpaint(machine, run.images, run.missing, LEVELS, seed=5, rounds=ROUNDS).images
             for one, machine in run.denoisers.items()}  # fmt: skip
    # The key is that of the machines, whatever counts their calls.
    monkeypatch.setattr(EditRun, "key", lambda self: "key")
    with pytest.raises(KeyboardInterrupt):
        draw_kept(tmp_path, replace(run, denoisers={**run.denoisers, name: Stopping(run.denoisers[name], stopped)}))
    assert (tmp_path / NAME).is_file()
    counted = {one: Stopping(machine, 100) for one, machine in run.denoisers.items()}
    said: list[int] = []
    again = draw_kept(tmp_path, replace(run, denoisers=counted), begin=said.append)
    assert all(torch.equal(again[one], whole[one]) for one in whole)
    # A step that was not finished is made again.
    assert sum(100 - one.left for one in counted.values()) == left
    assert said == [2 * run.calls - left]
    assert draw_kept(tmp_path, run, restart=True, begin=said.append).keys() == whole.keys()
    assert said[1:] == [0]


def test_only_work_of_the_same_run_is_continued() -> None:
    keys = {
        run.key()
        for run in (
            run_of(),
            run_of(seed=6),
            run_of(rounds=2),
            run_of(schedule=els.schedules.cosine(4)),
            run_of(images=data(2).scaled()[:2]),
            run_of(missing=torch.ones(6, 5, dtype=torch.bool)),
            run_of(denoisers={"LS": els.LocalScore(data(), 5), "IS": els.IdealScore(data())}),
            run_of(denoisers={"LS": els.LocalScore(data(3), 3), "IS": els.IdealScore(data())}),
            run_of(denoisers={"LS": els.LocalScore(data(), els.LocalitySchedule((4.0, 1.0), (5, 3)))}),
            run_of(denoisers={"LS": els.LocalScore(data(), els.LocalitySchedule((4.0, 1.0), (3, 3)))}),
        )
    }
    assert len(keys) == 10
    assert run_of().key() == run_of().key()


def test_damaged_work_is_drawn_again(tmp_path: Path) -> None:
    run = run_of()
    whole = draw_kept(tmp_path, run)
    good = {"key": np.array(run.key()), "done": np.array(2), "x": np.zeros((2, 1, 6, 5), np.float32)}
    for change in ({"done": np.array(99)}, {"x": np.zeros((2, 1, 6, 6), np.float32)}, {"key": np.array("other")},
                   {"x": np.full((2, 1, 6, 5), np.nan, np.float32)}, {"done": np.array(0)}):  # fmt: skip
        np.savez(tmp_path / NAME, **{**good, **change})
        assert kept_edits.load_unfinished(tmp_path / NAME, run, run.key()) is None
    np.savez(tmp_path / NAME, **good)
    assert kept_edits.load_unfinished(tmp_path / NAME, run, run.key()) is not None
    (tmp_path / NAME).write_bytes(b"no archive")
    again = draw_kept(tmp_path, run)
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_the_time_is_that_of_the_calls_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr(kept_edits, "perf_counter", lambda: float(next(clock)))
    run = run_of()
    # Every call takes two seconds of this clock: ten of them by each of two.
    assert describe_cost(run) == "10 calls each of LS and IS: about 40 s"
    assert describe_cost(run, done=15) == "10 calls each of LS and IS: about 10 s"
    assert describe_cost(run_of(denoisers={"IS": els.IdealScore(data())})) == "10 calls of IS: about 20 s"
