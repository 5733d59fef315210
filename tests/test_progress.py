"""Progress: a bar where somebody looks, a line now and then where nobody does."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from elsewhere import progress
from elsewhere.progress import track


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "monotonic", found)
    return found


def run(clock: Clock, seconds: float, total: int = 1000, title: str = "sampling", done: int = 0) -> list[int]:
    """Items that take so many seconds each."""
    found = []
    for item in track(range(done, total), total, title, True, done):
        clock.now += seconds
        found.append(item)
    return found


def test_nothing_is_written_where_nobody_asks(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2], 2, "work", False)) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_log_has_few_lines_and_they_are_ever_further_apart(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(clock, 10.0) == list(range(1000))  # almost three hours
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert len(lines) < 25
    assert lines[0] == "sampling: 3 of 1000, 2 h 46 min left"
    finished = [int(re.findall(r"\d+", line)[0]) for line in lines]
    gaps = [b - a for a, b in pairwise(finished)]
    assert gaps == sorted(gaps)


def test_short_work_leaves_no_line_in_a_log(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run(clock, 0.02)
    assert capsys.readouterr() == ("", "")


def test_time_left_does_not_count_what_was_done_before(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run(clock, 40.0, total=10, done=8)
    assert capsys.readouterr().err.splitlines() == ["sampling: 9 of 10, 40 s left"]


def test_a_terminal_has_a_bar_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track(range(3), 3, "sampling", True)) == [0, 1, 2]
    assert "sampling" in terminal.getvalue()


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the cell of a notebook shows, one text for each change."""
    found: list[str] = []

    def display(markup: Any, display_id: bool = False) -> Any:
        found.append(markup.data)
        return SimpleNamespace(update=lambda changed: found.append(changed.data))

    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", display)
    return found


def test_a_notebook_has_a_bar_that_changes_in_place_and_is_gone_at_the_end(clock: Clock, cell: list[str]) -> None:
    run(clock, 0.1, total=40, title="<b>")
    assert 5 < len(cell) < 20
    assert all('<progress value="' in text and "&lt;b&gt;" in text for text in cell[:-1])
    assert cell[-1] == ""


def test_short_work_shows_no_bar_in_a_notebook(clock: Clock, cell: list[str]) -> None:
    run(clock, 0.001, total=40)
    assert cell == []


def test_the_bar_of_a_notebook_is_gone_after_an_error(clock: Clock, cell: list[str]) -> None:
    def broken() -> Iterator[int]:
        for item in range(10):
            clock.now += 1
            if item == 5:
                raise KeyError(item)
            yield item

    with pytest.raises(KeyError):
        list(track(broken(), 10, "work", True))
    assert len(cell) > 2
    assert cell[-1] == ""


def test_a_notebook_is_known_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not progress.in_notebook()
    for shell, answer in ((None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=object()), True)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert progress.in_notebook() is answer


def test_a_title_may_change_while_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr("elsewhere.progress.monotonic", lambda: float(next(clock)))
    loss = [3.0]
    for step in track(range(3), 3, lambda: f"training, loss {loss[0]:g}", True):
        loss[0] = step
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["training, loss 3", "training, loss 1"]
