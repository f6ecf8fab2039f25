"""The store on a Qdrant server or cluster: names to collections, checks, and the life of both."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from app.errors import NotFoundError, NotReadyError, ServiceError, StoreError
from app.retrieval.checks import (
    require_collection,
    require_entries,
    require_limit,
    require_offset,
    require_query,
    require_same,
)
from app.retrieval.documents import Document, Span
from app.retrieval.filters import Filter, require_filter
from app.retrieval.payload import WORDS
from app.retrieval.points import require_doc_id, require_name, require_top_k, unit_rows
from app.retrieval.qdrant import writes
from app.retrieval.qdrant.names import Names, Target
from app.retrieval.qdrant.nearest import Search, nearest, weigh
from app.retrieval.qdrant.nodes import Cluster, GoneError, Nodes
from app.retrieval.qdrant.reads import Reader, consistency_of, require_cursor
from app.retrieval.qdrant.sizes import estimate_bytes
from app.retrieval.store import Collection, Hit, Options, Page

T = TypeVar("T")
_KNOWN_S = 1.0
"""Seconds for which a name is taken to mean the same collection, as far as reads go."""
_INDEXED_WITHIN_S = 60.0


class QdrantStore:
    """Collections on a Qdrant server; use ``open``. Methods are those of ``VectorStore``.

    Several processes may share a server. What one of them writes the others find at once; what one
    puts in another's place they find within a second.

    Args:
        nodes: The cluster, closed with the store.
        cluster: How collections are spread and read.
    """

    def __init__(self, nodes: Nodes, cluster: Cluster) -> None:
        self._nodes = nodes
        self._names = Names(nodes, cluster)
        self._consistency = consistency_of(cluster.read)
        self._changing = threading.Lock()
        self._known: dict[str, tuple[float, Target]] = {}
        self._closed = False

    @classmethod
    def open(cls, urls: str, cluster: Cluster | None = None) -> "QdrantStore":
        """Connect to a server and sweep what crashes have left there.

        Args:
            urls: ``http://host:6333``, or those of several nodes, by commas.
            cluster: How collections are spread and read.

        Raises:
            InvalidInputError: If an address is not one.
            NotReadyError: If no node answers.
            StoreError: If the server refuses the key, or is none of Qdrant.
        """
        cluster = cluster or Cluster()
        nodes = Nodes.connect(urls, cluster)
        try:
            version = nodes.call("asking for its version", lambda client: client.info())
            if "qdrant" not in version.title.lower():
                raise StoreError(f"What answers at {nodes.addresses} is {version.title:.80}.")
            store = cls(nodes, cluster)
            store._names.sweep()
        except ServiceError:
            nodes.close()
            raise
        return store

    def create(self, name: str, dim: int, model: str, options: Options | None = None) -> Collection:
        """Create a collection, or return it if it exists with the same dim, model and options."""
        options = options or Options()
        require_collection(name, dim, model, options)
        with self._changing:
            self._require_open()
            try:
                return require_same(self._describe(self._find(name)), dim, model, options)
            except NotFoundError:
                pass
            target = self._names.make(name, dim, model, options)
            self._names.point(name, target.physical)
            self._known.pop(name, None)
        return Collection(name, dim, model, 0, options)

    def drop(self, name: str) -> None:
        """Delete a collection and its documents."""
        with self._changing:
            physical = self._aliases(name)[name]
            self._names.point(name, None)
            self._known.pop(name, None)
            self._names.remove(physical)

    def collections(self) -> list[Collection]:
        """List the collections that can be used, by name."""
        self._require_open()
        found = []
        for name in sorted(self._names.aliases()):
            try:
                found.append(self._describe(self._find(name)))
            except (NotFoundError, StoreError):  # Dropped meanwhile, or unavailable
                continue
        return found

    def describe(self, name: str) -> Collection:
        """Describe one collection."""
        return self._with(name, self._describe, fresh=True)

    def languages(self, name: str) -> dict[str, int]:
        """Count the documents of each language, the most frequent first; without one: ``""``."""
        return self._with(name, lambda target: self._reader(target).languages())

    def size_bytes(self, name: str) -> int:
        """Estimate how much storage a collection takes, in one copy."""
        return self._with(name, lambda target: estimate_bytes(self._reader(target)))

    def unavailable(self) -> dict[str, str]:
        """Name the collections that cannot be used, each with the reason."""
        self._require_open()
        reasons = {}
        for name in self._names.aliases():
            try:
                self._find(name)
            except NotFoundError:
                continue
            except StoreError as error:
                reasons[name] = error.message
        return reasons

    def replace(self, name: str, by: str) -> Collection:
        """Put the collection ``by`` in the place of ``name``, which is dropped."""
        with self._changing:
            aliases = self._aliases(name, by)
            if name != by:
                self._names.point(name, aliases[by], instead_of=by)
                self._known.pop(name, None)
                self._known.pop(by, None)
                self._names.remove(aliases[name])
        return self.describe(name)

    def upsert(
        self,
        name: str,
        documents: Sequence[Document],
        vectors: NDArray[np.float32],
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> int:
        """Add or replace documents; those of a shard in one message, each of them whole."""

        def write(target: Target) -> int:
            shape = Collection(name, target.dim, target.model, 0, target.options)
            entries = require_entries(shape, documents, vectors, spans)
            writes.upsert(self._nodes, target, entries)
            return len(entries)

        return self._with(name, write, fresh=True)

    def delete(self, name: str, doc_ids: Sequence[str]) -> int:
        """Delete documents; returns how many were there."""
        names = [require_doc_id(doc_id) for doc_id in doc_ids]
        return self._with(
            name, lambda target: writes.delete(self._nodes, target, names), fresh=True
        )

    def delete_where(self, name: str, where: Filter) -> int:
        """Delete the documents that satisfy a filter. Returns how many."""

        def remove(target: Target) -> int:
            condition = self._reader(target).condition(require_filter(where))
            count = self._reader(target).count([condition])
            if count:
                writes.delete_where(self._nodes, target, condition)
            return count

        return self._with(name, remove, fresh=True)

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        names = [require_doc_id(doc_id) for doc_id in doc_ids]
        return self._with(name, lambda target: self._reader(target).get(names))

    def scan(
        self, name: str, after: str | None = None, limit: int = 1000, *, vectors: bool = False
    ) -> Page:
        """Read a collection page by page, each document once, in the order of points' ids."""
        self._with(name, lambda target: require_limit(limit))
        if after is not None:
            require_cursor(after)
        return self._with(
            name, lambda target: self._reader(target).scan(after, limit, vectors=vectors)
        )

    def count(self, name: str, where: Filter | None = None) -> int:
        """Count the documents of a collection, or those that satisfy a filter."""

        def count(target: Target) -> int:
            reader = self._reader(target)
            return reader.count([reader.condition(require_filter(where))] if where else [])

        return self._with(name, count)

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
        """Find the nearest documents of each query vector."""

        def find(target: Target) -> list[list[Hit]]:
            reader = self._reader(target)
            rows = unit_rows(vectors, target.dim)
            require_top_k(top_k)
            require_offset(offset)
            condition = reader.condition(require_filter(where)) if where else None
            search = Search(None, top_k, offset, condition, exact)
            return nearest(reader, rows.tolist(), search)

        return self._with(name, find)

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

        def find(target: Target) -> list[list[Hit]]:
            reader = self._reader(target)
            require_top_k(top_k)
            require_offset(offset)
            condition = reader.condition(require_filter(where)) if where else None
            weights = weigh(reader, [require_query(query) for query in queries])
            search = Search(WORDS, top_k, offset, condition)
            found = iter(nearest(reader, [words for words in weights if words], search))
            return [next(found) if words else [] for words in weights]

        return self._with(name, find)

    def flush(self, name: str) -> None:
        """Wait until the server has built the indexes that are due, at most a minute."""

        def settle(target: Target) -> None:
            deadline = time.monotonic() + _INDEXED_WITHIN_S
            for attempt in itertools.count(1):
                info = self._nodes.call(
                    f"reading the state of {name}",
                    lambda client: client.get_collection(target.physical),
                )
                if info.status == models.CollectionStatus.GREEN or time.monotonic() > deadline:
                    return
                time.sleep(min(2.0, 0.05 * 2**attempt))

        self._with(name, settle)

    def snapshot(self, name: str, target: Path) -> Path:
        """Write a collection into a directory as the embedded engine does."""
        self._find(name)
        raise StoreError("Snapshots of this engine are not ready yet; those of its server are.")

    def restore(self, name: str, source: Path) -> Collection:
        """Create a collection from a snapshot of this engine or of the embedded one."""
        require_name(name)
        raise StoreError("Snapshots of this engine are not ready yet; those of its server are.")

    def close(self) -> None:
        """Close the connections; what was acknowledged is on the server."""
        if not self._closed:
            self._closed = True
            self._nodes.close()

    def _with(self, name: str, work: Callable[[Target], T], *, fresh: bool = False) -> T:
        """Work on a collection; once more if another has taken its place meanwhile."""
        target = self._find(name, fresh=fresh)
        try:
            return work(target)
        except GoneError:
            again = self._find(name, fresh=True)
            if again.physical == target.physical:
                raise
        return work(again)

    def _find(self, name: str, *, fresh: bool = True) -> Target:
        require_name(name)
        self._require_open()
        then, target = self._known.get(name, (-_KNOWN_S, None))
        if target is None or fresh or time.monotonic() - then > _KNOWN_S:
            self._known.pop(name, None)
            target = self._names.find(name)
            self._known[name] = (time.monotonic(), target)
        return target

    def _aliases(self, *names: str) -> dict[str, str]:
        for name in names:
            require_name(name)
        self._require_open()
        aliases = self._names.aliases()
        for name in names:
            if name not in aliases:
                raise NotFoundError(f"There is no collection {name}; create it first.")
        return aliases

    def _describe(self, target: Target) -> Collection:
        count = self._reader(target).count([])
        return Collection(target.name, target.dim, target.model, count, target.options)

    def _reader(self, target: Target) -> Reader:
        return Reader(self._nodes, target, self._consistency)

    def _require_open(self) -> None:
        if self._closed:
            raise NotReadyError("The store is closed; open it again.")
