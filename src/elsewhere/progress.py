"""Progress with the time left: a bar in terminals and notebooks, and a line now and then in logs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from html import escape
from importlib import import_module
from time import monotonic
from typing import TypeVar

from elsewhere.phrases import duration

Item = TypeVar("Item")
Finished = Iterable[tuple[int, Item]]
"""Items, each with the work that is finished when it is given."""

BETWEEN_UPDATES = 0.25
"""Seconds between two updates of a bar in a notebook: each is a message to the browser."""
FIRST_LINE, LAST_LINES = 30.0, 600.0
"""Seconds until the first line of a log; the time to the next one doubles each time, up to ten minutes."""


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, which shows pictures and markup."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def track(items: Iterable[Item], total: int, title: str, show: bool, done: int = 0) -> Iterator[Item]:
    """Yield the items, and say how far they are if `show` is true.

    A terminal has a bar with count and time left, and so has a notebook; it is gone at the end. Elsewhere, as in the
    log of a batch job, a line is written to standard error after half a minute, and then ever more seldom.

    Args:
        items: what to yield.
        total: number of items, including those that are done.
        title: text before the bar.
        show: whether to show anything.
        done: number of items finished before.
    """
    if show:
        yield from _shown(enumerate(items, done), total, title, done, counted=True)
    else:
        yield from items


def track_work(items: Iterable[tuple[int, Item]], total: int, title: str, show: bool, done: int = 0) -> Iterator[Item]:
    """`track` for items that take different amounts of work, of which the share that is done is shown.

    Args:
        items: (work that it took, item).
        total: all work, including what is done.
        title, show: see `track`.
        done: work done before.
    """
    if show:
        yield from _shown(_summed(items, done), total, title, done, counted=False)
    else:
        for _, item in items:
            yield item


def _summed(items: Iterable[tuple[int, Item]], done: int) -> Iterator[tuple[int, Item]]:
    for work, item in items:
        done += work
        yield done, item


def _shown(items: Finished[Item], total: int, title: str, done: int, counted: bool) -> Iterator[Item]:
    if in_notebook():
        yield from _in_notebook(items, total, title, done, counted)
    elif sys.stderr is not None and sys.stderr.isatty():
        yield from _in_terminal(items, total, title, done, counted)
    else:
        yield from _in_log(items, total, title, done, counted)


def _in_terminal(items: Finished[Item], total: int, title: str, done: int, counted: bool) -> Iterator[Item]:
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

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn() if counted else TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # The speed is that of the last ten minutes: parts of the work may be of different speed.
    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=600) as bar:
        task = bar.add_task(title, total=total, completed=done)
        for finished, item in items:
            bar.update(task, completed=finished)
            yield item


def _in_notebook(items: Finished[Item], total: int, title: str, done: int, counted: bool) -> Iterator[Item]:
    """A bar in markup, which needs no widgets."""
    shown = import_module("IPython.display")  # not typed
    started, handle, due = monotonic(), None, 0.0
    try:
        for finished, item in items:
            now = monotonic()
            # Work that ends at once shows no bar.
            if now - started >= BETWEEN_UPDATES and now >= due:
                due = now + BETWEEN_UPDATES
                text = escape(describe(title, finished, total, done, now - started, counted))
                bar = shown.HTML(f'<progress value="{finished}" max="{total}" style="width:12em"></progress> {text}')
                if handle is None:
                    handle = shown.display(bar, display_id=True)
                else:
                    handle.update(bar)
            yield item
    finally:
        if handle is not None:
            handle.update(shown.HTML(""))


def _in_log(items: Finished[Item], total: int, title: str, done: int, counted: bool) -> Iterator[Item]:
    started, pause = monotonic(), FIRST_LINE
    due = started + pause
    for finished, item in items:
        now = monotonic()
        if now >= due and sys.stderr is not None:
            text = describe(title, finished, total, done, now - started, counted)
            print(text, file=sys.stderr, flush=True)
            pause = min(2 * pause, LAST_LINES)
            due = now + pause
        yield item


def describe(title: str, finished: int, total: int, done: int, seconds: float, counted: bool = True) -> str:
    """How far some work is, and how long the rest takes at the speed so far.

    Args:
        title: what is done.
        finished, total: items, or work, finished, and all.
        done: those that were finished before it began.
        seconds: since it began.
        counted: whether items are counted; else the share of the work is given.

    Example:
        >>> describe("sampling", 5, 20, 0, 20.0), describe("sampling", 5, 20, 0, 20.0, counted=False)
        ('sampling: 5 of 20, 60 s left', 'sampling: 25%, 60 s left')
    """
    text = f"{title}: {finished} of {total}" if counted else f"{title}: {finished / total:.0%}"
    if finished <= done or finished >= total:
        return text
    return f"{text}, {duration(seconds / (finished - done) * (total - finished))} left"
