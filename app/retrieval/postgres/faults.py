"""The server's errors in the service's own words; never with a document, a URL or a password."""

import contextlib
from collections.abc import Iterator

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
        f"{{where}} stopped a statement, which took over {STATEMENT_S:.0f} s or was cancelled; ask "
        "for less.",
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
    if isinstance(error, errors.UndefinedTable) or "could not open relation" in str(error):
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


@contextlib.contextmanager
def vanishing(name: str) -> Iterator[None]:
    """Say of a collection whose tables are missing what that means."""
    try:
        yield
    except VanishedError:
        raise broken(name) from None


def broken(name: str) -> NotReadyError:
    """Say that the tables of a collection that is listed are missing."""
    return NotReadyError(
        f"The tables of the collection {name} are missing from the database; restore it from a "
        "backup, or drop it and index it again."
    )


@contextlib.contextmanager
def disk_errors(action: str) -> Iterator[None]:
    """Explain errors of files on this machine, such as snapshots."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The disk failed while {action}: {error.strerror or error}. Check space and rights."
        ) from error


def _is_lost(error: psycopg.Error) -> bool:
    return error.sqlstate is None or error.sqlstate[:2] in ("08", "57")


def _reason(error: psycopg.Error) -> str:
    """Say what libpq knows of a failed connection: host, port and role, never the password."""
    text = " ".join(str(error).split())
    known = ("connection to server", "resolve", "timeout")
    if error.sqlstate is None and any(part in text for part in known):
        return f" ({text[:300].rstrip('.')})"
    return ""
