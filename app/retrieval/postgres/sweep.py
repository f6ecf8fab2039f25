"""Tables of collections that are gone: dropped afterwards, one at a time.

A collection is gone when its row is. Its tables go in transactions of their own, each of which
waits for the readers of one table and holds no other, so that nobody waits in a circle. What a
crash or a long reader leaves is dropped later.
"""

import logging

import psycopg
from psycopg import sql

from app.retrieval.postgres.pool import Database

_WAIT = "1s"
_ORPHANS = """
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = to_regnamespace({quoted}) AND c.relkind = 'r'
        AND c.relname ~ '^(documents|passages|postings)_[0-9]+$'
        AND NOT EXISTS (SELECT FROM {collections}
            WHERE id = substring(c.relname FROM '[0-9]+$')::bigint)
"""
_log = logging.getLogger(__name__)


def sweep(database: Database, schema: str) -> None:
    """Drop the tables of collections that are gone, but for those that are still being read."""
    with database.alone() as connection:
        connection.execute(
            sql.SQL("SET lock_timeout = {wait}").format(wait=sql.Literal(_WAIT)),
        )
        orphans = connection.execute(
            sql.SQL(_ORPHANS).format(
                quoted=sql.Literal(sql.Identifier(schema).as_string(connection)),
                collections=sql.Identifier(schema, "collections"),
            )
        ).fetchall()
        for (name,) in orphans:
            table = sql.Identifier(schema, name)
            # An index build holds a lock until its end, which may be minutes away.
            connection.execute(
                """
                SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index
                WHERE relid = to_regclass(%s)
                """,
                [table.as_string(connection)],
            )
            try:
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
            except psycopg.Error as error:
                _log.info("%s is dropped later: %s", name, type(error).__name__)
                if connection.closed:
                    return
