"""Writing of a collection: whole documents, durable on return, with the books kept in step.

Each batch is one record of the engine's log, and the log is on disk when the call returns. Passages
that a document no longer has are deleted by a record of their own; a crash before it leaves points
that belong to no document, which readers pass over and the next opening removes.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np

from app.errors import ConflictError, StoreError
from app.retrieval.checks import Entry
from app.retrieval.conditions import FURTHER_PASSAGE
from app.retrieval.edge import disk
from app.retrieval.edge.account import Account
from app.retrieval.edge.filtering import condition_of, payloads_read, quick_parts
from app.retrieval.edge.held import Held
from app.retrieval.edge.layout import CollectionMeta
from app.retrieval.edge.rows import Row
from app.retrieval.edge.shard import Shard
from app.retrieval.edge.tally import Tally
from app.retrieval.filters import Filter
from app.retrieval.payload import WORDS, PointRow, parts_of, passage_ids, point_ids, rows_of

BATCH = 1_000
FLUSH_AFTER = 5_000
IDLE_S = 2.0
_STANDING = ("check", "parts")
T = TypeVar("T")


class Writer:
    """The writing part of an open collection."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def upsert(self, entries: Sequence[Entry], meta: CollectionMeta) -> int:
        """Write documents; each ``BATCH`` passages or more of them whole or not at all.

        Args:
            entries: The documents, each once.
            meta: The collection as it was when they were checked.
        """
        documents = rows_of(entries)
        with self._held.writing:
            shard = self._held.require_open()
            if (self._held.meta.model, self._held.meta.dim) != (meta.model, meta.dim):
                raise ConflictError(
                    f"The collection {meta.name} was replaced meanwhile by one of another encoder, "
                    f"{self._held.meta.model}; encode the documents with it and send them again."
                )
            for batch in _batches(documents, len):
                self._write(shard, batch)
        return len(documents)

    def delete(self, doc_ids: Sequence[str]) -> int:
        """Delete documents; returns how many were there."""
        names = [point_ids(doc_id)[0] for doc_id in dict.fromkeys(doc_ids)]
        with self._held.writing:
            shard = self._held.require_open()
            return sum(
                self._remove(shard, shard.rows(batch, fields=_STANDING))
                for batch in _batches(names, lambda _: 1)
            )

    def delete_where(self, where: Filter) -> int:
        """Delete the documents that satisfy a filter; returns how many.

        If the engine would have to read many payloads for it, documents are looked at by the
        thousand, and others read and write in between.
        """
        with self._held.writing:
            shard = self._held.require_open()
            if not payloads_read(self._held, shard, where):
                holds, found, start = [condition_of(shard, where)], list[Row](), None
                while True:
                    rows, start = shard.page(
                        start, BATCH, conditions=holds, without=[FURTHER_PASSAGE], fields=_STANDING
                    )
                    found += rows
                    if start is None:
                        return self._remove_all(shard, found)
        deleted, start = 0, None
        while True:
            with self._held.writing:
                count, start = self._delete_step(where, start)
            deleted += count
            if start is None:
                return deleted

    def _delete_step(self, where: Filter, start: str | None) -> tuple[int, str | None]:
        """Delete those of the next thousand documents that satisfy a filter."""
        shard = self._held.require_open()
        quick = [condition_of(shard, part) for part in quick_parts(self._held, where)]
        rows, start = shard.page(
            start, BATCH, conditions=quick, without=[FURTHER_PASSAGE], fields=()
        )
        if not rows:
            return 0, start
        these = {"has_id": [row.point_id for row in rows]}
        holds = [these, condition_of(shard, where)]
        found, _ = shard.page(None, BATCH, conditions=holds, fields=_STANDING)
        return self._remove_all(shard, found), start

    def _remove_all(self, shard: Shard, found: Sequence[Row]) -> int:
        batches = _batches(found, lambda row: parts_of(row.payload))
        return sum(self._remove(shard, batch) for batch in batches)

    def flush(self) -> None:
        """Write everything to disk, so that the next start replays nothing."""
        with contextlib.suppress(FileNotFoundError):  # A new index took the shard's place meanwhile
            disk.sync_files(self._held.require_open().path)  # So that the engine's call is short
        with self._held.writing:
            self._held.require_open().flush()
            self._held.unflushed = 0

    def tend(self) -> None:
        """Flush if many writes wait for it, or if some do and nobody writes now."""
        held = self._held
        idle = time.monotonic() - held.last_write > IDLE_S
        if held.unflushed >= FLUSH_AFTER or (held.unflushed and idle):
            self.flush()

    def _write(self, shard: Shard, documents: Sequence[Sequence[PointRow]]) -> None:
        firsts = {rows[0].point_id: rows for rows in documents}
        standing = {row.point_id: row for row in shard.rows(list(firsts), fields=_STANDING)}
        fresh = [row for rows in documents for row in rows]
        self._held.require_space(_needed_bytes(fresh))
        stale = _all_ids(standing.values())
        written = {row.point_id for row in fresh}
        left = [point_id for point_id in stale if point_id not in written]
        account = self._held.books.account.with_removed(_entries(standing.values()))
        account = account.with_written((len(rows), rows[0].payload["check"]) for rows in documents)
        before = shard.rows(stale, fields=(), vectors=(WORDS,)) if stale else []
        touched = {
            name: max(len(rows), parts_of(standing[name].payload) if name in standing else 0)
            for name, rows in firsts.items()
        }
        with self._recorded(shard, account, touched, len(stale)):
            shard.upsert(fresh)
            if left:
                shard.delete(left)
        self._retally(fresh, before)

    def _remove(self, shard: Shard, documents: Sequence[Row]) -> int:
        if not documents:
            return 0
        self._held.require_space(0, urgent=True)
        ids = _all_ids(documents)
        account = self._held.books.account.with_removed(_entries(documents))
        before = shard.rows(ids, fields=(), vectors=(WORDS,))
        touched = {row.point_id: parts_of(row.payload) for row in documents}
        with self._recorded(shard, account, touched, len(ids)):
            shard.delete(ids)
        self._retally((), before)
        return len(documents)

    def _retally(self, fresh: Sequence[PointRow], before: Sequence[Row]) -> None:
        tally = self._held.books.tally
        if tally is not None:
            tally.add(chain.from_iterable(row.words.indices for row in fresh))
            tally.remove(chain.from_iterable(row.words.indices for row in before))

    @contextlib.contextmanager
    def _recorded(
        self, shard: Shard, account: Account, touched: Mapping[str, int], superseded: int
    ) -> Iterator[None]:
        """Keep the books around one write, and sync the log."""
        held = self._held
        if held.touched is not None:
            for name, parts in touched.items():
                held.touched[name] = max(parts, held.touched.get(name, 0))
        held.books.announce(account)
        try:
            yield
            disk.sync_log(shard.path)
        except StoreError:
            held.books.tally = None
            held.books.settle(count_documents(shard))
            raise
        held.books.account = account
        held.superseded += superseded
        held.unflushed += len(touched)
        held.last_write = time.monotonic()


def count_documents(shard: Shard) -> Account:
    """Add up the account of what a shard holds, by the check sums that stand in it."""
    heads = (row for row in shard.scan(fields=(*_STANDING, "part"), vectors=()))
    return Account().with_written(_entries([row for row in heads if "part" not in row.payload]))


def count_words(shard: Shard) -> Tally:
    """Count in how many passages each token stands."""
    pages = [
        np.fromiter(row.words.indices, np.uint32) for row in shard.scan(fields=(), vectors=(WORDS,))
    ]
    return Tally.of(np.concatenate(pages)) if pages else Tally.empty()


def _entries(heads: Iterable[Row]) -> Iterator[tuple[int, int]]:
    return ((parts_of(row.payload), row.payload["check"]) for row in heads)


def _all_ids(heads: Iterable[Row]) -> list[str]:
    return [p for row in heads for p in passage_ids(row.point_id, parts_of(row.payload))]


def _needed_bytes(rows: Sequence[PointRow]) -> int:
    texts = sum(
        len(row.payload.get("text", "")) + len(row.payload.get("metadata", "")) for row in rows
    )
    words = sum(len(row.words.indices) for row in rows)
    return 4 * (rows[0].vector.nbytes * len(rows) + 4 * texts + 8 * words)


def _batches(items: Sequence[T], weight: Callable[[T], int]) -> Iterator[list[T]]:
    """Split in parts of at least ``BATCH`` in weight, but for the last."""
    batch, total = list[T](), 0
    for item in items:
        batch.append(item)
        total += weight(item)
        if total >= BATCH:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
