"""Progress of work whose parts take different times: a bar on a terminal, and lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from elsewhere.phrases import duration

Item = TypeVar("Item")

LINE_SECONDS = 15.0
"""Seconds between lines of progress where there is no terminal."""


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
