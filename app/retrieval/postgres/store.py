"""``PostgresStore``: the seam's methods as transactions of a shared database.

Several processes may serve one database. Each call sees one state of it; writers of a collection
take turns on the row that lists it, and searches wait for nobody.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from psycopg import IsolationLevel

from app.errors import InvalidInputError
from app.retrieval.checks import (
    require_collection,
    require_entries,
    require_limit,
    require_offset,
    require_query,
    require_same,
)
from app.retrieval.documents import Document, Span
from app.retrieval.filters import Filter
from app.retrieval.points import require_doc_id, require_name, require_top_k, unit_rows
from app.retrieval.postgres import pages, snapshots, writes
from app.retrieval.postgres.conditions import Condition
from app.retrieval.postgres.faults import LostError, VanishedError, broken, disk_errors, vanishing
from app.retrieval.postgres.indexes import Upkeep
from app.retrieval.postgres.nearest import Nearest
from app.retrieval.postgres.pool import Cursor, Database
from app.retrieval.postgres.schema import (
    MAX_DIM,
    SCHEMA,
    Table,
    every,
    find,
    insert,
    migrate,
    remove,
)
from app.retrieval.postgres.words import Lexical
from app.retrieval.store import Collection, Hit, Options, Page

T = TypeVar("T")
_ATTEMPTS = 3


class PostgresStore:
    """Collections in one schema of a database; use ``open``. Methods are those of the seam."""

    def __init__(self, database: Database, schema: str) -> None:
        self._database = database
        self._schema = schema
        self._upkeep = Upkeep(database, schema)

    @classmethod
    def open(cls, url: str, *, connections: int = 8, schema: str = SCHEMA) -> "PostgresStore":
        """Connect to a database, and bring its schema up to date.

        Args:
            url: ``postgresql://user@host:port/database``; a password may stand in it, or in
                what ``PGPASSFILE`` names.
            connections: How many at most; calls beyond wait.
            schema: Where the tables are.

        Raises:
            InvalidInputError: If the URL cannot be read.
            NotReadyError: If the server does not answer.
            StoreError: If the server or its database cannot be used; the message says why.
        """
        database = Database.open(url, connections)
        with database.alone() as connection:
            connection.isolation_level = IsolationLevel.READ_COMMITTED
            with connection.transaction(), connection.cursor() as cursor:
                database.use_types_of(migrate(cursor, schema))
        database.start()
        store = cls(database, schema)
        store._upkeep.start()
        return store

    def close(self) -> None:
        """Close all connections; everything that returned is durable already."""
        self._upkeep.close()
        self._database.close()

    def create(self, name: str, dim: int, model: str, options: Options | None = None) -> Collection:
        """Create a collection, or return the one of this name, dim, model and options."""
        options = options or Options()
        require_collection(name, dim, model, options)
        if dim > MAX_DIM:
            raise InvalidInputError(f"dim is {dim}; PostgreSQL's vectors have at most {MAX_DIM}.")
        with self._writing(name) as cursor:
            insert(cursor, self._schema, Collection(name, dim, model, 0, options))
            found = find(cursor, self._schema, name).collection
        return require_same(found, dim, model, options)

    def drop(self, name: str) -> None:
        """Delete a collection."""
        with self._writing(name) as cursor:
            remove(cursor, find(cursor, self._schema, name, "FOR UPDATE"))
        self._upkeep.sweep()

    def replace(self, name: str, by: str) -> Collection:
        """Put the collection ``by`` in the place of ``name``, in one transaction."""
        require_name(name)
        require_name(by)
        if by == name:
            return self.describe(name)
        with self._writing(name) as cursor:
            # In one order in all processes, so that none waits for another in a circle.
            locked = {
                each: find(cursor, self._schema, each, "FOR UPDATE") for each in sorted((name, by))
            }
            remove(cursor, locked[name])
            rename = locked[by].fill("UPDATE {collections} SET name = %s WHERE id = %s")
            cursor.execute(rename, [name, locked[by].id])
            found = find(cursor, self._schema, name).collection
        self._upkeep.sweep()
        return found

    def collections(self) -> list[Collection]:
        """List all collections by name."""
        with self._database.read() as cursor:
            return [table.collection for table in every(cursor, self._schema)]

    def describe(self, name: str) -> Collection:
        """Describe one collection."""
        return self._reading(name, lambda _, table: table.collection)

    def languages(self, name: str) -> dict[str, int]:
        """Count the documents of each language."""
        return self._reading(name, pages.languages)

    def size_bytes(self, name: str) -> int:
        """Tell how much storage the tables and indexes of a collection take."""
        return self._reading(name, pages.size_bytes)

    def unavailable(self) -> dict[str, str]:
        """Name the collections whose tables are missing."""
        with self._database.read() as cursor:
            return pages.broken(cursor, every(cursor, self._schema))

    def upsert(
        self,
        name: str,
        documents: Sequence[Document],
        vectors: NDArray[np.float32],
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> int:
        """Add or replace documents, all of a call or none."""
        with self._writing(name) as cursor:
            return writes.write_entries(
                cursor,
                self._schema,
                name,
                lambda table: require_entries(table.collection, documents, vectors, spans),
            )

    def delete(self, name: str, doc_ids: Sequence[str]) -> int:
        """Delete documents; returns how many were there."""
        require_name(name)
        names = [require_doc_id(doc_id) for doc_id in doc_ids]
        with self._writing(name) as cursor:
            return writes.delete_documents(cursor, self._schema, name, names)

    def delete_where(self, name: str, where: Filter) -> int:
        """Delete the documents that satisfy a filter, all or none."""
        with self._writing(name) as cursor:
            return writes.delete_matching(
                cursor,
                self._schema,
                name,
                lambda table: Condition(where, table.collection.options.fields),
            )

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        names = [require_doc_id(doc_id) for doc_id in doc_ids]
        return self._reading(name, lambda cursor, table: pages.get(cursor, table, names))

    def scan(
        self, name: str, after: str | None = None, limit: int = 1000, *, vectors: bool = False
    ) -> Page:
        """Read a collection page by page, by rising ``doc_id``."""
        require_limit(limit)
        if after is not None:
            require_doc_id(after)
        return self._reading(
            name, lambda cursor, table: pages.scan(cursor, table, after, limit, vectors=vectors)
        )

    def count(self, name: str, where: Filter | None = None) -> int:
        """Count the documents of a collection, or those that satisfy a filter."""
        if where is None:
            return self.describe(name).count
        return self._reading(
            name, lambda cursor, table: pages.count(cursor, table, _condition(table, where))
        )

    def search(
        self,
        name: str,
        vectors: NDArray[np.float32],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Find each query's nearest documents: exactly up to 20,000, above by HNSW."""
        require_top_k(top_k)
        require_offset(offset)

        def nearest(cursor: Cursor, table: Table) -> list[list[Hit]]:
            rows = unit_rows(vectors, table.collection.dim)
            condition = None if where is None else _condition(table, where)
            return Nearest(cursor, table, condition, top_k, offset).hits(rows, exact=exact)

        return self._reading(name, nearest)

    def match(
        self,
        name: str,
        queries: Sequence[str],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
    ) -> list[list[Hit]]:
        """Find the documents that share words with each query, by BM25."""
        require_top_k(top_k)
        require_offset(offset)
        texts = [require_query(query) for query in queries]

        def words(cursor: Cursor, table: Table) -> list[list[Hit]]:
            condition = None if where is None else _condition(table, where)
            return Lexical(cursor, table, condition, top_k, offset).hits(texts)

        return self._reading(name, words)

    def flush(self, name: str) -> None:
        """Build the index of a collection if it is due, and clean up after many writes."""
        require_name(name)
        with vanishing(name):
            self._upkeep.build(name)

    def snapshot(self, name: str, target: Path) -> Path:
        """Write a copy of a collection to ``target/<name>``; others go on reading and writing."""
        with disk_errors(f"writing a snapshot of {name} to {target}"):
            return self._reading(name, lambda cursor, table: snapshots.save(cursor, table, target))

    def restore(self, name: str, source: Path) -> Collection:
        """Create a collection from what ``snapshot`` returned, after a look at all digests."""
        require_name(name)
        snapshot = snapshots.read(name, source)
        with disk_errors(f"reading the snapshot at {source}"), self._writing(name) as cursor:
            return snapshots.load(cursor, self._schema, snapshot)

    def _reading(self, name: str, work: Callable[[Cursor, Table], T]) -> T:
        require_name(name)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._database.read() as cursor:
                    return work(cursor, find(cursor, self._schema, name))
            except LostError:  # The server restarted; a read may be asked again
                if attempt == _ATTEMPTS:
                    raise
            except VanishedError:  # Dropped or replaced between its name and its tables
                continue
        raise broken(name)

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[Cursor]:
        require_name(name)
        with vanishing(name), self._database.write() as cursor:
            yield cursor


def _condition(table: Table, where: Filter) -> Condition:
    return Condition(where, table.collection.options.fields)
