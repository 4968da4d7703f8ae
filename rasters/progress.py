"""One look for all progress bars: on standard error, and only where someone can see them."""

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

_running: list[Progress] = []
"""The display on the screen, if one is: a terminal holds one, and inner bars join it."""


def show_progress(
    items: Iterable[T], title: str, total: int | None = None, *, visible: bool = True
) -> Iterator[T]:
    """Iterate with a progress bar, which leaves no trace; inside another one it is a line of it.

    Args:
        items: What to go through.
        title: What is being done.
        total: How many there are, where `items` cannot say.
        visible: False for no bar at all.
    """
    console = Console(stderr=True)
    if not (visible and console.is_terminal):
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    if _running:
        yield from _advance(_running[0], items, title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as display:
        _running.append(display)
        try:
            yield from _advance(display, items, title, total)
        finally:
            _running.clear()


def _advance(display: Progress, items: Iterable[T], title: str, total: int | None) -> Iterator[T]:
    line = display.add_task(title, total=total)
    try:
        for item in items:
            yield item
            display.advance(line)
    finally:
        display.remove_task(line)
