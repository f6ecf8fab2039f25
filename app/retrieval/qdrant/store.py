"""The store on a Qdrant server or cluster: names to collections, checks, and the life of both."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import ConflictError, NotFoundError, ServiceError, StoreError
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
from app.retrieval.qdrant import moves, writes
from app.retrieval.qdrant.access import Access
from app.retrieval.qdrant.names import Target
from app.retrieval.qdrant.nearest import Search, nearest, weigh
from app.retrieval.qdrant.nodes import Cluster, Nodes
from app.retrieval.qdrant.reads import require_cursor
from app.retrieval.qdrant.sizes import estimate_bytes
from app.retrieval.store import Collection, Hit, Options, Page


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
        self._access = Access(nodes, cluster)
        self._changing = threading.Lock()

    @classmethod
    def open(cls, urls: str, cluster: Cluster | None = None) -> "QdrantStore":
        """Connect to a server and sweep what crashes have left there.

        Args:
            urls: ``http://host:6333``, or those of several nodes, by commas.
            cluster: How collections are spread and read.

        Raises:
            InvalidInputError: If an address is not one, or the replicas asked for would let a
                search miss what was acknowledged.
            NotReadyError: If no node answers.
            StoreError: If the server refuses the key, or is none of Qdrant.
        """
        cluster = cluster or Cluster()
        cluster.require_consistent()
        nodes = Nodes.connect(urls, cluster)
        try:
            version = nodes.call("asking for its version", lambda client: client.info())
            if "qdrant" not in version.title.lower():
                raise StoreError(
                    f"What answers is {version.title!r:.80}; let TYNTEGRA_STORE name a Qdrant."
                )
            store = cls(nodes, cluster)
            store._access.names.sweep()
        except ServiceError:
            nodes.close()
            raise
        return store

    def create(self, name: str, dim: int, model: str, options: Options | None = None) -> Collection:
        """Create a collection, or return it if it exists with the same dim, model and options."""
        options = options or Options()
        require_collection(name, dim, model, options)
        with self._changing:
            self._access.require_open()
            try:
                return require_same(
                    self._access.describe(self._access.find(name)), dim, model, options
                )
            except NotFoundError:
                pass
            target = self._access.names.make(name, dim, model, options)
            self._access.names.point(name, target.physical)
            self._access.forget(name)
        return Collection(name, dim, model, 0, options)

    def drop(self, name: str) -> None:
        """Delete a collection and its documents."""
        with self._changing:
            physical = self._access.aliases(name)[name]
            self._access.names.point(name, None)
            self._access.forget(name)
            self._access.names.remove(physical)

    def collections(self) -> list[Collection]:
        """List the collections that can be used, by name."""
        return [found for found, _ in self._access.all().values() if found is not None]

    def describe(self, name: str) -> Collection:
        """Describe one collection."""
        return self._access.work(name, self._access.describe, fresh=True)

    def languages(self, name: str) -> dict[str, int]:
        """Count the documents of each language, the most frequent first; without one: ``""``."""
        return self._access.work(name, lambda target: self._access.reader(target).languages())

    def size_bytes(self, name: str) -> int:
        """Estimate how much storage a collection takes, in one copy."""
        return self._access.work(name, lambda target: estimate_bytes(self._access.reader(target)))

    def unavailable(self) -> dict[str, str]:
        """Name the collections that cannot be used, or that their server has trouble with."""
        return {name: trouble for name, (_, trouble) in self._access.all().items() if trouble}

    def replace(self, name: str, by: str) -> Collection:
        """Put the collection ``by`` in the place of ``name``, which is dropped."""
        with self._changing:
            aliases = self._access.aliases(name, by)
            if name != by:
                self._access.names.point(name, aliases[by], instead_of=by)
                self._access.forget(name)
                self._access.forget(by)
                self._access.names.remove(aliases[name])
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

        return self._access.work(name, write, fresh=True)

    def delete(self, name: str, doc_ids: Sequence[str]) -> int:
        """Delete documents; returns how many were there."""
        names = [require_doc_id(doc_id) for doc_id in doc_ids]
        return self._access.work(
            name, lambda target: writes.delete(self._nodes, target, names), fresh=True
        )

    def delete_where(self, name: str, where: Filter) -> int:
        """Delete the documents that satisfy a filter. Returns how many."""

        def remove(target: Target) -> int:
            condition = self._access.reader(target).condition(require_filter(where))
            count = self._access.reader(target).count([condition])
            if count:
                writes.delete_where(self._nodes, target, condition)
            return count

        return self._access.work(name, remove, fresh=True)

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        names = [require_doc_id(doc_id) for doc_id in doc_ids]
        return self._access.work(name, lambda target: self._access.reader(target).get(names))

    def scan(
        self, name: str, after: str | None = None, limit: int = 1000, *, vectors: bool = False
    ) -> Page:
        """Read a collection page by page, each document once, in the order of points' ids."""
        self._access.work(name, lambda target: require_limit(limit))
        if after is not None:
            require_cursor(after)
        return self._access.work(
            name, lambda target: self._access.reader(target).scan(after, limit, vectors=vectors)
        )

    def count(self, name: str, where: Filter | None = None) -> int:
        """Count the documents of a collection, or those that satisfy a filter."""

        def count(target: Target) -> int:
            reader = self._access.reader(target)
            return reader.count([reader.condition(require_filter(where))] if where else [])

        return self._access.work(name, count)

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
            reader = self._access.reader(target)
            rows = unit_rows(vectors, target.dim)
            require_top_k(top_k)
            require_offset(offset)
            condition = reader.condition(require_filter(where)) if where else None
            search = Search(None, top_k, offset, condition, exact)
            return nearest(reader, rows.tolist(), search)

        return self._access.work(name, find)

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
            reader = self._access.reader(target)
            require_top_k(top_k)
            require_offset(offset)
            condition = reader.condition(require_filter(where)) if where else None
            weights = weigh(reader, [require_query(query) for query in queries])
            search = Search(WORDS, top_k, offset, condition)
            found = iter(nearest(reader, [words for words in weights if words], search))
            return [next(found) if words else [] for words in weights]

        return self._access.work(name, find)

    def flush(self, name: str) -> None:
        """Wait until the server has built the indexes that are due, at most a minute."""
        self._access.work(name, self._access.settle)

    def snapshot(self, name: str, target: Path) -> Path:
        """Write a collection into a directory, in the embedded engine's files."""
        return self._access.work(
            name, lambda found: moves.write_snapshot(self._access.reader(found), target)
        )

    def restore(self, name: str, source: Path) -> Collection:
        """Create a collection from a snapshot of this engine or of the embedded one."""
        with self._changing:
            if name in self._access.aliases():
                raise ConflictError(f"There is a collection {name}; drop it or restore by another.")
            require_name(name)
            with moves.opened_snapshot(source) as (meta, shard):
                options = moves.options_of(meta)
                target = self._access.names.make(name, meta.dim, meta.model, options)
                try:
                    sent = writes.put(self._nodes, target, moves.documents_in(meta, shard))
                    self._require_whole(target, sent)
                except ServiceError:
                    self._access.names.remove(target.physical)
                    raise
            self._access.names.point(name, target.physical)
            self._access.forget(name)
        return self.describe(name)

    def close(self) -> None:
        """Close the connections; what was acknowledged is on the server."""
        self._access.close()

    def _require_whole(self, target: Target, sent: int) -> None:
        there = self._access.reader(target).count([])
        if there != sent:
            raise StoreError(
                f"{sent} documents were sent to the server and {there} are there; restore again."
            )
