"""Upserts and deletes: writers of one collection take turns, and each is one transaction."""

from collections.abc import Callable, Iterable, Sequence
from typing import LiteralString

from psycopg import sql

from app.retrieval.checks import Entry
from app.retrieval.postgres.conditions import Condition
from app.retrieval.postgres.pool import Cursor
from app.retrieval.postgres.rows import (
    HEADER,
    TRAILER,
    document_rows,
    passage_rows,
)
from app.retrieval.postgres.schema import Table, find

LOCKED: LiteralString = "FOR NO KEY UPDATE"
"""How a writer holds the row of its collection: others write, drop and replace it afterwards."""
_REMOVE: LiteralString = """
    WITH removed AS (DELETE FROM {documents} d WHERE {condition} RETURNING d.doc_id),
    gone AS (
        DELETE FROM {passages} p USING removed WHERE p.doc_id = removed.doc_id
        RETURNING p.id, p.tokens),
    cut AS (
        DELETE FROM {postings} t USING (SELECT id, unnest(tokens) AS token FROM gone) g
        WHERE t.token = g.token AND t.passage = g.id)
    SELECT (SELECT count(*) FROM removed), (SELECT count(*) FROM gone)
"""
_COUNTED: LiteralString = """
    UPDATE {collections} SET documents = documents + %s, passages = passages + %s,
        written = written + %s
    WHERE id = %s
"""
_BLOCK = 1 << 20


def write_entries(
    cursor: Cursor, schema: str, name: str, check: Callable[[Table], list[Entry]]
) -> int:
    """Add documents or replace those of the same name, within the caller's transaction.

    Args:
        cursor: In a transaction that writes.
        schema: The schema of the store.
        name: The collection's name.
        check: Gives what to write to the collection.

    Returns:
        The number of documents written.
    """
    table = find(cursor, schema, name, LOCKED)
    entries = check(table)
    if not entries:
        return 0
    passages, postings = passage_rows(entries, table.written + 1)
    names = [entry.document.doc_id.encode() for entry in entries]
    documents_gone, passages_gone = _remove(cursor, table, sql.SQL("d.doc_id = ANY(%s)"), [names])
    _copy(cursor, table.fill("{documents}"), document_rows(entries))
    _copy(cursor, table.fill("{passages}"), passages)
    _copy(cursor, table.fill("{postings}"), [postings])
    cursor.execute(
        table.fill(_COUNTED),
        [
            len(entries) - documents_gone,
            len(passages) - passages_gone,
            len(passages),
            table.id,
        ],
    )
    return len(entries)


def delete_documents(cursor: Cursor, schema: str, name: str, doc_ids: Sequence[str]) -> int:
    """Delete documents by name, within the caller's transaction."""
    table = find(cursor, schema, name, LOCKED)
    names = [doc_id.encode() for doc_id in doc_ids]
    return _delete(cursor, table, sql.SQL("d.doc_id = ANY(%s)"), [names])


def delete_matching(
    cursor: Cursor, schema: str, name: str, condition: Callable[[Table], Condition]
) -> int:
    """Delete documents that satisfy a filter, within the caller's transaction."""
    table = find(cursor, schema, name, LOCKED)
    where = condition(table)
    return _delete(cursor, table, where.text, where.parameters)


def _delete(cursor: Cursor, table: Table, where: sql.Composable, parameters: list[object]) -> int:
    documents, passages = _remove(cursor, table, where, parameters)
    if documents:
        cursor.execute(table.fill(_COUNTED), [-documents, -passages, 0, table.id])
    return documents


def _remove(
    cursor: Cursor, table: Table, where: sql.Composable, parameters: Sequence[object]
) -> tuple[int, int]:
    cursor.execute(table.fill(_REMOVE, condition=where), parameters)
    documents, passages = cursor.fetchone() or (0, 0)
    return documents, passages


def _copy(cursor: Cursor, target: sql.Composed, rows: Iterable[bytes]) -> None:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(target)
    with cursor.copy(statement) as copy:
        block = bytearray(HEADER)
        for row in rows:
            block += row
            if len(block) >= _BLOCK:
                copy.write(bytes(block))
                block.clear()
        copy.write(bytes(block) + TRAILER)
