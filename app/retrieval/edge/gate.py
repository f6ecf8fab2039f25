"""A gate around something that many threads read and one now and then exchanges.

Readers pass together; an exchange waits until they are out and lets none in meanwhile, so steady
reading cannot starve it.
"""

import contextlib
import threading
from collections.abc import Iterator


class Gate:
    """Shared passage for readers, sole passage for an exchange; not reentrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._exchanging = False

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Pass together with other readers."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exchanging)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Pass when no reader is inside; one exchange at a time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exchanging)
            self._exchanging = True
            self._changed.wait_for(lambda: not self._readers)
        try:
            yield
        finally:
            with self._changed:
                self._exchanging = False
                self._changed.notify_all()
