"""BM25 over the postings, by the formula of ``app.retrieval.lexical``.

A score is summed in integers, 2**-40 each: sums of floats depend on their order, and documents of
the same words would get scores that differ in the last place.

Frequent words have postings in most passages. They are first left out: the passages that have the
query's rare words are scored, and only those that the frequent words could lift to the top are
scored in full. A token's weight is below K1 + 1, so what that leaves out cannot be a hit. If it
leaves too few hits, every posting is read. (Turtle and Flood 1995, Query evaluation: MaxScore.)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from app.retrieval.lexical import K1, Sparse, idf, query_weights
from app.retrieval.postgres.conditions import Condition
from app.retrieval.postgres.nearest import EXACT_FILTERED, SHOWN, read_hits
from app.retrieval.postgres.pages import count_up_to
from app.retrieval.postgres.pool import Cursor
from app.retrieval.postgres.rows import signed
from app.retrieval.postgres.schema import Table
from app.retrieval.store import Hit

_UNIT = 1 << 40
_RARE_POSTINGS = 50_000
"""Postings that are read of a query's rarest words at first."""
_SLACK = 20
_MIN_CANDIDATES = 1_000
_SUM: LiteralString = "sum((a.weight * t.weight * 1099511627776)::bigint)::bigint"
_ALL: LiteralString = (
    "WITH scored AS MATERIALIZED (SELECT t.passage, " + _SUM + " AS score "
    """
    FROM unnest(%s::integer[], %s::float8[]) AS a(token, weight)
    JOIN {postings} t ON t.token = a.token GROUP BY t.passage)
    """
)
_LIKELY: LiteralString = (
    "WITH rare AS MATERIALIZED (SELECT t.passage, " + _SUM + " AS score "
    """
    FROM unnest(%s::integer[], %s::float8[]) AS a(token, weight)
    JOIN {postings} t ON t.token = a.token GROUP BY t.passage),
    cut AS (SELECT coalesce((SELECT score FROM rare ORDER BY score DESC OFFSET %s LIMIT 1), 0)
        AS least, %s::bigint AS bound),
    scored AS MATERIALIZED (SELECT r.passage, r.score + coalesce((SELECT """
    + _SUM
    + """
        FROM unnest(%s::integer[], %s::float8[]) AS a(token, weight)
        JOIN {postings} t ON t.token = a.token AND t.passage = r.passage), 0) AS score
        FROM rare r, cut WHERE r.score >= cut.least - cut.bound AND cut.least >= cut.bound)
    """
)
_HITS: LiteralString = (
    """,
    found AS ({found}),
    firsts AS ({firsts}),
    best AS (SELECT doc_id, start, stop, score::float8 / 1099511627776 AS score FROM firsts
        WHERE score > 0 ORDER BY firsts.score DESC, doc_id LIMIT %s OFFSET %s)
    """
    + SHOWN
)
_FOUND: LiteralString = """
    SELECT p.id, p.doc_id, p.start, p.stop, s.score FROM scored s
    JOIN {passages} p ON p.id = s.passage
"""
_FILTERED: LiteralString = _FOUND + "JOIN {documents} d ON d.doc_id = p.doc_id WHERE {condition}"
_ALLOWED: LiteralString = """
    SELECT p.id, p.doc_id, p.start, p.stop, s.score FROM scored s JOIN (
        SELECT p.id, p.doc_id, p.start, p.stop FROM {documents} d
        JOIN {passages} p ON p.doc_id = d.doc_id WHERE {condition} OFFSET 0
    ) p ON p.id = s.passage
"""
"""Where few documents satisfy the filter; the offset keeps the planner from turning it around."""
_FIRSTS: LiteralString = "SELECT DISTINCT ON (doc_id) * FROM found ORDER BY doc_id, score DESC, id"


@dataclass(frozen=True, slots=True)
class _Words:
    """Tokens of a query with their weights, those in the fewest passages first."""

    tokens: list[int]
    weights: list[float]

    def part(self, begin: int, end: int | None = None) -> list[object]:
        return [self.tokens[begin:end], self.weights[begin:end]]


@dataclass(frozen=True, slots=True)
class Lexical:
    """A search for words in one collection."""

    cursor: Cursor
    table: Table
    where: Condition | None
    top_k: int
    offset: int

    def hits(self, queries: Sequence[str]) -> list[list[Hit]]:
        """Find the documents that share words with each query."""
        asked = [query_weights(query) for query in queries]
        tokens = sorted({int(token) for sparse in asked for token in signed(sparse.indices)})
        self.cursor.execute(
            self.table.fill(
                "SELECT token, count(*) FROM {postings} WHERE token = ANY(%s) GROUP BY token"
            ),
            [tokens],
        )
        having = dict(self.cursor.fetchall())
        return [self._hits(sparse, having) for sparse in asked]

    def _hits(self, sparse: Sparse, having: Mapping[int, int]) -> list[Hit]:
        times = zip(signed(sparse.indices).tolist(), sparse.values, strict=True)
        weights = {t: n * idf(self.table.passages, having[t]) for t, n in times if t in having}
        tokens = sorted(weights, key=lambda token: (having[token], token))
        if not tokens:
            return []
        words = _Words(tokens, [weights[token] for token in tokens])
        hits = self._likely(words, _rare(tokens, having))
        return hits if len(hits) == self.top_k else self._all(words)

    def _likely(self, words: _Words, rare: int) -> list[Hit]:
        bound = sum(math.ceil(w * (K1 + 1) * _UNIT) + 1 for w in words.weights[rare:])
        wanted = self.offset + self.top_k
        if self.where is not None or self.table.grouped:
            wanted = max(_MIN_CANDIDATES, _SLACK * wanted)
        parameters = [*words.part(0, rare), wanted - 1, bound, *words.part(rare)]
        return self._run(_LIKELY, parameters, _FOUND if self.where is None else _FILTERED)

    def _all(self, words: _Words) -> list[Hit]:
        found = _FOUND
        if self.where is not None:
            few = count_up_to(self.cursor, self.table, self.where, EXACT_FILTERED + 1)
            found = _ALLOWED if few <= EXACT_FILTERED else _FILTERED
        return self._run(_ALL, words.part(0), found)

    def _run(self, scored: LiteralString, first: list[object], found: LiteralString) -> list[Hit]:
        condition = sql.SQL("true") if self.where is None else self.where.text
        statement = self.table.fill(
            scored + _HITS,
            found=self.table.fill(found, condition=condition),
            firsts=sql.SQL(_FIRSTS if self.table.grouped else "SELECT * FROM found"),
        )
        where = [] if self.where is None else self.where.parameters
        self.cursor.execute(statement, [*first, *where, self.top_k, self.offset])
        return read_hits(self.cursor, self.offset)


def _rare(tokens: Sequence[int], having: Mapping[int, int]) -> int:
    """Count the words to begin with: the rarest, at least one."""
    total = 0
    for number, token in enumerate(tokens):
        total += having[token]
        if number and total > _RARE_POSTINGS:
            return number
    return len(tokens)
