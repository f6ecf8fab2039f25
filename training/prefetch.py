"""Batches made in a thread while the step before is computed: batches -> step.

One thread makes one batch after another in order, so nothing about a run depends on timing; the
queue between it and the loop is short, so memory holds a few batches. Tokenizing and numpy release
the interpreter's lock, which is what makes a thread enough.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
_POLL_S = 0.1  # how soon a full or empty queue notices that the other side is gone


class Prefetcher(Generic[Item]):
    """What ``make`` gives for start, start + 1, ... stop - 1, made ahead in a thread.

    Iterate over it once. Leaving the ``with`` block, or ``close``, stops the thread, whether or not
    all was consumed.
    """

    def __init__(
        self, make: Callable[[int], Item], start: int, stop: int, *, depth: int = 3
    ) -> None:
        """Start the thread.

        Args:
            make: Makes the item of a step; called in the thread, in order.
            start: First step.
            stop: Where to stop, itself left out.
            depth: Items held ready at most, from 1.

        Raises:
            ValueError: If ``depth`` is below 1.
        """
        if depth < 1:
            raise ValueError(f"got depth {depth}: expected at least 1 item ahead")
        self._make = make
        self._steps = range(start, stop)
        self._ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetcher", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        """Yield the items in order.

        Raises:
            BaseException: What ``make`` raised, at the step it was raised for.
            RuntimeError: If the prefetcher was closed before the last item was taken.
        """
        for _ in self._steps:
            item, error = self._take()
            if error is not None:
                self.close()
                raise error
            yield item  # type: ignore[misc]  # an item without an error is one of make's
        self.close()

    def close(self) -> None:
        """Stop the thread and wait until it has; what it made ahead is dropped."""
        self._closed.set()
        self._thread.join()

    def _take(self) -> tuple[Item | None, BaseException | None]:
        while not self._closed.is_set():
            try:
                return self._ready.get(timeout=_POLL_S)
            except queue.Empty:
                continue
        raise RuntimeError("the prefetcher is closed: expected to be iterated before, and once")

    def _work(self) -> None:
        for step in self._steps:
            if self._closed.is_set():
                return
            try:
                made: tuple[Item | None, BaseException | None] = (self._make(step), None)
            except BaseException as error:  # the edge of the thread: raised again in the consumer
                made = (None, error)
            if not self._put(made) or made[1] is not None:
                return

    def _put(self, made: tuple[Item | None, BaseException | None]) -> bool:
        while not self._closed.is_set():
            try:
                self._ready.put(made, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
