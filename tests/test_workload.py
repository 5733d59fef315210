"""Progress of work whose parts take different times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from elsewhere import workload
from elsewhere.workload import track_work

ITEMS = [(10, "a"), (0, "b"), (30, "c"), (60, "d")]


def test_items_come_in_order_and_nothing_is_said_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track_work(ITEMS, 100, "work", show=False)) == ["a", "b", "c", "d"]
    # Work that takes less time than there is between lines.
    assert list(track_work(ITEMS, 100, "work", show=True)) == ["a", "b", "c", "d"]
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_lines_say_how_long_it_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that goes on by 20 s with every item, and 100 of 200 done before.
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(workload, "monotonic", lambda: float(next(clock)))
    assert list(track_work(ITEMS, 200, "work", show=True, done=100)) == ["a", "b", "c", "d"]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "work: 55%, 20 s, about 3 min left",
        "work: 55%, 40 s, about 6 min left",
        "work: 70%, 60 s, about 2 min left",
        "work: 100%, 80 s, about 1 s left",
    ]


def test_on_a_terminal_there_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(track_work(ITEMS, 100, "work", show=True)) == ["a", "b", "c", "d"]
    assert "work" in capsys.readouterr().err


def test_work_is_reported_while_an_item_is_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(workload, "monotonic", lambda: float(next(clock)))
    report: list[Callable[[float], None]] = []

    @contextmanager
    def inside(advance: Callable[[float], None]) -> Iterator[None]:
        report.append(advance)
        yield
        report.pop()

    def items() -> Iterator[tuple[int, str]]:
        report[0](20.0)
        report[0](10.0)
        yield 40, "a"
        yield 60, "b"

    assert list(track_work(items(), 100, "work", show=True, inside=inside)) == ["a", "b"]
    shares = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    # What is left of the first item after two reports, and the second item whole.
    assert shares == ["work: 20%", "work: 30%", "work: 40%", "work: 100%"]
    assert not report
