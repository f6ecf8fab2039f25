"""Who may write to a collection: everybody, but for the moment in which another takes its place.

In one process the guard counts who writes, so that a collection is exchanged when the last of them
is done, and notes which documents are written while another thread encodes them anew: that thread
then looks at these again. Other processes on the same store are seen by nobody; they find the
hidden collection, and refuse to write.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from app.errors import ConflictError, NotFoundError, OverloadedError
from app.hidden import hidden_name
from app.retrieval.store import VectorStore

REINDEX = "reindex"
MOST_CHANGES = 100_000
"""Documents that may wait to be encoded anew a second time; more writers than that are held up."""
_RETRY_S = 0.1


class HeldUpError(OverloadedError):
    """Writers are to wait for a moment; it passes by itself."""


class Changes:
    """What was written to a collection while it is read; filled by ``WriteGuard``.

    Attributes:
        most: From so many documents on, writers are to wait.
    """

    def __init__(self) -> None:
        self.most = MOST_CHANGES
        self._lock = threading.Lock()
        self._doc_ids: set[str] = set()
        self._unnamed = False

    def note(self, doc_ids: Iterable[str] | None) -> None:
        """Add documents that were written or deleted; None: some were deleted by a filter."""
        with self._lock:
            self._unnamed |= doc_ids is None
            self._doc_ids.update(doc_ids or ())

    def take(self) -> tuple[list[str], bool]:
        """Return what was noted since the last time, and whether some were deleted by a filter."""
        with self._lock:
            taken, self._doc_ids = sorted(self._doc_ids), set()
            unnamed, self._unnamed = self._unnamed, False
        return taken, unnamed

    @property
    def count(self) -> int:
        """Documents that were noted and not taken yet."""
        return len(self._doc_ids)

    @property
    def unnamed(self) -> bool:
        """Whether documents were deleted by a filter since the last time."""
        return self._unnamed


class WriteGuard:
    """Lets many write to a collection, or one exchange the whole of it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._writing: Counter[str] = Counter()
        self._closed: set[str] = set()
        self._paused: set[str] = set()
        self._followed: dict[str, Changes] = {}
        self._ours: Counter[str] = Counter()

    def claim(self, name: str) -> None:
        """Say that the hidden collection of a collection is this process's own."""
        self._ours[name] += 1

    def unclaim(self, name: str) -> None:
        """Say that it is no longer."""
        self._ours[name] -= 1

    @contextmanager
    def writing(
        self, store: VectorStore, name: str, doc_ids: Iterable[str] | None = ()
    ) -> Iterator[None]:
        """Write to a collection; blocking.

        Args:
            store: Where it is.
            name: The collection.
            doc_ids: Which documents; None: whichever satisfy a filter, and only to delete them.

        Raises:
            ConflictError: If it is being restored, or encoded anew by another process.
            HeldUpError: If it is being exchanged in this moment, or too much was written while it
                is encoded anew.
        """
        with self._changed:
            self._require_writable(name)
            self._writing[name] += 1
        try:
            self._require_ours(store, name)
            yield
        finally:
            with self._changed:
                # Only now that it is done: who looks at these documents has to see them as they are
                if name in self._followed:
                    self._followed[name].note(doc_ids)
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
            if name in self._closed or name in self._followed:
                raise _reindexed(name)
            self._closed.add(name)
            self._changed.wait_for(lambda: not self._writing[name])
        try:
            yield
        finally:
            with self._changed:
                self._closed.discard(name)
                self._changed.notify_all()

    @contextmanager
    def following(self, name: str) -> Iterator[Changes]:
        """Note what others write to a collection.

        Raises:
            ConflictError: If somebody works on the whole of it already.
        """
        with self._changed:
            if name in self._closed or name in self._followed:
                raise _reindexed(name)
            changes = self._followed[name] = Changes()
        try:
            yield changes
        finally:
            with self._changed:
                del self._followed[name]
                self._changed.notify_all()

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Let nobody write for a moment, by who follows the collection; waits for those who do."""
        with self._changed:
            self._paused.add(name)
            self._changed.wait_for(lambda: not self._writing[name])
        try:
            yield
        finally:
            with self._changed:
                self._paused.discard(name)
                self._changed.notify_all()

    def settle(self, name: str, timeout_s: float) -> None:
        """Wait until nobody works on the whole of a collection, or for so long."""
        with self._changed:
            self._changed.wait_for(
                lambda: name not in self._closed and name not in self._followed, timeout_s
            )

    def require_unmarked(self, store: VectorStore, name: str) -> None:
        """Refuse to exchange a collection that any process encodes anew.

        Raises:
            ConflictError: If one does.
        """
        if exists(store, hidden_name(REINDEX, name)):
            raise _reindexed(name)

    def _require_writable(self, name: str) -> None:
        if name in self._closed:
            raise _reindexed(name)
        if name in self._paused:
            raise HeldUpError(
                f"Collection {name!r} is being put in place; try again in a moment.", _RETRY_S
            )
        changes = self._followed.get(name)
        if changes is not None and changes.count >= changes.most:
            raise HeldUpError(
                f"{changes.count} documents were written to {name!r} while it is encoded anew, and "
                "are to be encoded once more; try again in a moment.",
                _RETRY_S,
            )

    def _require_ours(self, store: VectorStore, name: str) -> None:
        """Refuse what another process encodes anew: it would not learn of the write."""
        # Looked at once more, since this process may end with it in between
        if not self._ours[name] and exists(store, hidden_name(REINDEX, name)):
            self.require_unmarked(store, name)


def exists(store: VectorStore, name: str) -> bool:
    """Tell whether there is a collection of this name."""
    try:
        store.describe(name)
    except NotFoundError:
        return False
    return True


def _reindexed(name: str) -> ConflictError:
    return ConflictError(
        f"Collection {name!r} is being restored, or encoded anew by another process, so nothing "
        f"can be written to it now; GET /collections/{name}/reindex says how far it is: try again "
        "when it is done, or DELETE that to stop it."
    )
