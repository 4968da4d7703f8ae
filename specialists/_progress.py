"""One look for all progress bars: on standard error, and only where someone can see them."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def show_progress(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar, which leaves no trace.

    Args:
        items: What to go through.
        title: What is being done.
        total: How many there are, where `items` cannot say.
    """
    console = Console(stderr=True)
    yield from track(
        items,
        title,
        total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
