"""Nearest passages: by comparing all that may be hits, or by HNSW with a second, exact look.

HNSW answers only where comparing would take longer: in collections of over ``EXACT_PASSAGES``, and
under filters that leave many documents. Under narrow ones the walk through the graph would meet too
few passages that satisfy the filter. A walk that is longer than the filter's share makes likely is
given up, and all are compared: then the filter's documents lie elsewhere, such as those of another
language. The graph holds half precision, so its candidates are compared again in full.
"""

from dataclasses import dataclass
from typing import LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from app.retrieval.postgres.conditions import Condition
from app.retrieval.postgres.pages import count_up_to, estimate
from app.retrieval.postgres.pool import Cursor
from app.retrieval.postgres.rows import to_document, vector_text
from app.retrieval.postgres.schema import Table
from app.retrieval.store import Hit

EXACT_PASSAGES = 20_000
EXACT_FILTERED = 20_000
"""Passages of documents that satisfy a filter: up to so many are compared."""
EF_SEARCH = 200
MAX_EF_SEARCH = 1000
"""pgvector's own limit."""
_MAX_COMPARED = 50_000
"""Where a walk would go deeper than ``MAX_EF_SEARCH``, so many passages are compared instead."""
_MAX_CANDIDATES = 8_000
"""Beyond, comparing all is faster."""
_MAX_WALK = 100_000
_SCORE: LiteralString = "least(1, greatest(-1, -(p.vector <#> %s::vector)))"
_FILTERED: LiteralString = "JOIN {documents} d ON d.doc_id = p.doc_id WHERE {condition}"
SHOWN: LiteralString = """
    SELECT d.doc_id, d.text, d.lang, d.metadata, best.score, best.start, best.stop, d.passages
    FROM best JOIN {documents} d ON d.doc_id = best.doc_id ORDER BY best.score DESC, d.doc_id
"""
"""What ``read_hits`` reads, of ``best``: doc_id, score, start and stop."""
_ALONE: LiteralString = (
    "WITH best AS (SELECT p.doc_id, p.start, p.stop, " + _SCORE + " AS score FROM {passages} p "
    "{filtered} ORDER BY score DESC, p.doc_id LIMIT %s OFFSET %s)" + SHOWN
)
"""Of documents of one passage."""
_GROUPED: LiteralString = (
    "WITH top AS (SELECT p.doc_id, max(" + _SCORE + ") AS score FROM {passages} p {filtered} "
    """
    GROUP BY p.doc_id ORDER BY score DESC, p.doc_id LIMIT %s OFFSET %s),
    best AS (SELECT top.doc_id, top.score, one.start, one.stop FROM top CROSS JOIN LATERAL (
        SELECT p.start, p.stop FROM {passages} p WHERE p.doc_id = top.doc_id
        ORDER BY p.vector <#> %s::vector, p.id LIMIT 1) one)
    """ + SHOWN
)
_NEAR: LiteralString = (
    """
    WITH near AS MATERIALIZED (
        SELECT p.id, p.doc_id, p.start, p.stop, p.vector FROM {passages} p {filtered}
        ORDER BY p.vector::halfvec({dim}) <#> %s::halfvec({dim}) LIMIT %s),
    scored AS (SELECT p.id, p.doc_id, p.start, p.stop, """
    + _SCORE
    + """ AS score FROM near p),
    firsts AS (SELECT DISTINCT ON (doc_id) * FROM scored ORDER BY doc_id, score DESC, id),
    best AS (SELECT * FROM firsts ORDER BY score DESC, doc_id LIMIT %s OFFSET %s)
    """
    + SHOWN
)


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk through the graph.

    Attributes:
        reachable: Hits that it has to find, or all are compared.
        candidates: Passages that are compared again in full.
        depth: Passages that it meets until it has so many that satisfy the filter, if these lie
            evenly. Its beam is as wide: the graph is unsure of what lies beyond.
    """

    reachable: int
    candidates: int
    depth: int


@dataclass(frozen=True, slots=True)
class Nearest:
    """A search in one collection: which passages may be hits, and how they are found."""

    cursor: Cursor
    table: Table
    where: Condition | None
    top_k: int
    offset: int

    def hits(self, vectors: NDArray[np.float32], *, exact: bool) -> list[list[Hit]]:
        """Find the nearest documents of each unit row, shape (queries, dim)."""
        walk = None if exact or not len(vectors) else self._walk()
        texts = [vector_text(vector) for vector in vectors]
        return [(walk and self._approximate(text, walk)) or self._exact(text) for text in texts]

    def _walk(self) -> "_Walk | None":
        """Decide how to walk the graph; None if all that may be hits are to be compared."""
        wanted = self.offset + self.top_k
        passages, documents = self.table.passages, self.table.collection.count
        candidates = (2 if self.where is None else 5) * wanted + 50
        too_small = passages <= EXACT_PASSAGES or self.offset >= documents
        if not self.table.indexed or too_small or candidates > _MAX_CANDIDATES:
            return None
        least = likely = documents
        if self.where is not None:
            limit = max(EXACT_FILTERED * documents // passages, wanted) + 1
            least = likely = count_up_to(self.cursor, self.table, self.where, limit)
            if least < limit:
                return None
            likely = max(limit, min(estimate(self.cursor, self.table, self.where), documents))
        depth = candidates * documents // likely
        if depth > MAX_EF_SEARCH and likely * passages <= _MAX_COMPARED * documents:
            return None
        return _Walk(min(self.top_k, least - self.offset), candidates, depth)

    def _approximate(self, text: str, walk: "_Walk") -> list[Hit]:
        """Find hits by HNSW; none if it does not find as many as there are."""
        where = [] if self.where is None else self.where.parameters
        candidates, depth = walk.candidates, walk.depth
        while candidates <= 2 * _MAX_CANDIDATES:
            self._walk_settings(depth)
            self.cursor.execute(
                self._sql(_NEAR), [*where, text, candidates, text, self.top_k, self.offset]
            )
            hits = self._read()
            if len(hits) >= walk.reachable:
                return hits
            if not self.table.grouped:
                break
            candidates, depth = 4 * candidates, 4 * depth  # Many passages of few documents
        return []

    def _walk_settings(self, depth: int) -> None:
        settings = {
            "hnsw.ef_search": max(EF_SEARCH, min(depth * 5 // 4, MAX_EF_SEARCH)),
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": min(4 * depth + 1000, _MAX_WALK),
            "hnsw.scan_mem_multiplier": 8,
            "enable_seqscan": "off",  # The planner shall not sort what the graph has in order
            "enable_sort": "off",
            "enable_bitmapscan": "off",
        }
        places = sql.SQL(", ").join([sql.SQL("set_config(%s, %s, true)")] * len(settings))
        flat = [str(part) for pair in settings.items() for part in pair]
        self.cursor.execute(sql.SQL("SELECT {}").format(places), flat)

    def _exact(self, text: str) -> list[Hit]:
        where = [] if self.where is None else self.where.parameters
        cut = [self.top_k, self.offset]
        self.cursor.execute(
            "SELECT set_config('enable_seqscan', 'on', true), "
            "set_config('enable_sort', 'on', true), set_config('enable_bitmapscan', 'on', true)"
        )
        if self.table.grouped:
            self.cursor.execute(self._sql(_GROUPED), [text, *where, *cut, text])
        else:
            self.cursor.execute(self._sql(_ALONE), [text, *where, *cut])
        return self._read()

    def _sql(self, query: LiteralString) -> sql.Composed:
        condition = sql.SQL("true") if self.where is None else self.where.text
        filtered = sql.SQL("")
        if self.where is not None:
            filtered = self.table.fill(_FILTERED, condition=condition)
        return self.table.fill(query, filtered=filtered, condition=condition)

    def _read(self) -> list[Hit]:
        return read_hits(self.cursor, self.offset)


def read_hits(cursor: Cursor, offset: int) -> list[Hit]:
    """Read hits: doc_id, text, lang, metadata, score, start, stop and number of passages."""
    return [
        Hit(rank, float(score), to_document(*described), (start, stop) if several > 1 else None)
        for rank, (*described, score, start, stop, several) in enumerate(cursor, offset + 1)
    ]
