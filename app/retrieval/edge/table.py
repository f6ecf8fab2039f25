"""Which collections of a store there are: open, unavailable, or about to change.

``changing`` is held for the whole of what makes, ends or exchanges a collection; the table itself
for an instant, so that searches never wait.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from app.errors import NotFoundError, NotReadyError, ServiceError, StoreError
from app.retrieval.edge import files
from app.retrieval.edge.collection import EdgeCollection
from app.retrieval.points import require_name

_log = logging.getLogger(__name__)


class Table:
    """The collections of a store by name."""

    def __init__(self) -> None:
        self.changing = threading.Lock()
        self._lock = threading.RLock()
        self._open: dict[str, EdgeCollection] = {}
        self._damaged: dict[str, str] = {}
        self._leaving: str | None = None
        self._closed = False

    def load(self, root: Path, reserve_bytes: int) -> None:
        """Open all collections of a directory; what is wrong with one is kept and logged."""
        files.sweep(root)
        for path in files.collection_paths(root):
            try:
                self._open[path.name] = files.open_collection(path, reserve_bytes)
            except (ServiceError, ValueError, OSError) as error:
                self._damaged[path.name] = str(error)
                _log.error("collection %s is unavailable: %s", path.name, error)

    def find(self, name: str) -> EdgeCollection:
        """Return an open collection.

        Raises:
            InvalidInputError: If the name cannot be one.
            NotFoundError: If there is none.
            NotReadyError: If it is damaged, or the store is closed.
        """
        require_name(name)
        with self._lock:
            self.require_open()
            if name == self._leaving:
                raise _not_found(name)
            if name in self._damaged:
                raise NotReadyError(
                    f"The collection {name} is unavailable: {self._damaged[name]}. Restore it from "
                    "a snapshot, or drop and index it again."
                )
            if name not in self._open:
                raise _not_found(name)
            return self._open[name]

    def open_ones(self) -> list[EdgeCollection]:
        """Return the open collections by name."""
        with self._lock:
            return [self._open[name] for name in sorted(self._open)]

    def damaged(self) -> dict[str, str]:
        """Return the reasons why collections are unavailable."""
        with self._lock:
            found = {name: held.held.damage for name, held in self._open.items()}
            return dict(self._damaged) | {name: why for name, why in found.items() if why}

    def has(self, name: str) -> bool:
        """Tell whether a name is taken."""
        with self._lock:
            self.require_open()
            return name in self._open or name in self._damaged

    def add(self, name: str, collection: EdgeCollection) -> None:
        """Add a collection that was opened."""
        with self._lock:
            self._open[name] = collection

    @contextlib.contextmanager
    def leaving(self, name: str) -> Iterator[EdgeCollection | None]:
        """Take a collection out; if that fails it is unavailable until it is dropped again.

        Raises:
            NotFoundError: If there is none.
        """
        with self._lock:
            self.require_open()
            if name not in self._open and name not in self._damaged:
                raise _not_found(name)
            collection = self._open.pop(name, None)
            self._damaged[name] = "dropping it failed"
            self._leaving = name
        try:
            yield collection
            with self._lock:
                del self._damaged[name]
        finally:
            with self._lock:
                self._leaving = None
                if name in self._open:  # It had to be put back
                    self._damaged.pop(name, None)

    def close(self) -> dict[str, EdgeCollection]:
        """Let nobody in any more; returns the collections to be closed."""
        with self._lock:
            self._closed = True
            collections, self._open = self._open, {}
            return collections

    def require_open(self) -> None:
        """Refuse to work on a closed store.

        Raises:
            NotReadyError: If it is.
        """
        if self._closed:
            raise NotReadyError("The store is closed; open it again.")

    @property
    def is_closed(self) -> bool:
        """Whether the store is closed."""
        return self._closed


@contextlib.contextmanager
def disk_errors(action: str) -> Iterator[None]:
    """Turn the disk's failures into ``StoreError``.

    Args:
        action: What is being done, for the message: "creating demo".
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The disk failed while {action}: {error.strerror or error}. Check space and rights; "
            "what was acknowledged before is kept."
        ) from error


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(f"There is no collection {name}; create it first.")
