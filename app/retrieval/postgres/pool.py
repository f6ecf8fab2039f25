"""Connections to the server: a pool with timeouts, and transactions that explain their errors.

No message and no log line holds the URL: it may have a password. Callers learn where the server is
only while the store is opened, later that is for the log alone. What the server says of a failed
statement is logged at debug level only, because it may quote documents.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import psycopg
from psycopg import IsolationLevel, conninfo, sql
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from app.errors import InvalidInputError, NotReadyError, OverloadedError
from app.retrieval.postgres.faults import STATEMENT_S, LostError, explain

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

CONNECT_S = 5
WAIT_S = 3.0
"""How long a call waits for a connection of the pool."""
AWAY_S = 1.0
"""How long calls are refused at once after one found the server away."""
LOCK_S = 10.0
"""How long a statement waits for another process's lock."""
_log = logging.getLogger(__name__)
# It would write a line for each attempt to reconnect; the calls that fail say it too.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

_DEFAULTS: dict[str, Any] = {
    "connect_timeout": CONNECT_S,
    "application_name": "tyntegra",
    # A network that swallows everything would otherwise hold a call for a quarter of an hour.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_CONFIGURE = """
SELECT set_config('search_path', %(path)s, false),
    set_config('statement_timeout', %(statement)s, false),
    set_config('lock_timeout', %(lock)s, false),
    set_config('idle_in_transaction_session_timeout', '60s', false),
    set_config('plan_cache_mode', 'force_custom_plan', false),
    set_config('jit', 'off', false),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)
"""
"""A plan for any filter and ``LIMIT`` would be a plan for none of them, hence custom plans."""


class Database:
    """One database of a server; use ``open``."""

    def __init__(self, parameters: dict[str, Any], size: int) -> None:
        self._parameters: dict[str, Any] = {**_DEFAULTS, **parameters, "client_encoding": "UTF8"}
        self.search_path = "public"
        self._closed = threading.Event()
        self._started = False
        self._away_until = 0.0
        self._in_use = 0
        self._counting = threading.Lock()
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            kwargs=self._parameters,
            min_size=1,
            max_size=size,
            open=False,
            configure=self._configure,
            check=ConnectionPool.check_connection,
            timeout=WAIT_S,
            reconnect_timeout=WAIT_S,
            num_workers=1,
            name="tyntegra",
        )

    @classmethod
    def open(cls, url: str, size: int) -> "Database":
        """Prepare connections to the database that a URL names; ``start`` opens the pool.

        Args:
            url: ``postgresql://user:password@host:port/database``, or whatever libpq takes.
            size: Connections at most.

        Raises:
            InvalidInputError: If the URL cannot be read.
        """
        try:
            return cls(dict(conninfo.conninfo_to_dict(url)), size)
        except psycopg.Error:  # Its message may quote the URL
            raise InvalidInputError(
                "The store's URL cannot be read; give postgresql://user@host:port/database, with "
                "'@', '/' and '%' in the password written as %40, %2F and %25."
            ) from None

    @property
    def location(self) -> str:
        """Host, port and database, for messages."""
        given = self._parameters
        host = given.get("host") or given.get("hostaddr") or "the default socket"
        return f"{host}:{given.get('port') or 5432}/{given.get('dbname') or given.get('user', '')}"

    def use_types_of(self, schema: str) -> None:
        """Look types and operators up in the schema that pgvector is installed in."""
        self.search_path = sql.Identifier(schema).as_string()

    def start(self) -> None:
        """Open the pool; from now on messages no longer say where the server is."""
        self._pool.open()
        self._started = True

    def close(self) -> None:
        """Close all connections; those in use close when they are given back."""
        self._closed.set()
        self._pool.close()

    def read(self) -> AbstractContextManager[Cursor]:
        """Begin a transaction that sees one state of the database."""
        return self._transaction(IsolationLevel.REPEATABLE_READ, read_only=True)

    def write(self) -> AbstractContextManager[Cursor]:
        """Begin a transaction that is durable once the block has ended."""
        return self._transaction(IsolationLevel.READ_COMMITTED, read_only=False)

    @contextlib.contextmanager
    def alone(self) -> Iterator[Connection]:
        """Open a connection beside the pool, without transaction, for long work."""
        with self._explained(), psycopg.connect(**self._parameters) as connection:
            self._configure(connection)
            connection.autocommit = True
            yield connection

    @contextlib.contextmanager
    def _transaction(self, level: IsolationLevel, *, read_only: bool) -> Iterator[Cursor]:
        with self._explained(), self._pool.connection() as connection, self._counted():
            connection.isolation_level = level
            connection.read_only = read_only
            with connection.cursor() as cursor:
                yield cursor

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self._in_use += 1
        try:
            yield
        finally:
            with self._counting:
                self._in_use -= 1

    def _configure(self, connection: Connection) -> None:
        connection.autocommit = True
        connection.execute(
            _CONFIGURE,
            {
                "path": self.search_path,
                "statement": f"{STATEMENT_S * 1000:.0f}",
                "lock": f"{LOCK_S * 1000:.0f}",
            },
        )
        connection.autocommit = False

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        if self._closed.is_set():
            raise NotReadyError("The store is closed; open it again.")
        if time.monotonic() < self._away_until:
            raise self._away()
        try:
            yield
        except (psycopg.Error, PoolTimeout, PoolClosed) as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> Exception:
        if isinstance(error, PoolClosed) or self._closed.is_set():
            return NotReadyError("The store is closed; open it again.")
        if isinstance(error, psycopg.Error) and not isinstance(error, PoolTimeout):
            explained = explain(error, self._where(), located=not self._started)
            if isinstance(explained, LostError) and self._started:
                _log.warning("PostgreSQL at %s: %s", self.location, " ".join(str(error).split()))
            else:
                _log.debug("PostgreSQL at %s: %s %s", self.location, error.sqlstate, error)
            return explained
        if self._in_use >= self._pool.max_size:
            return OverloadedError("All connections to the store are busy; try again.")
        self._away_until = time.monotonic() + AWAY_S
        _log.warning("PostgreSQL at %s does not answer", self.location)
        return self._away()

    def _where(self) -> str:
        return "PostgreSQL" if self._started else f"PostgreSQL at {self.location}"

    def _away(self) -> NotReadyError:
        return NotReadyError(f"{self._where()} does not answer; start it, or check the network.")
