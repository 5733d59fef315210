"""Progress with the time left: a bar in terminals and notebooks, and a line now and then in logs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from time import monotonic
from typing import TypeVar

from elsewhere.phrases import duration

Item = TypeVar("Item")
Title = str | Callable[[], str]

BETWEEN_UPDATES = 0.25
"""Seconds between two updates of a bar in a notebook: each is a message to the browser."""
FIRST_LINE, LAST_LINES = 30.0, 600.0
"""Seconds until the first line of a log; the time to the next one doubles each time, up to ten minutes."""


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, which shows pictures and markup."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def track(items: Iterable[Item], total: int, title: Title, show: bool, done: int = 0) -> Iterator[Item]:
    """Yield the items, and say how far they are if `show` is true.

    A terminal has a bar with count and time left, and so has a notebook; it is gone at the end. Elsewhere, as in the
    log of a batch job, a line is written to standard error after half a minute, and then ever more seldom.

    Args:
        items: what to yield.
        total: number of items, including those that are done.
        title: text before the bar, or a function that says it anew at every update.
        show: whether to show anything.
        done: number of items finished before.
    """
    if not show:
        yield from items
    elif in_notebook():
        yield from _in_notebook(items, total, title, done)
    elif in_terminal():
        with terminal_bar(total, title, done) as advance:
            for item in items:
                yield item
                advance(1)
    else:
        yield from _in_log(items, total, title, done)


def in_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def terminal_bar(total: int, title: Title, done: int, counted: bool = True) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal, gone at the end, and a function that moves it on.

    Args:
        total, title, done: see `track`.
        counted: whether items are counted; else the share of the work is shown, and its speed over ten minutes, because
            parts of the work differ.
    """
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
    period = 30 if counted else 600
    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=period) as bar:
        task = bar.add_task(_text(title), total=total, completed=done)
        yield lambda work: bar.update(task, advance=work, description=_text(title))


def _in_notebook(items: Iterable[Item], total: int, title: Title, done: int) -> Iterator[Item]:
    """A bar in markup, which needs no widgets."""
    shown = import_module("IPython.display")  # not typed
    started, handle, due = monotonic(), None, 0.0
    try:
        for finished, item in enumerate(items, done):
            now = monotonic()
            # Work that ends at once shows no bar.
            if now - started >= BETWEEN_UPDATES and now >= due:
                due = now + BETWEEN_UPDATES
                text = escape(describe(_text(title), finished, total, done, now - started))
                bar = shown.HTML(f'<progress value="{finished}" max="{total}" style="width:12em"></progress> {text}')
                if handle is None:
                    handle = shown.display(bar, display_id=True)
                else:
                    handle.update(bar)
            yield item
    finally:
        if handle is not None:
            handle.update(shown.HTML(""))


def _in_log(items: Iterable[Item], total: int, title: Title, done: int) -> Iterator[Item]:
    started, pause = monotonic(), FIRST_LINE
    due = started + pause
    for finished, item in enumerate(items, done):
        now = monotonic()
        if now >= due and sys.stderr is not None:
            print(describe(_text(title), finished, total, done, now - started), file=sys.stderr, flush=True)
            pause = min(2 * pause, LAST_LINES)
            due = now + pause
        yield item


def _text(title: Title) -> str:
    return title if isinstance(title, str) else title()


def describe(title: str, finished: int, total: int, done: int, seconds: float) -> str:
    """How far some work is, and how long the rest takes at the speed so far.

    Args:
        title: what is done.
        finished, total: items finished, and all.
        done: those of them that were finished before it began.
        seconds: since it began.

    Example:
        >>> describe("sampling", 5, 20, 0, 20.0), describe("sampling", 0, 20, 0, 1.0)
        ('sampling: 5 of 20, 60 s left', 'sampling: 0 of 20')
    """
    text = f"{title}: {finished} of {total}"
    if finished <= done or finished >= total:
        return text
    return f"{text}, {duration(seconds / (finished - done) * (total - finished))} left"
