"""Progress of work whose parts take different times: a bar on a terminal, and lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic
from typing import TypeVar

from elsewhere.phrases import duration
from elsewhere.progress import in_terminal, terminal_bar

Item = TypeVar("Item")
Advance = Callable[[float], None]
Inside = Callable[[Advance], AbstractContextManager[None]]

LINE_SECONDS = 15.0
"""Seconds between lines of progress where there is no terminal."""


def track_work(
    items: Iterable[tuple[int, Item]],
    total: int,
    title: str,
    show: bool,
    done: int = 0,
    inside: Inside | None = None,
) -> Iterator[Item]:
    """Yield items that take different amounts of work, and show how much of the work is done if `show` is true.

    On a terminal a bar; in a file or a pipe a line every `LINE_SECONDS`, and none for work that takes less.

    Args:
        items: (work that it took, item).
        total: all work, including what is done.
        title: text before the bar.
        show: whether to show anything.
        done: work done before.
        inside: reports work while an item is made: `inside(report)` is a context in which `report` is called with
            amounts of work, by one thread at a time.
    """
    if not show:
        for _, item in items:
            yield item
        return
    iterator = iter(items)
    meter = terminal_bar(total, title, done, counted=False) if in_terminal() else _lines(total, title, done)
    with meter as advance:
        while True:
            parts = _Parts(advance)
            with nullcontext() if inside is None else inside(parts):
                found = next(iterator, None)
            if found is None:
                return
            work, item = found
            advance(work - parts.reported)
            yield item


class _Parts:
    """Passes on work that is reported, and adds it up."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.reported = 0.0

    def __call__(self, work: float) -> None:
        self.reported += work
        self.advance(work)


@contextmanager
def _lines(total: int, title: str, done: int) -> Iterator[Advance]:
    begun = said = monotonic()
    now_done = float(done)

    def advance(work: float) -> None:
        nonlocal said, now_done
        now_done += work
        now = monotonic()
        if now - said < LINE_SECONDS or now_done <= done:
            return
        left = (now - begun) / (now_done - done) * max(0, total - now_done)
        text = f"{title}: {now_done / total:.0%}, {duration(now - begun)}, about {duration(left)} left"
        print(text, file=sys.stderr, flush=True)
        said = now

    yield advance
