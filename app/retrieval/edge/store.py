"""The embedded engine: a ``VectorStore`` of directories, one a collection, held by one process.

Opening verifies each collection before the engine may touch it: by its seal after a clean close,
by a recovery in a process of its own after a crash. What fails is reported as unavailable and left
as it is; the others open. Background threads flush and build indexes.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.errors import ConflictError, InvalidInputError, ServiceError, StoreError
from app.retrieval.checks import (
    require_collection,
    require_limit,
    require_offset,
    require_query,
    require_same,
)
from app.retrieval.documents import Document, Span
from app.retrieval.edge import files
from app.retrieval.edge.lock import RootLock
from app.retrieval.edge.table import Table, disk_errors
from app.retrieval.edge.upkeep import Upkeep
from app.retrieval.filters import Filter, require_filter
from app.retrieval.points import require_doc_id, require_name, require_top_k
from app.retrieval.store import Collection, Hit, Options, Page

RESERVE_BYTES = 256 << 20
_log = logging.getLogger(__name__)


class EdgeStore:
    """Collections under one directory; use ``open``. Methods are those of ``VectorStore``."""

    def __init__(self, root: Path, lock: RootLock, reserve_bytes: int) -> None:
        self._root = root
        self._lock = lock
        self._reserve_bytes = reserve_bytes
        self._table = Table()
        self._upkeep = Upkeep(self._table.open_ones)

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
            store._table.load(store._root, reserve_bytes)
        except OSError as error:
            store._lock.release()
            raise StoreError(f"Cannot read the store's directory {root}: {error}.") from error
        store._upkeep.start()
        return store

    def unavailable(self) -> dict[str, str]:
        """Name the collections that could not be opened, each with the reason."""
        return self._table.damaged()

    def create(self, name: str, dim: int, model: str, options: Options | None = None) -> Collection:
        """Create a collection, or return the one of this name if it is what is asked for."""
        options = options or Options()
        require_collection(name, dim, model, options)
        with self._table.changing:
            if self._table.has(name):
                return require_same(self._table.find(name).describe(), dim, model, options)
            with disk_errors(f"creating {name}"):
                collection = files.create_collection(
                    self._root, name, dim, model, options, self._reserve_bytes
                )
            self._table.add(name, collection)
            return collection.describe()

    def drop(self, name: str) -> None:
        """Delete a collection, also one that is unavailable."""
        require_name(name)
        table = self._table
        with table.changing, disk_errors(f"dropping {name}"), table.leaving(name) as collection:
            if collection is not None:
                collection.close(dropped=True)
            files.remove_collection(self._root / name)

    def collections(self) -> list[Collection]:
        """List the collections that are open, by name; see also ``unavailable``."""
        self._table.require_open()
        return [collection.describe() for collection in self._table.open_ones()]

    def describe(self, name: str) -> Collection:
        """Describe one collection."""
        return self._table.find(name).describe()

    def languages(self, name: str) -> dict[str, int]:
        """Count the documents of each language, the most frequent first; without one: ``""``."""
        return self._table.find(name).languages()

    def size_bytes(self, name: str) -> int:
        """Tell how much disk space a collection takes, indexes included."""
        return self._table.find(name).size_bytes()

    def replace(self, name: str, by: str) -> Collection:
        """Put the collection ``by`` in the place of ``name``, which is dropped."""
        with self._table.changing, disk_errors(f"replacing {name}"):
            target, source = self._table.find(name), self._table.find(by)
            if target is source:
                return target.describe()
            with self._table.leaving(by):
                source.close()
                try:
                    target.take(source)
                except (StoreError, OSError):
                    again = files.open_collection(self._root / by, self._reserve_bytes)
                    self._table.add(by, again)
                    raise
                files.remove_collection(self._root / by)
            return target.describe()

    def upsert(
        self,
        name: str,
        documents: Sequence[Document],
        vectors: NDArray[np.float32],
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> int:
        """Add or replace documents; some 1,000 passages at a time are written whole or not."""
        collection = self._table.find(name)
        with disk_errors(f"writing to {name}"):
            return collection.upsert(documents, vectors, spans)

    def delete(self, name: str, doc_ids: Sequence[str]) -> int:
        """Delete documents; returns how many were there."""
        collection = self._table.find(name)
        names = [require_doc_id(doc_id) for doc_id in doc_ids]
        with disk_errors(f"deleting from {name}"):
            return collection.delete(names)

    def delete_where(self, name: str, where: Filter) -> int:
        """Delete the documents that satisfy a filter; returns how many."""
        collection = self._table.find(name)
        with disk_errors(f"deleting from {name}"):
            return collection.delete_where(require_filter(where))

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        collection = self._table.find(name)
        return collection.get([require_doc_id(doc_id) for doc_id in doc_ids])

    def scan(
        self, name: str, after: str | None = None, limit: int = 1000, *, vectors: bool = False
    ) -> Page:
        """Read a collection page by page, by rising point id."""
        collection = self._table.find(name)
        require_limit(limit)
        if after is not None:
            try:
                after = str(UUID(after))
            except (ValueError, AttributeError, TypeError) as error:
                raise InvalidInputError(
                    f"after is {after!r:.80}; give the page's next, or nothing for the first page."
                ) from error
        return collection.scan(after, limit, vectors=vectors)

    def count(self, name: str, where: Filter | None = None) -> int:
        """Count the documents of a collection, or those that satisfy a filter."""
        collection = self._table.find(name)
        return collection.count(None if where is None else require_filter(where))

    def search(
        self,
        name: str,
        vectors: NDArray[np.float32],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Find each query's nearest documents: exactly up to 20,000 passages, above by HNSW."""
        collection = self._table.find(name)
        require_top_k(top_k)
        require_offset(offset)
        where = None if where is None else require_filter(where)
        return collection.search(vectors, top_k, where, offset=offset, exact=exact)

    def match(
        self,
        name: str,
        queries: Sequence[str],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
    ) -> list[list[Hit]]:
        """Find the documents that share words with each query, by BM25."""
        collection = self._table.find(name)
        require_top_k(top_k)
        require_offset(offset)
        texts = [require_query(query) for query in queries]
        where = None if where is None else require_filter(where)
        return collection.match(texts, top_k, where, offset=offset)

    def flush(self, name: str) -> None:
        """Write everything to disk and build the index if one is due."""
        collection = self._table.find(name)
        with disk_errors(f"flushing {name}"):
            collection.flush()
            collection.build(if_wanted=True)

    def snapshot(self, name: str, target: Path) -> Path:
        """Copy a collection to ``target/name``, sealed, for ``restore``."""
        collection = self._table.find(name)
        if (target / name).exists():
            raise ConflictError(f"{target / name} exists; name a directory without it.")
        with disk_errors(f"writing a snapshot of {name}"):
            return collection.snapshot(target)

    def restore(self, name: str, source: Path) -> Collection:
        """Create a collection from a snapshot's directory; its files must be those sealed."""
        require_name(name)
        with self._table.changing:
            if self._table.has(name):
                raise ConflictError(f"There is a collection {name}; drop it or restore by another.")
            with disk_errors(f"restoring {name}"):
                collection = files.restore_collection(self._root, name, source, self._reserve_bytes)
            self._table.add(name, collection)
            return collection.describe()

    def close(self) -> None:
        """Flush and seal all collections and release the directory."""
        self._upkeep.stop()
        with self._table.changing:
            if self._table.is_closed:
                return
            for name, collection in self._table.close().items():
                try:
                    collection.close()
                except (ServiceError, OSError):
                    _log.exception("closing %s failed; the next start will recover it", name)
        self._upkeep.join()
        self._lock.release()
