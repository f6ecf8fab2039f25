"""Reading of a collection: hits grouped to documents with stable ranks, pages and counts.

The engine finds passages. A search reads more of them until enough documents are complete, ties
included. What was found is compared with its document by their check sum, so that a search during
a write sees the document before it or after it.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.errors import ConflictError, StoreError
from app.retrieval.conditions import FURTHER_PASSAGE, Condition
from app.retrieval.documents import Document
from app.retrieval.edge.filtering import chunks, condition_of, is_indexed, require_quick
from app.retrieval.edge.held import Held
from app.retrieval.edge.ranking import LIGHT, complete
from app.retrieval.edge.rows import Nearest, Row
from app.retrieval.edge.shard import EXACT_LIMIT, Shard
from app.retrieval.edge.writer import count_words
from app.retrieval.filters import Filter
from app.retrieval.lexical import Sparse, idf, query_weights
from app.retrieval.payload import (
    is_as_written,
    parts_of,
    passage_ids,
    point_ids,
    span_of,
    to_document,
)
from app.retrieval.store import Hit, Page

_TIE_MARGIN = 2
_WHOLE_LIMIT = 64
"""Searches of fewer rows read the documents at once, others the places first."""
_TRIES = 3
_ALL_LANGUAGES = 1 << 20
_Place = tuple[str, int]
"""A document and the number of its passage."""
T = TypeVar("T")


class _Moved(Exception):  # noqa: N818 - no error: a write came between two reads
    pass


class Reader:
    """The reading part of an open collection."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def search(
        self,
        vectors: NDArray[np.float32],
        top_k: int,
        where: Filter | None,
        *,
        offset: int,
        exact: bool,
    ) -> list[list[Hit]]:
        """Find each unit row's nearest documents."""

        def find(shard: Shard) -> list[list[Hit]]:
            if vectors.shape[1] != self._held.meta.dim:
                raise ConflictError(
                    f"The collection {self._held.meta.name} was replaced meanwhile by one of dim "
                    f"{self._held.meta.dim}; encode the queries with its model and send them again."
                )
            return self._ranked(shard, list(vectors), top_k, where, offset=offset, exact=exact)

        return self._steadily(find)

    def match(
        self, queries: Sequence[str], top_k: int, where: Filter | None, *, offset: int
    ) -> list[list[Hit]]:
        """Find the documents that share words with each query."""
        weights = [query_weights(query) for query in queries]

        self._ensure_tally()

        def find(shard: Shard) -> list[list[Hit]]:
            asked = [self._weighed(shard, words) for words in weights]
            return self._ranked(shard, asked, top_k, where, offset=offset, exact=False)

        return self._steadily(find)

    def get(self, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        names = [point_ids(doc_id)[0] for doc_id in doc_ids]
        with self._held.reading() as shard:
            found = {
                row.point_id: to_document(self._verified(row).payload)
                for chunk in chunks(list(dict.fromkeys(names)))
                for row in shard.rows(chunk)
            }
        documents = [found[name] for name in names if name in found]
        asked = [doc_id for name, doc_id in zip(names, doc_ids, strict=True) if name in found]
        for doc_id, document in zip(asked, documents, strict=True):
            if document.doc_id != doc_id:  # The engine's table of ids is damaged
                self._held.condemn(doc_id)
        return documents

    def count(self, where: Filter) -> int:
        """Count the documents that satisfy a filter."""
        with self._held.reading() as shard:
            require_quick(self._held, shard, where)
            return shard.count([condition_of(shard, where)], self._further())

    def languages(self) -> dict[str, int]:
        """Count the documents of each language, the most frequent first."""
        with self._held.reading() as shard:
            found = shard.frequencies("lang", _ALL_LANGUAGES, self._further())
            counts = {lang: count for lang, count in found.items() if count}
            rest = self._held.books.account.documents - sum(counts.values())
        if rest > 0:
            counts[""] = rest
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def scan(self, after: str | None, limit: int, *, vectors: bool) -> Page:
        """Read a page of documents by rising point id."""
        return self._steadily(lambda shard: self._page(shard, after, limit, vectors=vectors))

    def _page(self, shard: Shard, after: str | None, limit: int, *, vectors: bool) -> Page:
        dense = ("",) if vectors else ()
        heads, following = shard.page(after, limit, without=self._further(), vectors=dense)
        if any("part" in row.payload for row in heads):
            raise _Moved  # The first document of several passages came just now
        further = [
            point_id
            for row in heads
            for point_id in passage_ids(row.point_id, parts_of(row.payload))[1:]
        ]
        found = {row.point_id: row for row in heads} | {
            row.point_id: row
            for chunk in chunks(further)
            for row in shard.rows(chunk, vectors=dense)
        }
        groups = [
            [found.get(p) for p in passage_ids(row.point_id, parts_of(row.payload))]
            for row in heads
        ]
        whole = [
            [_of(head, self._verified(row)) for row in group]
            for head, group in zip(heads, groups, strict=True)
        ]
        data = b"".join(row.vector for rows in whole for row in rows)
        return Page(
            [to_document(row.payload) for row in heads],
            [[span_of(row.payload) for row in rows] for rows in whole],
            np.frombuffer(data, np.float32).reshape(-1, self._held.meta.dim) if vectors else None,
            following,
        )

    def _ranked(
        self,
        shard: Shard,
        queries: Sequence[NDArray[np.float32] | Sparse],
        top_k: int,
        where: Filter | None,
        *,
        offset: int,
        exact: bool,
    ) -> list[list[Hit]]:
        need = offset + top_k
        limit = need + _TIE_MARGIN
        if where is not None:
            require_quick(self._held, shard, where)
        conditions = [] if where is None else [condition_of(shard, where)]
        asked = [
            Nearest(
                query,
                limit,
                conditions,
                exact or self._must_be_exact(where),
                None if limit <= _WHOLE_LIMIT else LIGHT,
            )
            for query in queries
        ]
        found = shard.nearest(asked) if asked else []
        chosen = [
            complete(shard, one, rows, need)[offset:]
            for one, rows in zip(asked, found, strict=True)
        ]
        read = self._read(shard, [row for rows in chosen for row in rows])
        return [
            [_hit(offset + rank, row, read) for rank, row in enumerate(rows, 1)] for rows in chosen
        ]

    def _read(self, shard: Shard, rows: Sequence[Row]) -> dict[_Place, Row]:
        """Read rows and the first points of their documents as a whole, by place."""
        read = {_place(row): row for row in rows if "sum" in row.payload}
        wanted = {_place(row) for row in rows} | {(row.payload["doc_id"], 0) for row in rows}
        missing = [point_ids(doc_id, part + 1)[part] for doc_id, part in wanted - read.keys()]
        for chunk in chunks(sorted(missing)):
            read |= {_place(row): row for row in shard.rows(chunk)}
        for row in read.values():
            self._verified(row)
        return read

    def _verified(self, row: Row | None) -> Row:
        """Return a row if it was found and is as it was written."""
        if row is None:
            raise _Moved
        if not is_as_written(row.payload):
            self._held.condemn(row.payload.get("doc_id"))
        return row

    def _must_be_exact(self, where: Filter | None) -> bool:
        """Small collections are; and a graph has no links for fields that are not indexed."""
        if self._held.books.account.passages <= EXACT_LIMIT:
            return True
        return where is not None and not is_indexed(where, self._held.meta)

    def _weighed(self, shard: Shard, words: Sparse) -> Sparse:
        books = self._held.books
        tally, passages = books.tally, books.account.passages
        if tally is None:  # A write failed just now
            tally = count_words(shard)
        known = [
            (token, weight * idf(passages, having))
            for token, weight in zip(words.indices, words.values, strict=True)
            if (having := tally.having(token))
        ]
        return Sparse([token for token, _ in known], [weight for _, weight in known])

    def _ensure_tally(self) -> None:
        if self._held.books.tally is None:
            with self._held.writing:
                shard, books = self._held.require_open(), self._held.books
                if books.tally is None:
                    books.tally = count_words(shard)

    def _further(self) -> list[Condition]:
        account = self._held.books.account
        return [FURTHER_PASSAGE] if account.passages > account.documents else []

    def _steadily(self, work: Callable[[Shard], T]) -> T:
        """Read again if a write came between, at last with the writers kept out."""
        for _ in range(_TRIES):
            try:
                with self._held.reading() as shard:
                    return work(shard)
            except _Moved:
                continue
        with self._held.writing, self._held.reading() as shard:
            try:
                return work(shard)
            except _Moved as error:
                raise StoreError(
                    f"The collection {self._held.meta.name} holds passages without their document; "
                    "restore it from a snapshot."
                ) from error


def _place(row: Row) -> _Place:
    return row.payload["doc_id"], row.payload.get("part", 0)


def _hit(rank: int, row: Row, read: dict[_Place, Row]) -> Hit:
    head, passage = read.get((row.payload["doc_id"], 0)), read.get(_place(row))
    if head is None or passage is None:
        raise _Moved
    _of(head, passage)
    _of(row, passage)
    span = span_of(passage.payload) if parts_of(head.payload) > 1 else None
    return Hit(rank, row.score, to_document(head.payload), span)


def _of(head: Row, row: Row) -> Row:
    """Return a passage if it is of this document as it is now."""
    if row.payload["check"] != head.payload["check"]:
        raise _Moved
    return row
