"""Progress bars with the time left, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from elsewhere.phrases import duration

Item = TypeVar("Item")

LINE_SECONDS = 15.0
"""Seconds between lines of progress where there is no terminal."""


def track(items: Iterable[Item], total: int, title: str, show: bool, done: int = 0) -> Iterator[Item]:
    """Yield the items, and show a progress bar with count and time left if `show` is true.

    Args:
        items: what to yield.
        total: number of items, including those that are done.
        title: text before the bar.
        show: whether to show the bar.
        done: number of items finished before.
    """
    if not show:
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)


def track_work(items: Iterable[tuple[int, Item]], total: int, title: str, show: bool, done: int = 0) -> Iterator[Item]:
    """Yield items that take different amounts of work, and show how much of the work is done if `show` is true.

    On a terminal a bar; in a file or a pipe a line every `LINE_SECONDS`, and none for work that takes less.

    Args:
        items: (work that it took, item).
        total: all work, including what is done.
        title: text before the bar.
        show: whether to show anything.
        done: work done before.
    """
    if not show:
        for _, item in items:
            yield item
        return
    if not sys.stderr.isatty():
        yield from _lines(items, total, title, done)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=600) as bar:
        task = bar.add_task(title, total=total, completed=done)
        for work, item in items:
            bar.advance(task, work)
            yield item


def _lines(items: Iterable[tuple[int, Item]], total: int, title: str, done: int) -> Iterator[Item]:
    begun = said = monotonic()
    before = done
    for work, item in items:
        done += work
        now = monotonic()
        if now - said >= LINE_SECONDS and done > before:
            left = (now - begun) / (done - before) * (total - done)
            print(f"{title}: {done / total:.0%}, {duration(now - begun)}, about {duration(left)} left", file=sys.stderr)
            said = now
        yield item
