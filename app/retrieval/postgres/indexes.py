"""HNSW indexes: built beside the traffic, by one process at a time, again if it failed.

An insert into HNSW costs a hundred times one without, so a collection gets its index once it is
large and the bulk of its documents is in: when few are written between two looks at it.
"""

import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from app.errors import ServiceError
from app.retrieval.postgres.faults import VanishedError
from app.retrieval.postgres.nearest import EXACT_PASSAGES
from app.retrieval.postgres.pool import Connection, Database
from app.retrieval.postgres.schema import MAX_INDEX_DIM, Table, every, find
from app.retrieval.postgres.sweep import sweep

M = 16
EF_CONSTRUCTION = 128
LOOK_S = 10.0
_BUSY_WRITES = 1_000
_BUSY_SHARE = 0.01
_BUILD_LOCK = 0x74796E74 << 24
_POLL_S = 0.2
_FIRST_PAUSE_S, _LAST_PAUSE_S = 30.0, 3600.0
"""After a build that failed; a full disk is not tried again and again."""
_MIN_MEMORY, _MAX_MEMORY = 64 << 20, 2 << 30
_log = logging.getLogger(__name__)


class Upkeep:
    """A thread that looks at all collections now and then and builds the indexes that are due."""

    def __init__(self, database: Database, schema: str) -> None:
        self._database = database
        self._schema = schema
        self._written: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._closing = threading.Event()
        self._building: Connection | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and cancel a build that runs; the next process that looks begins it anew."""
        self._closing.set()
        while self._thread.is_alive():
            if (building := self._building) is not None and not building.closed:
                building.cancel_safe(timeout=1)
            self._thread.join(_POLL_S)

    def build(self, name: str) -> None:
        """Build the index of a collection now if it is due, and refresh what the planner knows.

        Raises:
            NotFoundError: If there is no such collection.
            StoreError: If building fails.
        """
        with self._database.read() as cursor:
            table = find(cursor, self._schema, name)
        with self._database.alone() as connection:
            if _is_due(table):
                self._build(connection, table, wait=True)
            connection.execute("SET statement_timeout = 0")
            for kind in ("{documents}", "{passages}", "{postings}"):
                vacuum = "VACUUM (ANALYZE, SKIP_LOCKED) " + kind
                connection.execute(table.fill(vacuum))

    def sweep(self) -> None:
        """Drop the tables of collections that are gone, now or later."""
        try:
            sweep(self._database, self._schema)
        except ServiceError as error:
            _log.warning("tables of a dropped collection are left for later: %s", error.message)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_S * random.uniform(0.75, 1.25)):
            try:
                self._look()
            except VanishedError:
                continue
            except ServiceError as error:
                _log.warning("upkeep of the store: %s", error.message)

    def _look(self) -> None:
        sweep(self._database, self._schema)
        with self._database.read() as cursor:
            tables = every(cursor, self._schema)
        calm = [table for table in tables if _is_due(table) and self._is_calm(table)]
        self._written = {table.id: table.written for table in tables}
        for table in calm:
            if self._closing.is_set():
                return
            if time.monotonic() >= self._not_before.get(table.id, 0):
                self._try(table)

    def _try(self, table: Table) -> None:
        try:
            with self._database.alone() as connection:
                self._building = connection
                self._build(connection, table, wait=False)
        except ServiceError:
            if self._closing.is_set():
                return
            failures = self._failures.get(table.id, 0)
            pause = min(_FIRST_PAUSE_S * 2**failures, _LAST_PAUSE_S)
            self._failures[table.id] = failures + 1
            self._not_before[table.id] = time.monotonic() + pause
            _log.warning("indexing %s is tried again in %.0f s", table.collection.name, pause)
            raise
        finally:
            self._building = None

    def _is_calm(self, table: Table) -> bool:
        before = self._written.get(table.id)
        busy = max(_BUSY_WRITES, table.passages * _BUSY_SHARE)
        return before is not None and table.written - before <= busy

    def _build(self, connection: Connection, table: Table, *, wait: bool) -> None:
        # Asked for again and again: a statement that waited for the lock would itself be waited
        # for by the build, which lets all older transactions end.
        lock = [_BUILD_LOCK + table.id]
        while not _value(connection, "SELECT pg_try_advisory_lock(%s)", lock):
            if not wait or self._closing.wait(_POLL_S):
                return
        for workers in (None, 0):  # Without helpers, which need shared memory, if it fails
            try:
                self._create(connection, table, workers)
                return
            except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
                if workers == 0:
                    raise
                _log.warning("building %s again in one process", table.collection.name)

    def _create(self, connection: Connection, table: Table, workers: int | None) -> None:
        if _is_valid(connection, table):
            return
        began = time.monotonic()
        wanted = int(table.passages * (2 * table.collection.dim + 64 * M) * 1.2)
        memory = max(_MIN_MEMORY, min(wanted, _MAX_MEMORY)) >> 10
        connection.execute("SET statement_timeout = 0")
        connection.execute("SET lock_timeout = 0")
        connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(memory)))
        if workers is not None:
            connection.execute("SET max_parallel_maintenance_workers = 0")
        index = table.name("hnsw")
        leftover = sql.Identifier(table.schema, f"passages_{table.id}_hnsw")
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(leftover))
        connection.execute(
            table.fill(
                """
                CREATE INDEX CONCURRENTLY {index} ON {passages}
                USING hnsw ((vector::halfvec({dim})) halfvec_ip_ops)
                WITH (m = {m}, ef_construction = {ef})
                """,
                index=index,
                m=sql.Literal(M),
                ef=sql.Literal(EF_CONSTRUCTION),
            )
        )
        elapsed = time.monotonic() - began
        _log.info("indexed %s in %.1f s", table.collection.name, elapsed)


def _is_due(table: Table) -> bool:
    large = table.passages > EXACT_PASSAGES
    return large and not table.indexed and table.collection.dim <= MAX_INDEX_DIM


def _is_valid(connection: Connection, table: Table) -> bool:
    query = "SELECT EXISTS (SELECT FROM pg_index WHERE indisvalid AND indexrelid = to_regclass(%s))"
    name = sql.Identifier(table.schema, f"passages_{table.id}_hnsw").as_string(connection)
    return _value(connection, query, [name])


def _value(connection: Connection, query: LiteralString, parameters: Sequence[object]) -> bool:
    found = connection.execute(query, parameters).fetchone()
    return found is not None and bool(found[0])
