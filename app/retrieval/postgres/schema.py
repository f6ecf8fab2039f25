"""The tables: one that lists the collections, three for each of them, and how they came to be.

    schema_version    the one row says which migrations this database has had
    collections       name, dimension, model, options, and the counts of each collection
    documents_<id>    a document a row; ``fields`` is its metadata for filters
    passages_<id>     a passage a row, with its vector and its tokens
    postings_<id>     the weight of each token of each passage

Text columns hold ``rows.escaped`` text, because PostgreSQL's text cannot hold NUL.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, LiteralString

from psycopg import sql

from app.errors import NotFoundError, StoreError
from app.retrieval.postgres.pool import Cursor
from app.retrieval.postgres.rows import escaped, unescaped
from app.retrieval.store import Collection, Options

SCHEMA = "tyntegra"
MAX_DIM = 16_000
"""What pgvector's type holds."""
MAX_INDEX_DIM = 4_000
"""What pgvector's HNSW takes, in half precision."""
_INLINE_DIM = 1_800
"""Up to here a row with its vector fits in a page, where a scan reads it without a detour."""
_MIGRATION_LOCK = 0x74796E74  # "tynt"
_MIN_VECTOR = (0, 8)


@dataclass(frozen=True, slots=True)
class Table:
    """A collection and the names of its tables.

    Attributes:
        schema: The schema that they are in.
        id: The number that their names end in.
        collection: What the seam knows of it.
        passages: How many it has.
        written: How many passages were ever written to it; the next one's id.
        indexed: Its HNSW index is there and complete.
    """

    schema: str
    id: int
    collection: Collection
    passages: int
    written: int
    indexed: bool

    @property
    def grouped(self) -> bool:
        """Some documents have several passages."""
        return self.passages != self.collection.count

    def fill(self, query: LiteralString, **parts: sql.Composable) -> sql.Composed:
        """Fill in the names of the tables, and other parts of a statement."""
        kinds = ("documents", "passages", "postings")
        names = {kind: sql.Identifier(self.schema, f"{kind}_{self.id}") for kind in kinds}
        names["collections"] = sql.Identifier(self.schema, "collections")
        return sql.SQL(query).format(**names, dim=sql.Literal(self.collection.dim), **parts)

    def name(self, kind: str) -> sql.Identifier:
        """Name an index of this collection, without the schema."""
        return sql.Identifier(f"passages_{self.id}_{kind}")


def _first(cursor: Cursor, schema: str) -> None:
    cursor.execute(
        sql.SQL("""
        CREATE TABLE {} (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text COLLATE "C" NOT NULL UNIQUE,
            dim integer NOT NULL,
            model text NOT NULL,
            options text NOT NULL,
            documents bigint NOT NULL DEFAULT 0,
            passages bigint NOT NULL DEFAULT 0,
            written bigint NOT NULL DEFAULT 0,
            created timestamptz NOT NULL DEFAULT now()
        ) WITH (fillfactor = 50)
        """).format(sql.Identifier(schema, "collections"))
    )


Migration = Callable[[Cursor, str], None]
MIGRATIONS: tuple[Migration, ...] = (_first,)
"""The steps from an empty schema to this version's; a step that was released never changes."""


def migrate(cursor: Cursor, schema: str, steps: Sequence[Migration] = MIGRATIONS) -> str:
    """Bring the schema up to date within the caller's transaction; one process at a time.

    Returns:
        The schema that pgvector is installed in.

    Raises:
        StoreError: If the schema is newer than this program, the server does not keep what it
            acknowledges, or pgvector is missing or old.
    """
    _require_server(cursor)
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
    home = _require_vector(cursor)
    version = sql.Identifier(schema, "schema_version")
    found = _row(cursor, "SELECT to_regclass(%s) IS NULL", [version.as_string(cursor)])
    if found[0]:
        cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        cursor.execute(sql.SQL("CREATE TABLE {} (version integer NOT NULL)").format(version))
        cursor.execute(sql.SQL("INSERT INTO {} VALUES (0)").format(version))
    cursor.execute(sql.SQL("SELECT version FROM {}").format(version))
    done = int((cursor.fetchone() or (0,))[0])
    if done > len(steps):
        raise StoreError(
            f"The schema {schema!r} has version {done}, and this Tyntegra knows versions up to "
            f"{len(steps)}; run the newer Tyntegra that made it."
        )
    for step in steps[done:]:
        step(cursor, schema)
    if done < len(steps):
        cursor.execute(sql.SQL("UPDATE {} SET version = %s").format(version), [len(steps)])
    return home


def find(cursor: Cursor, schema: str, name: str, lock: LiteralString = "") -> Table:
    """Look a collection up.

    Args:
        cursor: In a transaction.
        schema: The schema of the store.
        name: The collection's name, checked.
        lock: ``FOR UPDATE`` and the like, to hold its row until the transaction ends.

    Raises:
        NotFoundError: If there is no such collection.
    """
    for _ in range(2 if lock else 1):  # Once more, if it was replaced while this waited for it
        found = _select(cursor, schema, "WHERE name = %s " + lock, [name])
        if found:
            return found[0]
    raise NotFoundError(f"There is no collection {name}; create it first.")


def every(cursor: Cursor, schema: str) -> list[Table]:
    """List all collections by name."""
    return _select(cursor, schema, "ORDER BY name", [])


def insert(cursor: Cursor, schema: str, made: Collection) -> bool:
    """Create a collection with its tables; False if the name is taken."""
    collections = sql.Identifier(schema, "collections")
    cursor.execute(
        sql.SQL("""
        INSERT INTO {} (name, dim, model, options) VALUES (%s, %s, %s, %s)
        ON CONFLICT (name) DO NOTHING
        """).format(collections),
        [made.name, made.dim, escaped(made.model), json.dumps(asdict(made.options))],
    )
    if not cursor.rowcount:
        return False
    table = find(cursor, schema, made.name)
    storage = "PLAIN" if made.dim <= _INLINE_DIM else "EXTERNAL"
    for statement in _TABLES:
        cursor.execute(table.fill(statement, storage=sql.SQL(storage)))
    for key, declared in made.options.fields.items():
        # Strings by their hash: an index takes no value of over 2,704 bytes.
        value = "jsonb_hash_extended(fields -> {}, 0)" if declared == "string" else "fields -> {}"
        indexed = sql.SQL(value).format(sql.Literal(escaped(key)))
        cursor.execute(table.fill("CREATE INDEX ON {documents} (({value}))", value=indexed))
    return True


def remove(cursor: Cursor, table: Table) -> None:
    """Delete a collection, whose row must be locked; ``sweep`` drops its tables afterwards."""
    cursor.execute(table.fill("DELETE FROM {collections} WHERE id = %s"), [table.id])


_TABLES: tuple[LiteralString, ...] = (
    """
    CREATE TABLE {documents} (
        doc_id bytea PRIMARY KEY,
        text text NOT NULL,
        lang text COLLATE "C",
        script text COLLATE "C" NOT NULL,
        metadata text NOT NULL,
        fields jsonb NOT NULL,
        passages integer NOT NULL
    )
    """,
    "CREATE INDEX ON {documents} (lang)",
    "CREATE INDEX ON {documents} (script)",
    """
    CREATE TABLE {passages} (
        id bigint PRIMARY KEY,
        doc_id bytea NOT NULL,
        start integer NOT NULL,
        stop integer NOT NULL,
        tokens integer[] NOT NULL,
        vector vector({dim}) NOT NULL
    )
    """,
    "ALTER TABLE {passages} ALTER COLUMN vector SET STORAGE {storage}",
    "CREATE INDEX ON {passages} (doc_id)",
    """
    CREATE TABLE {postings} (
        passage bigint NOT NULL,
        token integer NOT NULL,
        weight real NOT NULL,
        PRIMARY KEY (token, passage) INCLUDE (weight)
    )
    """,
)


def _select(cursor: Cursor, schema: str, rest: LiteralString, parameters: list[Any]) -> list[Table]:
    cursor.execute(
        sql.SQL(
            """
        SELECT id, name, dim, model, documents, options, passages, written, EXISTS (
            SELECT FROM pg_index WHERE indisvalid
                AND indexrelid = to_regclass({quoted} || '.passages_' || id || '_hnsw'))
        FROM {collections}
        """
            + rest
        ).format(
            quoted=sql.Literal(sql.Identifier(schema).as_string(cursor)),
            collections=sql.Identifier(schema, "collections"),
        ),
        parameters,
    )
    return [
        Table(schema, number, _collection(described), passages, written, indexed)
        for number, *described, passages, written, indexed in cursor
    ]


def _collection(described: Sequence[Any]) -> Collection:
    name, dim, model, documents, options = described
    return Collection(name, dim, unescaped(model), documents, Options(**json.loads(options)))


def _require_server(cursor: Cursor) -> None:
    encoding, fsync = _row(
        cursor, "SELECT current_setting('server_encoding'), current_setting('fsync')"
    )
    if encoding != "UTF8":
        raise StoreError(
            f"The database has the encoding {encoding}; create one with ENCODING 'UTF8'."
        )
    if fsync != "on":
        raise StoreError(
            "The server runs with fsync off, so that a power failure would lose acknowledged "
            "documents; turn it on."
        )


def _require_vector(cursor: Cursor) -> str:
    query = """
        SELECT extversion, nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
        WHERE extname = 'vector'
    """
    found = cursor.execute(query).fetchone()
    if found is None:
        available = _row(
            cursor, "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')"
        )
        if not available[0]:
            raise StoreError("The server has no pgvector; install it there (0.8 or newer).")
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        found = _row(cursor, query)
    version, home = found
    if tuple(int(part) for part in version.split(".")[:2]) < _MIN_VECTOR:
        raise StoreError(
            f"The database has pgvector {version}, and 0.8 is needed; install it on the server and "
            "run ALTER EXTENSION vector UPDATE."
        )
    return home


def _row(cursor: Cursor, query: LiteralString, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
    return (cursor.execute(query, parameters or None).fetchall() or [()])[0]
