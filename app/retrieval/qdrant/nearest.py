"""Searching a collection on the server: points to documents, equal scores by ``doc_id``.

The server returns points, and among equal ones any. So more are fetched than are asked for, until
every document that may be among the hits has been seen; then the documents are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from app.retrieval.conditions import Condition
from app.retrieval.lexical import idf, query_weights
from app.retrieval.payload import to_document
from app.retrieval.qdrant.names import TOKENS
from app.retrieval.qdrant.reads import Reader, span_or_none
from app.retrieval.store import Hit

HNSW_EF = 256
_TIE_MARGIN = 8
_ATTEMPTS = 4
_BATCH_QUERIES = 64
_BATCH_ROWS = 20_000
_SELECT = ["doc_id", "part", "span", "check"]
Rows = Sequence[models.ScoredPoint]


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for, but for the queries.

    Attributes:
        using: Name of the vector, None: the dense one.
        top_k: Documents asked for.
        offset: Documents to leave out at the top.
        where: Restricts them.
        exact: Compare with every passage.
    """

    using: str | None
    top_k: int
    offset: int
    where: Condition | None
    exact: bool = False

    @property
    def need(self) -> int:
        """Documents that have to be found."""
        return self.top_k + self.offset


@dataclass(frozen=True, slots=True)
class Found:
    """The best passage of a document."""

    score: float
    doc_id: str
    payload: Mapping[str, Any]


def nearest(reader: Reader, queries: Sequence[Any], search: Search) -> list[list[Hit]]:
    """Find each query's documents.

    Args:
        reader: The collection.
        queries: Vectors as lists, or sparse ones.
        search: What is searched for.
    """
    limit = search.need + _TIE_MARGIN
    size = max(1, min(_BATCH_QUERIES, _BATCH_ROWS // limit))
    hits: list[list[Hit]] = []
    for first in range(0, len(queries), size):
        some = queries[first : first + size]
        fetched = _fetch(reader, some, search, limit)
        ranked = [
            _rank(reader, query, search, rows) for query, rows in zip(some, fetched, strict=True)
        ]
        windows = [found[search.offset :] for found in ranked]
        heads = reader.heads({one.doc_id for found in windows for one in found})
        for query, found in zip(some, windows, strict=True):
            if _stale(found, heads):
                hits.append(_again(reader, query, search))
            else:
                hits.append(_hits(found, heads, search.offset))
    return hits


def weigh(reader: Reader, texts: Sequence[str]) -> list[models.SparseVector | None]:
    """Weigh the tokens of queries by how few of all passages have them; None: none has any.

    The server's own statistics are those of a shard and count what was deleted, so the passages
    are counted here.
    """
    asked = [query_weights(text) for text in texts]
    tokens = sorted({token for words in asked for token in words.indices})
    conditions: list[Condition] = [{"key": TOKENS, "match": {"value": token}} for token in tokens]
    having = dict(zip(tokens, reader.count_each(conditions), strict=True))
    passages = reader.count_passages([]) if any(having.values()) else 0
    weighted: list[models.SparseVector | None] = []
    for words in asked:
        known = [
            (token, times * idf(passages, having[token]))
            for token, times in zip(words.indices, words.values, strict=True)
            if having[token]
        ]
        indices, values = [token for token, _ in known], [weight for _, weight in known]
        weighted.append(models.SparseVector(indices=indices, values=values) if known else None)
    return weighted


def _fetch(reader: Reader, queries: Sequence[Any], search: Search, limit: int) -> list[Rows]:
    where = models.Filter.model_validate({"must": [search.where]}) if search.where else None
    params = models.SearchParams(exact=search.exact, hnsw_ef=max(HNSW_EF, limit))
    requests = [
        models.QueryRequest(
            query=query,
            using=search.using,
            filter=where,
            params=None if search.using else params,
            limit=limit,
            with_payload=_SELECT,
        )
        for query in queries
    ]
    answers = reader.nodes.call(
        f"searching {reader.target.name}",
        lambda client: client.query_batch_points(
            reader.target.physical, requests, consistency=reader.nodes.consistency
        ),
    )
    return [answer.points for answer in answers]


def _rank(
    reader: Reader,
    query: Any,
    search: Search,
    rows: Rows,
    ignored: frozenset[tuple[str, int]] = frozenset(),
) -> list[Found]:
    """Rank documents, fetching more points while others might come before them."""
    limit = search.need + _TIE_MARGIN
    while True:
        ranked = _best(rows, search, ignored)
        if len(rows) < limit:
            break
        if len(ranked) >= search.need:
            last = _score(rows[-1], search)
            if last < ranked[search.need - 1].score:  # No tie runs past the limit
                break
        limit *= 4
        (rows,) = _fetch(reader, [query], search, limit)
    return ranked[: search.need]


def _best(rows: Rows, search: Search, ignored: frozenset[tuple[str, int]]) -> list[Found]:
    best: dict[str, tuple[tuple[float, int], Found]] = {}
    for row in rows:
        payload = row.payload or {}
        doc_id = payload["doc_id"]
        if (doc_id, payload["check"]) in ignored:
            continue
        score = _score(row, search)
        order = (-score, payload.get("part", 0))
        if doc_id not in best or order < best[doc_id][0]:
            best[doc_id] = (order, Found(score, doc_id, payload))
    return sorted((found for _, found in best.values()), key=lambda one: (-one.score, one.doc_id))


def _score(row: models.ScoredPoint, search: Search) -> float:
    return row.score if search.using else min(1.0, max(-1.0, row.score))


def _stale(found: Sequence[Found], heads: Mapping[str, Any]) -> set[tuple[str, int]]:
    return {
        (one.doc_id, one.payload["check"])
        for one in found
        if one.doc_id not in heads or heads[one.doc_id]["check"] != one.payload["check"]
    }


def _again(reader: Reader, query: Any, search: Search) -> list[Hit]:
    """Search once more, since documents changed meanwhile; then without what a crash has left."""
    ignored: frozenset[tuple[str, int]] = frozenset()
    attempt = 0
    while True:
        (rows,) = _fetch(reader, [query], search, search.need + _TIE_MARGIN)
        found = _rank(reader, query, search, rows, ignored)[search.offset :]
        heads = reader.heads({one.doc_id for one in found})
        stale = _stale(found, heads)
        attempt += 1
        if not stale or attempt == 2 * _ATTEMPTS:
            sound = [one for one in found if (one.doc_id, one.payload["check"]) not in stale]
            return _hits(sound, heads, search.offset)
        if attempt >= _ATTEMPTS:
            ignored |= stale


def _hits(found: Sequence[Found], heads: Mapping[str, Any], offset: int) -> list[Hit]:
    return [
        Hit(
            rank,
            one.score,
            to_document(heads[one.doc_id]),
            span_or_none(one.payload, heads[one.doc_id]),
        )
        for rank, one in enumerate(found, offset + 1)
    ]
