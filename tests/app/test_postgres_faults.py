"""The server's errors, each in the words and of the kind that callers can act upon."""

import psycopg
import pytest
from psycopg import errors

from app.errors import InvalidInputError, NotReadyError, OverloadedError, StoreError
from app.retrieval.postgres.faults import VanishedError, disk_errors, explain


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (errors.DiskFull, StoreError, "no space left"),
        (errors.OutOfMemory, StoreError, "no space left"),
        (errors.QueryCanceled, StoreError, "over 60 s"),
        (errors.LockNotAvailable, OverloadedError, "try again"),
        (errors.DeadlockDetected, OverloadedError, "try again"),
        (errors.ReadOnlySqlTransaction, StoreError, "name the primary"),
        (errors.InsufficientPrivilege, StoreError, "CREATE EXTENSION vector"),
        (errors.ProgramLimitExceeded, InvalidInputError, "too long to be indexed"),
        (errors.DataCorrupted, StoreError, "damaged data"),
        (errors.TooManyConnections, NotReadyError, "max_connections"),
        (errors.AdminShutdown, NotReadyError, "broke the connection"),
        (errors.CannotConnectNow, NotReadyError, "broke the connection"),
        (psycopg.OperationalError, NotReadyError, "broke the connection"),
        (errors.CheckViolation, StoreError, "23514"),
        (errors.UndefinedTable, VanishedError, ""),
    ],
)
def test_explain_names_the_kind_and_repeats_nothing(error, kind, said):
    explained = explain(error("unspeakable"), "PostgreSQL", located=False)
    assert type(explained) is kind or issubclass(type(explained), kind)
    assert said in str(explained)
    assert "unspeakable" not in str(explained)


@pytest.mark.parametrize(
    ("message", "repeated"),
    [
        ('connection to server at "h", port 1 failed:\n refused', "port 1 failed: refused)"),
        ("failed to resolve host 'h'", "resolve host 'h')"),
        ("something quite unspeakable", ""),
    ],
)
def test_explain_while_opening_says_what_is_known_of_the_connection(message, repeated):
    explained = str(explain(psycopg.OperationalError(message), "PostgreSQL at h", located=True))
    assert explained.startswith("PostgreSQL at h cannot be reached")
    assert repeated in explained
    assert "unspeakable" not in explained
    assert "\n" not in explained


def test_disk_errors_of_this_machine_are_the_store_s():
    with (
        pytest.raises(StoreError, match="writing a snapshot: No space left"),
        disk_errors("writing a snapshot"),
    ):
        raise OSError(28, "No space left on device")
