"""One collection on the embedded engine: durable writes, stable ranks, an index built elsewhere.

A write is in the engine's log, and the log on disk, when the call returns. One thread writes at a
time; searches wait for nobody, except for the instant in which a freshly built index takes the
place of the old one. What this trades away: while an index is built, the collection takes its
space on disk twice.
"""

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import NotFoundError, NotReadyError, StoreError
from app.retrieval import layout, offline
from app.retrieval.edge_shard import EXACT_LIMIT, Row, Shard
from app.retrieval.gate import Gate
from app.retrieval.layout import CollectionMeta
from app.retrieval.points import point_id, to_document, to_payload
from app.retrieval.store import Collection, Document, Hit

BATCH = 1_000
FLUSH_AFTER = 5_000
IDLE_S = 2.0
BUILD_EVERY_S = 60.0
_TIE_MARGIN = 8
_log = logging.getLogger(__name__)


class EdgeCollection:
    """A collection that is open; see ``VectorStore`` for what its methods promise."""

    def __init__(
        self, directory: Path, meta: CollectionMeta, shard: Shard, reserve_bytes: int
    ) -> None:
        self.directory = directory
        self.meta = meta
        self._shard: Shard | None = shard
        self._reserve_bytes = reserve_bytes
        self._count = shard.count()
        self._writing = threading.Lock()
        self._building = threading.Lock()
        self._gate = Gate()
        self._cancelled = threading.Event()
        self._dropped = False
        self._touched: set[str] | None = None  # Point ids written since a build began
        self._unflushed = 0
        self._replaced = 0
        self._unindexable = 0
        self._last_write = self._last_build = -BUILD_EVERY_S

    def describe(self) -> Collection:
        """Describe the collection."""
        return Collection(self.meta.name, self.meta.dim, self.meta.model, self._count)

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> int:
        """Write documents with their unit vectors; each ``BATCH`` of them whole or not at all."""
        rows: dict[str, tuple[NDArray[np.float32], dict[str, Any]]] = {}
        for document, vector in zip(documents, vectors, strict=True):
            payload = to_payload(document, vector)  # Validates the doc_id, so it goes first
            rows[point_id(document.doc_id)] = (vector, payload)
        names = list(rows)
        with self._writing:
            shard = self._require_open()
            for chunk in _chunks(names):
                batch = [(name, *rows[name]) for name in chunk]
                texts = sum(len(load["text"]) + len(load["metadata"]) for _, _, load in batch)
                self._require_space(4 * (vectors[0].nbytes * len(batch) + 4 * texts))
                known = shard.existing(chunk)
                with self._written(chunk, added=len(chunk) - len(known), replaced=len(known)):
                    shard.upsert(batch)
        return len(names)

    def delete(self, doc_ids: Sequence[str]) -> int:
        """Delete documents; returns how many were there."""
        deleted = 0
        with self._writing:
            shard = self._require_open()
            for chunk in _chunks(list(dict.fromkeys(map(point_id, doc_ids)))):
                known = shard.existing(chunk)
                if known:
                    self._require_space(0, self._reserve_bytes // 4)
                    with self._written(list(known), added=-len(known), replaced=len(known)):
                        shard.delete(list(known))
                    deleted += len(known)
        return deleted

    def get(self, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        names = [point_id(doc_id) for doc_id in doc_ids]
        with self._reading() as shard:
            found = {
                row.point_id: to_document(row.payload)
                for chunk in _chunks(list(dict.fromkeys(names)))
                for row in shard.rows(chunk)
            }
        return [found[name] for name in names if name in found]

    def search(
        self, vectors: NDArray[np.float32], top_k: int, langs: Sequence[str]
    ) -> list[list[Hit]]:
        """Find each unit row's nearest documents."""
        with self._reading() as shard:
            return [self._nearest(shard, vector, top_k, langs) for vector in vectors]

    def flush(self) -> None:
        """Write everything to disk, so that the next start replays nothing."""
        with contextlib.suppress(FileNotFoundError):  # A new index took the shard's place meanwhile
            layout.sync_files(self._require_open().path)  # So that the engine's own call is short
        with self._writing:
            self._require_open().flush()
            self._unflushed = 0

    def tend(self) -> None:
        """Flush if many writes wait for it, or if some do and nobody writes now."""
        idle = time.monotonic() - self._last_write > IDLE_S
        if self._unflushed >= FLUSH_AFTER or (self._unflushed and idle):
            self.flush()

    def wants_build(self, *, now: bool = False) -> bool:
        """Tell whether enough is unindexed or superseded to build a new index.

        Args:
            now: Do not wait for a pause in the writes.
        """
        since_write = time.monotonic() - self._last_write
        since_build = time.monotonic() - self._last_build
        if not now and since_write < IDLE_S and since_build < BUILD_EVERY_S:
            return False
        if self._replaced > max(EXACT_LIMIT, self._count):
            return True
        if self._count <= EXACT_LIMIT:
            return False
        with self._reading() as shard:
            growth = shard.unindexed() - self._unindexable
        return growth > max(EXACT_LIMIT, self._count // 5)

    def build(self, *, if_wanted: bool = False) -> None:
        """Build the index on a copy in another process, then put the copy in place.

        Reads go on throughout; writes wait while the files are copied and while those documents
        that were written meanwhile are carried over.

        Args:
            if_wanted: Do nothing if a build that was under way has made this one needless.

        Raises:
            StoreError: If it fails; the collection stays as it was.
        """
        with self._building:
            if if_wanted and not self.wants_build(now=True):
                return
            fresh = self.directory / layout.new_shard_name()
            try:
                with self._writing:
                    old = self._require_open()
                    self._require_space(2 * _allocated_bytes(old.path))
                    old.flush()
                    layout.copy_tree(old.path, fresh)
                    self._touched, self._replaced, self._unflushed = set(), 0, 0
                offline.optimize(fresh, self._cancelled.is_set)
                layout.sync_files(fresh)
                with self._writing:
                    self._adopt(fresh)
            finally:
                self._touched = None
                self._last_build = time.monotonic()
                with self._reading() as shard:
                    self._unindexable = shard.unindexed()
                    current = shard.path
                if current != fresh:
                    shutil.rmtree(fresh, ignore_errors=True)

    def snapshot(self, target: Path) -> Path:
        """Write a sealed copy of the collection's directory into ``target``, or nothing."""
        goal = target / self.meta.name
        goal.mkdir(parents=True)  # Fails if it is there, so what is removed below is ours
        try:
            with self._writing:
                shard = self._require_open()
                shard.flush()
                layout.copy_tree(shard.path, goal / shard.path.name)
                meta = self.meta
            layout.sync_files(goal)
            layout.write_meta(goal, meta)
            layout.seal(goal, meta.shard)
        except (StoreError, OSError):
            shutil.rmtree(goal, ignore_errors=True)
            raise
        return goal

    def close(self, *, sealed: bool = True) -> None:
        """Flush, let go of the files and, unless they are to be deleted, seal them."""
        self._dropped = not sealed
        self._cancelled.set()
        with self._building, self._writing:
            shard = self._require_open()
            if sealed:
                layout.sync_files(shard.path)
            with self._gate.alone():
                self._shard = None
            shard.close()
            if sealed:
                layout.sync_files(shard.path)
                layout.seal(self.directory, self.meta.shard)

    def _nearest(
        self, shard: Shard, vector: NDArray[np.float32], top_k: int, langs: Sequence[str]
    ) -> list[Hit]:
        limit = top_k + _TIE_MARGIN
        while True:
            rows = shard.nearest(vector, limit, langs, exact=self._count <= EXACT_LIMIT)
            # A tie that runs past the limit: which of its members are hits depends on doc_id
            if len(rows) < limit or _score(rows[-1]) < _score(rows[top_k - 1]):
                break
            limit *= 4
        best = sorted(rows, key=lambda row: (-_score(row), row.payload["doc_id"]))[:top_k]
        return [
            Hit(rank, _score(row), to_document(row.payload)) for rank, row in enumerate(best, 1)
        ]

    def _adopt(self, fresh: Path) -> None:
        old, new = self._require_open(), Shard.load(fresh)
        try:
            for chunk in _chunks(sorted(self._touched or ())):
                rows = old.rows(chunk, vectors=True)
                if rows:
                    new.upsert(
                        [(r.point_id, np.frombuffer(r.vector, np.float32), r.payload) for r in rows]
                    )
                gone = set(chunk) - {row.point_id for row in rows}
                if gone:
                    new.delete(list(gone))
            if new.count() != self._count:
                raise StoreError(f"The index built for {self.meta.name} lacks documents; kept out.")
            new.flush()
            meta = replace(self.meta, shard=fresh.name)
            layout.write_meta(self.directory, meta)
        except (StoreError, OSError):
            new.close()
            raise
        with self._gate.alone():
            self._shard, self.meta = new, meta
        old.close()
        shutil.rmtree(old.path, ignore_errors=True)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Shard]:
        with self._gate.shared():
            yield self._require_open()

    @contextlib.contextmanager
    def _written(self, names: list[str], *, added: int, replaced: int) -> Iterator[None]:
        """Keep the books around one record of the log, and sync it."""
        shard = self._require_open()
        if self._touched is not None:
            self._touched.update(names)
        try:
            yield
            layout.sync_log(shard.path)
        except StoreError:
            self._count = shard.count()
            raise
        self._count += added
        self._replaced += replaced
        self._unflushed += len(names)
        self._last_write = time.monotonic()

    def _require_open(self) -> Shard:
        if self._shard is None and self._dropped:
            raise NotFoundError(f"The collection {self.meta.name} was dropped meanwhile.")
        if self._shard is None:
            raise NotReadyError(f"The collection {self.meta.name} is closed; open the store again.")
        return self._shard

    def _require_space(self, needed: int, reserve: int | None = None) -> None:
        reserve = self._reserve_bytes if reserve is None else reserve
        layout.require_space(self.directory, needed, reserve)


def _score(row: Row) -> float:
    return min(1.0, max(-1.0, row.score))


def _chunks(names: list[str]) -> Iterator[list[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def _allocated_bytes(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*"))
