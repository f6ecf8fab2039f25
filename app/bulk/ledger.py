"""What a job has done, in a file that survives SIGKILL: SQLite, one transaction a few parts.

A part is noted after its documents are durable. What is not noted is done again, which changes
nothing, because a row always gives the same document. The rows that were refused are noted with
their part, so that a report after any number of interruptions has each of them once.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.bulk.held import hold
from app.bulk.parts import Part, Source
from app.bulk.work import Outcome
from app.errors import InvalidInputError, StoreError

FORMAT = 1
Changed = Literal["refuse", "again", "skip"]
_TABLES = """
CREATE TABLE IF NOT EXISTS job(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files(
    number INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts(
    file INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
    first_row INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    written INTEGER NOT NULL, refused INTEGER NOT NULL, truncated INTEGER NOT NULL,
    row_numbers BLOB NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY(file, start));
CREATE TABLE IF NOT EXISTS refused(
    file INTEGER NOT NULL, row INTEGER NOT NULL, doc_id TEXT, reason TEXT NOT NULL,
    PRIMARY KEY(file, row));
CREATE TABLE IF NOT EXISTS replaced(
    file INTEGER NOT NULL, row INTEGER NOT NULL, doc_id TEXT NOT NULL,
    by_file INTEGER NOT NULL, by_row INTEGER NOT NULL, PRIMARY KEY(file, row));
CREATE TABLE IF NOT EXISTS left_out(name TEXT PRIMARY KEY, times INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a ledger has noted: parts, and rows by what became of them."""

    parts: int
    bytes: int
    written: int
    refused: int
    truncated: int
    replaced: int


class Ledger:
    """The ledger of one job; use it in a ``with`` block, from one thread.

    Args:
        path: Its file; created if missing.

    Raises:
        ConflictError: If another process holds it; the message names that one.
        InvalidInputError: If the file is no ledger.
        StoreError: If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = hold(path)
        except OSError as error:
            raise StoreError(
                f"Cannot write the ledger {path}: {error.strerror}; name another with --ledger."
            ) from error
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            # A crash of the machine may lose the last parts, which are then done again.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_TABLES)
            self._require("format", str(FORMAT), "was written by another version")
        except sqlite3.Error as error:
            os.close(self._lock)
            raise InvalidInputError(
                f"{path} is no ledger ({error}); remove it, or name another with --ledger."
            ) from None
        except InvalidInputError:
            self.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._database.close()
        os.close(self._lock)

    def bind(self, options: Mapping[str, object]) -> None:
        """Note what the job is, or see that it is the one noted.

        Raises:
            InvalidInputError: If an option differs.
        """
        with self._transaction():
            for key, value in options.items():
                self._require(key, json.dumps(value, sort_keys=True), "belongs to another job")

    def register(self, source: Source, changed: Changed) -> int | None:
        """Number a file; None: it changed and is to be left out.

        Raises:
            InvalidInputError: If it changed since parts of it were done, and that is not allowed.
        """
        found = self._database.execute(
            "SELECT number, fingerprint FROM files WHERE path = ?", (source.path,)
        ).fetchone()
        if found is None:
            with self._transaction():
                return self._database.execute(
                    "INSERT INTO files(path, fingerprint) VALUES (?, ?)",
                    (source.path, source.fingerprint),
                ).lastrowid
        number, fingerprint = found
        if fingerprint == source.fingerprint:
            return number
        if changed == "skip":
            return None
        if changed == "refuse" and self.done(number):
            raise InvalidInputError(
                f"{source.path} changed since parts of it were indexed; give --changed again to "
                "index it anew (documents of rows that are gone stay), or --changed skip to leave "
                "it out."
            )
        with self._transaction():
            self.forget(number)
            self._database.execute(
                "UPDATE files SET fingerprint = ? WHERE number = ?", (source.fingerprint, number)
            )
        return number

    def forget(self, number: int) -> None:
        """Forget all that was done of a file."""
        self._database.execute("DELETE FROM parts WHERE file = ?", (number,))
        self._database.execute("DELETE FROM refused WHERE file = ?", (number,))
        self._database.execute("DELETE FROM replaced WHERE ? IN (file, by_file)", (number,))

    def forget_refused(self) -> None:
        """Forget the parts that had rows refused, so that they are done again."""
        with self._transaction():
            self._database.execute("DELETE FROM parts WHERE refused > 0")
            self._database.execute("DELETE FROM refused")

    def done(self, number: int) -> dict[int, Part]:
        """The parts of a file that are done, by where they begin."""
        rows = self._database.execute(
            "SELECT start, end, first_row, rows, bytes FROM parts WHERE file = ? ORDER BY start",
            (number,),
        )
        return {row[0]: Part(*row) for row in rows}

    def paths(self) -> dict[int, str]:
        """The files by their numbers."""
        return dict(self._database.execute("SELECT number, path FROM files"))

    def commit(self, outcomes: Sequence[Outcome]) -> None:
        """Note parts that are done."""
        with self._transaction():
            for outcome in outcomes:
                self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        part, number = outcome.task.part, outcome.task.file
        counts = (len(outcome.rows), len(outcome.refused), outcome.truncated)
        place = (number, part.start, part.end, part.first_row, part.rows, part.bytes)
        blobs = (outcome.rows.astype("<u4").tobytes(), outcome.hashes.astype("<u8").tobytes())
        self._database.execute(
            f"INSERT OR REPLACE INTO parts VALUES ({','.join('?' * 11)})",
            (*place, *counts, *blobs),
        )
        self._database.executemany(
            "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)",
            [(number, one.row, _utf8(one.doc_id), _utf8(one.reason)) for one in outcome.refused],
        )
        self._database.executemany(
            "INSERT INTO left_out VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET times = times + excluded.times",
            [(_utf8(name), times) for name, times in outcome.left_out.items()],
        )

    def totals(self) -> Totals:
        """Count all that was noted."""
        sums = self._database.execute(
            "SELECT count(*), coalesce(sum(bytes), 0), coalesce(sum(written), 0),"
            " coalesce(sum(refused), 0), coalesce(sum(truncated), 0) FROM parts"
        ).fetchone()
        replaced = self._database.execute("SELECT count(*) FROM replaced").fetchone()
        return Totals(*sums, *replaced)

    def left_out(self) -> dict[str, int]:
        """Columns whose values no metadata can hold, with how often."""
        return dict(self._database.execute("SELECT name, times FROM left_out ORDER BY name"))

    def refused(self) -> Iterator[tuple[str, int, str | None, str]]:
        """Rows that were refused: file, row, ``doc_id`` if known, reason."""
        yield from self._database.execute(
            "SELECT path, row, doc_id, reason FROM refused JOIN files ON file = number"
            " ORDER BY file, row"
        )

    def replaced(self) -> Iterator[tuple[str, int, str, str, int]]:
        """Rows whose document a later row replaced: file, row, ``doc_id``, file and row of that."""
        yield from self._database.execute(
            "SELECT a.path, row, doc_id, b.path, by_row FROM replaced"
            " JOIN files AS a ON file = a.number JOIN files AS b ON by_file = b.number"
            " ORDER BY file, row"
        )

    def written(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.int64]]:
        """All rows written, in order of file and row: hashes of their ids, files, row numbers."""
        hashes, files, rows = [np.empty(0, "<u8")], [np.empty(0, "<u4")], [np.empty(0, np.int64)]
        found = self._database.execute(
            "SELECT file, first_row, row_numbers, hashes FROM parts ORDER BY file, start"
        )
        for file, first, numbers, packed in found:
            hashes.append(np.frombuffer(packed, "<u8"))
            rows.append(np.frombuffer(numbers, "<u4").astype(np.int64) + first)
            files.append(np.full(len(rows[-1]), file, "<u4"))
        return np.concatenate(hashes), np.concatenate(files), np.concatenate(rows)

    def part_of(self, number: int, row: int) -> Part:
        """The part that a row is in."""
        found = self._database.execute(
            "SELECT start, end, first_row, rows, bytes FROM parts WHERE file = ?"
            " AND first_row <= ? ORDER BY first_row DESC LIMIT 1",
            (number, row),
        ).fetchone()
        return Part(*found)

    def settled(self) -> dict[tuple[int, int], tuple[int, int]]:
        """Rows that are known to be replaced, each with the file and row by which."""
        rows = self._database.execute("SELECT file, row, by_file, by_row FROM replaced")
        return {(file, row): (by_file, by_row) for file, row, by_file, by_row in rows}

    def settle(self, found: Sequence[tuple[int, int, str, int, int]]) -> None:
        """Note rows that were replaced: file, row, ``doc_id``, file and row by which."""
        with self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO replaced VALUES (?,?,?,?,?)", found)

    def _require(self, key: str, value: str, otherwise: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO job VALUES (?, ?)", (key, value))
        (noted,) = self._database.execute("SELECT value FROM job WHERE key = ?", (key,)).fetchone()
        if noted != value:
            raise InvalidInputError(
                f"The ledger {self.path} {otherwise}: its {key} is {noted:.200}, not {value:.200}. "
                "Give the same options, name another with --ledger, or begin anew with --restart."
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(
                f"Cannot write the ledger {self.path}: {error}; make room, then run again."
            ) from error
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")


def _utf8(text: str | None) -> str | None:
    """What SQLite can hold: a refused row may have had lone surrogates."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")
