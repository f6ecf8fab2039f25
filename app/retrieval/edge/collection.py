"""One collection on the embedded engine, open: its reading, writing and exchanging parts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.retrieval.checks import require_entries
from app.retrieval.documents import Document, Span
from app.retrieval.edge import disk, layout
from app.retrieval.edge.builder import Builder
from app.retrieval.edge.held import Books, Held
from app.retrieval.edge.layout import CollectionMeta
from app.retrieval.edge.reader import Reader
from app.retrieval.edge.scrub import Scrub
from app.retrieval.edge.shard import Shard
from app.retrieval.edge.writer import Writer
from app.retrieval.filters import Filter
from app.retrieval.points import unit_rows
from app.retrieval.store import Collection, Hit, Page


class EdgeCollection:
    """A collection that is open; see ``VectorStore`` for what its methods promise."""

    def __init__(
        self, directory: Path, meta: CollectionMeta, shard: Shard, books: Books, reserve_bytes: int
    ) -> None:
        self.held = Held(directory, meta, shard, books, reserve_bytes)
        self.builder = Builder(self.held)
        self._writer = Writer(self.held)
        self._reader = Reader(self.held)
        self._scrub = Scrub(self.held)

    @property
    def meta(self) -> CollectionMeta:
        """The collection's metadata."""
        return self.held.meta

    def describe(self) -> Collection:
        """Describe the collection."""
        return self.held.meta.describe(self.held.books.account.documents)

    def upsert(
        self,
        documents: Sequence[Document],
        vectors: NDArray[np.float32],
        spans: Sequence[Sequence[Span]] | None,
    ) -> int:
        """Check and write documents."""
        meta = self.held.meta
        return self._writer.upsert(
            require_entries(meta.describe(0), documents, vectors, spans), meta
        )

    def delete(self, doc_ids: Sequence[str]) -> int:
        """Delete documents; returns how many were there."""
        return self._writer.delete(doc_ids)

    def delete_where(self, where: Filter) -> int:
        """Delete the documents that satisfy a filter; returns how many."""
        return self._writer.delete_where(where)

    def get(self, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        return self._reader.get(doc_ids)

    def scan(self, after: str | None, limit: int, *, vectors: bool) -> Page:
        """Read a page of documents."""
        return self._reader.scan(after, limit, vectors=vectors)

    def count(self, where: Filter | None) -> int:
        """Count the documents, or those that satisfy a filter."""
        if where is None:
            self.held.require_open()
            return self.held.books.account.documents
        return self._reader.count(where)

    def languages(self) -> dict[str, int]:
        """Count the documents of each language."""
        return self._reader.languages()

    def size_bytes(self) -> int:
        """Tell how much the collection takes on disk."""
        return disk.allocated_bytes(self.held.directory)

    def search(
        self,
        vectors: NDArray[np.float32],
        top_k: int,
        where: Filter | None,
        *,
        offset: int,
        exact: bool,
    ) -> list[list[Hit]]:
        """Find each vector's nearest documents."""
        rows = unit_rows(vectors, self.held.meta.dim)
        return self._reader.search(rows, top_k, where, offset=offset, exact=exact)

    def match(
        self, queries: Sequence[str], top_k: int, where: Filter | None, *, offset: int
    ) -> list[list[Hit]]:
        """Find the documents that share words with each query."""
        return self._reader.match(queries, top_k, where, offset=offset)

    def flush(self) -> None:
        """Write everything to disk, so that the next start replays nothing."""
        self._writer.flush()

    def tend(self) -> None:
        """Flush if it is time to."""
        self._writer.tend()

    def scrub(self) -> bool:
        """Check some documents more, if a crash made it necessary; tells whether there are more."""
        return self._scrub.step()

    def wants_build(self, *, now: bool = False) -> bool:
        """Tell whether an index is due."""
        return self.builder.wants_build(now=now)

    def build(self, *, if_wanted: bool = False) -> None:
        """Build the index."""
        self.builder.build(if_wanted=if_wanted)

    def take(self, other: "EdgeCollection") -> None:
        """Go on with the files of another collection, which was closed."""
        self.builder.take(other.held.directory, other.held.meta)

    def snapshot(self, target: Path) -> Path:
        """Write a sealed copy into ``target``."""
        return self.builder.snapshot(target)

    def close(self, *, dropped: bool = False) -> None:
        """Flush, let go of the files and, if they are sound and not to be deleted, seal them."""
        held, sealed = self.held, not dropped
        self.builder.cancelled.set()
        with self.builder.building, held.writing:
            shard = held.shard
            if shard is None:
                held.require_open()
                return
            sealed = sealed and not held.damage
            if sealed:
                disk.sync_files(shard.path)
            held.dropped = dropped
            with held.gate.alone():
                held.shard = None
            shard.close()
            held.books.close()
            if sealed:
                self._seal()

    def _seal(self) -> None:
        held = self.held
        disk.sync_files(held.directory)
        if held.superseded:
            covered = max(0, held.meta.indexed - held.superseded)
            held.meta = replace(held.meta, indexed=covered)
            layout.write_meta(held.directory, held.meta)
        layout.seal(held.directory, held.meta.shard)
