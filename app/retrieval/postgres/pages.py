"""Plain reads of a collection: by name, page by page, counts and sizes."""

from collections.abc import Sequence
from typing import Any, LiteralString

from app.retrieval.documents import Document, Span
from app.retrieval.postgres.conditions import Condition
from app.retrieval.postgres.pool import Cursor
from app.retrieval.postgres.rows import to_document, to_vectors, unescaped
from app.retrieval.postgres.schema import Table
from app.retrieval.store import Page

_PAGE: LiteralString = """
    SELECT doc_id, text, lang, metadata FROM {documents} WHERE doc_id > %s
    ORDER BY doc_id LIMIT %s
"""
_SPANS: LiteralString = """
    SELECT doc_id, start, stop, {vector} FROM {passages} WHERE doc_id = ANY(%s) ORDER BY doc_id, id
"""


def get(cursor: Cursor, table: Table, doc_ids: Sequence[str]) -> list[Document]:
    """Read documents by name, in the order asked for."""
    cursor.execute(
        table.fill("SELECT doc_id, text, lang, metadata FROM {documents} WHERE doc_id = ANY(%s)"),
        [[doc_id.encode() for doc_id in doc_ids]],
    )
    found = {document.doc_id: document for document in (to_document(*row) for row in cursor)}
    return [found[doc_id] for doc_id in doc_ids if doc_id in found]


def scan(cursor: Cursor, table: Table, after: str | None, limit: int, *, vectors: bool) -> Page:
    """Read a page of documents, by rising ``doc_id``."""
    # No doc_id is empty, so that all come after b"".
    cursor.execute(table.fill(_PAGE), [(after or "").encode(), limit + 1])
    rows = cursor.fetchall()
    documents = [to_document(*row) for row in rows[:limit]]
    spans: dict[str, list[Span]] = {document.doc_id: [] for document in documents}
    found: list[bytes] = []
    column = table.fill("vector" if vectors else "NULL")
    with cursor.connection.cursor(binary=True) as binary:
        binary.execute(
            table.fill(_SPANS, vector=column),
            [[document.doc_id.encode() for document in documents]],
        )
        for doc_id, start, stop, vector in binary:
            spans[doc_id.decode()].append((start, stop))
            if vectors:
                found.append(vector)
    return Page(
        documents,
        list(spans.values()),
        to_vectors(found, table.collection.dim) if vectors else None,
        documents[-1].doc_id if len(rows) > limit else None,
    )


def count(cursor: Cursor, table: Table, where: Condition) -> int:
    """Count the documents that satisfy a condition."""
    query = table.fill("SELECT count(*) FROM {documents} d WHERE {where}", where=where.text)
    return _value(cursor.execute(query, where.parameters))


def count_up_to(cursor: Cursor, table: Table, where: Condition, limit: int) -> int:
    """Count the documents that satisfy a condition, but no more than ``limit``."""
    query: LiteralString = (
        "SELECT count(*) FROM (SELECT FROM {documents} d WHERE {where} LIMIT %s) AS first"
    )
    filled = table.fill(query, where=where.text)
    return _value(cursor.execute(filled, [*where.parameters, limit]))


def estimate(cursor: Cursor, table: Table, where: Condition) -> int:
    """Tell how many documents the planner believes to satisfy a condition."""
    query: LiteralString = "EXPLAIN (FORMAT JSON) SELECT FROM {documents} d WHERE {where}"
    cursor.execute(table.fill(query, where=where.text), where.parameters)
    return int(_value(cursor)[0]["Plan"]["Plan Rows"])


def languages(cursor: Cursor, table: Table) -> dict[str, int]:
    """Count the documents of each language, the most frequent first."""
    cursor.execute(
        table.fill("SELECT lang, count(*) FROM {documents} GROUP BY lang ORDER BY 2 DESC, lang")
    )
    return {"" if lang is None else unescaped(lang): number for lang, number in cursor}


def size_bytes(cursor: Cursor, table: Table) -> int:
    """Add up the tables with their indexes and what is stored beside them."""
    total = 0
    for kind in ("{documents}", "{passages}", "{postings}"):
        name = table.fill(kind).as_string(cursor)
        found = cursor.execute("SELECT pg_total_relation_size(%s::regclass)", [name])
        total += _value(found) or 0  # None if it was dropped a moment ago
    return total


def broken(cursor: Cursor, tables: Sequence[Table]) -> dict[str, str]:
    """Name the collections whose tables are missing."""
    reasons: dict[str, str] = {}
    for table in tables:
        for kind in ("{documents}", "{passages}", "{postings}"):
            name = table.fill(kind).as_string(cursor)
            if not _value(cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])):
                reasons[table.collection.name] = f"the table {name} is missing from the database"
    return reasons


def _value(cursor: Cursor) -> Any:
    return (cursor.fetchone() or (0,))[0]
