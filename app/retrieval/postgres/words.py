"""BM25 over the postings, by the formula of ``app.retrieval.lexical``.

A score is summed in integers, 2**-40 each: sums of floats depend on their order, and documents of
the same words would get scores that differ in the last place.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from app.retrieval.lexical import idf, query_weights
from app.retrieval.postgres.conditions import Condition
from app.retrieval.postgres.nearest import read_hits
from app.retrieval.postgres.pool import Cursor
from app.retrieval.postgres.rows import signed
from app.retrieval.postgres.schema import Table
from app.retrieval.store import Hit

_MATCH: LiteralString = """
    WITH scored AS MATERIALIZED (
        SELECT t.passage, sum((a.weight * t.weight * 1099511627776)::bigint)::float8
            / 1099511627776 AS score
        FROM unnest(%s::integer[], %s::float8[]) AS a(token, weight)
        JOIN {postings} t ON t.token = a.token GROUP BY t.passage),
    found AS (
        SELECT p.id, p.doc_id, p.start, p.stop, s.score FROM scored s
        JOIN {passages} p ON p.id = s.passage {filtered}),
    firsts AS ({firsts}),
    best AS (SELECT * FROM firsts WHERE score > 0 ORDER BY score DESC, doc_id LIMIT %s OFFSET %s)
    SELECT d.doc_id, d.text, d.lang, d.metadata, best.score, best.start, best.stop, d.passages
    FROM best JOIN {documents} d ON d.doc_id = best.doc_id ORDER BY best.score DESC, d.doc_id
"""
_CUT: LiteralString = """
    WHERE s.score >= coalesce((SELECT score FROM scored ORDER BY score DESC OFFSET %s LIMIT 1), 0)
"""
"""Where every passage is a document, those beyond the last hit need not be looked up."""
_FILTERED: LiteralString = "JOIN {documents} d ON d.doc_id = p.doc_id WHERE {condition}"
_FIRSTS: LiteralString = "SELECT DISTINCT ON (doc_id) * FROM found ORDER BY doc_id, score DESC, id"


def find_words(
    cursor: Cursor,
    table: Table,
    queries: Sequence[str],
    where: Condition | None,
    cut: tuple[int, int],
) -> list[list[Hit]]:
    """Find the documents that share words with each query.

    Args:
        cursor: In a transaction that sees one state.
        table: The collection.
        queries: The texts.
        where: Restricts the hits, not the counts behind ``idf``.
        cut: ``top_k`` and ``offset``.
    """
    asked = [query_weights(query) for query in queries]
    tokens = sorted({int(token) for sparse in asked for token in signed(sparse.indices)})
    cursor.execute(
        table.fill("SELECT token, count(*) FROM {postings} WHERE token = ANY(%s) GROUP BY token"),
        [tokens],
    )
    having = dict(cursor.fetchall())
    statement, parameters = _statement(table, where, cut)
    results: list[list[Hit]] = []
    for sparse in asked:
        known = [
            (token, times * idf(table.passages, having[token]))
            for token, times in zip(signed(sparse.indices).tolist(), sparse.values, strict=True)
            if token in having
        ]
        if not known:
            results.append([])
            continue
        several, weights = zip(*known, strict=True)
        cursor.execute(statement, [list(several), list(weights), *parameters, *cut])
        results.append(read_hits(cursor, cut[1]))
    return results


def _statement(
    table: Table, where: Condition | None, cut: tuple[int, int]
) -> tuple[sql.Composed, list[object]]:
    filtered: sql.Composable = sql.SQL("")
    parameters: list[object] = []
    if where is not None:
        filtered = table.fill(_FILTERED, condition=where.text)
        parameters = where.parameters
    elif not table.grouped:
        filtered, parameters = sql.SQL(_CUT), [sum(cut) - 1]
    firsts = sql.SQL(_FIRSTS if table.grouped else "SELECT * FROM found")
    return table.fill(_MATCH, filtered=filtered, firsts=firsts), parameters
