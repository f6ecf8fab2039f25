"""Who may write to a collection: everybody, or nobody while it is encoded anew.

In one process the guard counts who writes, so that work on a whole collection begins when the last
of them is done. Other processes on the same store see that it goes on by its hidden collection.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import ConflictError, NotFoundError
from app.hidden import hidden_name
from app.retrieval.store import VectorStore

REINDEX = "reindex"


class WriteGuard:
    """Lets many write to a collection, or one work on the whole of it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._writing: Counter[str] = Counter()
        self._closed: set[str] = set()

    @contextmanager
    def writing(self, store: VectorStore, name: str) -> Iterator[None]:
        """Write to a collection; blocking.

        Raises:
            ConflictError: If it is being encoded anew.
        """
        with self._changed:
            self._require_writable(name)
            self._writing[name] += 1
        try:
            self.require_unmarked(store, name)
            yield
        finally:
            with self._changed:
                self._writing[name] -= 1
                self._writing += Counter()  # forgets those at 0
                self._changed.notify_all()

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Let nobody else write to a collection; waits for those who do.

        Raises:
            ConflictError: If somebody works on the whole of it already.
        """
        with self._changed:
            self._require_writable(name)
            self._closed.add(name)
            self._changed.wait_for(lambda: not self._writing[name])
        try:
            yield
        finally:
            with self._changed:
                self._closed.discard(name)
                self._changed.notify_all()

    def settle(self, name: str, timeout_s: float) -> None:
        """Wait until nobody works on the whole of a collection, or for so long."""
        with self._changed:
            self._changed.wait_for(lambda: name not in self._closed, timeout_s)

    def require_unmarked(self, store: VectorStore, name: str) -> None:
        """Refuse to change a collection that any process encodes anew.

        Raises:
            ConflictError: If one does.
        """
        if exists(store, hidden_name(REINDEX, name)):
            raise _reindexed(name)

    def _require_writable(self, name: str) -> None:
        if name in self._closed:
            raise _reindexed(name)


def exists(store: VectorStore, name: str) -> bool:
    """Tell whether there is a collection of this name."""
    try:
        store.describe(name)
    except NotFoundError:
        return False
    return True


def _reindexed(name: str) -> ConflictError:
    return ConflictError(
        f"Collection {name!r} is being encoded anew or restored, so nothing can be written to it "
        f"now; GET /collections/{name}/reindex says how far it is: try again when it is done, or "
        "DELETE that to stop it."
    )
