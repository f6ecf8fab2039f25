"""Runs a job: checks everything first, plans what is left, notes what is done, ends cleanly."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from app.bulk.duplicates import settle
from app.bulk.held import remove_ledger
from app.bulk.job import Engine, Job, MakeEngine
from app.bulk.ledger import Ledger
from app.bulk.parts import Part, Source
from app.bulk.progress import Progress
from app.bulk.report import JobFailedError, Summary, write_report
from app.bulk.sources import find_sources, identify, open_reader, require_labels, unreadable
from app.bulk.work import Outcome, Task
from app.errors import InvalidInputError, ServiceError

_COMMIT_PARTS, _COMMIT_S = 16, 0.5


def run_job(
    job: Job,
    make_engine: MakeEngine,
    stop: threading.Event,
    *,
    restart: bool = False,
    show: bool = True,
) -> Summary:
    """Run a job, or go on with it.

    Args:
        job: The job.
        make_engine: Makes the engine, once files and ledger are known to be sound.
        stop: When set, ends the job after what is under way.
        restart: Forget what was done before.
        show: Show progress on standard error.

    Raises:
        InvalidInputError: If files, columns or ledger do not fit; nothing was written.
        JobFailedError: If it ended early; the same job goes on where this one ended.
    """
    started = time.monotonic()
    own = {os.path.realpath(path) for path in (job.ledger_path, job.report_path)}
    sources, ignored = find_sources(job.files, job.kind, whole_files=job.whole_files, leave_out=own)
    if job.columns.doc_id is None:
        require_labels(sources)
    for source in sources:
        job.columns.require(source.path, open_reader(source, job.layout).names())
    job = replace(job, layout=replace(job.layout, only=job.columns.wanted))
    if restart:
        remove_ledger(job.ledger_path)
    with Ledger(job.ledger_path) as ledger:
        ledger.bind(job.options())
        if job.retry:
            ledger.forget_refused()
        files = {
            number: source
            for source in sources
            if (number := ledger.register(source, job.changed)) is not None
        }
        run = _Run(job, ledger, files, stop)
        summary = Summary(job.target.collection, len(files), ignored=ignored)
        reason = run.go(make_engine, show=show)
        run.summarize(summary)
        summary.seconds = round(time.monotonic() - started, 3)
        summary.rate = round(run.documents / max(1e-9, run.seconds), 1)
    if reason is not None:
        raise JobFailedError(reason, summary)
    return summary


class _Run:
    """One run of a job."""

    def __init__(
        self, job: Job, ledger: Ledger, files: dict[int, Source], stop: threading.Event
    ) -> None:
        self._job = job
        self._ledger = ledger
        self._files = files
        self._stop = stop
        self._done = {number: ledger.done(number) for number in files}
        self._planned = dict.fromkeys(files, False)
        self._refused = ledger.totals().refused
        self.documents = 0
        self.seconds = 0.0
        self.complete = False

    def go(self, make_engine: MakeEngine, *, show: bool) -> str | None:
        """Do what is left; returns why it ended early, if it did."""
        engine = make_engine(self._job, self._stop)
        try:
            if engine.count == 0 and self._ledger.totals().written:
                raise InvalidInputError(
                    f"The ledger {self._ledger.path} has documents as written, but the collection "
                    f"{self._job.target.collection} is empty; give --restart to index all again."
                )
            started = time.monotonic()
            try:
                self._run(engine, show=show)
                self.seconds = time.monotonic() - started
                if not self._stop.is_set():
                    settle(self._ledger, self._files, engine.run)
                    self.complete = not self._stop.is_set()
            except ServiceError as error:
                self.seconds = time.monotonic() - started
                return f"{error.message} Run the same command again to go on."
        finally:
            engine.close()
        most = self._job.max_errors
        if 0 <= most < self._refused:
            return (
                f"{self._refused} rows were refused, more than --max-errors {most}: see "
                f"{self._job.report_path}; run again with a higher one, or mend the files."
            )
        if self._stop.is_set():
            return "Stopped. Run the same command again to go on."
        return self._changed()

    def _run(self, engine: Engine, *, show: bool) -> None:
        total = sum(source.bytes for source in self._files.values())
        done = sum(part.bytes for parts in self._done.values() for part in parts.values())
        progress = Progress(total, done) if show else None
        waiting: list[Outcome] = []
        noted = time.monotonic()
        try:
            for outcome in engine.run(self._tasks()):
                waiting.append(outcome)
                self._count(outcome, progress)
                if len(waiting) >= _COMMIT_PARTS or time.monotonic() - noted > _COMMIT_S:
                    self._ledger.commit(waiting)
                    waiting, noted = [], time.monotonic()
        finally:
            self._ledger.commit(waiting)
            if progress:
                progress.close()

    def _count(self, outcome: Outcome, progress: Progress | None) -> None:
        self.documents += len(outcome.rows)
        self._refused += len(outcome.refused)
        if 0 <= self._job.max_errors < self._refused:
            self._stop.set()
        if progress:
            progress.add(outcome.task.part.bytes, len(outcome.rows), len(outcome.refused))

    def _tasks(self) -> Iterator[Task]:
        for number, source in self._files.items():
            done: dict[int, Part] = self._done[number]
            try:
                for part in open_reader(source, self._job.layout).plan(done):
                    yield Task(number, source, part)
            except OSError as error:
                raise unreadable(source.path, error) from None

    def _changed(self) -> str | None:
        for source in self._files.values():
            if identify(source.path)[1] != source.fingerprint:
                return (
                    f"{source.path} changed while it was indexed; run again with --changed again."
                )
        return None

    def summarize(self, summary: Summary) -> None:
        """Count, and write the report."""
        totals = self._ledger.totals()
        summary.documents = totals.written - totals.replaced
        summary.refused = totals.refused
        summary.replaced = totals.replaced
        summary.truncated = totals.truncated
        summary.left_out = self._ledger.left_out()
        summary.ledger = str(self._ledger.path)
        summary.complete = self.complete
        path = self._job.report_path
        if totals.refused or totals.replaced:
            write_report(self._ledger, path)
            summary.report = str(path)
        else:
            path.unlink(missing_ok=True)
