"""The next batches are made while the current one is worked on."""

import threading
from collections.abc import Iterable, Iterator
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 0.1  # seconds after which the thread looks whether anyone still waits for its batches


def prefetch(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Iterate over items that a thread makes ahead of their use; its errors are raised here.

    Args:
        items: What to iterate over, in the thread.
        depth: How many may wait.
    """
    queue: Queue[tuple[str, T | BaseException | None]] = Queue(depth)
    is_left = threading.Event()

    def put(kind: str, content: T | BaseException | None) -> None:
        while not is_left.is_set():
            try:
                return queue.put((kind, content), timeout=_PATIENCE)
            except Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if is_left.is_set():
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, content = queue.get()
            if kind == "end":
                return
            if kind == "error":
                raise content  # type: ignore[misc]
            yield content  # type: ignore[misc]
    finally:
        is_left.set()
        thread.join()
