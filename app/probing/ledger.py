"""Probe jobs on disk: a note and, once there is one, a report each, whole or not at all.

TYNTEGRA_STATE/probes/20261125t101500z-0123ab.json          what was asked, and how it stands
TYNTEGRA_STATE/probes/20261125t101500z-0123ab.report.json   the report, as it is answered
"""

import hashlib
import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from app.durable import remove, write_bytes
from app.errors import StoreError
from app.telemetry import describe_exception, log

JOB_ID = r"[0-9]{8}t[0-9]{6}z-[0-9a-f]{12}"
_NOTE = re.compile(rf"({JOB_ID})\.json")
State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Note:
    """What is kept of a job.

    Attributes:
        job_id: When it was asked for (UTC), and a number.
        state: How it stands.
        request: What was asked, as JSON.
        submitted: When (seconds since 1970).
        started: When it last began; None: not yet.
        ended: When it ended; None: not yet.
        starts: How often it began.
        error: Why it failed.
        brief: A few numbers of the report; None without one.
        digest: SHA-256 of the report; None without one.
    """

    job_id: str
    state: State
    request: Mapping[str, Any]
    submitted: float
    started: float | None = None
    ended: float | None = None
    starts: int = 0
    error: str | None = None
    brief: Mapping[str, Any] | None = field(default=None)
    digest: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED


def new_note(request: Mapping[str, Any]) -> Note:
    """Note what is asked."""
    now = time.time()
    stamp = time.strftime("%Y%m%dt%H%M%Sz", time.gmtime(now))
    return Note(f"{stamp}-{secrets.token_hex(6)}", "queued", request, now)


class Ledger:
    """Notes and reports in a directory; no other process may use it.

    Args:
        directory: Is created when something is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self) -> list[Note]:
        """Read all notes, the oldest first; of damaged ones what their names say.

        Raises:
            StoreError: If the directory cannot be read.
        """
        try:
            paths = sorted(self._directory.iterdir()) if self._directory.is_dir() else []
        except OSError as error:
            raise _failed("gave no probe jobs", error) from error
        for path in paths:
            if path.name.endswith(".draft"):
                path.unlink(missing_ok=True)  # of a write that a crash ended
        found = [(path, _NOTE.fullmatch(path.name)) for path in paths]
        return [self._read(path, match[1]) for path, match in found if match]

    def _read(self, path: Path, job_id: str) -> Note:
        try:
            return _checked(json.loads(path.read_bytes()), job_id)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            log(logging.ERROR, "probe job unreadable", job=job_id, error=describe_exception(error))
            when = time.mktime(time.strptime(job_id[:15], "%Y%m%dt%H%M%S")) - time.timezone
            reason = "Its file is damaged, so what was asked is lost; delete it and ask again."
            return Note(job_id, "failed", {}, when, ended=when, error=reason)

    def write(self, note: Note) -> None:
        """Keep a note, durably.

        Raises:
            StoreError: If the disk does not take it.
        """
        content = json.dumps(asdict(note), ensure_ascii=True).encode()
        self._write(self._directory / f"{note.job_id}.json", content)

    def write_report(self, job_id: str, report: bytes) -> str:
        """Keep a report, durably.

        Returns:
            Its digest, for the note.

        Raises:
            StoreError: If the disk does not take it.
        """
        self._write(self._report(job_id), report)
        return hashlib.sha256(report).hexdigest()

    def read_report(self, note: Note) -> bytes:
        """Read the report of a job that has one.

        Raises:
            StoreError: If it is gone or damaged.
        """
        try:
            report = self._report(note.job_id).read_bytes()
        except OSError as error:
            raise _failed(f"does not give the report of {note.job_id}", error) from error
        if hashlib.sha256(report).hexdigest() != note.digest:
            raise StoreError(
                f"The report of {note.job_id} is damaged on disk; delete the job and run it again."
            )
        return report

    def forget(self, job_id: str) -> None:
        """Remove a job, durably.

        Raises:
            StoreError: If the disk does not let it.
        """
        try:
            remove(self._report(job_id))
            remove(self._directory / f"{job_id}.json")
        except OSError as error:
            raise _failed(f"does not let {job_id} be removed", error) from error

    def _report(self, job_id: str) -> Path:
        return self._directory / f"{job_id}.report.json"

    def _write(self, path: Path, content: bytes) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
        except OSError as error:
            raise _failed("took no note of the probe job", error) from error


def _checked(content: Any, job_id: str) -> Note:
    names = {field.name for field in fields(Note)}
    if not isinstance(content, dict) or not content.keys() <= names:
        raise TypeError("no note of a job")
    note = Note(**content)
    numbers = (note.submitted, note.started or 0.0, note.ended or 0.0, note.starts)
    sound = (
        note.job_id == job_id
        and note.state in get_args(State)
        and isinstance(note.request, dict)
        and all(isinstance(number, int | float) and 0 <= number < 1e11 for number in numbers)
        and isinstance(note.error, str | None)
        and isinstance(note.brief, dict | None)
        and isinstance(note.digest, str | None)
    )
    if not sound:
        raise TypeError("no note of a job")
    return note


def _failed(what: str, error: OSError) -> StoreError:
    return StoreError(
        f"The disk {what}: {error.strerror or error}; check space and rights of TYNTEGRA_STATE."
    )
