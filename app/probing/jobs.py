"""Probe jobs: a few at a time, the others wait; told to watchers, kept on disk.

    queued -> running -> done | failed | cancelled

A job that ran when the service was killed begins anew at the next start: the same seed gives the
same texts, so nothing of the answer changes but when it comes. One that three starts did not end
has failed, for it may be what ends the service.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from app.errors import NotFoundError, OverloadedError, ServiceError
from app.probing.isolated import CanceledError, Outcome
from app.probing.ledger import Ledger, Note, State, new_note
from app.telemetry import describe_exception, log

MOST_STARTS = 3
Run = Callable[
    [Mapping[str, Any], Callable[[], bool], Callable[[Mapping[str, Any]], None]], Outcome
]
"""What was asked, whether to stop, and whom to tell -> what came out."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs there may be.

    Attributes:
        running: At a time.
        waiting: For those.
        kept: Once they ended.
    """

    running: int
    waiting: int
    kept: int


@dataclass(eq=False)
class Job:
    """A job, as it stands.

    Attributes:
        note: What is on disk of it.
        progress: What it told last; None: nothing since the start.
        version: Counts changes.
        cancelled: Whether it was told to stop.
        watchers: Called when it changes.
        news: Its version, and what watchers are told of it.
    """

    note: Note
    progress: Mapping[str, Any] | None = None
    version: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)
    watchers: set[Callable[[], None]] = field(default_factory=set)
    news: tuple[int, bytes] | None = None


class ProbeJobs:
    """Runs probe jobs in the order in which they were sent.

    Args:
        ledger: Where they are kept.
        run: Does one; blocking.
        bounds: How many there may be.
    """

    def __init__(self, ledger: Ledger, run: Run, bounds: Bounds) -> None:
        self._ledger, self._run_one, self._bounds = ledger, run, bounds
        self._jobs: dict[str, Job] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(bounds.running, thread_name_prefix="probe-job")

    def resume(self) -> None:
        """Go on with what a former process had to leave.

        Raises:
            StoreError: If the directory cannot be read.
        """
        for note in self._ledger.read():
            job = self._jobs[note.job_id] = Job(note)
            if note.is_over:
                continue
            if note.starts >= MOST_STARTS:
                reason = f"The service ended {note.starts} times while it ran; ask for less."
                self._end(job, "failed", reason)
                continue
            job.note = replace(note, state="queued")
            self._pool.submit(self._work, job)

    def submit(self, request: Mapping[str, Any]) -> Job:
        """Take a job; it is on disk on return.

        Raises:
            OverloadedError: If too many wait.
            StoreError: If the disk takes no note of it.
        """
        with self._lock:
            open_jobs = sum(not job.note.is_over for job in self._jobs.values())
            most = self._bounds.running + self._bounds.waiting
            if open_jobs >= most or self._stopping.is_set():
                raise OverloadedError(
                    f"{open_jobs} probe jobs run or wait already, of {most} there may be; try "
                    "again later, delete one, or raise TYNTEGRA_PROBE_JOBS_WAITING.",
                    10.0,
                )
            job = Job(new_note(request))
            self._ledger.write(job.note)
            self._jobs[job.note.job_id] = job
            self._make_room()
        self._pool.submit(self._work, job)
        return job

    def list(self) -> list[Job]:
        """All jobs, the newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.note.job_id, reverse=True)

    def get(self, job_id: str) -> Job:
        """Find a job.

        Raises:
            NotFoundError: If there is none of this name.
        """
        job = self.find(job_id)
        if job is None:
            raise NotFoundError(
                f"There is no probe job {job_id!r}; GET /probe/jobs lists those that are kept."
            )
        return job

    def find(self, job_id: str) -> Job | None:
        """The same, or None."""
        return self._jobs.get(job_id)

    def report(self, job_id: str) -> bytes | None:
        """Read a job's report as JSON; None: it has none.

        Raises:
            NotFoundError: If there is no such job.
            StoreError: If the report is damaged.
        """
        note = self.get(job_id).note
        return self._ledger.read_report(note) if note.digest else None

    def cancel(self, job_id: str) -> Job:
        """Tell a job to stop; one that waits ends at once.

        Raises:
            NotFoundError: If there is no such job.
        """
        job = self.get(job_id)
        with self._lock:
            job.cancelled.set()
            if job.note.state == "queued":
                self._end(job, "cancelled")
        return job

    def forget(self, job_id: str) -> None:
        """Remove a job that is over, with its report.

        Raises:
            NotFoundError: If there is no such job.
            StoreError: If the disk does not let it.
        """
        with self._lock:
            job = self.get(job_id)
            self._ledger.forget(job_id)
            del self._jobs[job_id]
        self._changed(job)

    def watch(self, job: Job, wake: Callable[[], None]) -> Callable[[], None]:
        """Call something whenever a job changes, from any thread; returns what ends that."""
        with self._lock:
            job.watchers.add(wake)
        return lambda: job.watchers.discard(wake)

    @property
    def busy(self) -> int:
        """Jobs that run or wait."""
        return sum(not job.note.is_over for job in list(self._jobs.values()))

    def stop(self) -> None:
        """Let jobs that run end soon; they begin anew at the next start."""
        self._stopping.set()
        for job in self.list():
            self._changed(job)

    def close(self) -> None:
        """Stop, and wait for the end."""
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def stopping(self) -> bool:
        """Whether the service ends."""
        return self._stopping.is_set()

    def _work(self, job: Job) -> None:
        with self._lock:
            note = job.note
            if note.state != "queued" or self._stopping.is_set():
                return
            starts = note.starts + 1
            note = replace(note, state="running", started=time.time(), starts=starts)
            self._keep(job, note)
        try:
            outcome = self._run_one(
                note.request,
                lambda: job.cancelled.is_set() or self._stopping.is_set(),
                lambda told: self._tell(job, told),
            )
            self._finish(job, outcome)
        except ServiceError as error:
            self._give_up(job, error.message, error)
        except Exception as error:
            self._give_up(job, "It failed, which is a bug; the log says where.", error)

    def _finish(self, job: Job, outcome: Outcome) -> None:
        if self._stopping.is_set() and not job.cancelled.is_set():
            self._leave(job)
            return
        digest = self._ledger.write_report(job.note.job_id, outcome.report)
        # It may have been done before it could notice.
        cut = job.cancelled.is_set() and outcome.brief["status"] == "partial"
        self._end(job, "cancelled" if cut else "done", brief=outcome.brief, digest=digest)

    def _give_up(self, job: Job, reason: str, error: Exception) -> None:
        if self._stopping.is_set() and not job.cancelled.is_set():
            self._leave(job)
            return
        if isinstance(error, CanceledError):
            self._end(job, "cancelled")
            return
        log(
            logging.ERROR,
            "probe job failed",
            job=job.note.job_id,
            error=describe_exception(error),
        )
        self._end(job, "cancelled" if job.cancelled.is_set() else "failed", reason)

    def _leave(self, job: Job) -> None:
        """Let the next start begin it anew; to be told to end is no failure of the job."""
        starts = job.note.starts - 1
        self._keep(job, replace(job.note, state="queued", started=None, starts=starts))

    def _end(self, job: Job, state: State, error: str | None = None, **found: Any) -> None:
        with self._lock:
            self._keep(job, replace(job.note, state=state, ended=time.time(), error=error, **found))
            self._make_room()
        log(logging.INFO, "probe job", job=job.note.job_id, state=state)

    def _keep(self, job: Job, note: Note) -> None:
        try:
            self._ledger.write(note)  # first: what a client has seen, a crash does not undo
        except ServiceError as error:
            log(logging.ERROR, "probe job not noted", error=describe_exception(error))
        job.note = note
        self._changed(job)

    def _make_room(self) -> None:
        ended = [job for job in self._jobs.values() if job.note.is_over]
        ended.sort(key=lambda job: (job.note.ended or 0.0, job.note.job_id))
        for job in ended[: max(0, len(ended) - self._bounds.kept)]:
            log(logging.INFO, "probe job dropped for newer ones", job=job.note.job_id)
            try:
                self.forget(job.note.job_id)
            except ServiceError as error:
                log(logging.ERROR, "probe job not removed", error=describe_exception(error))

    def _tell(self, job: Job, told: Mapping[str, Any]) -> None:
        job.progress = told
        self._changed(job)

    def _changed(self, job: Job) -> None:
        job.version += 1
        for wake in list(job.watchers):
            wake()
