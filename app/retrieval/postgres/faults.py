"""The server's errors in the service's own words; never with a document, a URL or a password."""

import psycopg
from psycopg import errors

from app.errors import InvalidInputError, NotReadyError, OverloadedError, ServiceError, StoreError

STATEMENT_S = 60.0
"""How long a statement of a request may take."""
_KEPT = "What was acknowledged before is kept."
_WORDS: tuple[tuple[tuple[type[psycopg.Error], ...], type[ServiceError], str], ...] = (
    (
        (errors.QueryCanceled,),
        StoreError,
        f"{{where}} did not finish a statement within {STATEMENT_S:.0f} s; ask for less.",
    ),
    (
        (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure),
        OverloadedError,
        "Another process is changing this collection; try again.",
    ),
    (
        (errors.TooManyConnections,),
        NotReadyError,
        "{where} has no connection left; raise its max_connections.",
    ),
    (
        (errors.DiskFull, errors.OutOfMemory),
        StoreError,
        "{where} has no space left on disk or in memory; free some. " + _KEPT,
    ),
    (
        (errors.ReadOnlySqlTransaction,),
        StoreError,
        "{where} is read-only, perhaps a standby; name the primary. Searches go on.",
    ),
    (
        (errors.InsufficientPrivilege,),
        StoreError,
        "{where} refuses this role something that it needs; let it own the schema, and have an "
        "administrator run CREATE EXTENSION vector.",
    ),
    (
        (errors.DataCorrupted, errors.IndexCorrupted),
        StoreError,
        "{where} found damaged data, and answers nothing from it; restore the database.",
    ),
    (
        (errors.ProgramLimitExceeded,),
        InvalidInputError,
        "A language, or a value of a declared field, is too long to be indexed; use fewer than "
        "2,000 bytes.",
    ),
)


class VanishedError(Exception):
    """A table is gone that was there a moment ago: dropped or replaced by another process."""


class LostError(NotReadyError):
    """The connection broke; whether its transaction was committed is not known."""


def explain(error: psycopg.Error, where: str, *, located: bool) -> Exception:
    """Turn an error of the server into one that callers understand.

    Args:
        error: The error.
        where: Names the server.
        located: Say of a connection that failed what libpq says, which names host and role.
    """
    if isinstance(error, errors.UndefinedTable):
        return VanishedError()
    for kinds, wrapped, words in _WORDS:
        if isinstance(error, kinds):
            return wrapped(words.format(where=where))
    if isinstance(error, psycopg.OperationalError) and _is_lost(error):
        if not located:
            return LostError(f"{where} broke the connection or cannot be reached; try again.")
        return LostError(
            f"{where} cannot be reached{_reason(error)}. Start it, or correct host, user and "
            "password in the store's URL."
        )
    return StoreError(f"{where} failed with {error.sqlstate} ({type(error).__name__}).")


def _is_lost(error: psycopg.Error) -> bool:
    return error.sqlstate is None or error.sqlstate[:2] in ("08", "57")


def _reason(error: psycopg.Error) -> str:
    """Say what libpq knows of a failed connection: host, port and role, never the password."""
    text = " ".join(str(error).split())
    known = ("connection to server", "resolve", "timeout")
    if error.sqlstate is None and any(part in text for part in known):
        return f" ({text[:300].rstrip('.')})"
    return ""
