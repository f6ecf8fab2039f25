"""The embedded engine: a ``VectorStore`` of directories, one a collection, held by one process.

Opening verifies each collection before the engine may touch it: by its seal after a clean close,
by a recovery in a process of its own after a crash. What fails is reported as unavailable and left
as it is; the others open. A background thread flushes and builds indexes.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    NotReadyError,
    ServiceError,
    StoreError,
)
from app.retrieval import edge_files
from app.retrieval.documents import Document
from app.retrieval.edge_collection import EdgeCollection
from app.retrieval.filters import Filter, In, require_filter
from app.retrieval.lock import RootLock
from app.retrieval.points import (
    MAX_DIM,
    require_doc_id,
    require_name,
    require_top_k,
    unit_rows,
)
from app.retrieval.store import Collection, Hit

RESERVE_BYTES = 256 << 20
_TEND_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class EdgeStore:
    """Collections under one directory; use ``open``. Methods are those of ``VectorStore``."""

    def __init__(self, root: Path, lock: RootLock, reserve_bytes: int) -> None:
        self._root = root
        self._lock = lock
        self._reserve_bytes = reserve_bytes
        self._changing = threading.Lock()  # Held for the whole of create, drop and close
        self._table = threading.RLock()  # Held for an instant, so that searches never wait
        self._open: dict[str, EdgeCollection] = {}
        self._damaged: dict[str, str] = {}
        self._dropping: str | None = None
        self._closing = threading.Event()
        self._closed = False
        self._upkeep = [
            threading.Thread(target=self._tend, args=(self._flush_one,), daemon=True),
            threading.Thread(target=self._tend, args=(self._build_one,), daemon=True),
        ]

    @classmethod
    def open(cls, root: Path, *, reserve_bytes: int = RESERVE_BYTES) -> "EdgeStore":
        """Open the store in a directory, which is created if missing.

        Args:
            root: The directory of collections.
            reserve_bytes: Disk space that writes leave free: the engine writes through memory
                maps, and a full disk would kill the process there.

        Raises:
            ConflictError: If another process holds the directory; the message names it.
            StoreError: If the directory cannot be created or written.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"Cannot use {root} as the store's directory: {error.strerror}. "
                "Give a directory that this user may write to."
            ) from error
        store = cls(root.resolve(), RootLock(root / "store.lock"), reserve_bytes)
        try:
            store._load()
        except OSError as error:
            store._lock.release()
            raise StoreError(f"Cannot read the store's directory {root}: {error}.") from error
        for thread in store._upkeep:
            thread.start()
        return store

    def unavailable(self) -> dict[str, str]:
        """Name the collections that could not be opened, each with the reason."""
        with self._table:
            return dict(self._damaged)

    def create(self, name: str, dim: int, model: str) -> Collection:
        """Create a collection, or return the one of this name, dim and model."""
        require_name(name)
        if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= MAX_DIM:
            raise InvalidInputError(f"dim is {dim!r:.50}; give an integer from 1 to {MAX_DIM}.")
        if not model:
            raise InvalidInputError(
                "model is empty; give the id of the encoder of this collection."
            )
        with self._changing:
            with self._table:
                self._require_open()
                taken = name in self._open or name in self._damaged
            if taken:
                found = self._find(name).describe()
                if (found.dim, found.model) != (dim, model):
                    raise ConflictError(
                        f"The collection {name} has dim {found.dim} and model {found.model}, not "
                        f"{dim} and {model}; drop it or choose another name."
                    )
                return found
            with _disk_errors(f"creating {name}"):
                collection = edge_files.create_collection(
                    self._root, name, dim, model, self._reserve_bytes
                )
            with self._table:
                self._open[name] = collection
            return collection.describe()

    def drop(self, name: str) -> None:
        """Delete a collection, also one that is unavailable."""
        require_name(name)
        with self._changing, _disk_errors(f"dropping {name}"):
            with self._table:
                self._require_open()
                if name not in self._open and name not in self._damaged:
                    raise _not_found(name)
                collection = self._open.pop(name, None)
                self._damaged[name] = "dropping it failed"
                self._dropping = name
            try:
                if collection is not None:
                    collection.close(sealed=False)
                edge_files.remove_collection(self._root / name)
                with self._table:
                    del self._damaged[name]
            finally:
                self._dropping = None

    def collections(self) -> list[Collection]:
        """List the collections that are open, by name; see also ``unavailable``."""
        with self._table:
            self._require_open()
            return [self._open[name].describe() for name in sorted(self._open)]

    def describe(self, name: str) -> Collection:
        """Describe one collection."""
        return self._find(name).describe()

    def upsert(self, name: str, documents: Sequence[Document], vectors: NDArray[np.float32]) -> int:
        """Add or replace documents; each 1,000 of a call are written whole or not at all."""
        collection = self._find(name)
        rows = unit_rows(vectors, collection.meta.dim)
        if len(rows) != len(documents):
            raise InvalidInputError(
                f"Got {len(documents)} documents and {len(rows)} vectors; give one for each."
            )
        with _disk_errors(f"writing to {name}"):
            return collection.upsert(documents, rows)

    def delete(self, name: str, doc_ids: Sequence[str]) -> int:
        """Delete documents; returns how many were there."""
        names = [require_doc_id(doc_id) for doc_id in doc_ids]
        with _disk_errors(f"deleting from {name}"):
            return self._find(name).delete(names)

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        names = [require_doc_id(doc_id) for doc_id in doc_ids]
        return self._find(name).get(names)

    def count(self, name: str) -> int:
        """Count the documents of a collection."""
        return self._find(name).describe().count

    def search(
        self,
        name: str,
        vectors: NDArray[np.float32],
        top_k: int,
        where: Filter | None = None,
    ) -> list[list[Hit]]:
        """Find each query's nearest documents: exactly up to 20,000 documents, above by HNSW."""
        collection = self._find(name)
        rows = unit_rows(vectors, collection.meta.dim)
        langs: list[str] = []
        if where is not None:
            match require_filter(where):
                case In("lang", values):
                    langs = [str(value) for value in values]
                case _:
                    raise InvalidInputError("This engine filters by language only.")
        return collection.search(rows, require_top_k(top_k), langs)

    def flush(self, name: str) -> None:
        """Write everything to disk and build the index if one is due."""
        collection = self._find(name)
        with _disk_errors(f"flushing {name}"):
            collection.flush()
            collection.build(if_wanted=True)

    def snapshot(self, name: str, target: Path) -> Path:
        """Copy a collection to ``target/name``; copied into a closed store it is restored."""
        collection = self._find(name)
        if (target / name).exists():
            raise ConflictError(f"{target / name} exists; name a directory without it.")
        with _disk_errors(f"writing a snapshot of {name}"):
            return collection.snapshot(target)

    def close(self) -> None:
        """Flush and seal all collections and release the directory."""
        self._closing.set()
        with self._changing:
            with self._table:
                if self._closed:
                    return
                self._closed = True
                collections = dict(self._open)
                self._open.clear()
            for name, collection in collections.items():
                try:
                    collection.close()
                except (ServiceError, OSError):
                    _log.exception("closing %s failed; the next start will recover it", name)
        for thread in self._upkeep:
            thread.join()
        self._lock.release()

    def _load(self) -> None:
        edge_files.sweep(self._root)
        for path in sorted(self._root.iterdir()):
            if not path.is_dir() or path.name.startswith("."):
                continue
            try:
                self._open[path.name] = edge_files.open_collection(path, self._reserve_bytes)
            except (ServiceError, ValueError, OSError) as error:
                self._damaged[path.name] = str(error)
                _log.error("collection %s is unavailable: %s", path.name, error)

    def _find(self, name: str) -> EdgeCollection:
        require_name(name)
        with self._table:
            self._require_open()
            if name == self._dropping:
                raise _not_found(name)
            if name in self._damaged:
                raise NotReadyError(
                    f"The collection {name} is unavailable: {self._damaged[name]}. Restore it from "
                    "a snapshot, or drop and index it again."
                )
            if name not in self._open:
                raise _not_found(name)
            return self._open[name]

    def _require_open(self) -> None:
        if self._closed:
            raise NotReadyError("The store is closed; open it again.")

    def _tend(self, work: Callable[[EdgeCollection], None]) -> None:
        while not self._closing.wait(_TEND_EVERY_S):
            with self._table:
                collections = list(self._open.values())
            for collection in collections:
                try:
                    work(collection)
                except (NotFoundError, NotReadyError):  # Dropped or closed since
                    continue
                except (StoreError, OSError):
                    _log.exception("upkeep of %s failed", collection.meta.name)

    @staticmethod
    def _flush_one(collection: EdgeCollection) -> None:
        collection.tend()

    @staticmethod
    def _build_one(collection: EdgeCollection) -> None:
        if collection.wants_build():
            collection.build(if_wanted=True)


@contextlib.contextmanager
def _disk_errors(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The disk failed while {action}: {error.strerror or error}. Check space and rights; "
            "what was acknowledged before is kept."
        ) from error


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(f"There is no collection {name}; create it first.")
